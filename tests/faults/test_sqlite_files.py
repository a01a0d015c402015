"""The files of SQLite: who may read them, one lock for one file, and a wait for that lock that ends."""

import json
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from storage import Tweets, migrate, open_log, open_storage
from storage.errors import StoreBusy
from storage.locks import FileLock
from storage.sql import database as sql_database
from storage.sql.database import Database
from tests.builders import at_once, post
from tests.e2e.commands import PATIENCE_S, refused, run, serving
from tests.faults.load import Caller

WAIT = """
import sys
from pathlib import Path
from storage.locks import FileLock
print("waits", flush=True)
with FileLock(Path(sys.argv[1])).hold(3600):
    pass
"""

WRITE = """
import sys
from pathlib import Path
from storage import open_log
from storage.sql import sqlite
sqlite.BUSY_TIMEOUT_S = 3600
database = open_log(Path(sys.argv[1]))
print("waits", flush=True)
with database.writing():
    pass
"""


@pytest.fixture
def linked(tweets: Tweets, tmp_path: Path, data_dir: Path) -> Iterator[Database]:
    """The database of *tweets*, reached by a symbolic link in another folder."""
    assert tweets
    (tmp_path / "link.db").symlink_to(data_dir / "tweets.db")
    with closing(open_log(tmp_path / "other", f"sqlite:///{tmp_path}/link.db")) as database:
        yield database


def test_a_link_leads_to_the_same_lock(tweets: Tweets, linked: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that came by a link neither writes nor checkpoints while another one writes."""
    monkeypatch.setattr(sql_database, "LOCK_WITHIN_S", 0.1)
    monkeypatch.setattr(sql_database, "LOCK_TO_CHECKPOINT_WITHIN_S", 0.1)
    with tweets.database.writing():
        with pytest.raises(StoreBusy), linked.writing():
            pass
        with pytest.raises(StoreBusy):
            linked.checkpoint()
        with pytest.raises(StoreBusy):
            linked.checkpoint(truncate=True)
    with linked.writing():
        pass
    linked.checkpoint()


def test_files_are_private(tmp_path: Path) -> None:
    """In a folder that was there before, and open to all, no file is readable for others."""
    tmp_path.chmod(0o755)
    with open_storage(tmp_path) as tweets:
        post(tweets)
        modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.glob("tweets.db*")}
    assert {"tweets.db", "tweets.db-wal", "tweets.db-shm", "tweets.db.lock"} <= set(modes)
    assert set(modes.values()) == {0o600}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_wait_for_the_lock(tmp_path: Path, number: signal.Signals) -> None:
    """A process that waits for the lock of another one ends when it is asked to."""
    path = tmp_path / "held.lock"
    with closing(FileLock(path)) as lock, lock.hold(0):
        command = [sys.executable, "-c", WAIT, str(path)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as waiting:
            assert waiting.stdout
            assert waiting.stdout.readline() == b"waits\n"
            waiting.send_signal(number)
            assert waiting.wait(PATIENCE_S) == -number


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_wait_for_another_program(data_dir: Path, number: signal.Signals) -> None:
    """The same while a program that knows nothing of our lock has SQLite's own, as `sqlite3 tweets.db` may."""
    with closing(open_log(data_dir)) as database:
        migrate.up(database, 1)
    with closing(sqlite3.connect(data_dir / "tweets.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        command = [sys.executable, "-c", f"import signal; signal.signal({number}, lambda *_: sys.exit(7)){WRITE}"]
        with subprocess.Popen([*command, str(data_dir)], stdout=subprocess.PIPE) as waiting:
            assert waiting.stdout
            assert waiting.stdout.readline() == b"waits\n"
            time.sleep(0.5)  # now it does
            waiting.send_signal(number)
            try:
                assert waiting.wait(PATIENCE_S) == 7
            finally:
                waiting.kill()


def test_commands_do_not_wait_without_limit(data_dir: Path) -> None:
    """While another process writes on and on, commands that read do their work, and those that write say why not."""
    with closing(open_log(data_dir)) as database:
        migrate.up(database, 1)
    with closing(FileLock(data_dir / "tweets.db.lock")) as lock, lock.hold(0):
        assert run(data_dir, "info").returncode == 0
        assert "another process is writing" in refused(data_dir, "token", "add", "ann")


def test_a_lock_that_is_not_given_leaves_it_free(tmp_path: Path) -> None:
    """Who gave up can ask again."""
    path = tmp_path / "held.lock"
    with closing(FileLock(path)) as mine, closing(FileLock(path)) as other:
        with other.hold(0), pytest.raises(StoreBusy), mine.hold(0.01):
            pass
        with mine.hold(0):
            with pytest.raises(StoreBusy), other.hold(0):
                pass
            with pytest.raises(StoreBusy), mine.hold(0):
                pass


def test_a_service_ends_while_another_process_writes(data_dir: Path) -> None:
    """A write that waits for an import elsewhere is 503 in the end; so the service can be stopped meanwhile."""
    body = json.dumps({"user_name": "ann", "title": "Title", "body": "Body"})
    with (
        serving(data_dir, WORKERS="1") as service,
        closing(Caller(service.url)) as caller,
        closing(FileLock(data_dir / "tweets.db.lock")) as lock,
        lock.hold(PATIENCE_S),
    ):
        answer = caller.ask("POST", "/api/v1/tweet", body, {"Content-Type": "application/json"})
        assert (answer.status, answer.body["code"]) == (503, "store_unavailable")
        assert service.end() == 0


def test_a_thread_leaves_no_connection(tweets: Tweets) -> None:
    """However many threads have read, as where each request has one of its own, few files are open."""
    root = post(tweets)

    def open_files() -> int:
        return len([*Path("/proc/self/fd").iterdir()])

    def read(_number: int) -> None:
        assert tweets.database.find_row(root.id)

    at_once(16, read)
    before = open_files()
    for _ in range(200):
        at_once(1, read)
    assert open_files() <= before
