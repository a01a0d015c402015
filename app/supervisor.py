"""
Several processes that serve one listening socket, and the parent that keeps their number.

A Python process uses one core, so more cores are used by more processes. The parent opens storage (and with it the
embedded server) and answers no request; each worker opens storage beside it and is a whole service of its own. Writers
take turns at the log, so the counts are as exact as with one.

A worker is `python -m app.supervisor LISTENING`, an open file of the parent. It writes a byte to standard output when
it takes requests, and stops when its standard input, a pipe of the parent, ends: that is when the parent dies.
"""

import gc
import logging
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from queue import SimpleQueue

if __name__ == "__main__":
    gc.disable()  # see `app.cli.main`

from app import CommandError
from app.bootstrap import opened_tweets, serve_requests
from app.cli.streams import open_streams
from app.logging import set_up
from app.settings import Settings
from app.signals import handle_signals, stopping_with
from storage.errors import CannotOpen

START_WITHIN_S = 60
STOP_WITHIN_S = 12
"""Longer than a worker answers what it has received (`app.server.Limits.drain_s`)."""

LONGEST_PAUSE_S = 30.0
STEADY_AFTER_S = 60
"""A worker that lived so long is replaced at once; each that lived shorter doubles the pause, from half a second."""

_log = logging.getLogger(__name__)


def supervise(wanted: int, listening: socket.socket, on_ready: Callable[[], None]) -> None:
    """
    Keep so many workers until a signal; returns when all have ended. Call it in the main thread.

    One that dies is replaced, after a pause that grows while they keep dying. *on_ready* is called once all take
    requests. A second signal ends them at once. Raises CommandError when they do not start.
    """
    processes: dict[int, subprocess.Popen[bytes]] = {}
    stopping = threading.Event()
    events: SimpleQueue[tuple[int, bool] | None] = SimpleQueue()
    """For each start the number of the worker, and whether it takes requests; None to stop."""
    shared = (listening.fileno(), processes, stopping, events)

    def end_all(signal_number: int = signal.SIGKILL) -> None:
        for process in list(processes.values()):
            process.send_signal(signal_number)

    missing = set(range(wanted))
    keepers = [threading.Thread(target=_keep, args=(number, *shared), daemon=True) for number in missing]
    with stopping_with(lambda: events.put(None), end_all):
        try:
            for keeper in keepers:
                keeper.start()
            while event := events.get():
                number, is_ready = event
                if missing and not is_ready:
                    raise CommandError("The worker processes do not start; their reasons are above.")
                if missing and not (missing := missing - {number}):
                    on_ready()
        finally:
            # First: while a socket listens, the kernel goes on taking connections, which the workers then do not
            # see. What it has taken by now the workers answer, each before it closes its own.
            listening.close()
            stopping.set()
            end_all(signal.SIGTERM)
            deadline = time.monotonic() + STOP_WITHIN_S
            for keeper in keepers:
                keeper.join(max(0.1, deadline - time.monotonic()))
            end_all()


def _keep(
    number: int,
    listening_fileno: int,
    processes: dict[int, subprocess.Popen[bytes]],
    stopping: threading.Event,
    events: SimpleQueue[tuple[int, bool] | None],
) -> None:
    pause_s = 0.0
    while not stopping.wait(pause_s):
        began, code = time.monotonic(), 1
        try:
            with start_worker(listening_fileno) as process:
                processes[number] = process
                if stopping.is_set():
                    process.terminate()
                ready = process.stdout
                is_ready = bool(ready and select.select([ready], [], [], START_WITHIN_S)[0] and ready.read(1))
                events.put((number, is_ready))
                if not is_ready:
                    process.kill()
                code = process.wait()
        except OSError as error:
            _log.error("a worker cannot be started (%s)", error)
            events.put((number, False))
        if not stopping.is_set():
            pause_s = pause_after(pause_s, time.monotonic() - began)
            _log.error("a worker ended with code %d; another one starts in %.1f s", code, pause_s)


def start_worker(listening_fileno: int) -> subprocess.Popen[bytes]:
    """A new process that serves this file."""
    return subprocess.Popen(  # noqa: S603  # our own program
        [sys.executable, "-m", "app.supervisor", str(listening_fileno)],
        bufsize=0,
        pass_fds=(listening_fileno,),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,  # a Ctrl-C is for the parent, which tells its workers
    )


def pause_after(pause_s: float, lived_s: float) -> float:
    """The pause before a worker that lived so long is replaced, if the one before it was *pause_s* long."""
    return 0.0 if lived_s > STEADY_AFTER_S else min(pause_s * 2 or 0.5, LONGEST_PAUSE_S)


def work(listening_fileno: int) -> int:
    """Serve until SIGTERM, or until the parent is gone; the exit code."""
    gc.freeze()
    gc.enable()
    open_streams()
    handle_signals(0)
    settings = Settings.from_environment()
    set_up(settings, logging.WARNING)
    threading.Thread(target=_stop_with_parent, name="parent", daemon=True).start()
    with socket.socket(fileno=listening_fileno) as listening, opened_tweets(settings, attach=True) as tweets:
        serve_requests(tweets, settings, listening, lambda _url: os.write(1, b"1"))
    return 0


def _stop_with_parent() -> None:
    os.read(0, 1)  # nothing is ever written: it returns when the other end is closed
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    try:
        sys.exit(work(int(sys.argv[1])))
    except CannotOpen as error:
        sys.exit(str(error))
