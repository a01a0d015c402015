"""Tweets on disk, their ranking in Redis, and what keeps the two equal. `open_storage` is the one door."""

import logging
import threading
from pathlib import Path
from urllib.parse import quote

from sqlalchemy import URL

from storage.data_dir import leave_clean_marker, make_data_dir, take_clean_marker, usable
from storage.errors import CannotOpen, StorageError, StoreDamaged, StoreForbidden
from storage.index.embedded import EmbeddedServer, is_running, socket_of
from storage.index.opening import open_index
from storage.index.ranking import RankingIndex
from storage.migrate import prepare_schema
from storage.sql.database import Database, open_database, read_url
from storage.sql.log import Store
from storage.tweets import CACHE_SIZES, Tweets

__all__ = ["Tweets", "open_log", "open_storage", "prepare_schema"]

CHECKED_AT_START = 64 * 2**20
"""Bytes: a file of SQLite's up to this size is read as a whole by each start, in some 0.2 s; a larger one only
after an unclean stop, while the service serves."""

EMBEDDED_STARTS_WITHIN_S = 0.5
"""How long opening waits for an embedded server: an empty one takes 0.05 s, ten million tweets load in 10 s."""

_log = logging.getLogger(__name__)


def open_storage(
    data_dir: Path,
    database_url: str = "",
    redis_url: str = "",
    *,
    partitions: int = 1,
    max_ancestors: int = 1000,
    queue_limit: int = 1024,
    cache_sizes: tuple[int, int] = CACHE_SIZES,
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
        store = database.get_state().store
        index, server = _open_index(data_dir / "redis", redis_url, store, attach=attach)
        owns_index = server is not None or not attach
        was_clean = owns_index and take_clean_marker(data_dir)
        if not attach and not was_clean:
            threading.Thread(target=_check_database, args=(database,), name="check", daemon=True).start()

        def on_close(is_trustworthy: bool) -> None:
            if server:
                server.stop()
            if owns_index and is_trustworthy and (server is None or server.ended_in_order):
                leave_clean_marker(data_dir)

        tweets = Tweets(
            database,
            index,
            store,
            owns_index=owns_index,
            is_trusted=was_clean and server is not None,
            max_ancestors=max_ancestors,
            queue_limit=queue_limit,
            cache_sizes=cache_sizes,
        )
        tweets.server, tweets.on_close = server, on_close
        tweets.start()
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
    url = read_url(database_url or URL.create("sqlite", database=str(data_dir / "tweets.db")))
    make_data_dir(data_dir)
    return open_database(url)


def _open_index(
    folder: Path, redis_url: str, store: Store, *, attach: bool
) -> tuple[RankingIndex, EmbeddedServer | None]:
    """The index, which need not answer yet, and the embedded server where this process runs it. Raises CannotOpen."""
    if redis_url:
        return open_index(redis_url, store.id), None
    with usable(folder):
        index = open_index(f"unix://{quote(str(socket_of(folder)))}", store.id)
        return index, None if attach and is_running(folder) else EmbeddedServer(folder, wait_s=EMBEDDED_STARTS_WITHIN_S)


def _check_database(database: Database) -> None:
    """Log the damage of a database too large for each start to read, after a stop that was not clean."""
    try:
        database.check_whole()
    except StoreDamaged as error:
        _log.critical("%s", error)
    except StorageError as error:
        _log.warning("the database was not checked: %s", error.__cause__)
