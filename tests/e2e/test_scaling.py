"""The move that docs/scaling.md describes, by its own commands."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from storage.index.embedded import EmbeddedServer
from tests.e2e.commands import PATIENCE_S, ROOT, environment, serving
from tests.postgresql import PostgreSQL


@pytest.fixture
def new(postgresql: PostgreSQL, tmp_path: Path) -> Iterator[dict[str, str]]:
    """The new settings: a PostgreSQL database without a schema, and a server of its own for the index."""
    server = EmbeddedServer(tmp_path / "new-index")
    try:
        with postgresql.database() as name:
            yield {"DATABASE_URL": postgresql.url(name), "REDIS_URL": f"unix://{server.socket}"}
    finally:
        server.stop()


def commands(new: dict[str, str]) -> list[str]:
    """The lines of the page's block of commands, for this machine."""
    page = (ROOT / "docs" / "scaling.md").read_text()
    blocks = re.findall(r"^```console\n(\$ NEW=.*?)^```$", page, re.MULTILINE | re.DOTALL)
    assert len(blocks) == 1
    lines = [line.removeprefix("$ ") for line in blocks[0].splitlines()]
    settings = " ".join(f"{name}={value}" for name, value in new.items())
    return [f"NEW='{settings}'"] + [line.replace(".venv/bin/python", sys.executable) for line in lines[1:]]


def test_the_move_to_postgresql(tmp_path: Path, new: dict[str, str]) -> None:
    """After the page's commands, in their order, a service with the new settings answers as the old one did."""
    lines = commands(new)
    stop = next(number for number, line in enumerate(lines) if line.startswith("systemctl stop "))
    old = tmp_path / "old"

    def typed(part: list[str]) -> None:
        script = "\n".join(["set -e", lines[0], *part])
        folder = tmp_path / "shell"
        folder.mkdir(exist_ok=True)
        variables = environment(old, {"PYTHONPATH": str(ROOT), "PATH": os.environ["PATH"]})
        done = subprocess.run(
            ["bash", "-c", script], cwd=folder, env=variables, capture_output=True, timeout=PATIENCE_S, check=False
        )
        assert done.returncode == 0, done.stderr.decode()

    with serving(old) as service:
        typed(lines[1:stop])
        root = service.post("/api/v1/tweet", user_name="ann", title="Root", body="Body", count_retweet=7)
        below = service.post("/api/v1/retweet", user_name="bob", retweet=root["id"])
        service.post("/api/v1/retweet", user_name="cid", retweet=below["id"])
        before = service.get("/api/v1/top")
        service.end()
    typed(lines[stop + 1 :])
    with serving(tmp_path / "new", **new) as service:
        assert service.get("/api/v1/top") == before
        service.post("/api/v1/retweet", user_name="dan", retweet=below["id"])
        assert service.get(f"/api/v1/tweet/{root['id']}")["count_retweet"] == 7 + 3
