"""
The service, killed at a chosen moment: `python -m tests.faults.crashing MOMENT NUMBER`, then as `serve`.

It kills itself when it reaches that moment for the NUMBER-th time: no signal from outside can be so exact.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from typing import Any

from app.cli.main import main
from storage.batch import Batch
from storage.batch_worker import BatchFuture
from storage.index.ranking import RankingIndex
from storage.writer import Writer

AFTER: dict[str, tuple[type, str]] = {
    "rows sent, not committed": (Batch, "append"),
    "committed, not folded": (Writer, "_append"),
    "folded, not answered": (Writer, "_fold"),
    "some answered, some not": (BatchFuture, "set_result"),
}
"""Moments of a write: right after these calls."""

RECOVERING: dict[str, tuple[type, str]] = {
    "a server just started": (subprocess.Popen, "__init__"),
    "a rebuild half filled": (RankingIndex, "stage"),
    "a rebuild swapped": (RankingIndex, "swap"),
    "caught up by one step": (RankingIndex, "fold_all"),
}
"""Moments of a start, whose index lacks something."""


def kill_after(owner: type, name: str, number: int) -> None:
    """Let the process die right after the *number*-th call of the method *name* of *owner*."""
    original: Callable[..., Any] = getattr(owner, name)
    calls = 0

    def called(*arguments: Any, **named: Any) -> Any:
        nonlocal calls
        answer = original(*arguments, **named)
        calls += 1
        if calls == number:
            os.kill(os.getpid(), signal.SIGKILL)
        return answer

    setattr(owner, name, called)


if __name__ == "__main__":
    moment, number = sys.argv[1:]
    kill_after(*(AFTER | RECOVERING)[moment], int(number))
    sys.exit(main(["serve"]))
