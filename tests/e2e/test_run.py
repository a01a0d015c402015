"""The life of a service: it starts, says so, refuses a second one, stops whole, and finds everything again."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest

from storage.index.embedded import EmbeddedServer, is_running
from tests.e2e.commands import PATIENCE_S, ROOT, command, done, environment, nothing_runs, refused, serving

SIGNALS = [signal.SIGTERM, signal.SIGINT, signal.SIGHUP]

# Those of the environment that the tests run in, so that `make` has nothing to install.
MAKE_RUN = ["make", "-o", f"{sys.prefix}/.run", "run", f"VENV={sys.prefix}"]


def eventually(fact: Callable[[], object]) -> None:
    """Wait until *fact* holds; fail when it does not within a long time."""
    deadline = time.monotonic() + PATIENCE_S
    while not fact():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_it_says_where_it_serves(tmp_path: Path) -> None:
    """One clear line on stdout, with the address and the folder of the data, once it answers."""
    data = tmp_path / "data"
    with serving(data) as service:
        assert service.line == f"Serving on {service.url}/  (data in {data}; Ctrl-C stops)\n"
        assert service.get("/livez") == {"status": "ok"}
        assert service.get("/readyz")["lag"] == 0


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_ends_it_whole(tmp_path: Path, number: int) -> None:
    """SIGTERM, Ctrl-C and a closed terminal end the service with exit code 0; its server ends with it."""
    data = tmp_path / "data"
    with serving(data) as service:
        assert is_running(data / "redis")
        assert service.end(number) == 0
        assert service.process.stdout is not None
        assert service.process.stdout.read() == ""
    assert nothing_runs(data)


def test_a_restart_finds_everything(tmp_path: Path) -> None:
    """What was posted is there after the next start, with its counts, whether the service stopped or was killed."""
    data = tmp_path / "data"
    for number in (signal.SIGTERM, signal.SIGKILL):
        with serving(data) as service:
            root = service.post("/api/v1/tweet", user_name="ann", title=f"Before {number}", body="Body")
            service.post("/api/v1/retweet", user_name="bob", retweet=root["id"])
            service.end(number)
    with serving(data) as service:
        top = service.get("/api/v1/top")["tweets"]
        assert [(tweet["title"][:6], tweet["count_retweet"]) for tweet in top] == [("Before", 1), ("Before", 1)] + [
            ("Before", 0)
        ] * 2
    assert b"4 right, 0 wrong" in done(data, "verify")


def test_a_second_start_on_the_same_data(tmp_path: Path) -> None:
    """A second service on the same folder is refused in one sentence, and the first one goes on."""
    data = tmp_path / "data"
    with serving(data) as service:
        said = refused(data, "serve")
        assert said == f"Another service runs on the data in {data}; stop it first."
        assert service.get("/readyz") == {"store": True, "index": True, "lag": 0}
        assert service.end() == 0


@pytest.mark.parametrize(("first", "second"), [("own", ""), ("", "own"), ("own", "own")])
def test_a_second_start_with_another_index(tmp_path: Path, first: str, second: str) -> None:
    """A second service on the same embedded database is refused whatever its index, while a verb is not."""
    data, server = tmp_path / "data", EmbeddedServer(tmp_path / "own")
    with ExitStack() as stack:
        stack.callback(server.stop)
        urls = {"own": f"unix://{server.socket}", "": ""}
        with serving(data, WORKERS="2", REDIS_URL=urls[first]) as service:
            said = refused(data, "serve", REDIS_URL=urls[second])
            assert said == f"Another service runs on the data in {data}; stop it first."
            assert b"0 right, 0 wrong" in done(data, "verify", REDIS_URL=urls[first])
            assert service.get("/readyz") == {"store": True, "index": True, "lag": 0}
            assert service.end() == 0
        with serving(data, REDIS_URL=urls[second]) as service:
            assert service.end() == 0


def test_copies_on_one_host_may_share_a_folder(tmp_path: Path) -> None:
    """With a DATABASE_URL several services may run on one data folder."""
    data, server = tmp_path / "data", EmbeddedServer(tmp_path / "own")
    with ExitStack() as stack:
        stack.callback(server.stop)
        url, redis_url = f"sqlite:///{tmp_path / 'own.db'}", f"unix://{server.socket}"
        done(data, "migrate", "up", DATABASE_URL=url)
        share = partial(serving, data, DATABASE_URL=url, REDIS_URL=redis_url)
        with share(), share() as service:
            assert service.get("/readyz")["lag"] == 0


def test_a_taken_port(tmp_path: Path) -> None:
    """A taken port is refused before anything is opened, naming PORT."""
    data = tmp_path / "data"
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        said = refused(data, "serve", PORT=str(port))
    assert f"port {port} of 127.0.0.1 (Address already in use)" in said
    assert "PORT" in said
    assert not data.exists()


def test_an_address_of_another_machine(tmp_path: Path) -> None:
    """An address that is not of this machine is refused, naming HOST."""
    assert "set HOST" in refused(tmp_path / "data", "serve", HOST="256.1.1.1")


@pytest.mark.parametrize("stage", [".", "tweets.db", "redis/owner.lock", "redis/server.log", "redis/server.sock"])
def test_a_stop_while_it_starts(tmp_path: Path, stage: str) -> None:
    """SIGTERM at any moment of the start ends it without a word of complaint, with nothing left running."""
    data = tmp_path / "data"
    with subprocess.Popen(
        command("serve"), cwd=ROOT, env=environment(data, {}), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        eventually((data / stage).exists)
        process.terminate()
        assert process.wait(PATIENCE_S) == 0
        assert process.stderr is not None
        assert process.stderr.read() == b""
    assert nothing_runs(data)
    with serving(data) as service:
        assert service.end() == 0


@pytest.mark.parametrize("to_all", [False, True], ids=["SIGTERM to make", "Ctrl-C"])
def test_make_run(tmp_path: Path, *, to_all: bool) -> None:
    """`make run` serves; SIGTERM to make, or Ctrl-C in its terminal, ends make, the service and its server."""
    data = tmp_path / "data"
    with serving(data, *MAKE_RUN) as service:
        port = int(service.url.rpartition(":")[2])
        assert service.get("/livez") == {"status": "ok"}
        if to_all:
            os.killpg(service.process.pid, signal.SIGINT)
        else:
            service.process.terminate()
        service.process.wait(PATIENCE_S)
    eventually(lambda: nothing_runs(data))
    eventually(lambda: _refuses(port))


def _refuses(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) != 0


def test_signals_while_it_stops(tmp_path: Path) -> None:
    """A signal handed on more than once, as make and service managers do, still ends it in order."""
    data = tmp_path / "data"
    with serving(data) as service:
        for _ in range(5):
            service.process.terminate()
        assert service.process.wait(PATIENCE_S) == 0
    assert nothing_runs(data)


def make(tmp_path: Path, *variables: str) -> tuple[int, str]:
    """What `make run` says that cannot run, and its exit code."""
    ended = subprocess.run(
        ["make", "-s", "run", *variables], cwd=ROOT, env=environment(tmp_path, {}), capture_output=True, check=False
    )
    return ended.returncode, ended.stderr.decode()


def test_an_environment_that_cannot_be_used(tmp_path: Path) -> None:
    """A Python that is too old or has no venv, and an environment without pip, are each named in a line that helps."""
    code, said = make(tmp_path, f"VENV={tmp_path}/new", "PYTHON=false")
    assert (code, said.splitlines()[0]) == (
        2,
        "false is older than 3.11, or missing: install Python 3.11 or later, or set PYTHON to it.",
    )
    broken = tmp_path / "python3"
    broken.write_text(f'#!/bin/sh\n[ "$1" = -c ] && exit 0\nmkdir -p {tmp_path}/new/bin && exit 1\n')
    broken.chmod(0o755)
    code, said = make(tmp_path, f"VENV={tmp_path}/new", f"PYTHON={broken}")
    assert (code, said.splitlines()[0]) == (
        2,
        f"{broken} lacks venv or pip: install them (Debian: python3-venv), then repeat.",
    )
    assert not (tmp_path / "new").exists()
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "new"], check=True)
    code, said = make(tmp_path, f"VENV={tmp_path}/new")
    assert (code, said.splitlines()[0]) == (2, f"{tmp_path}/new has no pip that works: run make clean, then repeat.")


OLD = "import sys; sys.version_info = (3, 10); import runpy; runpy.run_module('app', run_name='__main__')"
BARE = "import sys; sys.path[:] = [path for path in sys.path if 'site-packages' not in path]\nimport app.__main__\n"


@pytest.mark.parametrize(
    ("script", "said"),
    [
        (OLD, "simple-twitter needs Python 3.11 or later, and this is Python "),
        (f"{BARE}sys.exit(app.__main__.run())", "The package msgspec is missing: install "),
    ],
    ids=["an old Python", "a package that is missing"],
)
def test_what_the_command_says_of_its_environment(tmp_path: Path, script: str, said: str) -> None:
    """One sentence, no traceback."""
    ended = subprocess.run(
        [sys.executable, "-c", script, "seed"],
        cwd=ROOT,
        env=environment(tmp_path, {}),
        capture_output=True,
        check=False,
    )
    assert ended.returncode == 1
    assert ended.stderr.decode().startswith(said)
    assert ended.stderr.count(b"\n") == 1
