"""
How a process ends: SIGTERM, SIGINT and SIGHUP stop it in order; a second signal, or a stop that takes long, at once.

The service, its workers and every command use it. Signals belong to the whole process, so their state is kept here.
A signal that is ignored, as SIGHUP is under nohup, stays ignored.
"""

import atexit
import os
import select
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

SAME_SIGNAL_S = 0.5
"""`make`, `timeout` and service managers may pass one signal on several times: until then it is still the first."""

STOP_WITHIN_S = 15.0
"""After the first signal the process has ended within this time, whatever it waits for."""

IMPORTED_S = 0.01
"""A signal that comes while a module is imported looks again after this time whether that has ended."""

STUCK_S = 1.0
"""Ctrl-C ends a process whose main thread has not come back to Python code within this time."""


class _State:
    """What is known of the signals of this process."""

    exit_code: int | None = None
    """The exit code of a stop in order; None: 128 and the number of the signal."""
    is_installed = False
    held = False
    number: int | None = None
    """The first signal, once its handler has run."""
    stop: Callable[[], None] | None = None
    kill: Callable[[], None] | None = None


def handle_signals(exit_code: int | None = None) -> None:
    """
    From now on the first signal raises SystemExit in the main thread, so that everything opened is closed.

    Call it in the main thread; a second call only changes *exit_code*, by default 128 and the signal's number.
    """
    _State.exit_code = exit_code
    if _State.is_installed:
        return
    _State.is_installed = True
    # A handler runs when the main thread is back in Python code, which may be late; the kernel's wake-up is not.
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    threading.Thread(target=_watch, args=(reading,), name="signals", daemon=True).start()
    for number in SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _received)
    signal.signal(signal.SIGALRM, lambda _number, frame: _stop_if_asked(frame))
    atexit.register(signal.setitimer, signal.ITIMER_REAL, 0)  # once the interpreter ends no handler is there any more


@contextmanager
def stopping_with(stop: Callable[[], None], kill: Callable[[], None] | None = None) -> Iterator[None]:
    """
    Within this block the first signal calls *stop* instead of raising SystemExit.

    *kill* is called before the process ends at once: it ends what would outlive it.
    """
    _State.stop, _State.kill = stop, kill
    _stop_if_asked()
    try:
        yield
    finally:
        _State.stop = _State.kill = None


@contextmanager
def signals_held() -> Iterator[None]:
    """Let the first signal wait until the end of this block, which closes what was opened."""
    before, _State.held = _State.held, True
    try:
        yield
    finally:
        _State.held = before
    _stop_if_asked()


def _received(number: int, frame: FrameType | None) -> None:
    if _State.number is None:
        _State.number = number
        _stop_if_asked(frame)


def _stop_if_asked(frame: FrameType | None = None) -> None:
    if _State.number is None or _State.held:
        return
    if _State.stop:
        _State.stop()
        return
    while frame:
        if frame.f_code.co_filename.startswith("<frozen importlib"):  # it loses exceptions, and leaves files open
            signal.setitimer(signal.ITIMER_REAL, IMPORTED_S)
            return
        frame = frame.f_back
    raise SystemExit(128 + _State.number if _State.exit_code is None else _State.exit_code)


def _watch(reading: int) -> NoReturn:
    """End the process where its main thread does not: after a second signal, after Ctrl-C, and when time is up."""
    while (first := os.read(reading, 1)[0]) not in SIGNALS:
        pass
    began = time.monotonic()
    while True:
        is_stuck = first == signal.SIGINT and _State.number is None
        left_s = began + (STUCK_S if is_stuck else STOP_WITHIN_S) - time.monotonic()
        if left_s <= 0:
            break
        readable, _, _ = select.select([reading], [], [], min(left_s, STUCK_S))
        if readable and os.read(reading, 1)[0] in SIGNALS and time.monotonic() - began > SAME_SIGNAL_S:
            break
    if is_stuck:
        atexit._run_exitfuncs()  # noqa: SLF001  # they end child processes, which would be left behind
    if _State.kill:
        _State.kill()
    os._exit(128 + first)
