"""`backup` and `restore`: a copy made under load is exact, and what is put back is served as if nothing had been."""

import os
import shutil
import signal
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path

import pytest

from storage import open_storage
from storage.errors import ToolRefused
from storage.tools.backup import back_up, check_copy, restore
from storage.tools.verify import verify
from tests.builders import post, retweet, whole_ranking
from tests.e2e.commands import PATIENCE_S, ROOT, command, done, environment, nothing_runs, refused, serving
from tests.faults.load import Caller, Ledger, list_ranking, writing
from tests.faults.services import eventually


def files_in(folder: Path) -> set[str]:
    """The names of the files in *folder*."""
    return {path.name for path in folder.iterdir() if path.is_file()}


def fill(data_dir: Path, retweets: int) -> int:
    """Post a tweet and so many retweets of it; its id."""
    with open_storage(data_dir) as tweets:
        root = post(tweets)
        for _ in range(retweets):
            retweet(tweets, root)
    return root.id


def spoil(file: Path, statement: str) -> None:
    """Change a backup behind everybody's back."""
    with closing(sqlite3.connect(file)) as connection:
        connection.execute(statement)
        connection.commit()


def test_a_backup_under_load_is_exact(tmp_path: Path) -> None:
    """Copied while clients write, it holds all that was answered before it began; restored, it counts exactly."""
    data, copy, ledger = tmp_path / "data", tmp_path / "copy.db", Ledger(seed=1)
    with serving(data) as service:
        caller = Caller(service.url)
        with writing(service.url, ledger) as load:
            load.wait_for(100)
            known = set(ledger.model().tweets)
            assert done(data, "backup", copy).startswith(b"Backed up ")
            load.wait_for(50)
        ledger.check(caller)  # the service was not disturbed
        caller.close()
        assert service.end() == 0
    later = ledger.model().tweets

    assert done(data, "restore", "--force", copy).startswith(b"Restored ")

    with serving(data) as service:
        caller = Caller(service.url)
        ranked = list_ranking(caller)
        assert [b"0 wrong" in done(data, "verify")] == [True]
        with writing(service.url, ledger2 := Ledger(seed=2)) as load:
            load.wait_for(30)
        caller.close()
        assert b"0 wrong" in done(data, "verify")
        assert ledger2.written >= 30
    with open_storage(data) as tweets, tweets.database.reading() as connection:
        rows = connection.exec_driver_sql("SELECT id FROM tweets").scalars().all()
    assert known <= set(rows)
    assert {tweet_id for _, tweet_id in ranked} <= set(later)


def test_what_came_after_the_backup_is_gone(tmp_path: Path) -> None:
    """The index, which holds the later state, is rebuilt: counts are those of the backup, and rise from there."""
    data, copy = tmp_path / "data", tmp_path / "copy.db"
    root = fill(data, 3)
    done(data, "backup", copy)
    with open_storage(data) as tweets:
        for _ in range(4):
            retweet(tweets, root)
        assert tweets.get(root).result().count_retweet == 7
    done(data, "restore", "--force", copy)
    with open_storage(data) as tweets:
        assert whole_ranking(tweets)[0] == (3, root)
        retweet(tweets, root)
        assert whole_ranking(tweets)[0] == (4, root)
        assert verify(tweets) == []


def test_a_restore_into_an_empty_folder(tmp_path: Path) -> None:
    """A new machine needs the backup and nothing else."""
    root = fill(tmp_path / "old", 5)
    done(tmp_path / "old", "backup", tmp_path / "copy.db")
    done(tmp_path / "new", "restore", tmp_path / "copy.db")
    with open_storage(tmp_path / "new") as tweets:
        assert whole_ranking(tweets)[0] == (5, root)


def test_a_backup_leaves_one_file_for_its_owner_alone(tmp_path: Path) -> None:
    """Nothing is left beside the copy, nor beside the database; others may not read it."""
    data, backups = tmp_path / "data", tmp_path / "backups"
    backups.mkdir()
    fill(data, 1)
    before = files_in(data)
    done(data, "backup", backups / "copy.db")
    assert files_in(backups) == {"copy.db"}
    assert (backups / "copy.db").stat().st_mode & 0o077 == 0
    assert files_in(data) == before
    assert nothing_runs(data)
    done(data, "restore", "--force", backups / "copy.db")
    assert files_in(backups) == {"copy.db"}
    assert files_in(data) == before


def test_an_older_backup_is_replaced_only_by_a_good_one(tmp_path: Path) -> None:
    """A backup of that name stays when the new one cannot be made, and gives way when it can."""
    data, copy = tmp_path / "data", tmp_path / "copy.db"
    fill(data, 1)
    done(data, "backup", copy)
    first = copy.read_bytes()
    shutil.copy(data / "tweets.db", tmp_path / "whole.db")
    spoil(data / "tweets.db", "UPDATE heads SET seq = seq + 1")
    assert "entries of its log are missing" in refused(data, "backup", copy)
    assert copy.read_bytes() == first
    shutil.copy(tmp_path / "whole.db", data / "tweets.db")
    fill(data, 1)
    done(data, "backup", copy)
    assert check_copy(copy).startswith("4 tweets ")


def test_a_restore_beside_a_service_is_refused(tmp_path: Path) -> None:
    """A database that is open elsewhere is not replaced, --force or not; whether the index is embedded or not."""
    data, copy = tmp_path / "data", tmp_path / "copy.db"
    fill(data, 1)
    done(data, "backup", copy)
    before = (data / "tweets.db").read_bytes()
    with serving(data) as service:
        assert "stop the service first" in refused(data, "restore", "--force", copy)
        sock = data / "redis" / "server.sock"
        with serving(tmp_path / "other", DATABASE_URL=f"sqlite:///{data / 'tweets.db'}", REDIS_URL=f"unix://{sock}"):
            service.end(signal.SIGTERM)
        assert (data / "tweets.db").read_bytes() == before
    url = f"sqlite:///{tmp_path / 'own.db'}"
    done(data, "migrate", "up", DATABASE_URL=url)
    with serving(tmp_path / "mine", DATABASE_URL=url):
        assert "stop the service first" in refused(tmp_path / "theirs", "restore", "--force", copy, DATABASE_URL=url)
    done(data, "restore", "--force", copy)


def test_nothing_opens_a_database_while_it_is_restored(tmp_path: Path) -> None:
    """While a restore copies, a service cannot start and no command opens it, whatever its URLs; then they can."""
    data, copy = tmp_path / "data", tmp_path / "copy.db"
    root = fill(data, 300)
    done(data, "backup", copy)
    stopped = subprocess.Popen(
        command("restore", "--force", copy), cwd=ROOT, env=environment(data, {}), stderr=subprocess.DEVNULL
    )
    with stopped:
        eventually(lambda: list(data.glob(".tweets.db.*.part")))
        stopped.send_signal(signal.SIGSTOP)  # it stands for one that takes longer
        with open_storage(tmp_path / "other"):
            sock = f"unix://{tmp_path / 'other' / 'redis' / 'server.sock'}"
            choices: tuple[dict[str, str], ...] = (
                {},
                {"REDIS_URL": sock},
                {"REDIS_URL": sock, "DATABASE_URL": f"sqlite:///{data / 'tweets.db'}"},
            )
            for settings in choices:
                for words in (["serve"], ["token", "add", "ann"], ["export"], ["backup", tmp_path / "other.db"]):
                    assert "is being replaced by a `restore`" in refused(data, *words, given=None, **settings)
        stopped.send_signal(signal.SIGCONT)
        assert stopped.wait(PATIENCE_S) == 0
    with open_storage(data) as tweets:
        assert whole_ranking(tweets)[0] == (300, root)


def test_a_database_that_another_program_has_open_is_not_replaced(tmp_path: Path) -> None:
    """A program that knows nothing of our locks is seen by those of SQLite; the database stays as it is."""
    data, copy = tmp_path / "data", tmp_path / "copy.db"
    root = fill(data, 1)
    done(data, "backup", copy)
    with closing(sqlite3.connect(data / "tweets.db")) as other:
        assert other.execute("SELECT count(*) FROM tweets").fetchall() == [(2,)]
        assert "in use by another program" in refused(data, "restore", "--force", copy)
    with open_storage(data) as tweets:
        assert whole_ranking(tweets)[0] == (1, root)


def test_a_restore_follows_a_symlink(tmp_path: Path) -> None:
    """What the link points to is replaced, with the write-ahead log beside it, which would be taken for its own."""
    far, link, copy = tmp_path / "far", tmp_path / "link.db", tmp_path / "copy.db"
    root = fill(far, 2)
    done(far, "backup", copy)
    link.symlink_to(far / "tweets.db")
    child = os.fork()
    if child == 0:
        with open_storage(far) as tweets:
            retweet(tweets, root)
            assert tweets.server
            os.kill(tweets.server.pid, signal.SIGKILL)
            os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    (far / "tweets.db").write_bytes(b"not a database any more" * 400)
    assert (far / "tweets.db-wal").exists()
    done(tmp_path / "data", "restore", "--force", copy, DATABASE_URL=f"sqlite:///{link}")
    assert link.is_symlink()
    assert not (far / "tweets.db-wal").exists()
    with open_storage(far) as tweets:
        assert whole_ranking(tweets)[0] == (2, root)


def test_a_backup_follows_a_symlink_and_keeps_a_pipe(tmp_path: Path) -> None:
    """What a symlink points to is replaced; a pipe, and standard output, get the copy."""
    data = tmp_path / "data"
    fill(data, 3)
    (tmp_path / "far").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "far" / "copy.db")
    os.mkfifo(tmp_path / "pipe")
    done(data, "backup", tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    process = subprocess.Popen(
        command("backup", tmp_path / "pipe"), cwd=ROOT, env=environment(data, {}), stdout=subprocess.DEVNULL
    )
    with process:
        (tmp_path / "from-pipe.db").write_bytes((tmp_path / "pipe").read_bytes())
        assert process.wait(PATIENCE_S) == 0
    assert (tmp_path / "pipe").is_fifo()
    (tmp_path / "from-output.db").write_bytes(done(data, "backup", "-"))
    for name in ("far/copy.db", "from-pipe.db", "from-output.db"):
        assert check_copy(tmp_path / name).startswith("4 tweets ")
    assert "cannot be written (No space left on device)" in refused(data, "backup", "/dev/full")
    assert Path("/dev/full").is_char_device()
    assert not [name for name in files_in(data) if name.endswith(".part")]


def test_a_database_that_is_there_is_not_overwritten_unasked(tmp_path: Path) -> None:
    """Without --force the database stays; the sentence names the word."""
    data, copy = tmp_path / "data", tmp_path / "copy.db"
    fill(data, 1)
    done(data, "backup", copy)
    before = (data / "tweets.db").read_bytes()
    assert "--force" in refused(data, "restore", copy)
    assert "is not whole" in refused(data, "restore", ROOT / "README.md")
    assert (data / "tweets.db").read_bytes() == before


@pytest.mark.parametrize("damage", ["empty", "text", "cut", "zeroed", "an entry less", "a later revision"])
def test_a_damaged_backup_is_refused(tmp_path: Path, damage: str) -> None:
    """What is not a whole backup is not put back, and the database stays as it is."""
    data, copy = tmp_path / "data", tmp_path / "copy.db"
    fill(data, 200)
    back_up(data / "tweets.db", copy)
    content, before = copy.read_bytes(), (data / "tweets.db").read_bytes()
    half = len(content) // 8192 * 4096
    if damage == "an entry less":
        spoil(copy, "DELETE FROM tweets WHERE seq = 7")
    elif damage == "a later revision":
        spoil(copy, "UPDATE alembic_version SET version_num = '9999'")
    else:
        bad = {"empty": b"", "text": b"a text\n" * 900, "cut": content[:half]}
        copy.write_bytes(bad.get(damage, content[:half] + bytes(4096) + content[half + 4096 :]))
    with pytest.raises(ToolRefused) as said:
        restore(copy, data / "tweets.db", force=True)
    assert "copy.db" in str(said.value)
    assert str(said.value).endswith(".")
    assert "\n" not in str(said.value)
    assert (data / "tweets.db").read_bytes() == before
    assert files_in(tmp_path) == {"copy.db"}
    assert not [name for name in files_in(data) if name.endswith(".part")]


def test_a_damaged_database_is_replaced(tmp_path: Path) -> None:
    """A database that cannot be read any more, with a write-ahead log of its own beside it, gives way to the backup."""
    data, copy = tmp_path / "data", tmp_path / "copy.db"
    root = fill(data, 6)
    done(data, "backup", copy)
    child = os.fork()
    if child == 0:
        with open_storage(data) as tweets:
            retweet(tweets, root)
            assert tweets.server
            os.kill(tweets.server.pid, signal.SIGKILL)
            os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    assert (data / "tweets.db-wal").stat().st_size > 0
    (data / "tweets.db").write_bytes(b"not a database any more" * 400)
    done(data, "restore", "--force", copy)
    with open_storage(data) as tweets:
        assert whole_ranking(tweets)[0] == (6, root)
        assert verify(tweets) == []


def test_names_that_cannot_be_used(tmp_path: Path) -> None:
    """A folder, the database itself, a place that is not there, a file that is not there: one sentence each."""
    data = tmp_path / "data"
    assert "There is no database" in refused(data, "backup", tmp_path / "copy.db")
    fill(data, 1)
    assert "is a folder" in refused(data, "backup", tmp_path)
    assert "is the database itself" in refused(data, "restore", "--force", data / "tweets.db")
    assert "cannot be written" in refused(data, "backup", tmp_path / "nowhere" / "copy.db")
    assert "There is no file" in refused(data, "restore", tmp_path / "none.db")
    (tmp_path / "loop").symlink_to("loop")
    for verb in ("backup", "export"):
        assert "Too many levels of symbolic links" in refused(data, verb, tmp_path / "loop")
    assert "cannot be opened" in refused(data, "info", DATABASE_URL=f"sqlite:///{tmp_path / 'loop'}")


@pytest.mark.parametrize("verb", ["backup", "export"])
def test_a_file_of_the_service_is_not_overwritten(tmp_path: Path, verb: str) -> None:
    """The database, what lies beside it, locks, what is in the folders of index and numbers: all stay as they are."""
    data = tmp_path / "data"
    fill(data, 3)
    (data / "link").symlink_to(data / "redis")
    names = [
        "tweets.db",
        "tweets.db-wal",
        "tweets.db-shm",
        "tweets.db.lock",
        "tweets.db.open.lock",
        "serve.lock",
        "index.trusted",
    ]
    before = files_in(data)
    for name in [*names, "redis/owner.lock", "redis/new", "metrics/new", "link/new"]:
        assert "is a file of the service itself" in refused(data, verb, data / name)
    assert files_in(data) == before
    done(data, verb, data / "tweets.db.copy")
    with open_storage(data) as tweets:
        assert verify(tweets) == []


def test_a_restore_makes_a_folder_for_its_owner_alone(tmp_path: Path) -> None:
    """As every other verb that makes one does."""
    fill(tmp_path / "old", 1)
    done(tmp_path / "old", "backup", tmp_path / "copy.db")
    done(tmp_path / "new", "restore", tmp_path / "copy.db")
    assert (tmp_path / "new").stat().st_mode & 0o077 == 0


def test_postgresql_has_its_own_tools(tmp_path: Path) -> None:
    """For a database that is no file, the verbs name the tool that copies it."""
    url = "postgresql+psycopg://ann@127.0.0.1/tweets"
    assert "pg_dump" in refused(tmp_path, "backup", tmp_path / "x", DATABASE_URL=url)
    assert "pg_restore" in refused(tmp_path, "restore", tmp_path / "x", DATABASE_URL=url)


def test_a_backup_with_its_own_write_ahead_log(tmp_path: Path) -> None:
    """A plain copy of the files of a service, taken while it was stopped hard, is as good a backup."""
    data, folder = tmp_path / "data", tmp_path / "folder"
    root = fill(data, 2)
    folder.mkdir()
    with open_storage(data) as tweets:
        retweet(tweets, root)
        for name in ("tweets.db", "tweets.db-wal"):
            shutil.copy(data / name, folder / name)
    with pytest.raises(ToolRefused):
        check_copy(folder / "nothing.db")
    done(data, "restore", "--force", folder / "tweets.db")
    with open_storage(data) as tweets:
        assert whole_ranking(tweets)[0] == (3, root)
