"""From the settings to the tweets, for every way in: the command line, a worker, another WSGI server."""

from app.settings import Settings
from storage import Tweets, open_storage


def open_tweets(settings: Settings, *, attach: bool = False) -> Tweets:
    """The tweets of *settings*; *attach* where a running service may be there too. Raises CannotOpen."""
    return open_storage(
        settings.data_dir,
        settings.database_url,
        settings.redis_url,
        partitions=settings.partitions,
        ranked=settings.ranked,
        max_ancestors=settings.max_ancestors,
        queue_limit=settings.queue_limit,
        attach=attach,
    )
