"""The command line as its users run it: child processes with settings from the environment, and nothing left behind."""

import json
import os
import re
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from app.settings import Settings
from storage.locks import FileLock

ROOT = Path(__file__).resolve().parents[2]
CASCADES = ROOT / "tests" / "data" / "cascades-sample.tsv.gz"
SETTINGS = {entry.name.upper() for entry in fields(Settings)}
PATIENCE_S = 120
"""Long enough for the slowest machine under the whole test run; nothing is measured."""


def environment(data_dir: Path, settings: dict[str, str]) -> dict[str, str]:
    """The environment of a child: that of the tests without any setting, and *settings*."""
    # Of `make test` as well: a make below another one has more to say.
    left_out = {*SETTINGS, "MAKEFLAGS", "MAKELEVEL", "MFLAGS"}
    inherited = {name: value for name, value in os.environ.items() if name not in left_out}
    return {**inherited, "PYTHONWARNINGS": "error", "DATA_DIR": str(data_dir), "PORT": "0", **settings}


def command(*words: str | Path) -> list[str]:
    """The command of a verb."""
    return [sys.executable, "-m", "app", *map(str, words)]


def run(
    data_dir: Path, *words: str | Path, given: bytes | None = None, **settings: str
) -> subprocess.CompletedProcess[bytes]:
    """Run a verb to its end."""
    return subprocess.run(
        command(*words),
        cwd=ROOT,
        env=environment(data_dir, settings),
        input=given,
        stdin=subprocess.DEVNULL if given is None else None,
        capture_output=True,
        check=False,
        timeout=PATIENCE_S,
    )


def done(data_dir: Path, *words: str | Path, given: bytes | None = None, **settings: str) -> bytes:
    """What a verb that must succeed prints."""
    ended = run(data_dir, *words, given=given, **settings)
    assert ended.returncode == 0, ended.stderr.decode()
    return ended.stdout


def refused(data_dir: Path, *words: str | Path, given: bytes | None = None, **settings: str) -> str:
    """The one sentence of a command that must fail: on stderr, after lines of progress, without a traceback."""
    ended = run(data_dir, *words, given=given, **settings)
    said = re.sub(r"(?m)^\w+: (\d+% )?[\d,]+ \w+  [\d,]+/s\n", "", ended.stderr.decode())
    assert (ended.returncode, ended.stdout) == (1, b""), said
    assert said.count("\n") == 1, said
    return said.rstrip("\n")


@dataclass(frozen=True)
class Service:
    """A service that runs, and the line with which it said so."""

    process: subprocess.Popen[str]
    line: str

    @property
    def url(self) -> str:
        """Where it serves, without a slash at the end."""
        return self.line.split()[2].rstrip("/")

    def get(self, path: str) -> Any:
        """The JSON at *path*."""
        with urllib.request.urlopen(self.url + path, timeout=PATIENCE_S) as answer:
            return json.load(answer)

    def post(self, path: str, **body: object) -> Any:
        """The answer to a body posted to *path*."""
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(self.url + path, json.dumps(body).encode(), headers)
        with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
            return json.load(answer)

    def end(self, number: int = signal.SIGTERM) -> int:
        """Send a signal; the exit code."""
        self.process.send_signal(number)
        return self.process.wait(PATIENCE_S)


@contextmanager
def serving(data_dir: Path, *words: str, **settings: str) -> Iterator[Service]:
    """A service, started by *words* or by `serve`; ended at the end of the block if it still runs."""
    process = subprocess.Popen(
        words or command("serve"),
        cwd=ROOT,
        env=environment(data_dir, settings),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    with process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert line.startswith("Serving on http://"), f"it said {line!r} and ended with {process.wait(PATIENCE_S)}"
            yield Service(process, line)
        finally:
            if process.poll() is None:
                process.terminate()


def nothing_runs(data_dir: Path) -> bool:
    """Whether neither a service nor its server of *data_dir* lives: each holds a lock as long as it does."""
    return all(_is_free(data_dir / "redis" / name) for name in ("owner.lock", "server.lock"))


def _is_free(path: Path) -> bool:
    if not path.exists():
        return True
    lock = FileLock(path)
    try:
        return lock.try_hold()
    finally:
        lock.close()
