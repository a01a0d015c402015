"""What is measured, as child processes: services of a checkout, the bare app, commands of the command line."""

import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, NamedTuple

from app.settings import Settings

ROOT = Path(__file__).resolve().parent.parent
WITHIN_S = 600
LOOK_EVERY_S = 0.01


class CannotMeasure(Exception):
    """There is nothing to measure with, or the answers are wrong; the message is a sentence for a person."""


@dataclass(frozen=True, slots=True)
class Server:
    """A server that takes requests."""

    pid: int
    url: str

    def get(self, path: str) -> Any:
        """The JSON at *path*."""
        with urllib.request.urlopen(self.url + path, timeout=60) as answer:
            return json.load(answer)


class Ended(NamedTuple):
    """A command of the command line that has ended: what it printed, and the most memory that it had."""

    code: int
    said: str
    peak_mb: float


def service(data_dir: Path, checkout: Path = ROOT) -> AbstractContextManager[Server]:
    """The service of *checkout*, one process, on the data of *data_dir*."""
    return started(["app", "serve"], data_dir, checkout)


@contextmanager
def started(words: list[str], data_dir: Path, checkout: Path) -> Iterator[Server]:
    """`python -m` *words*, which prints where it serves, as the third word of a line."""
    with _popen(words, data_dir, checkout) as process:
        try:
            line = process.stdout.readline() if process.stdout else ""
            if not line.startswith("Serving on http://"):
                raise CannotMeasure(f"{' '.join(words)} did not start; its reason is above.")
            yield Server(process.pid, line.split()[2].rstrip("/"))
        finally:
            process.terminate()


def _popen(words: list[str], data_dir: Path, checkout: Path) -> "subprocess.Popen[str]":
    """`python -m` *words*, without any setting of ours, with the data in *data_dir* and a free port."""
    ours = {field.name.upper() for field in fields(Settings)}
    environment = {name: value for name, value in os.environ.items() if name not in ours}
    environment |= {"DATA_DIR": str(data_dir), "PORT": "0", "WORKERS": "1"}
    command = [sys.executable, "-m", *words]
    return subprocess.Popen(command, cwd=checkout, env=environment, stdout=subprocess.PIPE, text=True)


def wait_for(look: Callable[[], object]) -> None:
    """Wait until *look* returns something true; errors of the connection count as not yet. Raises CannotMeasure."""
    until = time.monotonic() + WITHIN_S
    while time.monotonic() < until:
        try:
            if look():
                return
        except OSError:  # HTTPError and URLError are such
            pass
        time.sleep(LOOK_EVERY_S)
    raise CannotMeasure("The service does not become ready after its start.")


def run_command(data_dir: Path, *words: str, checkout: Path = ROOT) -> Ended:
    """Run a command of the command line to its end."""
    peak_mb = 0.0
    with _popen(["app", *words], data_dir, checkout) as process:
        while process.poll() is None:
            peak_mb = max(peak_mb, memory_mb(process.pid, "VmHWM"))
            time.sleep(LOOK_EVERY_S)
        said = process.stdout.read() if process.stdout else ""
    return Ended(process.returncode, said.strip(), peak_mb)


def memory_mb(pid: int, what: str = "VmRSS") -> float:
    """What a process has in memory, now or (`VmHWM`) at most. Linux only; 0 elsewhere, and for one that has ended."""
    try:
        lines = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    except OSError:
        return 0
    return int(lines.get(what, "0 kB").split()[0]) / 1000


def cpu_s(pid: int) -> float:
    """The processor time that a process has used. Linux only; 0 elsewhere."""
    try:
        numbers = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0
    return (int(numbers[11]) + int(numbers[12])) / os.sysconf("SC_CLK_TCK")
