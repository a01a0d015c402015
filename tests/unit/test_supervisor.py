"""When a worker that has ended is started again, and how long one may take to start."""

import socket
import subprocess
import sys
from contextlib import nullcontext

import pytest

from app import CommandError, supervisor
from app.supervisor import LONGEST_PAUSE_S, STEADY_AFTER_S, pause_after, supervise


def test_a_worker_that_keeps_dying_is_started_ever_later() -> None:
    """The pause doubles from half a second to half a minute; one that has lived for long is replaced at once."""
    pauses = [0.0]
    while len(pauses) < 9:
        pauses.append(pause_after(pauses[-1], STEADY_AFTER_S - 1))
    assert pauses[1:] == [0.5, 1, 2, 4, 8, 16, LONGEST_PAUSE_S, LONGEST_PAUSE_S]
    assert pause_after(LONGEST_PAUSE_S, STEADY_AFTER_S + 1) == 0


@pytest.mark.parametrize("script", ["import time; time.sleep(600)", "raise SystemExit(1)", None])
def test_workers_that_do_not_become_ready(monkeypatch: pytest.MonkeyPatch, script: str | None) -> None:
    """They are ended, and the start has failed, whether they do nothing, die, or cannot be started at all."""
    monkeypatch.setattr(supervisor, "START_WITHIN_S", 0.5)
    monkeypatch.setattr(supervisor, "stopping_with", lambda *_: nullcontext())  # the signals here are pytest's
    started: list[subprocess.Popen[bytes]] = []

    def start(_listening: int) -> subprocess.Popen[bytes]:
        if script is None:
            raise BlockingIOError("no more processes")
        pipe = subprocess.PIPE
        started.append(subprocess.Popen([sys.executable, "-c", script], bufsize=0, stdin=pipe, stdout=pipe))
        return started[-1]

    monkeypatch.setattr(supervisor, "start_worker", start)
    with socket.socket() as listening, pytest.raises(CommandError):
        supervise(2, listening, lambda: pytest.fail("none is ready"))
    assert all(process.wait() in {1, -9, -15} for process in started)
