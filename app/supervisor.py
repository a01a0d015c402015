"""
Several processes that serve one listening socket, and the parent that keeps their number.

A Python process uses one core, so more cores are used by more processes. The parent opens storage (and with it the
embedded server) and answers no request; each worker opens storage beside it and is a whole service of its own. Writers
take turns at the log, so the counts are as exact as with one.

A worker is `python -m app.supervisor LISTENING READY PARENT`, three open files of the parent. It writes a byte to
READY when it takes requests, and stops when PARENT, the reading end of a pipe, ends: that is when the parent dies.
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

from app.bootstrap import opened_tweets, serve_requests
from app.cli.streams import open_streams
from app.logging import set_up
from app.server import CannotServe
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


class Supervisor:
    """As many workers as wanted; one that dies is replaced, after a pause that grows while they keep dying."""

    def __init__(self, wanted: int, listening: socket.socket) -> None:
        self._wanted = wanted
        self._listening = listening
        self._parent_pipe, self._writing_end = os.pipe()
        self._files = listening.fileno(), self._parent_pipe
        self._processes: dict[int, subprocess.Popen[bytes]] = {}
        self._stopping = threading.Event()
        self._events: SimpleQueue[tuple[int, bool] | None] = SimpleQueue()
        """For each start the number of the worker, and whether it takes requests; None to stop."""

    def run(self, on_ready: Callable[[], None]) -> None:
        """
        Keep the workers until a signal; returns when all have ended. Call it in the main thread.

        *on_ready* is called once all take requests. A second signal ends them at once. Raises CannotServe when they do
        not start.
        """
        missing = set(range(self._wanted))
        keepers = [threading.Thread(target=self._keep, args=(number,), daemon=True) for number in missing]
        with stopping_with(self._stop, self._kill):
            try:
                for keeper in keepers:
                    keeper.start()
                while event := self._events.get():
                    number, is_ready = event
                    if missing and not is_ready:
                        raise CannotServe("The worker processes do not start; their reasons are above.")
                    if missing and not (missing := missing - {number}):
                        on_ready()
            finally:
                # First: while a socket listens, the kernel goes on taking connections, which the workers then do not
                # see. What it has taken by now the workers answer, each before it closes its own.
                self._listening.close()
                self._stopping.set()
                os.close(self._writing_end)  # whose end the workers see
                deadline = time.monotonic() + STOP_WITHIN_S
                for keeper in keepers:
                    keeper.join(max(0.1, deadline - time.monotonic()))
                self._kill()

    def _keep(self, number: int) -> None:
        pause_s = 0.0
        while not self._stopping.wait(pause_s):
            began = time.monotonic()
            reading, writing = os.pipe()
            with os.fdopen(reading, "rb", buffering=0) as ready:
                process = None
                try:
                    process = self._processes[number] = start_worker(*self._files, writing)
                except OSError as error:
                    _log.error("a worker cannot be started (%s)", error)
                finally:
                    os.close(writing)
                is_ready = select.select([ready], [], [], START_WITHIN_S)[0] != [] and ready.read(1) != b""
            self._events.put((number, is_ready))
            if process and not is_ready:
                process.kill()
            code = process.wait() if process else 1
            if not self._stopping.is_set():
                pause_s = pause_after(pause_s, time.monotonic() - began)
                _log.error("a worker ended with code %d; another one starts in %.1f s", code, pause_s)

    def _stop(self) -> None:
        self._stopping.set()
        self._events.put(None)

    def _kill(self) -> None:
        for process in list(self._processes.values()):
            process.kill()


def start_worker(listening_fileno: int, parent_pipe: int, ready: int) -> subprocess.Popen[bytes]:
    """A new process with these files."""
    handed = (listening_fileno, ready, parent_pipe)
    return subprocess.Popen(  # noqa: S603  # our own program
        [sys.executable, "-m", "app.supervisor", *map(str, handed)],
        pass_fds=handed,
        stdin=subprocess.DEVNULL,
        start_new_session=True,  # a Ctrl-C is for the parent, which tells its workers
    )


def pause_after(pause_s: float, lived_s: float) -> float:
    """The pause before a worker that lived so long is replaced, if the one before it was *pause_s* long."""
    return 0.0 if lived_s > STEADY_AFTER_S else min(pause_s * 2 or 0.5, LONGEST_PAUSE_S)


def work(listening_fileno: int, ready: int, parent_pipe: int) -> int:
    """Serve until SIGTERM, or until the parent is gone; the exit code."""
    gc.freeze()
    gc.enable()
    open_streams()
    handle_signals(0)
    settings = Settings.from_environment()
    set_up(settings, logging.WARNING)
    threading.Thread(target=_stop_with_parent, args=(parent_pipe,), name="parent", daemon=True).start()

    def announce(_url: str) -> None:
        os.write(ready, b"1")
        os.close(ready)

    with socket.socket(fileno=listening_fileno) as listening, opened_tweets(settings, attach=True) as tweets:
        serve_requests(tweets, settings, listening, announce)
    return 0


def _stop_with_parent(parent_pipe: int) -> None:
    os.read(parent_pipe, 1)  # nothing is ever written: it returns when the last writing end is closed
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    try:
        sys.exit(work(*map(int, sys.argv[1:])))
    except CannotOpen as error:
        sys.exit(str(error))
