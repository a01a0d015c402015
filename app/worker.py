"""
One worker of a crew: `python -m app.worker LISTENING READY LIFELINE`, three open files of the parent's.

It writes a byte to READY when it takes requests, and stops when LIFELINE ends, which it does when the parent dies.
"""

import gc
import logging
import os
import signal
import socket
import sys
import threading

if __name__ == "__main__":
    gc.disable()  # see `app.cli.main`

from app.cli.opening import tweets_opened
from app.cli.serve import answer_requests
from app.cli.stopping import heed_signals
from app.log import set_up
from app.settings import Settings
from storage.errors import CannotOpen


def main(listening_fileno: int, ready: int, lifeline: int) -> int:
    """Serve until SIGTERM, or until the parent is gone; the exit code."""
    gc.freeze()
    gc.enable()
    heed_signals(0)
    settings = Settings.from_environment()
    set_up(settings, logging.WARNING)
    threading.Thread(target=_stop_with_parent, args=(lifeline,), name="lifeline", daemon=True).start()

    def announce(_url: str) -> None:
        os.write(ready, b"1")
        os.close(ready)

    with socket.socket(fileno=listening_fileno) as listening, tweets_opened(settings, attach=True) as tweets:
        answer_requests(tweets, settings, listening, announce)
        heed_signals(0)  # the server had taken them over
    return 0


def _stop_with_parent(lifeline: int) -> None:
    os.read(lifeline, 1)  # nobody ever writes: it returns when the last writing end is closed
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    try:
        sys.exit(main(*map(int, sys.argv[1:])))
    except CannotOpen as error:
        sys.exit(str(error))
