"""
Several processes that serve one listening socket, and the parent that keeps their number.

A Python process does one thing at a time, so more cores are used by more processes. The parent opens storage (and
with it the embedded server) and answers no request; each worker opens storage beside it and is a whole service of its
own. Whoever of them writes takes his turn at the log, so the counts are as exact as with one.
"""

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
from types import FrameType

from app.server import CannotServe

START_WITHIN_S = 60
STOP_WITHIN_S = 20
"""A worker answers what it has received for at most 15 s; see `app.server`."""

LOOK_EVERY_S = 0.1
SAME_SIGNAL_S = 0.5
"""As in `app.server`: until then a second signal is still the first."""

_log = logging.getLogger(__name__)


class Worker:
    """A process that serves *listening*, until it is stopped or *lifeline*, the reading end of a pipe, is closed."""

    def __init__(self, listening: socket.socket, lifeline: int) -> None:
        ready, said_ready = os.pipe()
        handed = (listening.fileno(), said_ready, lifeline)
        try:
            self.process = subprocess.Popen(  # noqa: S603  # our own program
                [sys.executable, "-m", "app.worker", *map(str, handed)],
                pass_fds=handed,
                stdin=subprocess.DEVNULL,
                start_new_session=True,  # a Ctrl-C is for the parent, which tells its workers
            )
        finally:
            os.close(said_ready)
        self._ready = ready

    def wait_ready(self, deadline: float) -> bool:
        """Wait until it takes requests; False when it ended, or it is later than *deadline*."""
        readable, _, _ = select.select([self._ready], [], [], max(0.0, deadline - time.monotonic()))
        said = os.read(self._ready, 1) if readable else b""
        os.close(self._ready)
        return said != b""


class Crew:
    """As many workers as wanted; one that dies is replaced."""

    def __init__(self, wanted: int, listening: socket.socket) -> None:
        self._wanted = wanted
        self._listening = listening
        self._lifeline, self._life = os.pipe()
        self._workers: list[Worker] = []
        self._stopping = threading.Event()

    def run(self, on_ready: Callable[[], None]) -> None:
        """
        Keep the workers until a signal; returns when all have ended. Call it in the main thread.

        A second signal ends them at once. Raises CannotServe when they do not start.
        """
        self._stop_on_signals()
        try:
            self._start()
            on_ready()
            while not self._stopping.wait(LOOK_EVERY_S):
                self._replace_dead()
        finally:
            self._stop()

    def _start(self) -> None:
        self._workers = [Worker(self._listening, self._lifeline) for _ in range(self._wanted)]
        deadline = time.monotonic() + START_WITHIN_S
        started = [worker.wait_ready(deadline) for worker in self._workers]
        if not all(started) and not self._stopping.is_set():
            raise CannotServe("The worker processes do not start; their reasons are above.")

    def _replace_dead(self) -> None:
        for place, worker in enumerate(self._workers):
            code = worker.process.poll()
            if code is not None and not self._stopping.is_set():
                _log.error("a worker ended with code %d; another takes its place", code)
                self._workers[place] = Worker(self._listening, self._lifeline)
                if not self._workers[place].wait_ready(time.monotonic() + START_WITHIN_S):
                    _log.error("the new worker did not start")

    def _stop(self) -> None:
        os.close(self._life)
        os.close(self._lifeline)
        for worker in self._workers:
            worker.process.terminate()
        deadline = time.monotonic() + STOP_WITHIN_S
        for worker in self._workers:
            try:
                worker.process.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                worker.process.kill()
                worker.process.wait()

    def _stop_on_signals(self) -> None:
        """Let a signal stop the crew, and a second one end it at once; those ignored, as under nohup, stay ignored."""
        stopped_at: list[float] = []

        def stop(number: int, _frame: FrameType | None) -> None:
            now = time.monotonic()
            if not stopped_at:
                stopped_at.append(now)
                self._stopping.set()
            elif now - stopped_at[0] > SAME_SIGNAL_S:
                for worker in self._workers:
                    worker.process.kill()
                signal.signal(number, signal.SIG_DFL)
                os.kill(os.getpid(), number)

        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, stop)
