"""Opens the tweets for a verb as the settings say, and closes them whatever happens, a signal included."""

from collections.abc import Iterator
from contextlib import contextmanager

from app.cli.stopping import signals_heeded, signals_held
from app.settings import Settings
from storage import Tweets, open_storage


@contextmanager
def tweets_opened(settings: Settings, *, attach: bool) -> Iterator[Tweets]:
    """The tweets of *settings*; *attach* where a running service may be there too. Raises CannotOpen."""
    with (
        signals_held(),
        open_storage(
            settings.data_dir,
            settings.database_url,
            settings.redis_url,
            partitions=settings.partitions,
            max_ancestors=settings.max_ancestors,
            queue_limit=settings.queue_limit,
            attach=attach,
        ) as tweets,
        signals_heeded(),
    ):
        yield tweets
