"""
SIGINT, SIGTERM and SIGHUP end the process in order: as a SystemExit, so that everything opened is closed.

While something is being opened or closed a signal has to wait, or a child process half started would be left behind.
Signals belong to the whole process, so what is known of them is kept here, once.
"""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class _Waiting:
    """Whether signals have to wait, the one that does, and the exit code of a process that was asked to stop."""

    held = False
    signal: int | None = None
    exit_code: int | None = None


def heed_signals(exit_code: int | None = None) -> None:
    """From now on each signal ends the process with *exit_code*, by default 128 and the signal's number."""
    _Waiting.exit_code = exit_code
    for number in SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:  # as under nohup
            signal.signal(number, _received)


@contextmanager
def signals_held() -> Iterator[None]:
    """Let signals wait until the end of this block, or until a `signals_heeded` block inside it."""
    before, _Waiting.held = _Waiting.held, True
    try:
        yield
    finally:
        _Waiting.held = before
    _end_if_asked()


@contextmanager
def signals_heeded() -> Iterator[None]:
    """Let signals through inside this block, beginning with one that waits."""
    before, _Waiting.held = _Waiting.held, False
    try:
        _end_if_asked()
        yield
    finally:
        _Waiting.held = before


def _received(number: int, _frame: FrameType | None) -> None:
    _Waiting.signal = number
    _end_if_asked()


def _end_if_asked() -> None:
    number = _Waiting.signal
    if number is None or _Waiting.held:
        return
    _Waiting.signal = None
    raise SystemExit(128 + number if _Waiting.exit_code is None else _Waiting.exit_code)
