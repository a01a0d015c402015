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

LOOK_EVERY_S = 0.1
LONGEST_PAUSE_S = 30.0
STEADY_AFTER_S = 60
"""A worker that lived so long is replaced at once; each that lived shorter doubles the pause, from half a second."""

_log = logging.getLogger(__name__)


class Worker:
    """One of the processes: ready, starting, or to be started at `starts_at`."""

    def __init__(self) -> None:
        self.process: subprocess.Popen[bytes] | None = None
        self.is_ready = False
        self.starts_at = self.started_at = 0.0
        self._pause_s = 0.0
        self._ready = -1

    def start(self, listening: socket.socket, parent_pipe: int) -> None:
        """Start the process."""
        self._ready, writing = os.pipe()
        handed = (listening.fileno(), writing, parent_pipe)
        try:
            self.process = subprocess.Popen(  # noqa: S603  # our own program
                [sys.executable, "-m", "app.supervisor", *map(str, handed)],
                pass_fds=handed,
                stdin=subprocess.DEVNULL,
                start_new_session=True,  # a Ctrl-C is for the parent, which tells its workers
            )
        finally:
            os.close(writing)
        self.is_ready, self.started_at = False, time.monotonic()

    def look(self) -> None:
        """See whether it is ready by now, or has ended: then `process` is None, and `starts_at` is set."""
        if self.process is None:
            return
        if self._ready >= 0 and select.select([self._ready], [], [], 0)[0]:
            self.is_ready = os.read(self._ready, 1) != b""
            os.close(self._ready)
            self._ready = -1
        now = time.monotonic()
        if not self.is_ready and now - self.started_at > START_WITHIN_S:
            self.process.kill()
            self.process.wait()
        code = self.process.poll()
        if code is None:
            return
        self._pause_s = (
            0.0 if now - self.started_at > STEADY_AFTER_S else min(self._pause_s * 2 or 0.5, LONGEST_PAUSE_S)
        )
        self.process, self.starts_at = None, now + self._pause_s
        _log.error("a worker ended with code %d; another one starts in %.1f s", code, self._pause_s)


class Supervisor:
    """As many workers as wanted; one that dies is replaced, after a pause that grows while they keep dying."""

    def __init__(self, wanted: int, listening: socket.socket) -> None:
        self._listening = listening
        self._parent_pipe, self._writing_end = os.pipe()
        self._workers = [Worker() for _ in range(wanted)]
        self._stopping = threading.Event()

    def run(self, on_ready: Callable[[], None]) -> None:
        """
        Keep the workers until a signal; returns when all have ended. Call it in the main thread.

        A second signal ends them at once. Raises CannotServe when they do not start.
        """
        with stopping_with(self._stopping.set, kill=self._kill):
            try:
                for worker in self._workers:
                    worker.start(self._listening, self._parent_pipe)
                while not all(worker.is_ready for worker in self._workers) and not self._stopping.wait(0.01):
                    for worker in self._workers:
                        worker.look()
                        if worker.process is None:
                            raise CannotServe("The worker processes do not start; their reasons are above.")
                if not self._stopping.is_set():
                    on_ready()
                while not self._stopping.wait(LOOK_EVERY_S):
                    for worker in self._workers:
                        worker.look()
                        if worker.process is None and worker.starts_at <= time.monotonic():
                            worker.start(self._listening, self._parent_pipe)
            finally:
                self._stop()

    def _stop(self) -> None:
        # First: while a socket listens, the kernel goes on taking connections, which the workers then do not see. What
        # it has taken by now the workers answer, each before it closes its own.
        self._listening.close()
        processes = [worker.process for worker in self._workers if worker.process]
        for process in processes:
            process.terminate()
        deadline = time.monotonic() + STOP_WITHIN_S
        for process in processes:
            try:
                process.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        os.close(self._parent_pipe)
        os.close(self._writing_end)

    def _kill(self) -> None:
        for worker in self._workers:
            if worker.process:
                worker.process.kill()


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
