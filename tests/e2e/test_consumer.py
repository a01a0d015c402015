"""The consumer of the change feed in docs/api.md, run as it stands there."""

import re
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

from tests.e2e.commands import PATIENCE_S, ROOT, Service, serving

CONSUMER = re.search(r"```python\n(import json, sqlite3.*?)```", (ROOT / "docs" / "api.md").read_text(), re.DOTALL)


def found(service: Service, file: Path, word: str) -> list[tuple[str, str]]:
    """Titles and bodies with *word*, once the consumer has taken in all there is."""
    assert CONSUMER
    command = [sys.executable, "-c", CONSUMER[1], service.url, str(file), "--once"]
    subprocess.run(command, check=True, timeout=PATIENCE_S, stdin=subprocess.DEVNULL)
    with closing(sqlite3.connect(file)) as database:
        return database.execute("SELECT title, body FROM texts WHERE texts MATCH ? ORDER BY rowid", [word]).fetchall()


def delete(service: Service, tweet_id: str) -> None:
    """Delete a tweet."""
    subprocess.run(["curl", "-sSf", "-X", "DELETE", f"{service.url}/api/v1/tweet/{tweet_id}"], check=True)


def test_the_consumer_of_the_page(tmp_path: Path) -> None:
    """It keeps a full-text index in step, forgets what is deleted, and begins again for another database."""
    index = tmp_path / "texts.db"
    with serving(tmp_path / "one") as service:
        first = service.post("/api/v1/tweet", user_name="ann", title="On owls", body="An owl sings.")
        service.post("/api/v1/tweet", user_name="ann", title="Rain", body="No bird at all.")
        assert found(service, index, "owl") == [("On owls", "An owl sings.")]
        retweet = service.post("/api/v1/retweet", user_name="bob", retweet=first["id"], title="An owl?")
        assert found(service, index, "owl") == [("On owls", "An owl sings."), ("An owl?", "An owl sings.")]
        delete(service, first["id"])
        assert found(service, index, "owl") == [("An owl?", "An owl sings.")]
        delete(service, retweet["id"])
        assert found(service, index, "owl") == []
    with serving(tmp_path / "two") as service:
        service.post("/api/v1/tweet", user_name="ann", title="Another owl", body="Here.")
        assert found(service, index, "owl") == [("Another owl", "Here.")]
        assert found(service, index, "rain") == []
