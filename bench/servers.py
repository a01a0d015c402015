"""What is measured, as child processes: services of a checkout, the bare app, commands of the command line."""

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, NamedTuple

from app.settings import Settings

ROOT = Path(__file__).resolve().parent.parent
START_WITHIN_S = 600
STOP_WITHIN_S = 60
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


def environment(data_dir: Path, **settings: str) -> dict[str, str]:
    """Ours, without any setting of the service but *settings*, with the data in *data_dir* and a free port."""
    ours = {field.name.upper() for field in fields(Settings)}
    inherited = {name: value for name, value in os.environ.items() if name not in ours}
    return {**inherited, "DATA_DIR": str(data_dir), "PORT": "0", "WORKERS": "1", **settings}


@contextmanager
def service(data_dir: Path, checkout: Path = ROOT) -> Iterator[Server]:
    """The service of *checkout*, one process, on the data of *data_dir*."""
    with started([sys.executable, "-m", "app", "serve"], environment(data_dir), checkout) as server:
        yield server


@contextmanager
def under_gunicorn(data_dir: Path, checkout: Path = ROOT) -> Iterator[Server]:
    """The same application under gunicorn, with as many threads as the service has by default."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    words = ["gunicorn", "--worker-class", "gthread", "--threads", "64", "--log-level", "error", "--bind", address]
    command = [sys.executable, "-m", *words, "wsgi:application"]
    with started(command, environment(data_dir), checkout, f"http://{address}") as server:
        yield server


@contextmanager
def bare(answers: Path) -> Iterator[Server]:
    """The bare app, which gives the *answers* of a file."""
    with started([sys.executable, "-m", "bench.bare", str(answers)], environment(answers.parent)) as server:
        yield server


@contextmanager
def started(
    command: list[str], environ: Mapping[str, str], checkout: Path = ROOT, url: str | None = None
) -> Iterator[Server]:
    """A child process that answers at *url*; without one it prints where it serves, as the third word of a line."""
    with subprocess.Popen(command, cwd=checkout, env=environ, stdout=subprocess.PIPE, text=True) as process:
        try:
            if url is None:
                line = process.stdout.readline() if process.stdout else ""
                is_there, url = line.startswith("Serving on http://"), line.partition("http")[2].partition(" ")[0]
                server = Server(process.pid, f"http{url.strip().rstrip('/')}")
            else:
                server = Server(process.pid, url)
                is_there = wait_for(lambda: server.get("/livez"), process)
            if not is_there:
                raise CannotMeasure(f"{' '.join(command[1:])} did not start; its reason is above.")
            yield server
        finally:
            process.terminate()
            try:
                process.wait(STOP_WITHIN_S)
            except subprocess.TimeoutExpired:
                process.kill()


def wait_for(look: Any, process: "subprocess.Popen[str] | None" = None) -> bool:
    """Whether *look* returned something true before *process* ended; errors of the connection count as not yet."""
    until = time.monotonic() + START_WITHIN_S
    while time.monotonic() < until and (process is None or process.poll() is None):
        try:
            if look():
                return True
        except OSError:  # HTTPError and URLError are such
            pass
        time.sleep(LOOK_EVERY_S)
    return False


def run_command(data_dir: Path, *words: str, checkout: Path = ROOT) -> Ended:
    """Run a command of the command line to its end."""
    command = [sys.executable, "-m", "app", *words]
    peak_mb = 0.0
    with subprocess.Popen(
        command, cwd=checkout, env=environment(data_dir), stdout=subprocess.PIPE, text=True
    ) as process:
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
