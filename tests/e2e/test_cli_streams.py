"""Every command with its streams closed, full or hung up, and settings that are no text: a sentence, no traceback."""

import os
import pty
import shutil
import signal
import subprocess
import urllib.request
from contextlib import closing
from pathlib import Path

import pytest

from app.cli.main import COMMANDS
from storage import open_log, prepare_schema
from tests.e2e.commands import PATIENCE_S, ROOT, command, done, environment, nothing_runs, run
from tests.e2e.deployed import free_port
from tests.faults.services import eventually

WORDS = {
    "serve": [],
    "migrate": ["status"],
    "verify": [],
    "rebuild": [],
    "import": ["-"],
    "export": [],
    "backup": ["copy"],
    "restore": ["copy", "--force"],
    "mirror": ["source", "--once"],
    "seed": [],
    "token": ["list"],
    "info": [],
}
"""Each command in a form that ends well when its streams are right, but for `serve`, which ends by a signal."""

SILENT = {"mirror"}
"""What prints nothing on stdout."""

REDIRECTED = {
    "no stdout": ">&-",
    "full stdout": ">/dev/full",
    "no stderr": "2>&-",
    "no stream": "<&- >&- 2>&-",
    "full streams": ">/dev/full 2>/dev/full",
}


def words_of(name: str, folder: Path) -> list[str]:
    """The arguments of a command, whose files are in *folder*."""
    places = {"copy": str(folder / "copy"), "source": f"sqlite:///{folder / 'source' / 'tweets.db'}"}
    return [places.get(word, word) for word in WORDS[name]]


def in_shell(words: list[str], redirected: str) -> list[str]:
    """A command with its streams as the shell puts them."""
    return ["sh", "-c", f'exec "$@" {redirected}', "sh", *command(*words)]


def test_no_command_is_forgotten() -> None:
    """The tests below call every command there is."""
    assert set(WORDS) == set(COMMANDS)


@pytest.mark.parametrize("name", [name for name in WORDS if name != "serve"])
def test_streams(tmp_path: Path, name: str) -> None:
    """The exit code is 0 or 1, 1 where output was lost; what is said is one sentence; what is on disk stays whole."""
    data = tmp_path / "data"
    done(data, "seed")
    done(data, "backup", tmp_path / "copy")
    shutil.copytree(data, tmp_path / "source")
    words = [name, *words_of(name, tmp_path)]
    data = tmp_path / "target" if name == "mirror" else data
    for what, redirected in REDIRECTED.items():
        ended = subprocess.run(
            in_shell(words, redirected),
            cwd=ROOT,
            env=environment(data, {}),
            capture_output=True,
            check=False,
            input=b"",
        )
        said = ended.stderr.decode()
        assert ended.returncode in (0, 1), (what, said)
        assert "Traceback" not in said
        assert "Exception" not in said
        if name not in SILENT and {">&-", ">/dev/full"} & set(redirected.split()):
            assert ended.returncode == 1, what
        if name not in SILENT and what in ("no stdout", "full stdout"):
            assert said.splitlines()[-1].startswith("Standard output cannot be written ("), said
        if what == "no stderr":
            assert ended.returncode == 0, what
    assert run(data, "verify").returncode == 0
    assert nothing_runs(data)


@pytest.mark.parametrize("redirected", ["<&-", REDIRECTED["no stream"], REDIRECTED["full streams"]])
def test_a_service_serves_whatever_its_streams_are(tmp_path: Path, redirected: str) -> None:
    """Serve needs none of its streams."""
    data, port = tmp_path / "data", free_port()

    def serves() -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/livez", timeout=PATIENCE_S) as response:
                return bool(response.status == 200)
        except OSError:
            return False

    with subprocess.Popen(
        in_shell(["serve"], redirected),
        cwd=ROOT,
        env=environment(data, {"PORT": str(port), "WORKERS": "2"}),
        stdin=subprocess.DEVNULL,
    ) as process:
        eventually(serves)
        process.terminate()
        assert process.wait(PATIENCE_S) == 0
    assert nothing_runs(data)


@pytest.mark.parametrize("name", ["import", "export"])
def test_a_terminal_that_is_gone(tmp_path: Path, name: str) -> None:
    """A terminal that was closed while the command runs ends it, or lets it end, without a traceback."""
    data = tmp_path / "data"
    done(data, "seed")
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        command(name, *WORDS[name]), cwd=ROOT, env=environment(data, {}), stdin=theirs, stdout=theirs, stderr=theirs
    ) as process:
        os.close(theirs)
        os.close(ours)
        assert process.wait(PATIENCE_S) in (0, 1)


@pytest.mark.parametrize("argument", ["--help", "--version"])
def test_help_without_room(argument: str) -> None:
    """Also what the parser prints."""
    ended = subprocess.run(in_shell([argument], ">/dev/full"), cwd=ROOT, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (1, "Standard output cannot be written (No space left on device).\n")


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    """A folder or a file whose name is not UTF-8 is named, or refused, in one sentence."""
    odd = os.fsencode(tmp_path) + b"/caf\xe9"
    Path(os.fsdecode(odd)).mkdir()
    for words, data in ((["seed"], odd), (["import", os.fsdecode(odd)], os.fsencode(tmp_path / "data"))):
        env = {os.fsencode(key): os.fsencode(value) for key, value in environment(tmp_path, {}).items()}
        ended = subprocess.run(
            command(*words), cwd=ROOT, env=env | {b"DATA_DIR": data}, capture_output=True, check=False
        )
        assert ended.returncode == 1
        assert ended.stderr.count(b"\n") == 1, ended.stderr
        assert b"DATA_DIR has bytes" in ended.stderr or b"caf\\udce9" in ended.stderr


SECRET = "s3cr3t"
URLS = {
    "DATABASE_URL": [
        f"postgresql://app:{SECRET}@/x@127.0.0.1:1/tweets",
        f"postgresql://app:p/{SECRET}@127.0.0.1:1/tweets",
        f"postgresql://app:p#{SECRET}@127.0.0.1:1/tweets",
        f"postgresql://app:%zz{SECRET}@127.0.0.1:1/tweets",
        f"postgresql://app:{SECRET}@127.0.0.1:port/tweets",
        f"postgresql://app:{SECRET}@127.0.0.1:1/tweets",
        f"postgresql:/app:{SECRET}@127.0.0.1:1/tweets",
        f"mysql://app:{SECRET}@127.0.0.1:1/tweets",
        f"postgresql://app:{SECRET}@127.0.0.1:1/tweets?prepare_threshold=x",
    ],
    "REDIS_URL": [
        f"redis://app:{SECRET}@/x@127.0.0.1:1",
        f"redis://app:p/{SECRET}@127.0.0.1:1",
        f"redis://app:{SECRET}@127.0.0.1:port",
        f"redis://app:{SECRET}@127.0.0.1:1/none",
        f"redis:/app:{SECRET}@127.0.0.1:1",
        f"rediss+sentinel://app:{SECRET}@127.0.0.1:1",
        f"redis+cluster://app:{SECRET}@127.0.0.1:1,127.0.0.1:2",
        f"redis://app:{SECRET}@127.0.0.1:1?colour=red",
    ],
}


@pytest.mark.parametrize(("variable", "url"), [(variable, url) for variable, urls in URLS.items() for url in urls])
def test_no_password_is_shown(tmp_path: Path, variable: str, url: str) -> None:
    """Whatever is wrong with a URL, the sentence that says so has no part of its password."""
    words = ["migrate", "up"]
    if variable == "REDIS_URL":
        words = ["info"]
        with closing(open_log(tmp_path)) as database:
            prepare_schema(database, 1, embedded=True)
    ended = run(tmp_path, *words, given=None, **{variable: url})
    said = ended.stderr.decode()
    assert ended.returncode in (0, 1), said  # 0: the URL is right after all, and its server away
    assert SECRET not in said
    assert "Traceback" not in said
    assert "fault of simple-twitter" not in said


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_command_that_is_stopped(tmp_path: Path, number: int) -> None:
    """It says so, and its exit code is that of the signal; nothing is left running."""
    data = tmp_path / "data"
    with subprocess.Popen(
        command("import", "-"), cwd=ROOT, env=environment(data, {}), stdin=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        eventually((data / "tweets.db").exists)
        process.send_signal(number)
        assert process.wait(PATIENCE_S) == 128 + number
        assert process.stderr is not None
        assert process.stderr.read().endswith(b"Stopped.\n")
    assert nothing_runs(data)
