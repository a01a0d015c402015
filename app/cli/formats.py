"""
The two forms of a file of tweets: lines of JSON, out and in, and tab-separated cascades, in.

A line is checked by the same types as a body that is posted. What lines mean to each other is the import's to check.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from io import BufferedReader
from typing import Annotated, NoReturn

import msgspec
from msgspec import Meta

from app.http.wire import RULES, Base, Text, Title, TweetId, UserName, names_user, timestamp
from storage import ids
from storage.export import Kept
from storage.transfer import Given, ImportRefused

COLUMNS = ["number", "user", "retweet", "created_at", "count_retweet"]
LARGEST_NUMBER = 2**53
LONGEST_NUMBER = 16
LONGEST_LINE = 256 * 1024
"""Bytes: more than a tweet of greatest length with every character escaped."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)


class Line(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A tweet in a file; a deleted one has null for `user_name`, `title` and `body`."""

    id: TweetId
    retweet: TweetId | None
    base: Base
    created_at: Annotated[datetime, Meta(tz=True)]
    user_name: UserName | None
    title: Title | None
    body: Text | None
    deleted: bool = False


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Line)


def read_tweets(file: BufferedReader) -> Iterator[Given]:
    """The tweets of *file*, whichever form it has. Raises ImportRefused for the first line that is wrong by itself."""
    first = file.peek(1)[:1]
    return _read_json(file) if first in {b"{", b""} else _read_cascades(file)


def write_tweet(kept: Kept) -> bytes:
    """The line of a tweet, with its newline."""
    line = {
        "id": ids.encode(kept.id),
        "retweet": None if kept.parent is None else ids.encode(kept.parent),
        "base": kept.base,
        "created_at": timestamp(kept.created_at),
        "user_name": kept.user_name,
        "title": kept.title,
        "body": kept.body,
    }
    if kept.body is None:
        line["deleted"] = True
    return _encoder.encode(line) + b"\n"


def _read_json(file: BufferedReader) -> Iterator[Given]:
    for number, content in _lines(file):
        try:
            line = _decoder.decode(content)
        except (ValueError, RecursionError) as error:
            _refuse_json(number, str(error))
        texts = (line.user_name, line.title, line.body)
        if texts.count(None) != (3 if line.deleted else 0):
            raise ImportRefused(number, "user_name, title and body must be null in a deleted tweet, and in no other.")
        tweet_id = _id(number, line.id)
        parent = None if line.retweet is None else _id(number, line.retweet)
        yield Given(number, tweet_id, parent, tweet_id, _milliseconds(line.created_at), *texts, line.base)


def _refuse_json(number: int, fault: str) -> NoReturn:
    """Say what a line lacks: in the words of the rule where there is one, else in the decoder's."""
    _, _, field = fault.rstrip("`").rpartition("$.")
    raise ImportRefused(number, f"{field} must be {RULES[field]}." if field in RULES else f"{fault}.")


def _id(number: int, text: str) -> int:
    tweet_id = ids.decode(text)
    if tweet_id is None:
        raise ImportRefused(number, f"{text!r} is not the id of a tweet.")
    return tweet_id


def _read_cascades(file: BufferedReader) -> Iterator[Given]:
    rows = _lines(file)
    for number, content in rows:
        if _text(number, content).split("\t") != COLUMNS:
            raise ImportRefused(number, f"a file starts with a JSON object, or with the columns {', '.join(COLUMNS)}.")
        break
    for number, content in rows:
        yield _cascade_row(number, _text(number, content))


def _cascade_row(line: int, row: str) -> Given:
    """The tweet of a row, with texts of our own making: the file has none."""
    columns = row.split("\t")
    if len(columns) != len(COLUMNS):
        raise ImportRefused(line, f"there are {len(columns)} columns instead of {len(COLUMNS)}.")
    digits, user, above, time, count = columns
    number, announced = _number(line, "number", digits), _number(line, "count_retweet", count)
    parent = _number(line, "retweet", above) if above else None
    if not names_user(user):
        raise ImportRefused(line, f"user must be {RULES['user_name']}.")
    body = f"{user} posts tweet {number}" if parent is None else f"{user} retweets tweet {parent}"
    return Given(line, number, parent, None, _time(line, time), user, f"Tweet {number}", body, 0, announced)


def _number(line: int, column: str, text: str) -> int:
    # The length first: int() of a long text takes long.
    if len(text) <= LONGEST_NUMBER and text.isdigit() and text.isascii() and (number := int(text)) <= LARGEST_NUMBER:
        return number
    raise ImportRefused(line, f"{column} must be a whole number from 0 to {LARGEST_NUMBER}.")


def _time(line: int, text: str) -> int:
    try:
        return _milliseconds(datetime.fromisoformat(text))
    except (ValueError, TypeError):  # no time, or one without a zone
        raise ImportRefused(line, "created_at must be a time such as 2026-11-22T20:55:01Z.") from None


def _milliseconds(time: datetime) -> int:
    return (time - _EPOCH) // _MILLISECOND


def _text(line: int, content: bytes) -> str:
    try:
        return content.decode().rstrip("\r\n")
    except UnicodeDecodeError:
        raise ImportRefused(line, "it is not UTF-8.") from None


def _lines(file: BufferedReader) -> Iterator[tuple[int, bytes]]:
    """The lines that are not empty, each with its number from 1."""
    number = 0
    while content := file.readline(LONGEST_LINE + 1):
        number += 1
        if len(content) > LONGEST_LINE:
            raise ImportRefused(number, f"it is longer than {LONGEST_LINE:,} bytes.")
        if not content.isspace():
            yield number, content
