"""A database or a data folder that cannot be used: one sentence that says what to do, and nothing left behind."""

import subprocess
from pathlib import Path

import pytest

from tests.e2e.commands import PATIENCE_S, ROOT, command, done, environment, nothing_runs, refused, serving

URLS = {
    "sqlite://": "names no file",
    "sqlite:///": "names no file",
    "sqlite:///:memory:": "names no file",
    "sqlite:///file:x?uri=true": "names no file",
    "sqlite://host/x": "names no file",
    "sqlite+aiosqlite:///x": "names the driver aiosqlite",
    "sqlite:///x?foo=bar": "says more than a file",
}
IN_REDIS = ("owner.lock", "server.lock", "server.log")
VERBS_THAT_READ = (
    ["verify"],
    ["rebuild"],
    ["info"],
    ["export", "-"],
    ["backup", "x"],
    ["migrate", "status"],
    ["migrate", "check"],
    ["migrate", "down", "--yes"],
    ["token", "list"],
    ["token", "revoke", "x"],
)


@pytest.mark.parametrize("verb", [["serve"], ["verify"], ["export", "-"], ["migrate", "up"], ["restore", "x"]])
@pytest.mark.parametrize("url", URLS)
def test_a_url_that_names_no_file(tmp_path: Path, url: str, verb: list[str]) -> None:
    """A DATABASE_URL of SQLite that is more or less than a file's name is refused before anything is made."""
    (tmp_path / "here").mkdir()
    settings = {"DATABASE_URL": url, "PYTHONPATH": str(ROOT)}
    ended = subprocess.run(
        command(*verb),
        cwd=tmp_path / "here",
        env=environment(tmp_path / "data", settings),
        capture_output=True,
        check=False,
        timeout=PATIENCE_S,
    )
    said = ended.stderr.decode()
    assert (ended.returncode, ended.stdout) == (1, b""), said
    assert said == f"DATABASE_URL {URLS[url]}; use sqlite:///FILE.\n"
    assert list(tmp_path.rglob("*")) == [tmp_path / "here"]


@pytest.mark.parametrize("name", ["x?y=1", "a b%20c", "#"])
def test_a_folder_of_any_name(tmp_path: Path, name: str) -> None:
    """A data folder may have a name that would mean something else in a URL."""
    done(tmp_path / name, "seed")
    assert (tmp_path / name / "tweets.db").is_file()
    assert b"120 right, 0 wrong" in done(tmp_path / name, "verify")


@pytest.mark.parametrize(
    ("verb", "name", "is_folder"),
    [
        *((verb, name, False) for verb in ("serve", "verify") for name in ("redis", "metrics")),
        *((verb, f"redis/{name}", True) for verb in ("serve", "verify") for name in IN_REDIS),
        *((verb, f"tweets.db{name}", True) for verb in ("serve", "verify") for name in ("", ".lock")),
        ("serve", "serve.lock", True),
    ],
)
def test_something_else_in_the_data_folder(tmp_path: Path, name: str, verb: str, *, is_folder: bool) -> None:
    """Where a file should be and is a folder, or the other way round, one sentence names it."""
    data = tmp_path / "data"
    done(data, "migrate", "up")
    if (data / name).exists():
        (data / name).unlink()
    (data / name).parent.mkdir(exist_ok=True)
    (data / name).mkdir() if is_folder else (data / name).touch()
    assert str(data / name.removesuffix(".db.lock")) in refused(data, verb, METRICS="1")
    (data / name).rmdir() if is_folder else (data / name).unlink()
    assert nothing_runs(data)


def test_something_else_in_the_place_of_the_trust(tmp_path: Path) -> None:
    """What stands where the file of trust should be is no trust: all is compared, and the service serves."""
    data = tmp_path / "data"
    done(data, "migrate", "up")
    (data / "index.trusted").mkdir()
    with serving(data) as service:
        assert service.end() == 0
    (data / "index.trusted").rmdir()
    (data / "index.trusted").write_bytes(b"\xff\xfe")
    with serving(data) as service:
        assert service.end() == 0


@pytest.mark.parametrize("words", [["serve"], ["migrate", "up"]], ids=" ".join)
def test_a_data_folder_that_cannot_be_made(tmp_path: Path, words: list[str]) -> None:
    """A folder that this user may not make is one sentence that names it."""
    assert "DATA_DIR /proc/none cannot be written" in refused(tmp_path, *words, DATA_DIR="/proc/none")


@pytest.mark.parametrize("words", VERBS_THAT_READ, ids=" ".join)
def test_a_data_folder_without_a_database(tmp_path: Path, words: list[str]) -> None:
    """To a verb that has nothing to make, a folder without a database is a mistake: it says so, and makes nothing."""
    data = tmp_path / "misspelt"
    assert f"There is no database at {data / 'tweets.db'}" in refused(data, *words)
    assert list(tmp_path.iterdir()) == []
    data.mkdir()
    assert "There is no database" in refused(data, *words)
    assert list(data.iterdir()) == []


@pytest.mark.parametrize("words", [["migrate", "up"], ["token", "add", "ann"], ["seed"]], ids=" ".join)
def test_a_verb_that_makes_the_database(tmp_path: Path, words: list[str]) -> None:
    """What is there to be filled may be made by the verb that fills it."""
    done(tmp_path / "data", *words)
    assert b"applied" in done(tmp_path / "data", "migrate", "status")


def test_to_is_for_the_way_down(tmp_path: Path) -> None:
    """A revision to go to is refused on the way up, which leads to the latest one."""
    data = tmp_path / "data"
    assert "--to is for `migrate down`" in refused(data, "migrate", "up", "--to", "0001")
    assert not data.exists()
    done(data, "migrate", "up")
    for act in ("status", "check"):
        assert "--to is for `migrate down`" in refused(data, "migrate", act, "--to", "0001")
