"""Opens the tweets for a verb as the settings say, and closes them whatever happens, a signal included."""

from collections.abc import Iterator
from contextlib import contextmanager

from app.cli.stopping import signals_heeded, signals_held
from app.opening import open_tweets
from app.settings import Settings
from storage import Tweets


@contextmanager
def tweets_opened(settings: Settings, *, attach: bool) -> Iterator[Tweets]:
    """The tweets of *settings*; *attach* where a running service may be there too. Raises CannotOpen."""
    with (
        signals_held(),
        open_tweets(settings, attach=attach) as tweets,
        signals_heeded(),
    ):
        yield tweets
