"""What `import` refuses: every fault is named with its line, and leaves nothing."""

import io
import json
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from tempfile import gettempdir

import pytest

from app.cli.transfer import LONGEST_LINE, read_lines
from storage import ids, open_log, prepare_schema
from storage.errors import ToolRefused
from storage.sql.database import Database
from storage.tools.import_export import export_tweets, staged_tweets, store_tweets
from tests.builders import import_tweets

NOW_MS = 1_800_000_000_000
DAY_MS = 86_400_000
TIME = "2020-01-01T00:00:00Z"


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    """An empty store without an index."""
    opened = open_log(tmp_path)
    prepare_schema(opened, 1, embedded=True)
    yield opened
    opened.close()


def import_bytes(database: Database, content: bytes, max_ancestors: int = 1000) -> int:
    """Import the bytes of a file."""
    rows = read_lines(io.BufferedReader(io.BytesIO(content)))
    return import_tweets(database, rows, Path(gettempdir()), max_ancestors, NOW_MS)


def refusal_of(database: Database, content: bytes, max_ancestors: int = 1000) -> str:
    """The words of the refusal, after which nothing is stored."""
    with pytest.raises(ToolRefused) as refused:
        import_bytes(database, content, max_ancestors)
    assert list(export_tweets(database)) == []
    return str(refused.value)


def keyed(number: int, parent: int | None = None, **fields: object) -> bytes:
    """As `line`, with a key in place of an id."""
    return line(number, parent, **{"key": f"k{number}", "retweet": parent and f"k{parent}", **fields})


def id_of(number: int, time_ms: int = NOW_MS - DAY_MS) -> str:
    return ids.encode(ids.next_id(0, time_ms + number, 0))


def line(number: int, parent: int | None = None, **fields: object) -> bytes:
    """A line of JSON that is right but for *fields*."""
    right = {
        "id": id_of(number),
        "retweet": None if parent is None else id_of(parent),
        "base": 0,
        "created_at": TIME,
        "user_name": "ann",
        "title": "Title",
        "body": "Body",
    }
    if "key" in fields:
        del right["id"]
    return json.dumps({**right, **fields}).encode() + b"\n"


def test_what_is_right_is_taken(database: Database) -> None:
    """The lines that the other tests spoil are taken as they are; empty lines are passed over."""
    assert import_bytes(database, b"\n" + line(1) + b"\n" + line(2, 1)) == 2
    assert import_bytes(database, keyed(1) + b"\r\n" + keyed(2, 1)) == 2
    assert len(list(export_tweets(database))) == 4


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (line(1) + line(2, 3), "line 2: the tweet it retweets is in no line above it"),
        (line(1) + line(2, 3) + line(3), "line 2: the tweet it retweets is in no line above it"),
        (line(1) + line(2, 2), "line 2: the tweet it retweets is in no line above it"),
        (keyed(1) + keyed(2, 2), "line 2: the tweet it retweets is in no line above it"),
        (keyed(1) + keyed(1), "line 2: the tweet of line 1 has the same id or key."),
        (keyed(1) + line(2), "line 2: every line of a file has an id, or every line has a key."),
        (line(1) + keyed(2), "line 2: every line of a file has an id, or every line has a key."),
        (keyed(1, id=id_of(1)), "line 1: every line of a file has an id, or every line has a key."),
        (line(1, id=None), "line 1: every line of a file has an id, or every line has a key."),
        (keyed(1, key=""), "line 1: Expected `str` of length >= 1"),
        (line(1, retweet="x"), "line 1: 'x' is not the id of a tweet."),
        (line(1, created_at="1969-12-31T23:59:59Z"), "line 1: created_at is before 1970, or more than a day ahead."),
        (line(1, created_at="2027-01-17T00:00:00Z"), "line 1: created_at is before 1970, or more than a day ahead."),
        (line(1) + line(1), "line 2: the tweet of line 1 has the same id or key."),
        (line(2) + line(1, 2), "line 2: its id is not greater than that of the tweet it retweets."),
        (line(1, id=id_of(0, NOW_MS + DAY_MS + 1)), "line 1: its id is of a time more than a day ahead."),
        (line(1, id="x"), "line 1: Expected `str` matching regex"),
        (line(1, base=-1), "line 1: Expected `int` >= 0"),
        (line(1, base=True), "line 1: Expected `int`"),
        (line(1, user_name="a b"), "line 1: user_name must be 1 to 64 ASCII letters"),
        (line(1, title=" "), "line 1: title must be 1 to 280 characters"),
        (line(1, body="a\0b"), "line 1: body must be 1 to 10,000 characters"),
        (line(1, body=None), "line 1: user_name, title and body must be null in a deleted tweet, and in no other."),
        (line(1, deleted=True), "line 1: user_name, title and body must be null in a deleted tweet, and in no other."),
        (line(1, count_retweet=1), "line 1: Object contains unknown field `count_retweet`"),
        (line(1, created_at="2020-01-01T00:00:00"), "line 1: "),
        (b'{"id": 1', "line 1: "),
        (line(1) + b"[]\n", "line 2: "),
        (line(1) + b'{"\xff": 1}\n', "line 2: "),
        (b"{" + b'"a":{' * 5000, "line 1: "),
        (b"{" + b" " * LONGEST_LINE, f"line 1: it is longer than {LONGEST_LINE:,} bytes."),
    ],
)
def test_a_bad_line_of_json(database: Database, content: bytes, reason: str) -> None:
    """A line that is wrong, by itself or beside the others, is named."""
    assert refusal_of(database, content).startswith(reason)


@pytest.mark.parametrize("content", [b"\xff\xfe", b"[]", b"number\tuser\n", b"PK\x03\x04"])
def test_a_file_of_another_kind(database: Database, content: bytes) -> None:
    """A file of something else is refused in its first line."""
    assert refusal_of(database, content).startswith("line 1: ")


def test_a_tweet_that_the_store_has(database: Database) -> None:
    """An id that the store has already is refused: importing an export twice changes nothing."""
    import_bytes(database, line(1) + line(2, 1))
    before = list(export_tweets(database))

    with pytest.raises(ToolRefused, match="line 2: the store has a tweet of that id already"):
        import_bytes(database, line(3) + line(2))

    assert list(export_tweets(database)) == before


def test_a_chain_too_long(database: Database) -> None:
    """A chain may have as many ancestors as the setting says, and no more."""
    assert refusal_of(database, line(1) + line(2, 1) + line(3, 2), max_ancestors=1) == (
        "line 3: it has more than 1 ancestors (MAX_ANCESTORS)."
    )
    assert import_bytes(database, line(1) + line(2, 1) + line(3, 2), max_ancestors=2) == 3


def test_a_fault_after_many_batches(database: Database) -> None:
    """Rows already sent to the database are taken back as well."""
    import_bytes(database, line(25_001))
    lines = b"".join(line(number) for number in range(1, 25_002))
    with pytest.raises(ToolRefused, match="line 25001: the store has a tweet of that id already"):
        import_bytes(database, lines)
    assert len(list(export_tweets(database))) == 1


def test_ids_of_lines_that_have_keys(database: Database) -> None:
    """New ids rise in the order of the file, are of the line's time, greater than the parent's, and never one taken."""

    def lines(body: str) -> bytes:
        return b"".join(
            keyed(number, number - 1 or None, created_at=f"2020-01-01T00:00:{59 - number:02}Z", body=body)
            for number in range(1, 10)
        )

    import_bytes(database, lines("Body"))
    first = [row.id for row in export_tweets(database)]
    import_bytes(database, lines("Another"))
    rows = list(export_tweets(database))

    assert len({row.id for row in rows}) == 18
    assert ids.time_of(first[0]) == rows[0].created_at
    mine = [row for row in rows if row.id not in first]
    assert [row.parent for row in mine] == [None, *(row.id for row in mine[:-1])]
    assert [row.created_at for row in mine] == sorted((row.created_at for row in mine), reverse=True)


@pytest.mark.parametrize("stop_at", [1, 2])
def test_whether_an_import_that_ended_early_was_stored(database: Database, tmp_path: Path, stop_at: int) -> None:
    """A signal or a lost connection may come just before the commit or just after it: the log says which it was."""
    calls: list[int] = []

    def stop(stored: int, _share: float) -> None:
        calls.append(stored)
        if len(calls) == stop_at:
            raise SystemExit(143)

    rows = read_lines(io.BufferedReader(io.BytesIO(b"".join(line(number) for number in range(1, 10_001)))))
    with staged_tweets(rows, tmp_path, 1, 1000, NOW_MS) as staged:
        assert list(tmp_path.glob(".import*")) == []
        with pytest.raises(SystemExit) if stop_at == 1 else nullcontext():
            assert store_tweets(database, staged, stop) == 10_000
    assert len(list(export_tweets(database))) == (10_000 if stop_at == 2 else 0)
