"""How processes end: in order, at once, and never later than they may, whatever they wait for."""

import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path

import pytest

from storage.locks import FileLock
from tests.e2e.commands import PATIENCE_S, ROOT, command, done, environment, nothing_runs, serving
from tests.e2e.test_cli_streams import WORDS, words_of

ENDS_WITHIN_S = 20
"""15 s, and what a busy machine takes to see it."""

CHILD = """
import atexit, hashlib, sys, threading, time
from app import signals
signals.STOP_WITHIN_S = {limit}
signals.handle_signals()
atexit.register(print, "closed", flush=True)
print("ready", flush=True)
{work}
"""
IN_C = "hashlib.pbkdf2_hmac('sha256', b'a', b'b', 2**31 - 1)"
IGNORES = """
with signals.stopping_with(lambda: None):
    while True: time.sleep(60)
"""


@contextmanager
def child(work: str, limit: float = 15, **options: object) -> Iterator["subprocess.Popen[str]"]:
    """A process that does *work* until a signal ends it, once it handles signals."""
    script = CHILD.format(work=work, limit=limit)
    with subprocess.Popen(
        [sys.executable, "-c", script],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        **options,  # type: ignore[call-overload]
    ) as process:
        assert process.stdout.readline() == "ready\n"
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_the_first_signal_raises_system_exit(number: int) -> None:
    """So that everything opened is closed; the exit code tells the signal."""
    with child("time.sleep(600)") as process:
        process.send_signal(number)
        assert process.wait(PATIENCE_S) == 128 + number
        assert process.stdout is not None
        assert process.stdout.read() == "closed\n"


def test_ctrl_c_ends_what_does_not_come_back_to_python() -> None:
    """A main thread inside a library, as one that SQLite lets wait, hears nothing: the process ends all the same."""
    with child(IN_C) as process:
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE_S) == 128 + signal.SIGINT


def test_a_second_signal_ends_it_too() -> None:
    """Also when the first one was SIGTERM, which has more time."""
    with child(IN_C, limit=600) as process:
        process.terminate()
        time.sleep(1)
        process.terminate()
        assert process.wait(PATIENCE_S) == 128 + signal.SIGTERM


@pytest.mark.parametrize("work", [IN_C, IGNORES], ids=["in a library", "never stops"])
def test_a_stop_has_a_limit(work: str) -> None:
    """When its time is up the process ends, whatever it does."""
    with child(work, limit=1) as process:
        process.terminate()
        assert process.wait(PATIENCE_S) == 128 + signal.SIGTERM


def test_what_is_ignored_stays_ignored() -> None:
    """A process under nohup outlives its terminal."""
    with child("time.sleep(600)", preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN)) as process:
        process.send_signal(signal.SIGHUP)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(1)
        process.terminate()
        assert process.wait(PATIENCE_S) == 128 + signal.SIGTERM


@contextmanager
def writers_locked_out(data_dir: Path, by: str) -> Iterator[None]:
    """In this block another program holds the lock of the database: ours, or SQLite's."""
    with ExitStack() as stack:
        if by == "ours":
            stack.enter_context(stack.enter_context(closing(FileLock(data_dir / "tweets.db.lock"))).hold(60))
        else:
            connection = stack.enter_context(closing(sqlite3.connect(data_dir / "tweets.db", isolation_level=None)))
            connection.execute("BEGIN IMMEDIATE")
        yield


def handles_signals(pid: int) -> bool:
    """Whether that process has come as far as to handle SIGTERM itself."""
    status = Path(f"/proc/{pid}/status").read_text()
    caught = int(status.partition("SigCgt:")[2].split()[0], 16)
    return bool(caught >> (signal.SIGTERM - 1) & 1)


@pytest.mark.parametrize("by", ["ours", "SQLite's"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_command_that_waits_for_the_database_ends(tmp_path: Path, number: int, by: str) -> None:
    """Every command ends by a signal while the database is locked, and leaves nothing running."""
    seeded = tmp_path / "source"
    done(seeded, "seed")
    done(seeded, "backup", tmp_path / "copy")
    with ExitStack() as stack:
        processes = {}
        for name in WORDS:
            data = tmp_path / name
            shutil.copytree(seeded, data)
            stack.enter_context(writers_locked_out(data, by))
            given = ["token", "add", "ann"] if name == "token" else [name, *words_of(name, tmp_path)]
            processes[name] = stack.enter_context(
                subprocess.Popen(
                    command(*given),
                    cwd=ROOT,
                    env=environment(data, {}),
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                )
            )
            stack.callback(processes[name].kill)
        time.sleep(3)  # by now each waits, or has ended
        for process in processes.values():
            while process.poll() is None and not handles_signals(process.pid):
                time.sleep(0.1)
            process.send_signal(number)
        for name, process in processes.items():
            # After Ctrl-C one whose main thread does not come back within a second ends at once, `serve` as well.
            allowed = {0, 1} if name == "serve" and number == signal.SIGTERM else {0, 1, 128 + number}
            assert process.wait(ENDS_WITHIN_S) in allowed, name
    assert [name for name in WORDS if not nothing_runs(tmp_path / name)] == []


@pytest.mark.parametrize("by", ["ours", "SQLite's"])
def test_a_service_that_waits_for_the_database_ends(data_dir: Path, by: str) -> None:
    """A write that waits is given up, and the service ends in time."""
    with serving(data_dir, WORKERS="2") as service:
        service.post("/api/v1/tweet", user_name="ann", title="t", body="b")

        def post() -> None:
            with suppress(OSError):
                service.post("/api/v1/tweet", user_name="ann", title="t", body="b")

        with writers_locked_out(data_dir, by):
            waiting = threading.Thread(target=post)
            waiting.start()
            time.sleep(0.5)
            service.process.terminate()
            service.process.wait(ENDS_WITHIN_S)
        waiting.join()
    assert nothing_runs(data_dir)


@pytest.mark.parametrize("words", [["serve"], ["migrate", "up"]])
def test_a_start_that_waits_to_migrate_ends(tmp_path: Path, words: list[str]) -> None:
    """SIGTERM is heard while a database is opened that another process migrates."""
    tmp_path.joinpath("tweets.db.lock").touch()
    with writers_locked_out(tmp_path, "ours"):
        process = subprocess.Popen(command(*words), cwd=ROOT, env=environment(tmp_path, {}), stderr=subprocess.DEVNULL)
        with process:
            time.sleep(2)
            process.terminate()
            assert process.wait(ENDS_WITHIN_S) == (0 if words == ["serve"] else 128 + signal.SIGTERM)
    assert nothing_runs(tmp_path)
