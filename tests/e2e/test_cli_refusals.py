"""What `import` refuses: every fault is named with its line, and leaves nothing."""

import io
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.cli.formats import LONGEST_LINE, read_tweets
from storage import ids, open_log, prepare_schema
from storage.export import export_tweets
from storage.sql.engine import Database
from storage.transfer import ImportRefused, import_tweets

HEADER = "number\tuser\tretweet\tcreated_at\tcount_retweet"
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
    given = read_tweets(io.BufferedReader(io.BytesIO(content)))
    return import_tweets(database, given, max_ancestors, NOW_MS, lambda _: None)


def refusal_of(database: Database, content: bytes, max_ancestors: int = 1000) -> str:
    """The words of the refusal, after which nothing is stored."""
    with pytest.raises(ImportRefused) as refused:
        import_bytes(database, content, max_ancestors)
    assert list(export_tweets(database)) == []
    return str(refused.value)


def cascade(*rows: str, header: str = HEADER) -> bytes:
    """A tab-separated file; spaces stand for its tabs."""
    return "\n".join([header, *(row.replace(" ", "\t") for row in rows)]).encode()


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
    return json.dumps({**right, **fields}).encode() + b"\n"


def test_what_is_right_is_taken(database: Database) -> None:
    """The rows that the other tests spoil are taken as they are; empty lines are passed over."""
    assert import_bytes(database, cascade(f"1 ann  {TIME} 1", "", f"2 bob 1 {TIME} 0")) == 2
    assert import_bytes(database, line(1) + b"\n" + line(2, 1)) == 2
    assert len(list(export_tweets(database))) == 4


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        (["1 ann 1 {} 0"], "line 2: it retweets itself, directly or in a circle."),
        (["1 ann 2 {} 0", "2 ann 3 {} 0", "3 ann 1 {} 0"], "line 2: it retweets itself, directly or in a circle."),
        (["1 ann 2 {} 0", "2 ann  {} 1"], "line 2: the tweet it retweets comes later, in line 3; "),
        (["1 ann 2 {} 0", "2 ann 3 {} 0", "3 ann 2 {} 0"], "line 2: the tweet it retweets comes later, in line 3; "),
        (["1 ann  {} 0", "2 ann 7 {} 0"], "line 3: the tweet it retweets is not in this file."),
        (["1 ann  {} 0", "2 ann 7 {} 0", "x"], "line 3: the tweet it retweets is not in this file."),
        (["1 ann  {} 0", "1 bob  {} 0"], "line 3: the tweet of line 2 has the same number or id."),
        (["1 ann  {} 1"], "line 2: count_retweet is 1, but the rows of this file make it 0."),
        (["1 ann  {} 2", "2 ann 1 {} 1"], "line 2: count_retweet is 2, but the rows of this file make it 1."),
        (["1 ann  {}"], "line 2: there are 4 columns instead of 5."),
        (["one ann  {} 0"], "line 2: number must be a whole number from 0 to "),
        (["\u0661 ann  {} 0"], "line 2: number must be a whole number from 0 to "),
        (["9007199254740993 ann  {} 0"], "line 2: number must be a whole number from 0 to "),
        (["1 ann x {} 0"], "line 2: retweet must be a whole number from 0 to "),
        (["1 ann  {} -1"], "line 2: count_retweet must be a whole number from 0 to "),
        (["1 a/b  {} 0"], "line 2: user must be 1 to 64 ASCII letters"),
        (["1   {} 0"], "line 2: user must be 1 to 64 ASCII letters"),
        (["1 ann  yesterday 0"], "line 2: created_at must be a time such as "),
        (["1 ann  2020-01-01T00:00:00 0"], "line 2: created_at must be a time such as "),
        (["1 ann  1969-12-31T23:59:59Z 0"], "line 2: created_at is before 1970, or more than a day ahead."),
        (["1 ann  2027-01-17T00:00:00Z 0"], "line 2: created_at is before 1970, or more than a day ahead."),
    ],
)
def test_a_bad_cascade(database: Database, rows: list[str], reason: str) -> None:
    """A row that is wrong, by itself or beside the others, is named."""
    assert refusal_of(database, cascade(*(row.format(TIME) for row in rows))).startswith(reason)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (line(1) + line(2, 3), "line 2: the tweet it retweets is not in this file."),
        (line(1) + line(2, 3) + line(3), "line 2: the tweet it retweets comes later, in line 3; "),
        (line(1) + line(2, 2), "line 2: it retweets itself"),
        (line(1) + line(1), "line 2: the tweet of line 1 has the same number or id."),
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


@pytest.mark.parametrize("content", [b"\xff\xfe", b"[]", b"number,user\n", b"PK\x03\x04", b"\n{}"])
def test_a_file_of_another_kind(database: Database, content: bytes) -> None:
    """A file that starts as neither form does is refused in its first line."""
    assert refusal_of(database, content).startswith(("line 1: ", "line 2: a file starts with"))


def test_a_tweet_that_the_store_has(database: Database) -> None:
    """An id that the store has already is refused: importing an export twice changes nothing."""
    import_bytes(database, line(1) + line(2, 1))
    before = list(export_tweets(database))

    with pytest.raises(ImportRefused, match="line 2: the store has a tweet of that id already"):
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
    rows = [f"{number} ann  {TIME} 0" for number in range(1, 25_001)]
    assert refusal_of(database, cascade(*rows, f"1 ann  {TIME} 0")).startswith("line 25002: the tweet of line 2 ")


def test_ids_of_rows_without_any(database: Database) -> None:
    """New ids rise in the order of the file, are of the row's time, greater than the parent's, and never one taken."""
    rows = [
        f"{number} ann {number - 1 or ''} 2020-01-01T00:00:{59 - number:02}Z {9 - number}" for number in range(1, 10)
    ]
    import_bytes(database, cascade(*rows))
    first = [kept.id for kept in export_tweets(database)]
    import_bytes(database, cascade(*rows))
    kept = list(export_tweets(database))

    assert len({row.id for row in kept}) == 18
    assert ids.time_of(first[0]) == kept[0].created_at
    mine = [row for row in kept if row.id not in first]
    assert [row.parent for row in mine] == [None, *(row.id for row in mine[:-1])]
    assert [row.created_at for row in mine] == sorted((row.created_at for row in mine), reverse=True)
