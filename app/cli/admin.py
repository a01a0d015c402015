"""What concerns the store as a whole: its schema, state and counts, the index, backups, and API tokens."""

import json
import platform
import shutil
import sys
import time
from argparse import Namespace
from collections.abc import Callable, Iterable
from contextlib import suppress
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

from app import CommandError, __version__
from app.bootstrap import opened_database, opened_tweets
from app.cli.progress import progress
from app.http.schemas import RULES, names_user
from app.settings import Settings
from storage import Tweets, ids
from storage import migrate as schema
from storage.data_dir import database_file, is_ours, make_data_dir
from storage.errors import IndexUnavailable
from storage.rebuild import OnProgress
from storage.sql.heads import list_wrong_heads
from storage.tokens import Tokens
from storage.tools.backup import back_up, restore
from storage.tools.repair import rebuild_all
from storage.tools.verify import verify

PACKAGES = ("alembic", "bottle", "msgspec", "redis", "sqlalchemy", "waitress")

SHOWN = 50
"""Differences printed one by one."""

DIFFERENT = 1
"""The exit code when a count, or a table, differs."""

WHERE = "where URL is DATABASE_URL without `+psycopg`"
DUMP = f"`pg_dump --format=custom --file=FILE URL`, {WHERE}; it may run beside the service"
UNDUMP = f"`pg_restore --clean --if-exists --dbname=URL FILE`, {WHERE}, while no service runs"

Done = TypeVar("Done")


def migrate_command(arguments: Namespace, settings: Settings) -> int:
    """
    Do one of the four actions; the exit code is 1 when `check` finds a difference.

    Raises CommandError, ToolRefused, CannotOpen.
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
    lines = (f"{each['number']}  {'applied' if each['applied'] else 'missing'}  {each['title']}" for each in revisions)
    _print(arguments, revisions, lines)
    return 0


def info_command(arguments: Namespace, settings: Settings) -> int:
    """Print what is where, a fact a line or as one JSON object. Raises CannotOpen, StoreUnavailable."""
    found: dict[str, Any] = {}
    partitions: list[dict[str, int | None]] = []
    with opened_tweets(settings, attach=True) as tweets:
        store, heads = tweets.database.get_state()
        answers = tweets.index.counts_all(dict.fromkeys(heads, ()))
        found |= {"store": store.id, "database": tweets.database.describe()}
        found |= {"database_version": tweets.database.server_version(), "index_version": None, "index_memory": None}
        with suppress(IndexUnavailable):
            found["index_version"] = tweets.index.server_name()
            found["index_memory"] = tweets.index.used_memory()
    for (number, head), answer in zip(heads.items(), answers, strict=True):
        state = None if isinstance(answer, IndexUnavailable) else answer.state
        ranked, lag = (state.cardinality, state.lag(head)) if state else (None, None)
        each = {"partition": number, "entries": head.seq, "live": head.live, "ranked": ranked, "lag": lag}
        partitions.append(each)
    found["partitions"] = partitions
    found |= {"live": sum(head.live for head in heads.values()), "entries": sum(head.seq for head in heads.values())}
    found |= {"data": str(settings.data_dir.resolve()), "version": __version__, "python": platform.python_version()}
    found["packages"] = {name: version(name) for name in PACKAGES}
    memory, where = found["index_memory"], "REDIS_URL" if settings.redis_url else "embedded"
    index = "away" if memory is None else f"{found['index_version']}, {memory / 1e6:.1f} MB"
    facts = [
        ("version", __version__),
        ("data", found["data"]),
        ("database", f"{found['database']}  ({found['database_version']})"),
        ("index", f"{where}  ({index})"),
        ("store", store.id),
        ("tweets", f"{found['live']:,} live, of {found['entries']:,} log entries"),
    ]
    for part in partitions:
        lag = part["lag"]
        said = "its server is away"
        if lag is not None:
            said = f"{part['ranked']:,} ranked, lag {lag:,}"
        facts.append((f"part {part['partition']}", f"{part['live']:,} live, {part['entries']:,} entries, {said}"))
    facts += [("python", found["python"]), ("packages", ", ".join(map(" ".join, found["packages"].items())))]
    _print(arguments, found, (f"{name:10}  {value}" for name, value in facts))
    return 0


def verify_command(arguments: Namespace, settings: Settings) -> int:
    """
    Read the whole database, and compare every head with its rows and every count with the log. Raises StoreDamaged.

    The exit code is 1 when one differs and, with `--repair`, still does after a rebuild.
    """
    with opened_tweets(settings, attach=True) as tweets:
        found = _verify(tweets, settings)
        if arguments.repair and (found["wrong"] or found["heads"]):
            if not arguments.json:
                print("\n".join(_verdict(found)))
            _showing("counting", tweets, lambda show: rebuild_all(tweets, show))  # which corrects heads as well
            print("Rebuilt.", file=sys.stderr if arguments.json else sys.stdout)
            found = _verify(tweets, settings)
    _print(arguments, found, _verdict(found))
    return DIFFERENT if found["wrong"] or found["heads"] else 0


def rebuild_command(_arguments: Namespace, settings: Settings) -> int:
    """Rebuild the index."""
    with opened_tweets(settings, attach=True) as tweets:
        began = time.monotonic()
        _, live = _showing("counting", tweets, lambda show: rebuild_all(tweets, show))
        print(f"Rebuilt the index of {live:,} tweets in {time.monotonic() - began:.1f} s.")
    return 0


def backup_command(arguments: Namespace, settings: Settings) -> int:
    """Copy the database to a file. Raises CommandError or ToolRefused, with what was at that name untouched."""
    source = _database_file(settings, DUMP)

    if arguments.file == "-":
        with TemporaryDirectory(prefix=".backup.", dir=source.parent) as folder:
            print(f"Backed up {back_up(source, Path(folder) / 'copy')}.", file=sys.stderr)
            with (Path(folder) / "copy").open("rb") as copy:
                shutil.copyfileobj(copy, sys.stdout.buffer)
        return 0
    if is_ours(Path(arguments.file), settings.data_dir, settings.database_url):
        raise CommandError(f"{arguments.file} is a file of the service itself; name another one.")
    print(f"Backed up {back_up(source, Path(arguments.file))}.")
    return 0


def restore_command(arguments: Namespace, settings: Settings) -> int:
    """Put a file in the place of the database. Raises ToolRefused, with the database untouched."""
    goal = _database_file(settings, UNDUMP)
    if not settings.database_url:
        make_data_dir(settings.data_dir)
    contents = restore(Path(arguments.file), goal, force=arguments.force)
    print(f"Restored {contents} from {arguments.file}. The next start rebuilds the ranking.")
    print("Every user who had a token then has it again: see `simple-twitter token list`.")
    return 0


def token_command(arguments: Namespace, settings: Settings) -> int:
    """Add, list or revoke API tokens. Raises CommandError, StorageError, CannotOpen."""
    with opened_database(settings) as database:
        tokens = Tokens(database)
        if arguments.action == "add":
            if not names_user(arguments.user):
                raise CommandError(f"A user must be {RULES['user_name']}.")
            first = not tokens.list_all()
            # The token alone on stdout, so that a script can take it; all else goes to stderr.
            print(tokens.add(arguments.user, admin=arguments.admin), flush=True)
            print("Keep it: it is not shown again. Send it as `Authorization: Bearer TOKEN`.", file=sys.stderr)
            if first:
                print("It is the first one: from now on every write needs a token.", file=sys.stderr)
            return 0
        if arguments.action == "revoke":
            tokens.revoke(arguments.id)
            print(f"Revoked {arguments.id}.")
            return 0
        rows = [
            {
                "id": each.id,
                "kind": "admin" if each.admin else "user",
                "created_at": _minute(each.created_at),
                "revoked_at": _minute(each.revoked_at),
                "user": each.user_name,
            }
            for each in tokens.list_all()
        ]
    lines = [f"{'id':12}  {'kind':5}  {'created':17}  {'revoked':17}  user"]
    for row in rows:
        made, revoked = row["created_at"], row["revoked_at"] or "-"
        lines.append(f"{row['id']}  {row['kind']:5}  {made}  {revoked:17}  {row['user']}")
    _print(arguments, rows, lines)
    return 0


def _database_file(settings: Settings, tool: str) -> Path:
    """The file of the database. Raises CommandError for a database that is no file, naming the *tool* for it."""
    file = database_file(settings.data_dir, settings.database_url)
    if file is None:
        raise CommandError(f"DATABASE_URL names a server, which has its own tool: use {tool}.")
    return file


def _print(arguments: Namespace, data: object, lines: Iterable[str]) -> None:
    """Print *data* for programs, where `--json` asks for it, or else *lines* for people."""
    print(json.dumps(data, indent=2) if arguments.json else "\n".join(lines))


def _showing(what: str, tweets: Tweets, act: Callable[[OnProgress], Done]) -> tuple[Done, int]:
    """Let *act* work on all live tweets, showing how far that is; what it returns, and how many there are."""
    live = sum(head.live for head in tweets.database.get_state().heads.values())
    with progress(what, live) as show:
        return act(show), live


def _verify(tweets: Tweets, settings: Settings) -> dict[str, Any]:
    """Compare all; counts only where the heads are right, as no index can be brought to a wrong one."""
    began = time.monotonic()
    tweets.database.check_whole()
    with tweets.database.reading() as connection:
        wrong = list_wrong_heads(connection)
    differences, live = ([], 0) if wrong else _showing("comparing", tweets, lambda show: verify(tweets, show))
    if settings.metrics:
        from app.metrics import keep_verdict

        keep_verdict(settings.data_dir, len(differences))
    return {
        "right": live - sum(each.in_log is not None for each in differences),
        "wrong": len(differences),
        "seconds": round(time.monotonic() - began, 3),
        "differences": [{**each._asdict(), "tweet_id": ids.encode(each.tweet_id)} for each in differences],
        "heads": {number: {"head": one._asdict(), "rows": two._asdict()} for number, (one, two) in wrong.items()},
    }


def _verdict(found: dict[str, Any]) -> Iterable[str]:
    """What was found, for people."""
    for number, wrong in found["heads"].items():
        head, rows = wrong["head"], wrong["rows"]
        yield f"The head of partition {number} says {head['seq']:,} entries and {head['live']:,} live tweets, and its"
        yield f"rows make {rows['seq']:,} and {rows['live']:,}: `rebuild` corrects it. No count was compared."
    if not found["heads"]:
        yield f"{found['right']:,} right, {found['wrong']:,} wrong, in {found['seconds']:.1f} s."
    if found["differences"]:
        yield f"{'tweet':13}  {'in the log':>13}  {'in the index':>13}"
    for each in found["differences"][:SHOWN]:
        log_count, index_count = ("missing" if each[side] is None else each[side] for side in ("in_log", "in_index"))
        yield f"{each['tweet_id']}  {log_count:>13}  {index_count:>13}"
    if found["wrong"] > SHOWN:
        yield f"... and {found['wrong'] - SHOWN:,} more."


def _minute(time_ms: int | None) -> str | None:
    """A time to the minute, UTC; None for none."""
    return None if time_ms is None else f"{datetime.fromtimestamp(time_ms / 1000, UTC):%Y-%m-%dT%H:%MZ}"
