"""A service is moved to another database while clients write: the stop is short, and no acknowledged write is lost."""

import json
import random
import signal
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.commands import PATIENCE_S, ROOT, Service, command, done, environment, refused, serving
from tests.model import PlainTweets
from tests.postgresql import PostgreSQL

CLIENTS = 4


class Clients:
    """Each writes with keys, and repeats a write until it is answered, by whatever service there is."""

    def __init__(self) -> None:
        self.url = ""
        self.posted: dict[str, str] = {}  # id -> title, which no other has
        self.deleted: set[str] = set()
        self._failures: list[BaseException] = []
        self._stopped = threading.Event()
        self._threads = [threading.Thread(target=self._work, args=(number,)) for number in range(CLIENTS)]

    def start(self) -> None:
        """Begin to write."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End, each after its last answer."""
        self._stopped.set()
        for thread in self._threads:
            thread.join()
        if self._failures:
            raise self._failures[0]

    def wait(self, more: int) -> None:
        """Until so many more writes are acknowledged."""
        wanted = len(self.posted) + more
        deadline = time.monotonic() + PATIENCE_S
        while len(self.posted) < wanted and not self._failures:
            assert time.monotonic() < deadline
            time.sleep(0.02)

    def _work(self, number: int) -> None:
        rng = random.Random(number)
        try:
            for count in range(10**6):
                if self._stopped.is_set():
                    return
                self._write(rng, f"{number}-{count}")
        except BaseException as error:  # noqa: BLE001
            self._failures.append(error)

    def _write(self, rng: random.Random, title: str) -> None:
        known = [*self.posted]
        drawn = rng.random()
        if known and drawn < 0.1:
            victim = rng.choice(known)
            if self._call("DELETE", f"/api/v1/tweet/{victim}") in {204, 410}:
                self.deleted.add(victim)
            return
        body: dict[str, Any] = {"user_name": "ann", "title": title, "body": "text"}
        path = "tweet"
        if known and drawn < 0.8:
            path, body = "retweet", {**body, "retweet": rng.choice(known[-20:])}
        answer = self._call("POST", f"/api/v1/{path}", body)
        if isinstance(answer, dict):
            self.posted[answer["id"]] = title

    def _call(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        headers = {"Content-Type": "application/json", **({"Idempotency-Key": body["title"]} if body else {})}
        deadline = time.monotonic() + PATIENCE_S
        while True:
            content = None if body is None else json.dumps(body).encode()
            request = urllib.request.Request(f"{self.url}{path}", content, headers, method=method)
            try:
                with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
                    return json.load(answer) if body else answer.status
            except urllib.error.HTTPError as error:
                with error:
                    if error.code < 500:
                        return error.code
            except OSError:
                pass
            assert time.monotonic() < deadline
            time.sleep(0.02)


def read_feed(service: Service) -> tuple[PlainTweets, dict[str, str], set[str]]:
    """The model of all tweets, their titles, and which are deleted: of every entry of the log."""
    model, titles, deleted = PlainTweets(), dict[str, str](), set[str]()
    numbers: dict[str, int] = {}
    cursor = ""
    while True:
        page = service.get(f"/api/v1/changes?limit=1000{cursor and f'&cursor={cursor}'}")
        cursor = page["next"]
        for change in page["changes"]:
            if tweet := change.get("posted"):
                assert tweet["id"] not in numbers
                numbers[tweet["id"]] = len(numbers)
                parent = None if tweet["retweet"] is None else numbers[tweet["retweet"]]
                model.post(numbers[tweet["id"]], parent, tweet["count_retweet"])
                titles[tweet["id"]] = tweet["title"]
            else:
                deleted.add(change["deleted"])
                model.delete(numbers[change["deleted"]])
        if not page["changes"]:
            break
    counts = {tweet_id: model.counts().get(number) for tweet_id, number in numbers.items()}
    for tweet in service.get("/api/v1/top?limit=100")["tweets"]:
        assert counts[tweet["id"]] == tweet["count_retweet"]
    return model, titles, deleted


@contextmanager
def mirroring(data_dir: Path, source: str, **settings: str) -> Iterator[subprocess.Popen[bytes]]:
    """A mirror that goes on until the end of the block."""
    process = subprocess.Popen(
        command("mirror", source), cwd=ROOT, env=environment(data_dir, settings), stdin=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    with process:
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize("target", ["sqlite", "postgresql"])
def test_move_under_load(tmp_path: Path, target: str, request: pytest.FixtureRequest) -> None:
    """Mirror the running service, stop it, mirror once from its database, start the new one; the mirror is killed."""
    old, new = tmp_path / "old", tmp_path / "new"
    settings: dict[str, Any] = {"PARTITIONS": "3"}
    if target == "postgresql":
        postgresql: PostgreSQL = request.getfixturevalue("postgresql")
        settings["DATABASE_URL"] = postgresql.url(request.getfixturevalue("target_name"))
        done(new, "migrate", "up", **settings)
    clients = Clients()
    with serving(old) as service:
        clients.url = service.url
        clients.start()
        try:
            clients.wait(200)
            for _ in range(3):
                with mirroring(new, service.url, **settings) as mirror:
                    clients.wait(100)
                    assert mirror.poll() is None
            with mirroring(new, service.url, **settings) as mirror:
                clients.wait(50)
                assert service.end() == 0
                mirror.send_signal(signal.SIGTERM)
                assert mirror.wait(PATIENCE_S) == 128 + signal.SIGTERM
            done(new, "mirror", "--once", f"sqlite:///{old / 'tweets.db'}", **settings)
            with serving(new, **settings) as moved:
                clients.url = moved.url
                clients.wait(100)
                clients.stop()
                _, titles, deleted = read_feed(moved)
                assert clients.posted.keys() <= titles.keys()
                assert clients.deleted <= deleted
                kept = [title for title in titles.values() if title is not None]
                assert len(set(kept)) == len(kept), "a write was stored twice"
                assert b", 0 wrong" in done(new, "verify", **settings)
        finally:
            clients._stopped.set()
    said = refused(new, "mirror", "--once", f"sqlite:///{old / 'tweets.db'}", **settings)
    assert "not as the mirror of" in said


@pytest.fixture
def target_name(postgresql: PostgreSQL) -> Iterator[str]:
    """A database without a schema."""
    with postgresql.database() as made:
        yield made


def test_what_cannot_be_mirrored(tmp_path: Path) -> None:
    """Each is one sentence."""
    done(tmp_path / "source", "migrate", "up")
    source = f"sqlite:///{tmp_path / 'source' / 'tweets.db'}"
    assert "There is no database at" in refused(tmp_path / "new", "mirror", f"sqlite:///{tmp_path / 'none.db'}")
    assert not (tmp_path / "none.db").exists()
    assert "The source is the target itself." in refused(tmp_path / "source", "mirror", "--once", source)
    assert "supported" in refused(tmp_path / "new", "mirror", "mysql://localhost/x")
    with serving(tmp_path / "other") as service:
        service.post("/api/v1/tweet", user_name="ann", title="t", body="b")
        assert "of no mirror" in refused(tmp_path / "other", "mirror", "--once", source)
        assert "answers 404" in refused(tmp_path / "new", "mirror", "--once", f"{service.url}/elsewhere")
        assert "no change feed" in refused(tmp_path / "new", "mirror", "--once", f"{service.url}/?x=")
        done(tmp_path / "copy", "mirror", "--once", service.url)
        done(tmp_path / "copy", "mirror", "--once", service.url)
    assert done(tmp_path / "copy", "export") == done(tmp_path / "other", "export")
