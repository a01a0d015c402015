"""`migrate`, `info`, `verify`, `rebuild`, `backup` and `restore`: what concerns the store as a whole."""

import json
import platform
import shutil
import sys
import time
from argparse import Namespace
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple, TextIO

from app import __version__
from app.bootstrap import opened_database, opened_tweets
from app.cli import CommandError
from app.cli.progress import Progress
from app.settings import Settings
from storage import Tweets, ids
from storage import migrate as schema
from storage.data_dir import database_file, is_ours, make_data_dir
from storage.sql import log
from storage.sql.log import Head
from storage.tools.backup import Contents, back_up, file_of
from storage.tools.backup import restore as put_back
from storage.tools.status import Status, get_status
from storage.tools.verify import Difference
from storage.tools.verify import verify as list_all

PACKAGES = ("alembic", "bottle", "msgspec", "redis", "sqlalchemy", "waitress")

SHOWN = 50
"""Differences printed one by one."""

DIFFERENT = 1
"""The exit code when a count, or a table, differs."""

WHERE = "where URL is DATABASE_URL without `+psycopg`"
DUMP = f"`pg_dump --format=custom --file=FILE URL`, {WHERE}; it may run beside the service"
UNDUMP = f"`pg_restore --clean --if-exists --dbname=URL FILE`, {WHERE}, while no service runs"


def migrate(arguments: Namespace, settings: Settings) -> int:
    """
    Do one of the four actions; the exit code is 1 when `check` finds a difference.

    Raises CommandError, NoSuchRevision, CannotOpen.
    """
    if arguments.to and arguments.action != "down":
        raise CommandError("--to is for `migrate down`; `migrate up` leads to the latest revision.")
    if arguments.action == "down" and not arguments.yes:
        raise CommandError(
            "Going down drops what those revisions made, the tweets with the first: add --yes if you mean it."
        )
    with opened_database(settings, prepare=False) as database:
        if arguments.action == "check":
            with database.reading() as connection:
                schema.check_usable(connection)
            differences = schema.list_differences(database)
            print("\n".join(differences) if differences else "The tables are as declared.")
            return DIFFERENT if differences else 0
        if arguments.action == "up":
            schema.up(database, settings.partitions)
        elif arguments.action == "down":
            schema.down(database, arguments.to)
        revisions = schema.list_revisions(database)
    if arguments.json:
        print(json.dumps([revision._asdict() for revision in revisions]))
    else:
        for number, title, applied in revisions:
            print(f"{number}  {'applied' if applied else 'missing'}  {title}")
    return 0


def info(arguments: Namespace, settings: Settings) -> int:
    """Print what is where, a fact a line or as one JSON object."""
    with opened_tweets(settings, attach=True) as tweets:
        status = get_status(tweets)
    if arguments.json:
        packages = {name: version(name) for name in PACKAGES}
        found = {**status._asdict(), "partitions": [each._asdict() for each in status.partitions]}
        found |= {"live": status.live, "entries": status.entries, "data": str(settings.data_dir.resolve())}
        found |= {"version": __version__, "python": platform.python_version(), "packages": packages}
        print(json.dumps(found, indent=2))
    else:
        for name, value in _facts(settings, status):
            print(f"{name:10}  {value}")
    return 0


def verify(arguments: Namespace, settings: Settings) -> int:
    """
    Read the whole database, and compare every head with its rows and every count with the log. Raises StoreDamaged.

    The exit code is 1 when one differs and, with `--repair`, still does after a rebuild.
    """
    with opened_tweets(settings, attach=True) as tweets:
        found = _verify(tweets, settings)
        if found.is_wrong and arguments.repair:
            if not arguments.json:
                _print_verdict(found)
            _rebuild(tweets)  # which corrects heads as well
            print("Rebuilt.", file=sys.stderr if arguments.json else sys.stdout)
            found = _verify(tweets, settings)
    if arguments.json:
        print(json.dumps(found.to_json(), indent=2))
    else:
        _print_verdict(found)
    return DIFFERENT if found.is_wrong else 0


def rebuild(_arguments: Namespace, settings: Settings) -> int:
    """Rebuild the index."""
    with opened_tweets(settings, attach=True) as tweets:
        began = time.monotonic()
        live = _rebuild(tweets)
        print(f"Rebuilt the index of {live:,} tweets in {time.monotonic() - began:.1f} s.")
    return 0


def backup(arguments: Namespace, settings: Settings) -> int:
    """Copy the database to a file. Raises CommandError or BackupRefused, with what was at that name untouched."""
    source = file_of(database_file(settings.data_dir), settings.database_url, DUMP)
    if arguments.file == "-":
        with TemporaryDirectory(prefix=".backup.", dir=source.parent) as folder:
            _back_up(source, Path(folder) / "copy", sys.stderr)
            with (Path(folder) / "copy").open("rb") as copy:
                shutil.copyfileobj(copy, sys.stdout.buffer)
        return 0
    if is_ours(Path(arguments.file), settings.data_dir, settings.database_url):
        raise CommandError(f"{arguments.file} is a file of the service itself; name another one.")
    _back_up(source, Path(arguments.file), sys.stdout)
    return 0


def restore(arguments: Namespace, settings: Settings) -> int:
    """Put a file in the place of the database. Raises BackupRefused, with the database untouched."""
    goal = file_of(database_file(settings.data_dir), settings.database_url, UNDUMP)
    if not settings.database_url:
        make_data_dir(settings.data_dir)
    with Progress("copying", "pages") as progress:
        contents = put_back(
            Path(arguments.file),
            goal,
            lambda done, total: progress.show(done, done / max(total, 1)),
            force=arguments.force,
        )
    print(f"Restored {_described(contents)} from {arguments.file}. The next start rebuilds the ranking.")
    print("Every user who had a token then has it again: see `simple-twitter token list`.")
    return 0


def _facts(settings: Settings, status: Status) -> Iterator[tuple[str, str]]:
    yield "version", __version__
    yield "data", str(settings.data_dir.resolve())
    yield "database", f"{status.database}  ({status.database_version})"
    where = "REDIS_URL" if settings.redis_url else "embedded"
    state = "away" if status.index_memory is None else f"{status.index_version}, {status.index_memory / 1e6:.1f} MB"
    yield "index", f"{where}  ({state})"
    yield "store", status.store
    yield "tweets", f"{status.live:,} live, of {status.entries:,} log entries"
    for each in status.partitions:
        if each.ranked is None or each.lag is None:
            found = f"{each.live:,} live, {each.entries:,} entries, its server is away"
        else:
            at = each.entries - each.lag
            found = (
                f"{each.live:,} live, {each.ranked:,} ranked, at {at:,} of {each.entries:,} entries, lag {each.lag:,}"
            )
        yield f"part {each.partition}", found
    yield "python", platform.python_version()
    yield "packages", ", ".join(f"{name} {version(name)}" for name in PACKAGES)


class _Verdict(NamedTuple):
    """What a verification found: how many counts are right, those that are wrong, and heads beside what rows make."""

    right: int
    differences: list[Difference]
    heads: dict[int, tuple[Head, Head]]
    took_s: float

    @property
    def is_wrong(self) -> bool:
        """Whether anything differs."""
        return bool(self.differences or self.heads)

    def to_json(self) -> dict[str, object]:
        """All of it, for programs."""
        heads = {number: {"head": one._asdict(), "rows": two._asdict()} for number, (one, two) in self.heads.items()}
        counts = [{**each._asdict(), "tweet_id": ids.encode(each.tweet_id)} for each in self.differences]
        numbers = {"right": self.right, "wrong": len(self.differences), "seconds": round(self.took_s, 3)}
        return {**numbers, "differences": counts, "heads": heads}


def _verify(tweets: Tweets, settings: Settings) -> _Verdict:
    """Compare all; counts only where the heads are right, as no index can be brought to a wrong one."""
    began = time.monotonic()
    tweets.database.check_whole()
    with tweets.database.reading() as connection:
        wrong = log.list_wrong_heads(connection)
    differences, live = ([], 0) if wrong else _compare(tweets)
    if settings.metrics:
        from app.metrics import keep_verdict

        keep_verdict(settings.data_dir, len(differences))
    right = live - sum(each.in_log is not None for each in differences)
    return _Verdict(right, differences, wrong, time.monotonic() - began)


def _print_verdict(found: _Verdict) -> None:
    for number, (head, rows) in found.heads.items():
        print(f"The head of partition {number} says {head.seq:,} entries and {head.live:,} live tweets, and its rows")
        print(f"make {rows.seq:,} and {rows.live:,}: `rebuild` corrects it. No count was compared.")
    if not found.heads:
        print(f"{found.right:,} right, {len(found.differences):,} wrong, in {found.took_s:.1f} s.")
    if found.differences:
        print(f"{'tweet':13}  {'in the log':>13}  {'in the index':>13}")
    for each in found.differences[:SHOWN]:
        print(f"{ids.encode(each.tweet_id)}  {_count(each.in_log):>13}  {_count(each.in_index):>13}")
    if len(found.differences) > SHOWN:
        print(f"... and {len(found.differences) - SHOWN:,} more.")


def _compare(tweets: Tweets) -> tuple[list[Difference], int]:
    """Every difference between the index and the log, and how many tweets were compared, showing how far that is."""
    live = get_status(tweets).live
    with Progress("comparing") as progress:
        found = list_all(tweets, lambda done: progress.show(done, min(done / max(live, 1), 1)))
        progress.show(live, 1)
    return found, live


def _rebuild(tweets: Tweets) -> int:
    """Rebuild the index, showing how far that is; returns how many tweets there are."""
    live = get_status(tweets).live
    with Progress("counting") as progress:
        tweets.reconciler.rebuild(lambda counted: progress.show(counted, min(counted / max(live, 1), 1)))
        progress.show(live, 1)
    return live


def _count(count: int | None) -> str:
    return "missing" if count is None else str(count)


def _back_up(source: Path, goal: Path, out: TextIO) -> None:
    with Progress("copying", "pages") as progress:
        contents = back_up(source, goal, lambda done, total: progress.show(done, done / max(total, 1)))
    print(f"Backed up {_described(contents)}.", file=out)


def _described(contents: Contents) -> str:
    return f"{contents.live:,} tweets ({contents.entries:,} log entries of store {contents.store})"
