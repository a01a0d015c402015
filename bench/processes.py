"""The servers that are measured, as child processes on loopback; and what the kernel says of them."""

import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from app.settings import Settings
from bench.load import CannotMeasure

ROOT = Path(__file__).resolve().parent.parent
STOP_WITHIN_S = 60


@dataclass(frozen=True, slots=True)
class Server:
    """A server that takes requests; *ready_s* is how long it took to come so far."""

    pid: int
    url: str
    ready_s: float

    def get(self, path: str) -> Any:
        """The JSON at *path*."""
        with urllib.request.urlopen(self.url + path, timeout=60) as answer:
            return json.load(answer)


def environment(data_dir: Path, **settings: str) -> dict[str, str]:
    """Ours, without any setting of the service but *settings*, with the data in *data_dir* and a free port."""
    ours = {field.name.upper() for field in fields(Settings)}
    inherited = {name: value for name, value in os.environ.items() if name not in ours}
    return {**inherited, "DATA_DIR": str(data_dir), "PORT": "0", **settings}


@contextmanager
def service(data_dir: Path, workers: int = 1) -> Iterator[Server]:
    """The service on the data of *data_dir*."""
    command = [sys.executable, "-m", "app", "serve"]
    with started(command, environment(data_dir, WORKERS=str(workers))) as server:
        yield server


@contextmanager
def bare(answers: Path, workers: int = 1, *, ours: bool = False) -> Iterator[Server]:
    """The bare app, which gives the *answers* of a file: on waitress itself, or on *ours*."""
    command = [sys.executable, "-m", "bench.bare", str(answers), "--workers", str(workers), *["--ours"] * ours]
    with started(command, environment(answers.parent)) as server:
        yield server


@contextmanager
def started(command: list[str], environ: Mapping[str, str]) -> Iterator[Server]:
    """A child process that says where it serves in its first line, as the third word."""
    began = time.monotonic()
    with subprocess.Popen(command, cwd=ROOT, env=environ, stdout=subprocess.PIPE, text=True) as process:
        try:
            line = process.stdout.readline() if process.stdout else ""
            if not line.startswith("Serving on http://"):
                raise CannotMeasure(f"{' '.join(command[1:])} did not start; its reason is above.")
            yield Server(process.pid, line.split()[2].rstrip("/"), time.monotonic() - began)
        finally:
            process.terminate()
            try:
                process.wait(STOP_WITHIN_S)
            except subprocess.TimeoutExpired:
                process.kill()


def run_verb(data_dir: Path, *words: str) -> str:
    """What a verb of the command line prints, whatever its exit code."""
    command = [sys.executable, "-m", "app", *words]
    ended = subprocess.run(command, cwd=ROOT, env=environment(data_dir), stdout=subprocess.PIPE, text=True, check=False)
    return ended.stdout.strip()


def resident_mb(pid: int) -> float:
    """What a process has in memory now. Linux only; 0 elsewhere."""
    status = Path(f"/proc/{pid}/status")
    if not status.exists():
        return 0
    lines = dict(line.split(":", 1) for line in status.read_text().splitlines())
    return int(lines["VmRSS"].split()[0]) / 1000
