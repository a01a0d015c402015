"""Tweets on disk, their ranking in Redis, and what keeps the two equal. `open_storage` is the one door."""

import time
from pathlib import Path
from urllib.parse import quote

from sqlalchemy import URL

from storage.data_dir import database_file, make_data_dir, usable
from storage.embedded import EmbeddedServer, is_running, socket_of
from storage.errors import CannotOpen, StorageError, StoreDamaged, StoreForbidden
from storage.index.opening import open_index
from storage.index.ranking import RankingIndex
from storage.migrate import check_usable, is_usable, up
from storage.scrub import CleanShutdownMarker, Scrub
from storage.sql.database import Database, open_database, read_url
from storage.sql.log import get_store
from storage.tweets import CacheSizes, Tweets

__all__ = ["Tweets", "open_log", "open_storage", "prepare_schema"]

CHECKED_AT_START = 64 * 2**20
"""Bytes: a file of SQLite's up to this size is read as a whole by each start, in some 0.2 s; see also `Scrub`."""

STARTED_AGAIN_WITHIN_S = 20
"""How long to wait for an embedded server that does not answer, while somebody runs it."""


def open_storage(
    data_dir: Path,
    database_url: str = "",
    redis_url: str = "",
    *,
    partitions: int = 1,
    max_ancestors: int = 1000,
    queue_limit: int = 1024,
    cache_sizes: CacheSizes = CacheSizes(),  # noqa: B008  # it is immutable
    attach: bool = False,
) -> Tweets:
    """
    Open the tweets: of *database_url* and *redis_url*, or, where one is empty, of the embedded part in *data_dir*.

    *attach* is for work beside a running service: it uses that one's embedded server, and starts one only if there is
    none. Raises CannotOpen with one sentence for a person.
    """
    database = open_log(data_dir, database_url)
    server = None
    try:
        if not attach:
            database.check_whole(CHECKED_AT_START)
        prepare_schema(database, partitions, embedded=not database_url)
        index, server = _open_index(data_dir / "redis", redis_url, attach=attach)
        with database.reading() as connection:
            store = get_store(connection)
        tweets = Tweets(
            database,
            index,
            store,
            server=server,
            max_ancestors=max_ancestors,
            queue_limit=queue_limit,
            cache_sizes=cache_sizes,
        )
        if server or not attach:
            marker = CleanShutdownMarker(data_dir / "index.trusted", embedded=server is not None)
            tweets.scrub = Scrub(database, tweets.reconciler, index, marker)
        tweets.start()
        if tweets.scrub and not attach:
            tweets.scrub.start()
    except BaseException as error:
        if server:
            server.stop()
        database.close()
        if isinstance(error, StorageError) and not isinstance(error, CannotOpen):
            is_sentence = isinstance(error, (StoreDamaged, StoreForbidden))
            raise CannotOpen(str(error) if is_sentence else f"The tweets cannot be opened: {error}.") from error
        raise
    return tweets


def open_log(data_dir: Path, database_url: str = "") -> Database:
    """
    Open the database alone, whatever its schema: for what needs no index, such as migrating it.

    Raises CannotOpen with one sentence for a person.
    """
    # A folder may have any name: what would mean something in a URL is not to be read as one.
    url = read_url(database_url or URL.create("sqlite", database=str(database_file(data_dir))))
    make_data_dir(data_dir)
    return open_database(url)


def prepare_schema(database: Database, partitions: int, *, embedded: bool) -> None:
    """Bring an *embedded* database to the latest revision. Raises SchemaOutdated when another one is not there."""
    with database.reading() as connection:
        if is_usable(connection):
            return
        if not embedded:
            check_usable(connection)
    up(database, partitions)


def _open_index(folder: Path, redis_url: str, *, attach: bool) -> tuple[RankingIndex, EmbeddedServer | None]:
    if redis_url:
        return open_index(redis_url), None
    with usable(folder):
        if attach and is_running(folder):
            return _open_embedded(folder), None
        server = EmbeddedServer(folder)
    try:
        return _open_embedded(folder), server
    except BaseException:
        server.stop()
        raise


def _open_embedded(folder: Path) -> RankingIndex:
    """The index of the embedded server, which who runs it starts again if it dies just now. Raises CannotOpen."""
    deadline = time.monotonic() + STARTED_AGAIN_WITHIN_S
    while True:
        try:
            return open_index(f"unix://{quote(str(socket_of(folder)))}")
        except CannotOpen:
            if time.monotonic() > deadline or not is_running(folder):
                raise
            time.sleep(0.02)
