"""No room, no right to write: what cannot be kept is refused, what is there is read, and later all goes on."""

import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import pytest

from app.http.application import Application
from app.settings import Settings
from storage import Tweets, open_storage
from storage.errors import StoreFull, StoreUnavailable
from storage.ids import encode
from storage.tools.health import get_health
from storage.tools.verify import verify
from tests.builders import post, retweet, whole_ranking
from tests.e2e.commands import Service, command, serving
from tests.faults.load import Call, Caller, Ledger, writing
from tests.faults.services import eventually
from tests.http.client import Client

ALL = 'mount -t tmpfs -o size=2m none "$DATA_DIR"'
INDEX = 'mkdir "$DATA_DIR/redis" && mount -t tmpfs -o size=1m none "$DATA_DIR/redis"'
READ_ONLY = 'mount --bind "$DATA_DIR/tweets.db" "$DATA_DIR/tweets.db" && mount -o remount,ro,bind "$DATA_DIR/tweets.db"'
UNSHARE = ["unshare", "--mount", "--map-root-user", "sh", "-c"]
"""A process with mounts of its own, which end with it; no right is needed where the kernel lets anybody have these."""


def can_mount() -> bool:
    """Whether this machine lets us have mounts of our own."""
    with suppress(FileNotFoundError):
        return subprocess.run([*UNSHARE, "mount -t tmpfs none /tmp"], capture_output=True, check=False).returncode == 0
    return False


own_mounts = pytest.mark.skipif(not can_mount(), reason="this machine allows no mounts of one's own")


@contextmanager
def serving_on(mount: str, data_dir: Path) -> Iterator[Service]:
    """A service that has *mount* done before it starts."""
    data_dir.mkdir(exist_ok=True)
    with serving(data_dir, *UNSHARE, f'{mount} && exec "$0" "$@"', *command("serve"), WORKERS="1") as service:
        yield service


@contextmanager
def filled(folder: Path) -> Iterator[None]:
    """No byte more fits into *folder* in this block."""
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as opened, suppress(OSError):
        while True:
            opened.write(bytes(4096))
    yield
    filler.unlink()


def seen_by(service: Service, folder: Path) -> Path:
    """*folder* as *service* sees it, with its mounts."""
    return Path(f"/proc/{service.process.pid}/root{folder}")


@own_mounts
def test_a_full_disk(data_dir: Path) -> None:
    """Writes are answered 507, reads as ever; with room again all goes on, and each write refused can be repeated."""
    ledger = Ledger(seed=1)
    with serving_on(ALL, data_dir) as service, closing(Caller(service.url)) as caller:
        with writing(service.url, ledger) as load:
            load.wait_for(30)
            # A disk that fills between the commit of a batch and its fold leaves the index behind: then this page is
            # shown, without what was deleted since.
            assert caller.ask("GET", "/api/v1/top?limit=1").status == 200
            with filled(seen_by(service, data_dir)):
                eventually(lambda: ledger.statuses.get(507, 0) > 30)
                eventually(lambda: caller.ask("GET", "/api/v1/top?limit=1").status == 200)
            load.wait_for(30)
        assert set(ledger.statuses) <= {201, 204, 404, 410, 507}
        assert ledger.settle(caller) > 30
        ledger.check(caller)
        ledger.check_keys(caller, 50)
        assert service.end() == 0


@own_mounts
def test_a_full_disk_of_the_index(data_dir: Path) -> None:
    """Writes are 201 all the same; with room again the index is right by itself."""
    ledger = Ledger(seed=2)
    with serving_on(INDEX, data_dir) as service, closing(Caller(service.url)) as caller:
        with writing(service.url, ledger) as load:
            load.wait_for(30)
            with filled(seen_by(service, data_dir) / "redis"):
                eventually(lambda: caller.ask("GET", "/readyz").body["index"] is False)
                load.wait_for(60)
        assert set(ledger.statuses) <= {201, 204, 404, 410}
        eventually(lambda: caller.ask("GET", "/readyz").body.get("lag") == 0)
        ledger.check(caller)
        assert service.end() == 0


@own_mounts
def test_a_file_that_may_not_be_written(data_dir: Path) -> None:
    """With a database that is read-only, reads are answered and writes are 503; it stays as it was."""
    with open_storage(data_dir) as tweets:
        root = encode(post(tweets).id)
    before = (data_dir / "tweets.db").read_bytes()
    with serving_on(READ_ONLY, data_dir) as service, closing(Caller(service.url)) as caller:
        body = {"user_name": "ann", "retweet": root}
        for key in ("one", "two"):
            reply = caller.call(Call("POST", "/api/v1/retweet", body, key, root))
            assert (reply.status, reply.body["code"]) == (503, "store_unavailable")
            assert reply.headers["retry-after"] == "1"
        assert caller.ask("DELETE", f"/api/v1/tweet/{root}").status == 503
        assert service.get(f"/api/v1/tweet/{root}")["count_retweet"] == 0
        assert len(service.get("/api/v1/top")["tweets"]) == 1
        assert service.end() == 0
    assert (data_dir / "tweets.db").read_bytes() == before


def test_a_database_without_room(tweets: Tweets) -> None:
    """A batch that does not fit is refused whole; reads go on, small writes do as well once there is room again."""
    root = post(tweets)
    retweet(tweets, root)

    def allow(pages: int) -> int:
        with tweets.database.writing() as connection:
            return int(connection.exec_driver_sql(f"PRAGMA max_page_count={pages}").scalar_one())

    allowed = allow(1)  # no fewer than there are
    with suppress(StoreFull):
        while True:
            post(tweets, body="a long body " * 400)
    with pytest.raises(StoreFull):
        post(tweets, body="a long body " * 400)
    before = whole_ranking(tweets)
    assert before[0] == (1, root.id)
    allow(allowed + 1000)
    assert retweet(tweets, root).id not in dict(before).values()
    assert whole_ranking(tweets)[0] == (2, root.id)
    assert len(whole_ranking(tweets)) == len(before) + 1
    assert verify(tweets) == []


def test_a_full_disk_takes_one_line_of_the_log(
    tweets: Tweets, data_dir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Each write refused is noted with what the database said and without a traceback: there may be thousands."""
    client = Client(Application(tweets, Settings.from_environment({"DATA_DIR": str(data_dir)})))
    with tweets.database.writing() as connection:
        connection.exec_driver_sql("PRAGMA max_page_count=1")
    while client.post("/api/v1/tweet", {"user_name": "ann", "title": "t", "body": "b" * 5000}).status != 507:
        pass
    (record,) = caplog.records
    assert record.getMessage() == "507 store_full: database or disk is full"
    assert record.exc_info is None


def test_a_database_that_becomes_read_only(tweets: Tweets) -> None:
    """Writes are refused, reads go on; nothing half done is left."""
    root = post(tweets)

    def refuse(*, yes: bool) -> None:
        connection = tweets.database._writer.raw_connection()
        connection.cursor().execute(f"PRAGMA query_only={yes:d}")
        connection.close()

    refuse(yes=True)
    for _ in range(3):
        with pytest.raises(StoreUnavailable):
            retweet(tweets, root)
    assert whole_ranking(tweets) == [(0, root.id)]
    refuse(yes=False)
    retweet(tweets, root)
    assert whole_ranking(tweets)[0] == (1, root.id)
    assert verify(tweets) == []


def test_an_index_without_room_is_asked_once_a_second(tweets: Tweets, caplog: pytest.LogCaptureFixture) -> None:
    """A server that answers reads and refuses writes is asked now and then, not without a pause; then it catches up."""
    root = post(tweets)
    tweets.index._client.config_set("maxmemory", "1mb")
    for _ in range(10):
        retweet(tweets, root)
    time.sleep(2)
    assert caplog.text.count("the index is away") < 10
    tweets.index._client.config_set("maxmemory", "0")
    eventually(lambda: get_health(tweets).lag == 0)
    assert whole_ranking(tweets)[0] == (10, root.id)
    assert verify(tweets) == []
