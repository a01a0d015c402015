"""Services that are killed, as processes of their own, and what is looked at after their next start."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from tests.e2e.commands import PATIENCE_S, ROOT, Service, done, environment, serving
from tests.faults.load import Caller, Ledger


def eventually(holds: Callable[[], object], within_s: float = PATIENCE_S) -> None:
    """Wait until something holds; fail when it does not in time."""
    deadline = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.01)


def server_pid(data_dir: Path) -> int:
    """The process of the embedded server of *data_dir*, once it is started."""
    file = data_dir / "redis" / "server.lock"
    eventually(lambda: file.read_text().isdigit())
    return int(file.read_text())


def is_alive(pid: int) -> bool:
    """Whether the process runs; one that ended and was not waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] not in "ZX"
    except FileNotFoundError:
        return False


def kill(pid: int) -> None:
    """Kill a process as a machine does that is out of memory, if it is there."""
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


@contextmanager
def serving_until(moment: str, number: int, data_dir: Path, **settings: str) -> Iterator[Service]:
    """A service that kills itself at *moment*; see `tests.faults.crashing`."""
    words = (sys.executable, "-m", "tests.faults.crashing", moment, str(number))
    with serving(data_dir, *words, WORKERS="1", **settings) as service:
        yield service


def die_at_start(moment: str, number: int, data_dir: Path) -> None:
    """Start a service that kills itself at *moment* before it serves."""
    ended = subprocess.run(
        [sys.executable, "-m", "tests.faults.crashing", moment, str(number)],
        cwd=ROOT,
        env=environment(data_dir, {"WORKERS": "1"}),
        capture_output=True,
        check=False,
        timeout=PATIENCE_S,
    )
    assert ended.returncode == -signal.SIGKILL, (ended.returncode, ended.stdout, ended.stderr)


def check_all(data_dir: Path, ledger: Ledger, keys: int = 20) -> None:
    """Start a service on *data_dir*, and see that it shows what *ledger* says, and that every count is right."""
    with serving(data_dir, WORKERS="1") as service, closing(Caller(service.url)) as caller:
        ledger.settle(caller)
        ledger.check(caller)
        ledger.check_keys(caller, keys)
        assert b" 0 wrong" in done(data_dir, "verify")
        assert service.end() == 0
