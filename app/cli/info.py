"""`info`: what is where."""

import platform
from argparse import Namespace
from collections.abc import Iterator
from importlib.metadata import version

from app import __version__
from app.bootstrap import opened_tweets
from app.settings import Settings
from storage.describe import Description, PartitionState, describe

PACKAGES = ("alembic", "bottle", "msgspec", "redis", "sqlalchemy", "waitress")


def info(_arguments: Namespace, settings: Settings) -> int:
    """Print the description of the tweets, a fact a line."""
    with opened_tweets(settings, attach=True) as tweets:
        description = describe(tweets)
    for name, value in _facts(settings, description):
        print(f"{name:10}  {value}")
    return 0


def _facts(settings: Settings, described: Description) -> Iterator[tuple[str, str]]:
    yield "version", __version__
    yield "data", str(settings.data_dir.resolve())
    yield "database", f"{described.database}  ({described.database_version})"
    where = "REDIS_URL" if settings.redis_url else "embedded"
    yield "index", f"{where}  ({described.index_version}, {described.index_memory / 1e6:.1f} MB)"
    yield "store", described.store
    entries = sum(partition.entries for partition in described.partitions)
    yield "tweets", f"{described.live:,} live, of {entries:,} log entries"
    for each in described.partitions:
        yield f"part {each.partition}", _part(each)
    yield "python", platform.python_version()
    yield "packages", ", ".join(f"{name} {version(name)}" for name in PACKAGES)


def _part(each: PartitionState) -> str:
    if each.ranked is None or each.lag is None:
        return f"{each.live:,} live, {each.entries:,} entries, its server is away"
    at = each.entries - each.lag
    return f"{each.live:,} live, {each.ranked:,} ranked, at {at:,} of {each.entries:,} entries, lag {each.lag:,}"
