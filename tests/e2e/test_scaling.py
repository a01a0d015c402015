"""The move that docs/scaling.md describes, by its own commands."""

import re
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from storage.index.embedded import EmbeddedServer
from tests.e2e.commands import PATIENCE_S, ROOT, Service, environment, serving
from tests.postgresql import PostgreSQL


@pytest.fixture
def new(postgresql: PostgreSQL, tmp_path: Path) -> Iterator[dict[str, str]]:
    """The new settings: a PostgreSQL database without a schema, and a server of its own for the index."""
    server = EmbeddedServer(tmp_path / "new-index")
    try:
        with postgresql.database() as name:
            yield {
                "DATA_DIR": str(tmp_path / "new"),
                "DATABASE_URL": postgresql.url(name),
                "REDIS_URL": f"unix://{server.socket}",
                "PARTITIONS": "3",
            }
    finally:
        server.stop()


def commands(replaced: dict[str, str]) -> list[str]:
    """The lines of the page's block of commands, with each of *replaced*, which it must have, as on this machine."""
    block = re.search(
        r"^```sh\n(new\(\) .*?)^```$", (ROOT / "docs" / "scaling.md").read_text(), re.MULTILINE | re.DOTALL
    )
    assert block
    text = block[1]
    for shown, here in replaced.items():
        assert shown in text
        text = text.replace(shown, here)
    return text.splitlines()


def post_with_key(service: Service) -> bytes:
    """The same call each time, with the same Idempotency-Key; its answer."""
    headers = {"Content-Type": "application/json", "Idempotency-Key": "7f3a"}
    body = b'{"user_name": "eve", "title": "Once", "body": "And only once."}'
    with urllib.request.urlopen(urllib.request.Request(f"{service.url}/api/v1/tweet", body, headers)) as answer:
        content: bytes = answer.read()
        return content


def test_the_move_to_postgresql(tmp_path: Path, new: dict[str, str]) -> None:
    """After the page's commands, in their order, a service with the new settings answers as the old one did."""
    old = tmp_path / "old"
    program = tmp_path / "simple-twitter"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m app "$@"\n')
    program.chmod(0o755)
    with serving(old) as service:
        shown = {
            "/var/lib/new ": f"{new['DATA_DIR']} ",
            "postgresql://USER:PASSWORD@HOST/NAME": new["DATABASE_URL"],
            "redis://HOST:6379": new["REDIS_URL"],
            "PARTITIONS=12": f"PARTITIONS={new['PARTITIONS']}",
            "http://127.0.0.1:5000": service.url,
            "/var/lib/simple-twitter/tweets.db": str(old / "tweets.db"),
        }
        lines = commands(shown)
        variables = environment(old, {"PYTHONPATH": str(ROOT)})
        variables["PATH"] = f"{tmp_path}:{variables['PATH']}"

        def typed(part: list[str]) -> str:
            script = "\n".join([lines[0], *part])
            ended = subprocess.run(
                ["sh", "-e", "-c", script], env=variables, capture_output=True, timeout=PATIENCE_S, check=False
            )
            assert ended.returncode == 0, ended.stderr.decode()
            return ended.stdout.decode()

        stop = lines.index("systemctl stop simple-twitter")
        root = service.post("/api/v1/tweet", user_name="ann", title="Root", body="Body", count_retweet=7)
        below = service.post("/api/v1/retweet", user_name="bob", retweet=root["id"])
        typed(lines[1:stop])
        service.post("/api/v1/retweet", user_name="cid", retweet=below["id"])
        post_with_key(service)
        before = service.get("/api/v1/top")
        service.end()
    assert "4 right, 0 wrong" in typed(lines[stop + 1 :])
    with serving(Path(new["DATA_DIR"]), **new) as service:
        assert service.get("/api/v1/top") == before
        post_with_key(service)  # is no second tweet
        service.post("/api/v1/retweet", user_name="dan", retweet=below["id"])
        assert service.get(f"/api/v1/tweet/{root['id']}")["count_retweet"] == 7 + 3
        assert service.get(f"/api/v1/tweet/{root['id']}/rank")["total"] == 5
