"""`import` and `export`: files of tweets."""

import gzip
import os
import stat
import sys
import time
import zlib
from argparse import Namespace
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager, nullcontext, suppress
from io import BufferedReader
from pathlib import Path
from typing import BinaryIO, cast

from app.bootstrap import opened_database, opened_tweets
from app.cli import CommandError
from app.cli.formats import read_tweets, write_tweet
from app.cli.index import count_anew
from app.cli.progress import Progress
from app.settings import Settings
from storage import Tweets
from storage.data_dir import is_ours
from storage.export import Kept, count_tweets, export_tweets
from storage.reconciler import REBUILT_FROM
from storage.transfer import Given, import_tweets

GZIP = b"\x1f\x8b"
STANDARD = "-"
SHOW_EVERY = 1_000
"""Exported tweets between two looks at the clock."""


def import_file(arguments: Namespace, settings: Settings) -> int:
    """Add the tweets of a file. Raises CommandError or ImportRefused, with nothing stored."""
    with _opened(arguments.file) as file, opened_tweets(settings, attach=True) as tweets:
        try:
            store(tweets, read_tweets(_unpacked(file)), settings, _share_read(file))
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise CommandError(f"{arguments.file} is damaged ({error}); nothing of it was stored.") from error
    return 0


def store(tweets: Tweets, given: Iterable[Given], settings: Settings, share: Callable[[], float | None]) -> None:
    """Import *given* and bring the index in step, showing both; *share* says how much of it was read."""
    began = time.monotonic()
    with Progress("importing") as progress:
        count = import_tweets(
            tweets.database,
            given,
            settings.max_ancestors,
            time.time_ns() // 1_000_000,
            lambda stored: progress.show(stored, share()),
        )
    stored_s = time.monotonic() - began
    if count > REBUILT_FROM:
        count_anew(tweets, moved=True)  # many: then it is counted anew, more often than not, and takes seconds
    else:
        tweets.reconciler.catch_up()
    ranked_s = time.monotonic() - began - stored_s
    speed = count / max(stored_s + ranked_s, 1e-6)
    print(f"Imported {count:,} tweets in {stored_s:.1f} s and ranked them in {ranked_s:.1f} s: {speed:,.0f} a second.")


def export_file(arguments: Namespace, settings: Settings) -> int:
    """Write every tweet to a file. Raises CommandError, CannotOpen."""
    if arguments.file != STANDARD and is_ours(Path(arguments.file), settings.data_dir, settings.database_url):
        raise CommandError(f"{arguments.file} is a file of the service itself; name another one.")
    with opened_database(settings) as database:
        total = count_tweets(database)
        with _created(arguments.file) as file, closing(export_tweets(database)) as tweets:
            if file.isatty():
                file.writelines(map(write_tweet, tweets))
            else:
                with Progress("exporting") as progress:
                    file.writelines(_shown(tweets, progress, total))
    return 0


def _shown(tweets: Iterable[Kept], progress: Progress, total: int) -> Iterator[bytes]:
    done = 0
    for done, kept in enumerate(tweets, 1):
        if done % SHOW_EVERY == 0:
            progress.show(done, done / max(total, done))
        yield write_tweet(kept)
    progress.show(done, 1)


@contextmanager
def _opened(name: str) -> Iterator[BufferedReader]:
    if name == STANDARD:
        yield cast("BufferedReader", sys.stdin.buffer)
        return
    with ExitStack() as stack:
        try:
            file = stack.enter_context(Path(name).open("rb"))
        except OSError as error:
            raise CommandError(f"{name} cannot be read ({error.strerror}).") from error
        yield file


def _unpacked(file: BufferedReader) -> BufferedReader:
    return BufferedReader(gzip.GzipFile(fileobj=file)) if file.peek(2)[:2] == GZIP else file


def _share_read(file: BufferedReader) -> Callable[[], float | None]:
    """How much of *file* was read, 0 to 1; None when nobody knows how long it is."""
    status = os.fstat(file.fileno())
    if not stat.S_ISREG(status.st_mode):
        return lambda: None
    return lambda: file.tell() / max(status.st_size, 1)


@contextmanager
def _created(name: str) -> Iterator[BinaryIO]:
    """A file that stands under its *name* when the block ends well, and not at all when it does not."""
    if name == STANDARD:
        yield sys.stdout.buffer
        return
    goal = Path(name)
    if goal.is_dir():
        raise CommandError(f"{name} is a folder; name a file.")
    part = goal.with_name(f".{goal.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as raw, _packed(raw, goal) as file:
            yield file
        part.replace(goal)
    except OSError as error:
        raise CommandError(f"{name} cannot be written ({error.strerror}).") from error
    finally:
        with suppress(OSError):
            part.unlink()


def _packed(raw: BinaryIO, goal: Path) -> AbstractContextManager[BinaryIO]:
    """Gzipped if the name says so, without a time in it: the same tweets give the same bytes."""
    if goal.suffix != ".gz":
        return nullcontext(raw)
    return cast("AbstractContextManager[BinaryIO]", gzip.GzipFile("", "wb", fileobj=raw, mtime=0))
