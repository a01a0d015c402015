"""`serve`: the service itself, from the settings to the last answer."""

import os
from argparse import Namespace
from contextlib import closing

from app.cli.opening import tweets_opened
from app.cli.stopping import heed_signals
from app.cli.verb import Verbs
from app.crew import Crew
from app.factory import create_app
from app.server import open_socket, url_of
from app.server import serve as answer_requests
from app.settings import Settings

STOPPED = 0
"""The exit code of a service that was asked to stop, at whatever moment."""


def serve(_arguments: Namespace, settings: Settings) -> int:
    """Serve until a signal. Raises CannotServe before anything is opened, and CannotOpen."""
    with (
        closing(open_socket(settings.host, settings.port)) as listening,
        tweets_opened(settings, attach=False) as tweets,
    ):

        def announce(url: str) -> None:
            print(f"Serving on {url}  (data in {shown(settings)}; Ctrl-C stops)", flush=True)

        workers = settings.workers or min(4, max(1, (os.cpu_count() or 1) // 2))
        try:
            if workers > 1:
                Crew(workers, listening).run(lambda: announce(url_of(listening)))
                return STOPPED
            answer_requests(
                create_app(tweets, settings),
                host=settings.host,
                port=settings.port,
                threads=settings.threads,
                on_ready=announce,
                listening=listening,
            )
        finally:
            heed_signals(STOPPED)  # the server had taken them over
    return STOPPED


def shown(settings: Settings) -> str:
    """The data directory as one would type it: `./data` rather than `data`."""
    path = settings.data_dir
    return str(path) if path.is_absolute() else f"./{path}"


VERBS: Verbs = {"serve": serve}
