"""`serve`: the service itself, from the settings to the last answer."""

import gc
import ipaddress
import os
import socket
from argparse import Namespace
from collections.abc import Callable
from contextlib import AbstractContextManager, closing, nullcontext

from app.cli.opening import tweets_opened
from app.cli.stopping import heed_signals
from app.cli.verb import Verbs
from app.crew import Crew
from app.factory import create_app
from app.server import CannotServe, open_socket, url_of
from app.server import serve as serve_app
from app.settings import Settings
from storage import Tweets
from storage.data_dir import serving_alone
from storage.tokens import Tokens

STOPPED = 0
"""The exit code of a service that was asked to stop, at whatever moment."""


def serve(_arguments: Namespace, settings: Settings) -> int:
    """Serve until a signal. Raises CannotServe and CannotOpen."""
    with (
        closing(open_socket(settings.host, settings.port)) as listening,
        alone(settings),
        tweets_opened(settings, attach=False) as tweets,
    ):
        check_writers(tweets, settings, listening)

        def announce(url: str) -> None:
            print(f"Serving on {url}  (data in {shown(settings)}; Ctrl-C stops)", flush=True)

        workers = settings.workers or min(4, max(1, (os.cpu_count() or 1) // 2))
        try:
            if settings.metrics:
                _count(tweets, settings, alone=workers == 1)
            if workers > 1:
                Crew(workers, listening).run(lambda: announce(url_of(listening)))
                return STOPPED
            answer_requests(tweets, settings, listening, announce)
        finally:
            heed_signals(STOPPED)  # the server had taken them over
    return STOPPED


def alone(settings: Settings) -> AbstractContextManager[None]:
    """No other service on the same embedded database; one that is named by its URL several may share."""
    if settings.database_url:
        return nullcontext()
    return serving_alone(settings.data_dir, embedded_index=not settings.redis_url)


def answer_requests(
    tweets: Tweets, settings: Settings, listening: socket.socket, on_ready: Callable[[str], None]
) -> None:
    """Answer what comes to *listening*, in this process, until a signal."""
    app = create_app(tweets, settings)
    gc.freeze()  # what is there by now stays: the collector need not go through it again and again, while all wait
    serve_app(
        app,
        host=settings.host,
        port=settings.port,
        threads=settings.threads,
        on_ready=on_ready,
        listening=listening,
        hooks=app,
    )


def check_writers(tweets: Tweets, settings: Settings, listening: socket.socket) -> None:
    """Raise CannotServe where others than this machine could write without a token, unless that is meant."""
    address = listening.getsockname()[0]
    if is_loopback(address) or settings.allow_anonymous_writes or Tokens(tweets.database).are_needed():
        return
    raise CannotServe(
        f"HOST {settings.host} is reached from elsewhere, and without a token anybody could write: make one with "
        "`python -m app token add USER`, or set ALLOW_ANONYMOUS_WRITES=1 if that is meant."
    )


def is_loopback(address: str) -> bool:
    """Whether only this machine reaches *address*, numeric as a bound socket has it."""
    parsed = ipaddress.ip_address(address.partition("%")[0])
    mapped = parsed.ipv4_mapped if isinstance(parsed, ipaddress.IPv6Address) else None
    return (mapped or parsed).is_loopback


def _count(tweets: Tweets, settings: Settings, *, alone: bool) -> None:
    """Begin the numbers of a service anew; a parent of workers counts what its own storage does."""
    from app.metrics import Metrics, forget_ended

    forget_ended(settings.data_dir)
    if not alone:
        Metrics(settings.data_dir, tweets)


def shown(settings: Settings) -> str:
    """The data directory as one would type it: `./data` rather than `data`."""
    path = settings.data_dir
    return str(path) if path.is_absolute() else f"./{path}"


VERBS: Verbs = {"serve": serve}
