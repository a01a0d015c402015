"""A database file that is not as it was left: refused at start with the way out; what can be read is read."""

import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest

from storage import Tweets, open_storage
from storage.errors import CannotOpen, StoreDamaged
from storage.ids import encode
from storage.sql import database as sql_database
from tests.builders import at_once, post, retweet, whole_ranking
from tests.e2e.commands import done, nothing_runs, refused, serving
from tests.faults.load import Caller
from tests.faults.services import eventually

PAGE = 4096
BODY = "a long body " * 90
"""So that a tweet takes a quarter of a page."""


def fill(tweets: Tweets, many: int) -> list[int]:
    """Post so many tweets, forty at once; their ids."""
    ids: list[int] = []
    at_once(40, lambda _: ids.extend(post(tweets, body=BODY).id for _ in range(many // 40)))
    return ids


def table_pages(file: Path) -> list[int]:
    """The pages of the file that hold tweets, but not how to find them."""
    with closing(sqlite3.connect(file)) as connection:
        root = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'tweets'").fetchone()[0]
    content = file.read_bytes()
    leaves = [number for number in range(len(content) // PAGE) if content[number * PAGE] == 13]
    return [number for number in leaves if number + 1 != root and BODY[:50].encode() in content[number * PAGE :][:PAGE]]


def zero(file: Path, pages: list[int]) -> None:
    """Write zeros over pages, past SQLite."""
    with file.open("r+b") as opened:
        for number in pages:
            opened.seek(number * PAGE)
            opened.write(bytes(PAGE))


@pytest.mark.parametrize("damage", ["a page of tweets", "the first page", "the end cut off", "a text"])
def test_a_damaged_file_is_refused_at_start(data_dir: Path, tmp_path: Path, damage: str) -> None:
    """One sentence says what is wrong and how to put a backup there; after that it serves again."""
    with open_storage(data_dir) as tweets:
        ids = fill(tweets, 200)
        retweet(tweets, ids[0])
    file, copy = data_dir / "tweets.db", tmp_path / "copy.db"
    done(data_dir, "backup", copy)
    content = file.read_bytes()
    if damage == "a page of tweets":
        zero(file, table_pages(file)[10:11])
    elif damage == "the first page":
        zero(file, [0])
    elif damage == "the end cut off":
        file.write_bytes(content[: len(content) // 2])
    else:
        file.write_text("nothing like a database " * 1000)

    said = refused(data_dir, "serve")

    assert "simple-twitter restore" in said
    assert nothing_runs(data_dir)
    done(data_dir, "restore", "--force", copy)
    with open_storage(data_dir) as tweets:
        assert whole_ranking(tweets)[0] == (1, ids[0])
        assert len(whole_ranking(tweets)) == 201


def test_pages_damaged_while_it_serves(data_dir: Path) -> None:
    """What lies on other pages is read and written on; what lies on these is answered 503, and no answer is wrong."""
    with open_storage(data_dir) as tweets:
        ids = [encode(tweet) for tweet in fill(tweets, 1200)]
    with serving(data_dir, WORKERS="1") as service, closing(Caller(service.url)) as caller:
        zero(data_dir / "tweets.db", table_pages(data_dir / "tweets.db")[20:60])
        statuses = Counter(caller.ask("GET", f"/api/v1/tweet/{tweet}").status for tweet in ids)
        assert set(statuses) == {200, 503}
        assert statuses[200] > 800
        made = service.post("/api/v1/tweet", user_name="ann", title="Title", body="Body")
        assert service.get(f"/api/v1/tweet/{made['id']}")["title"] == "Title"
        assert service.get("/livez") == {"status": "ok"}
        assert service.end() == 0
    assert "simple-twitter restore" in refused(data_dir, "serve")


def test_a_large_file_is_looked_at_while_it_serves(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Too large for each start to read, it is read after an unclean stop; the damage is logged with the way out."""
    with open_storage(data_dir) as tweets:
        fill(tweets, 200)
    zero(data_dir / "tweets.db", table_pages(data_dir / "tweets.db")[10:11])
    with pytest.raises(CannotOpen, match="restore"):
        open_storage(data_dir)
    monkeypatch.setattr("storage.CHECKED_AT_START", 10_000)
    (data_dir / "index.trusted").unlink(missing_ok=True)
    with open_storage(data_dir) as tweets:
        eventually(lambda: "is damaged" in caplog.text)
        with pytest.raises(StoreDamaged, match="restore"):
            tweets.database.check_whole()
    assert sql_database.RESTORE in caplog.text
    assert not (data_dir / "index.trusted").exists()
