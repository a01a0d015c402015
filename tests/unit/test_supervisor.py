"""When a worker that has ended is started again."""

import subprocess
import sys
import time

import pytest

from app import supervisor
from app.supervisor import LONGEST_PAUSE_S, Worker


def pause_after_death(worker: Worker) -> float:
    """The seconds until *worker*, which ends now, is started again."""
    worker.process = subprocess.Popen([sys.executable, "-c", "raise SystemExit(1)"])
    worker.is_ready, worker.started_at = True, time.monotonic()
    worker.process.wait()
    before = time.monotonic()
    worker.look()
    assert worker.starts_at > 0
    return round(worker.starts_at - before, 1)


def test_a_worker_that_keeps_dying_is_started_ever_later(monkeypatch: pytest.MonkeyPatch) -> None:
    """The pause doubles from half a second to half a minute; one that has lived for long is replaced at once."""
    worker = Worker()
    pauses = [pause_after_death(worker) for _ in range(8)]
    assert pauses == [0.5, 1, 2, 4, 8, 16, LONGEST_PAUSE_S, LONGEST_PAUSE_S]
    monkeypatch.setattr(supervisor, "STEADY_AFTER_S", -1)
    assert pause_after_death(worker) == 0


def test_a_worker_that_does_not_become_ready_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """And then started again as any that has died."""
    monkeypatch.setattr(supervisor, "START_WITHIN_S", 0)
    worker = Worker()
    worker.process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    worker.started_at = time.monotonic() - 1
    worker.look()
    assert worker.starts_at > 0
