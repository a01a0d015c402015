"""
`import`, `export` and `seed`: tweets as lines of JSON, in and out.

A line is checked by the same types as a body that is posted. What lines mean to each other is the import's to check.
"""

import gzip
import re
import sys
import time
import zlib
from argparse import Namespace
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager, nullcontext
from datetime import UTC, datetime, timedelta
from functools import partial
from io import BufferedReader
from pathlib import Path
from typing import Annotated, Any, BinaryIO, cast
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec
from msgspec import Meta

from app import CommandError
from app.bootstrap import opened_database
from app.cli.progress import progress
from app.http.schemas import LONGEST_NAME, RULES, Base, Text, TweetId, is_visible, names_user, timestamp
from app.settings import Settings
from storage import ids
from storage.data_dir import is_ours
from storage.files import replacing
from storage.sql.log import Row
from storage.tools.import_export import ImportRow, export_tweets, refusal, staged_tweets, store_tweets

STANDARD = "-"
REDIS = ("redis://", "rediss://", "unix://")
"""A file to import whose name begins so is the Redis of the original application."""

DEMO = Path(__file__).parent / "demo.jsonl"
DEMO_ENDS = datetime(2026, 1, 1, tzinfo=UTC)
"""The time of its last tweet, which becomes the present."""

GZIP = b"\x1f\x8b"
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
LONGEST_LINE = 256 * 1024
"""Bytes: more than a tweet of greatest length with every character escaped."""

NO_TEXT = "(none)"
"""The text of a tweet of the original application that has none."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)


AnyName = Annotated[str, Meta(min_length=1, max_length=LONGEST_NAME, pattern=r"^[A-Za-z0-9_.-]+\Z")]
AnyTitle = Annotated[str, Meta(min_length=1, max_length=280, pattern=r"^(?=\s*\S)[^\x00-\x1F\x7F-\x9F]*\Z")]
"""As version 0.1 took them, which refused less: what is stored can be exported and imported."""


class Line(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """
    A tweet in a file: with its `id`, or with a `key`, any text that names it in another system.

    `retweet` is the id, or the key, of a line above. A deleted tweet has null for `user_name`, `title` and `body`.
    """

    created_at: Annotated[datetime, Meta(tz=True)]
    user_name: AnyName | None
    title: AnyTitle | None
    body: Text | None
    id: TweetId | None = None
    key: Annotated[str, Meta(min_length=1)] | None = None
    retweet: str | None = None
    base: Base = 0
    deleted: bool = False


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Line)


def import_command(arguments: Namespace, settings: Settings) -> int:
    """
    Add the tweets of a file, or of the original's Redis.

    Raises CommandError or StorageError with nothing stored, or with a message that says that this is not known.
    """
    is_redis = arguments.file.startswith(REDIS)
    if not is_redis and (arguments.cut or arguments.zone):
        raise CommandError("--zone and --cut are for an import from Redis.")
    try:
        zone = ZoneInfo(arguments.zone) if arguments.zone else None  # that of this machine
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise CommandError(f"--zone {arguments.zone} is not a time zone, such as Europe/Berlin or UTC.") from error
    if arguments.map:
        _check_foreign(arguments.map, settings)
    rows, said = _read_file(arguments.file), list[str]()
    if is_redis:
        from storage.tools.redis_import import read_original

        texts, now_ms = partial(_texts, cut=arguments.cut), time.time_ns() // 1_000_000
        rows = read_original(arguments.file, zone, now_ms, texts, said)
    with _created(arguments.map, settings) if arguments.map else nullcontext() as mapped:
        _import(settings, rows, mapped)
    for sentence in said:
        print(sentence)
    return 0


def seed_command(_arguments: Namespace, settings: Settings) -> int:
    """Add the tweets of the demo file, as if the last one were posted now."""
    later_ms = time.time_ns() // 1_000_000 - _milliseconds(DEMO_ENDS)
    with DEMO.open("rb") as file:
        rows = (row._replace(created_at=row.created_at + later_ms) for row in read_lines(file))
        _import(settings, rows)
    return 0


def export_command(arguments: Namespace, settings: Settings) -> int:
    """Write every tweet to a file. Raises CommandError, CannotOpen."""
    if arguments.file != STANDARD:
        _check_foreign(arguments.file, settings)
    with opened_database(settings) as database, _created(arguments.file, settings) as file, ExitStack() as stack:
        # Each tweet has an entry, and a second one once it is deleted.
        total = sum((head.seq + head.live) // 2 for head in database.get_state().heads.values())
        rows = stack.enter_context(closing(export_tweets(database)))
        show = None if file.isatty() else stack.enter_context(progress("exporting", total))
        for done, row in enumerate(rows, 1):
            file.write(write_line(row))
            if show:
                show(done)
    return 0


def read_lines(file: BufferedReader) -> Iterator[ImportRow]:
    """The tweets of *file*, plain or gzipped. Raises ToolRefused for the first line that is wrong by itself."""
    if file.peek(2)[:2] == GZIP:
        file = BufferedReader(cast("Any", gzip.GzipFile(fileobj=file)))
    number, has_keys = 0, None
    while content := file.readline(LONGEST_LINE + 1):
        number += 1
        if number == 1:
            content = content.removeprefix(BYTE_ORDER_MARK)
        if len(content) > LONGEST_LINE:
            raise refusal(number, f"it is longer than {LONGEST_LINE:,} bytes.")
        if not content or content.isspace():
            continue
        try:
            line = _decode(content)
        except (ValueError, RecursionError) as error:
            raise refusal(number, _fault(str(error))) from error
        if (line.id is None) == (line.key is None) or has_keys not in {None, line.id is None}:
            raise refusal(number, "every line of a file has an id, or every line has a key.")
        has_keys = line.id is None
        texts = (line.user_name, line.title, line.body)
        if texts.count(None) != (3 if line.deleted else 0):
            raise refusal(number, "user_name, title and body must be null in a deleted tweet, and in no other.")
        name, parent = line.key or _id(number, line.id), line.retweet if has_keys else _id(number, line.retweet)
        yield ImportRow(number, cast("int | str", name), parent, _milliseconds(line.created_at), *texts, line.base)


def write_line(row: Row) -> bytes:
    """The line of a tweet, with its newline."""
    line = {
        "id": ids.encode(row.id),
        "retweet": None if row.parent is None else ids.encode(row.parent),
        "base": row.base,
        "created_at": timestamp(row.created_at),
        "user_name": row.user_name,
        "title": row.title,
        "body": row.body,
    }
    if row.body is None:
        line["deleted"] = True
    return _encoder.encode(line) + b"\n"


def _read_file(name: str) -> Iterator[ImportRow]:
    """The tweets of the file of that *name*. Raises ToolRefused, CommandError."""
    try:
        with nullcontext(sys.stdin.buffer) if name == STANDARD else Path(name).open("rb") as file:
            yield from read_lines(cast("BufferedReader", file))
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise CommandError(f"{name} is damaged ({error}); nothing of it was stored.") from error
    except OSError as error:
        raise CommandError(f"{name} cannot be read ({error.strerror}).") from error


def _import(settings: Settings, rows: Iterable[ImportRow], mapped: BinaryIO | None = None) -> None:
    """Check and store *rows*, and write the key and the id of each to *mapped*. Raises as `import_command` does."""

    def write_mapping(name: int | str, tweet_id: int) -> None:
        if mapped:
            key = name if isinstance(name, str) else ids.encode(name)
            mapped.write(_encoder.encode({"key": key, "id": ids.encode(tweet_id)}) + b"\n")

    began, now_ms = time.monotonic(), time.time_ns() // 1_000_000
    with opened_database(settings) as database, ExitStack() as stack:
        partitions = database.get_state().store.partitions
        with progress("reading") as show:
            staging = staged_tweets(rows, settings.data_dir, partitions, settings.max_ancestors, now_ms, show)
            staged = stack.enter_context(staging)
        try:
            with progress("storing") as show:
                stored = store_tweets(database, staged, show, write_mapping)
        except SystemExit:
            print("Nothing was imported.", file=sys.stderr)
            raise
    print(f"Imported {stored:,} tweets in {time.monotonic() - began:.1f} s.")
    print("A running service, or its next start, ranks them.")


@contextmanager
def _created(name: str, settings: Settings) -> Iterator[BinaryIO]:
    """
    A file that has its *name* when the block ends well, and does not exist when it does not; `-` is standard output.

    It is gzipped if the name says so, without a time in it: the same tweets give the same bytes.
    """
    if name == STANDARD:
        yield sys.stdout.buffer
        return
    try:
        with ExitStack() as stack:
            part = stack.enter_context(replacing(Path(name), settings.data_dir))
            file: BinaryIO = stack.enter_context(part.open("wb"))
            if name.endswith(".gz"):
                packed = gzip.GzipFile("", "wb", fileobj=file, mtime=0)
                file = cast("BinaryIO", stack.enter_context(packed))
            yield file
    except OSError as error:
        raise CommandError(f"{name} cannot be written ({error.strerror}).") from error


def _check_foreign(name: str, settings: Settings) -> None:
    """Raise CommandError where a file of that name would be in the way of the service, or cannot be written."""
    if is_ours(Path(name), settings.data_dir, settings.database_url):
        raise CommandError(f"{name} is a file of the service itself; name another one.")
    if Path(name).is_dir():
        raise CommandError(f"{name} is a folder; name a file.")


def _decode(content: bytes) -> Line:
    """The tweet of a line; CRLF in its body becomes LF, as in a body that is posted. Raises ValueError."""
    if rb"\r\n" not in content:
        return _decoder.decode(content)
    values = msgspec.json.decode(content)
    if isinstance(values, dict) and isinstance(values.get("body"), str):
        values["body"] = values["body"].replace("\r\n", "\n")
    return msgspec.convert(values, Line)


def _fault(said: str) -> str:
    """What a line lacks: in the words of the rule where there is one, else in the decoder's."""
    _, _, field = said.rstrip("`").rpartition("$.")
    return f"{field} must be {RULES[field]}." if field in RULES and field != "retweet" else f"{said}."


def _id(number: int, text: str | None) -> int | None:
    tweet_id = None if text is None else ids.decode(text)
    if text is not None and tweet_id is None:
        raise refusal(number, f"{text!r} is not the id of a tweet.")
    return tweet_id


def _milliseconds(time: datetime) -> int:
    return (time - _EPOCH) // _MILLISECOND


def _texts(user_name: Any, title: Any, body: Any, *, cut: bool) -> tuple[str, str, str]:
    """A user_name, a title and a body of ours, made of those of the original. Raises ValueError for one too long."""
    name = re.sub(r"[^A-Za-z0-9_.-]", "_", str(user_name or "")) or "anonymous"
    made = []
    for field, text, longest in (
        ("user_name", name if names_user(name[:LONGEST_NAME]) else name.replace(".", "_"), LONGEST_NAME),
        ("title", re.sub(r"[\n\t\u2028\u2029]", " ", _text(title)), 280),
        ("body", _text(body), 10_000),
    ):
        if len(text) > longest and not cut:
            raise ValueError(f"its {field} has {len(text):,} characters, and may have {longest:,}: --cut cuts it.")
        made.append(text[:longest] if is_visible(text[:longest]) else NO_TEXT)
    return made[0], made[1], made[2]


def _text(value: Any) -> str:
    text = "" if value is None else str(value).encode(errors="replace").decode()
    return re.sub(r"[\x00-\x08\x0B-\x1F\x7F-\x9F]", " ", re.sub(r"\r\n?", "\n", text))
