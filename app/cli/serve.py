"""`serve`: the service itself, from the settings to the last response."""

import ipaddress
import os
import socket
from argparse import Namespace
from contextlib import closing, nullcontext

from app import CommandError
from app.bootstrap import opened_tweets, serve_requests
from app.cli.streams import finish_output
from app.server import open_socket, url_of
from app.settings import Settings
from app.supervisor import supervise
from storage import Tweets
from storage.data_dir import serving_alone
from storage.tokens import Tokens


def serve_command(_arguments: Namespace, settings: Settings) -> int:
    """Serve until a signal. Raises CommandError and CannotOpen."""
    # One service on an embedded database; a database that is named by its URL may have several.
    alone = nullcontext() if settings.database_url else serving_alone(settings.data_dir)
    folder = settings.data_dir if settings.data_dir.is_absolute() else f"./{settings.data_dir}"

    def announce(url: str) -> None:
        try:
            print(f"Serving on {url}  (data in {folder}; Ctrl-C stops)", flush=True)
        except (CommandError, BrokenPipeError):  # no reason not to serve
            finish_output()

    with (
        closing(open_socket(settings.host, settings.port)) as listening,
        alone,
        opened_tweets(settings, attach=False) as tweets,
    ):
        check_writers(tweets, settings, listening)
        workers = settings.workers or min(4, max(1, (os.cpu_count() or 1) // 2))
        if settings.metrics:
            from app.metrics import Metrics, forget_ended

            forget_ended(settings.data_dir)
            if workers > 1:
                Metrics(settings.data_dir, tweets)  # of what the storage of the parent does
        if workers > 1:
            url = url_of(listening)
            supervise(workers, listening, lambda: announce(url))
        else:
            serve_requests(tweets, settings, listening, announce)
    return 0


def check_writers(tweets: Tweets, settings: Settings, listening: socket.socket) -> None:
    """Raise CommandError where others than this machine could write without a token, unless that is meant."""
    address = listening.getsockname()[0]
    if is_loopback(address) or settings.allow_anonymous_writes or Tokens(tweets.database).are_needed():
        return
    raise CommandError(
        f"HOST {settings.host} is reached from elsewhere, and without a token anybody could write: make one with "
        "`simple-twitter token add USER`, or set ALLOW_ANONYMOUS_WRITES=1 if that is meant."
    )


def is_loopback(address: str) -> bool:
    """Whether only this machine reaches *address*, numeric as a bound socket has it."""
    parsed = ipaddress.ip_address(address.partition("%")[0])
    mapped = parsed.ipv4_mapped if isinstance(parsed, ipaddress.IPv6Address) else None
    return (mapped or parsed).is_loopback
