"""The composition root: settings -> database and index -> tweets -> application -> server. The only one there is."""

import gc
import socket
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager

from app.http.application import Application
from app.server import Limits, Server
from app.settings import Settings
from app.signals import signals_held, stopping_with
from storage import Tweets, open_log, open_storage, prepare_schema
from storage.sql.database import Database


def open_tweets(settings: Settings, *, attach: bool = False) -> Tweets:
    """The tweets of *settings*; *attach* where a running service may be there too. Raises CannotOpen."""
    return open_storage(
        settings.data_dir,
        settings.database_url,
        settings.redis_url,
        partitions=settings.partitions,
        max_ancestors=settings.max_ancestors,
        queue_limit=settings.queue_limit,
        attach=attach,
    )


@contextmanager
def opened_tweets(settings: Settings, *, attach: bool) -> Iterator[Tweets]:
    """As `open_tweets`, closed at the end of the block, whatever ends it."""
    tweets = open_tweets(settings, attach=attach)
    try:
        yield tweets
    finally:
        with signals_held():
            tweets.close()


@contextmanager
def opened_database(settings: Settings, *, prepare: bool = True) -> Iterator[Database]:
    """
    The database of *settings* without an index, closed at the end of the block. Raises CannotOpen.

    With *prepare* it is at the latest revision: an embedded one is migrated, another one raises CannotOpen.
    """
    with closing(open_log(settings.data_dir, settings.database_url)) as database:
        if prepare:
            prepare_schema(database, settings.partitions, embedded=not settings.database_url)
        yield database


def serve_requests(
    tweets: Tweets, settings: Settings, listening: socket.socket, on_ready: Callable[[str], object]
) -> None:
    """
    Answer what comes to *listening* until a signal, then what was received, and return. Call it in the main thread.

    Takes at most 15 s to return; a second signal ends the process at once. *on_ready* gets the address, as in
    "http://127.0.0.1:5000/", once connections are taken. *listening* is closed at the end.
    """
    app = Application(tweets, settings)
    gc.freeze()  # the collector need not go through what is there by now again and again, while all requests wait
    limits = Limits(files=64 + 3 * settings.threads)  # a thread of the pool opens up to three files of SQLite
    server = Server(app, listening, limits=limits, **app.hooks())
    with closing(server), stopping_with(server.stop):
        on_ready(server.url)
        server.run()
