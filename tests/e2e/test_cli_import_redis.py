"""`import redis://...`: the data of the original Flask application, written here as that application wrote it."""

import json
import subprocess
import uuid
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from redis import Redis

from storage import open_storage
from storage.index.embedded import find_server
from tests.e2e.commands import done, run
from tests.faults.services import eventually

NOON = datetime(2019, 7, 1, 12, 0, 0, 250_000)  # noqa: DTZ001  # as the original has it


class Original:
    """Keeps tweets as the original did: one JSON string under each id, and counts raised one by one."""

    def __init__(self, client: "Redis") -> None:
        self.client = client
        self.posted = 0

    def post(self, key: str = "", retweet: str | None = None, **fields: object) -> str:
        """Store a tweet, and raise the counts of all that it retweets."""
        key = key or uuid.uuid4().hex
        self.posted += 1
        self.save(
            {
                "user_name": "ann",
                "title": f"Title {self.posted}",
                "body": "Body",
                "retweet": retweet,
                "count_retweet": 0,
                "id": key,
                "created_at": str(NOON + timedelta(minutes=self.posted)),
                **fields,
            }
        )
        while retweet is not None and (content := self.client.get(retweet)) is not None:
            above = json.loads(content)
            above["count_retweet"] += 1
            self.save(above)
            retweet = above["retweet"]
        return key

    def save(self, tweet: dict[str, object]) -> None:
        """Store a tweet under its id."""
        self.client.set(str(tweet["id"]), json.dumps(tweet))

    def change(self, key: str, **fields: object) -> None:
        """Change what is stored of a tweet."""
        content = self.client.get(key)
        assert content is not None
        self.save({**json.loads(content), **fields})


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    """A Redis server of its own."""
    words = ("--port", "0", "--unixsocket", str(tmp_path / "socket"), "--dir", str(tmp_path), "--save", "")
    with subprocess.Popen([find_server(), *words], stdout=subprocess.DEVNULL) as server:
        try:
            eventually((tmp_path / "socket").exists)
            yield f"unix://{tmp_path / 'socket'}"
        finally:
            server.kill()


@pytest.fixture
def original(url: str) -> Iterator[Original]:
    """The original's data, empty."""
    with Redis.from_url(url) as client:
        yield Original(client)


def test_every_rule(tmp_path: Path, url: str, original: Original) -> None:
    """What the original kept is taken over as documented, each thing once, and counted by the log from then on."""
    first = original.post("f" * 32)
    second = original.post(retweet=first, created_at="2019-07-01 11:00:00")  # before its parent, no microseconds
    third = original.post(retweet=second, created_at="yesterday", title=None)
    based = original.post(user_name="Zo\u00eb Lovelace", count_retweet=50)
    original.post(retweet=based, user_name="")
    lossy = original.post("any text\u2028at all")
    for _ in range(4):
        original.post(retweet=lossy)
    original.change(lossy, count_retweet=1)
    orphan = original.post(retweet="0" * 32)
    original.post("one", retweet=orphan, title="a\u2028b", user_name="..", body="one\r\ntwo\0")
    original.post("two", retweet="one")
    original.change("one", retweet="two")
    original.post("phantom", user_name="anonymous", title=None, body=None, count_retweet=3)
    original.client.set("a text", "text")
    original.client.set("a number", "7")
    original.client.rpush("a list", "x")
    data, mapped = tmp_path / "data", tmp_path / "map.jsonl"

    said = done(data, "import", url, "--zone", "Europe/Berlin", "--map", mapped).decode().splitlines()

    assert said[0].startswith("Imported 13 tweets in ")
    assert said[2:] == [
        "3 values are no tweets, and are left out.",
        "1 phantoms (anonymous, without a text, retweeted by no tweet) are left out.",
        "1 tweets retweet one that is not there: they are originals now.",
        "1 times cannot be read: these tweets have the time of the one they retweet, or of now.",
        "2 tweets retweet each other in a circle: one is an original now.",
        "3 increments were lost by the old service, in 1 tweets; they are counted now.",
    ]
    ids = {line["key"]: line["id"] for line in map(json.loads, mapped.read_bytes().splitlines())}
    lines = {line["id"]: line for line in map(json.loads, done(data, "export").splitlines())}
    tweets = {key: lines[tweet_id] for key, tweet_id in ids.items()}
    assert b"13 right, 0 wrong" in done(data, "verify")
    assert {key for key in ids if len(key) != 32} == {lossy, "one", "two"}
    assert tweets[second]["retweet"] == ids[first]
    assert [tweets[key]["created_at"] for key in (first, second, third)] == [
        "2019-07-01T10:01:00.250Z",
        "2019-07-01T09:00:00.000Z",
        "2019-07-01T09:00:00.000Z",
    ]
    assert (tweets[third]["title"], tweets["one"]["body"]) == ("(none)", "one\ntwo ")
    assert (tweets["one"]["title"], tweets["one"]["user_name"]) == ("a b", "__")
    assert (tweets[based]["user_name"], tweets[based]["base"]) == ("Zo__Lovelace", 50)
    assert "anonymous" in {line["user_name"] for line in lines.values()}
    assert [tweets[key]["retweet"] for key in (orphan, "one", "two")] == [None, None, ids["one"]]
    with open_storage(data) as opened:
        top = [tweet.count_retweet for tweet in opened.top(10).result().tweets]
    assert top == [51, 4, 2, 2, 1, 1, 0, 0, 0, 0]

    again = run(data, "import", url, "--zone", "Europe/Berlin")
    assert again.returncode == 1
    assert b": the store has this tweet already, as " in again.stderr
    assert len(done(data, "export").splitlines()) == 13


def test_what_is_too_long(tmp_path: Path, url: str, original: Original) -> None:
    """A text that is too long is refused with its key, and nothing is stored; --cut cuts it."""
    data = tmp_path / "data"
    original.post()
    original.post("long", title="t" * 281, body="b" * 10_001, user_name="u" * 65)
    ended = run(data, "import", url)
    assert ended.returncode == 1
    assert ended.stderr.decode().splitlines()[-1] == (
        "key long: its user_name has 65 characters, and may have 64: --cut cuts it."
    )
    assert done(data, "export") == b""
    done(data, "import", url, "--cut")
    lines = [json.loads(line) for line in done(data, "export").splitlines()]
    assert [len(lines[1][field]) for field in ("user_name", "title", "body")] == [64, 280, 10_000]


def test_what_cannot_be_imported_from(tmp_path: Path) -> None:
    """A Redis that is away, a URL that is none, a zone that there is none: one sentence each, and nothing is stored."""
    data = tmp_path / "data"
    done(data, "migrate", "up")
    for words, said in (
        (("redis://127.0.0.1:1/0",), "The Redis to import from does not answer as it should ("),
        (("redis://127.0.0.1:x/0",), "The URL of the Redis to import from cannot be used ("),
        (("redis://127.0.0.1:1/0", "--zone", "Nowhere"), "--zone Nowhere is not a time zone"),
        (("-", "--cut"), "--zone and --cut are for an import from Redis."),
    ):
        ended = run(data, "import", *words)
        assert ended.returncode == 1
        assert [line for line in ended.stderr.decode().splitlines() if line.startswith(said)], ended.stderr
        assert b"Traceback" not in ended.stderr
