"""PostgreSQL and Redis over TLS: the URLs of docs/scaling.md, with a certificate of an authority of our own."""

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from storage import migrate, open_storage
from storage.errors import CannotOpen
from storage.sql.database import open_database
from storage.tools.health import get_health
from tests.builders import post, whole_ranking
from tests.e2e.deployed import free_port, redis_running
from tests.faults.services import eventually
from tests.postgresql import PostgreSQL, _account
from tests.system import FindProgram

AUTHORITY = "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=ours -keyout ca.key -out ca.crt"
REQUEST = "req -newkey rsa:2048 -nodes -subj /CN=localhost -keyout server.key -out server.csr"
SIGNED = "x509 -req -in server.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 2 -extfile names -out server.crt"


@pytest.fixture
def certificates(tmp_path: Path, program: FindProgram) -> Path:
    """A folder with ca.crt, and server.crt and server.key for the name localhost alone."""
    (tmp_path / "names").write_text("subjectAltName=DNS:localhost")
    for words in (AUTHORITY, REQUEST, SIGNED):
        subprocess.run([program("openssl"), *words.split()], cwd=tmp_path, check=True, capture_output=True)
    return tmp_path


@pytest.fixture
def postgresql_over_tls(certificates: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A PostgreSQL that takes connections over TLS; its URL but for host and options."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
    if not found:
        pytest.skip("there is no PostgreSQL with TLS here: the packaged one was built without")
    port = free_port()
    monkeypatch.setenv("PGPORT", str(port))
    server = PostgreSQL(binaries=found[-1].parent, listen_addresses="localhost", port=str(port))
    with closing(server):
        for name in ("server.crt", "server.key"):
            copy = Path(shutil.copy(certificates / name, server.folder / "data"))
            copy.chmod(0o600)
            if account := _account():
                shutil.chown(copy, account["user"], account["group"])
        rules = server.folder / "data" / "pg_hba.conf"
        rules.write_text("local all all trust\nhostssl all all all trust\n")
        server.execute("ALTER SYSTEM SET ssl = on")
        server.execute("SELECT pg_reload_conf()")
        yield f"postgresql://postgres@{{}}:{port}/postgres?sslmode=verify-full&sslrootcert={certificates / 'ca.crt'}"


@pytest.fixture
def redis_over_tls(certificates: Path, program: FindProgram) -> Iterator[str]:
    """A Redis that takes nothing but TLS; its URL but for host and options."""
    port = free_port()
    files = ("--tls-cert-file", "server.crt", "--tls-key-file", "server.key", "--tls-ca-cert-file", "ca.crt")
    command = [program("redis-server"), "--port", "0", "--tls-port", str(port), "--tls-auth-clients", "no", *files]
    own = {"port": port, "host": "localhost", "ssl": True, "ssl_ca_certs": str(certificates / "ca.crt")}
    with redis_running([*command, "--save", "", "--dir", str(certificates)], certificates, **own):
        yield f"rediss://{{}}:{port}?ssl_ca_certs={certificates / 'ca.crt'}"


def test_postgresql_over_tls(postgresql_over_tls: str, data_dir: Path) -> None:
    """It is used over TLS, and checked: a server whose certificate has another name is refused, with the reason."""
    here = postgresql_over_tls.format("localhost")
    with closing(open_database(here)) as database:
        migrate.up(database, 1)
    with open_storage(data_dir, here) as tweets:
        tweets.reconciler.catch_up()
        first = post(tweets)
        assert whole_ranking(tweets) == [(0, first.id)]
        with tweets.database.reading() as connection:
            used = connection.exec_driver_sql("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()")
            assert used.scalar_one()
    with pytest.raises(CannotOpen, match="does not match host name"):
        open_database(postgresql_over_tls.format("127.0.0.1"))


def test_redis_over_tls(redis_over_tls: str, data_dir: Path, caplog: pytest.LogCaptureFixture) -> None:
    """It is used over TLS, and checked: one whose certificate has another name is not used, and the log says why."""
    with open_storage(data_dir, redis_url=redis_over_tls.format("localhost")) as tweets:
        tweets.reconciler.catch_up()
        first = post(tweets)
        assert whole_ranking(tweets) == [(0, first.id)]
    with open_storage(data_dir, redis_url=redis_over_tls.format("127.0.0.1")) as tweets:
        post(tweets)
        eventually(lambda: "certificate verify failed: IP address mismatch" in caplog.text)
        assert not get_health(tweets).index
