"""
Clients that write over HTTP, and the ledger of the answers they got: what a service must show, whatever befell it.

A call that got no answer is open: it may have been stored or not. After the next start it is repeated with its key, and
from then on it is known. So at the end there is one right ranking, to the last tweet.
"""

import http.client
import json
import random
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from storage import ids
from tests.model import PlainTweets

PATIENCE_S = 60
"""How long a client waits for an answer: one that takes longer fails the test."""

RECENT = 40
"""New tweets hang below one of so many of the last: chains grow, and stay short enough for a plain recount."""


@dataclass(frozen=True)
class Call:
    """
    A write: its method, path, body and key; `target` is the tweet that it retweets or deletes.

    What a private one posts is known to its client alone: no other client retweets or deletes it.
    """

    method: str
    path: str
    body: dict[str, Any]
    key: str
    target: str | None = None
    private: bool = False


@dataclass
class Reply:
    """What a call was answered; status 0 when it got no answer."""

    status: int
    body: dict[str, Any] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)


class Differences(NamedTuple):
    """Tweets that were confirmed and are missing, that are there unconfirmed, and that have another count."""

    lost: int
    doubled: int
    wrong: int

    def plus(self, other: "Differences") -> "Differences":
        """Both together."""
        return Differences(*map(sum, zip(self, other, strict=True)))

    def __str__(self) -> str:
        return f"{self.lost} lost, {self.doubled} doubled, {self.wrong} wrong"


class Caller:
    """One connection to a service, made again when it was lost."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=PATIENCE_S)
        self.sent_at: float | None = None
        """When the latest request was on its way as a whole; None when it did not come to that."""

    def call(self, call: Call) -> Reply:
        """Make *call*. Raises TimeoutError; a lost connection is an answer of status 0."""
        headers = {"Content-Type": "application/json", "Idempotency-Key": call.key} if call.body else {}
        return self.ask(call.method, call.path, json.dumps(call.body) if call.body else None, headers)

    def ask(self, method: str, path: str, body: str | None = None, headers: dict[str, str] | None = None) -> Reply:
        """Ask for anything."""
        self.sent_at = None
        try:
            self._connection.request(method, path, body, headers or {})
            self.sent_at = time.monotonic()
            answer = self._connection.getresponse()
            content = answer.read()
        except TimeoutError:
            raise
        except (OSError, http.client.HTTPException):
            self._connection.close()
            return Reply(0)
        named = {name.lower(): value for name, value in answer.getheaders()}
        is_json = "json" in named.get("content-type", "")
        return Reply(answer.status, json.loads(content) if is_json and content else {}, named)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


class Ledger:
    """What all clients were answered, and what is open. Safe to use from any thread."""

    def __init__(self, seed: int) -> None:
        self._seed, self._rng = seed, random.Random(seed)
        self._lock = threading.Lock()
        self._number = 0
        self._posted: dict[str, tuple[Call, str]] = {}  # by key
        self._live: list[str] = []
        self._deleted: set[str] = set()
        self._open: list[Call] = []
        self.statuses: dict[int, int] = {}
        self.slowest_s = 0.0

    def draw(self) -> Call:
        """The next write: an original, a retweet of one of the latest tweets, or the deletion of one."""
        with self._lock:
            self._number += 1
            key, dice = f"key {self._seed} {self._number}", self._rng.random()
            body: dict[str, Any] = {
                "user_name": f"user{self._number % 7}",
                "count_retweet": self._rng.choice([0, 0, 5]),
            }
            if not self._live or dice < 0.15:
                body |= {"title": f"Title {self._number}", "body": "Body"}
                return Call("POST", "/api/v1/tweet", body, key)
            target = self._rng.choice(self._live[-RECENT:])
            if dice < 0.25:
                return Call("DELETE", f"/api/v1/tweet/{target}", {}, key, target)
            return Call("POST", "/api/v1/retweet", body | {"retweet": target}, key, target)

    def note(self, call: Call, reply: Reply, took_s: float) -> None:
        """Take down what *call* was answered, and after how long."""
        with self._lock:
            self.slowest_s = max(self.slowest_s, took_s)
            self.statuses[reply.status] = self.statuses.get(reply.status, 0) + 1
            if reply.status == 201:
                self._note_posted(call, reply.body["id"])
            elif reply.status == 204 and call.target:
                self._note_deleted(call.target)
            elif reply.status not in (404, 410):
                self._open.append(call)

    def settle(self, caller: Caller) -> int:
        """Repeat what is open until it is known; returns how many that were."""
        with self._lock:
            waiting, self._open = self._open, []
        for call in waiting:
            self.learn(call, until_answered(caller, call))
        return len(waiting)

    def learn(self, call: Call, reply: Reply) -> None:
        """Take down what *call* was answered that may have been stored before, unanswered."""
        with self._lock:
            if reply.status == 201:
                self._note_posted(call, reply.body["id"])
            elif call.method == "DELETE" and call.target:
                assert reply.status in (204, 410), reply
                self._note_deleted(call.target)
            else:
                assert reply.status == 410, reply  # its target was deleted, or it was itself

    def check(self, caller: Caller) -> None:
        """*caller*'s service shows just what was answered: every tweet, every count, in order, and no other."""
        assert not self._open
        assert self.differences(caller) == (0, 0, 0)

    def differences(self, caller: Caller) -> "Differences":
        """In what the ranking of *caller*'s service differs from what was answered."""
        shown, expected = list_ranking(caller), self.model().ranking()
        counts, known = {tweet: count for count, tweet in shown}, {tweet: count for count, tweet in expected}
        wrong = sum(counts[tweet] != known[tweet] for tweet in counts.keys() & known.keys())
        if shown != expected and counts == known:
            wrong = 1  # only the order
        return Differences(len(known.keys() - counts.keys()), len(counts.keys() - known.keys()), wrong)

    def check_keys(self, caller: Caller, many: int) -> None:
        """See that *many* of the calls that were answered are known by their keys: again they give the same tweet."""
        with self._lock:
            known = self._rng.sample(sorted(self._posted), min(many, len(self._posted)))
        for key in known:
            call, tweet_id = self._posted[key]
            reply = until_answered(caller, call)
            if tweet_id in self._deleted:
                assert reply.status == 410, (call, reply)
            else:
                assert (reply.status, reply.body["id"]) == (201, tweet_id), (call, reply)
                assert reply.headers["idempotency-replayed"] == "true"

    def model(self) -> PlainTweets:
        """The plain truth."""
        model = PlainTweets()
        with self._lock:
            for call, tweet_id in self._posted.values():
                parent = _number(call.target) if call.target else None
                model.post(_number(tweet_id), parent, call.body["count_retweet"])
            for tweet_id in self._deleted:
                model.delete(_number(tweet_id))
        return model

    @property
    def written(self) -> int:
        """How many writes were acknowledged."""
        return len(self._posted) + len(self._deleted)

    def _note_posted(self, call: Call, tweet_id: str) -> None:
        first = self._posted.setdefault(call.key, (call, tweet_id))
        assert first[1] == tweet_id, "one key made two tweets"
        if first[0] is call and not call.private and tweet_id not in self._live[-RECENT:]:
            self._live.append(tweet_id)

    def _note_deleted(self, tweet_id: str) -> None:
        self._deleted.add(tweet_id)
        with suppress(ValueError):
            self._live.remove(tweet_id)


class Load:
    """Clients that write without a pause until `stop`, or until the service is gone."""

    def __init__(self, url: str, ledger: Ledger, clients: int = 6) -> None:
        self._url = url
        self._ledger = ledger
        self._stopping = threading.Event()
        self._failures: list[BaseException] = []
        self._threads = [threading.Thread(target=self._run) for _ in range(clients)]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Let each client finish its call. Raises what one of them raised."""
        self._stopping.set()
        for thread in self._threads:
            thread.join()
        if self._failures:
            raise self._failures[0]

    def wait_for(self, writes: int) -> None:
        """Wait until so many more writes were acknowledged."""
        goal, deadline = self._ledger.written + writes, time.monotonic() + PATIENCE_S
        while self._ledger.written < goal:
            assert time.monotonic() < deadline, f"nothing is written any more: {self._ledger.statuses}"
            assert any(thread.is_alive() for thread in self._threads), self._failures
            time.sleep(0.002)

    def _run(self) -> None:
        try:
            with closing(Caller(self._url)) as caller:
                while not self._stopping.is_set():
                    call = self._ledger.draw()
                    began = time.monotonic()
                    reply = caller.call(call)
                    self._ledger.note(call, reply, time.monotonic() - began)
                    if reply.status == 0:
                        return
        except BaseException as failure:  # noqa: BLE001  # it belongs to the test
            self._failures.append(failure)


@contextmanager
def writing(url: str, ledger: Ledger, clients: int = 6) -> Iterator[Load]:
    """Load on the service at *url* for as long as the block."""
    load = Load(url, ledger, clients)
    try:
        yield load
    finally:
        load.stop()


def until_answered(caller: Caller, call: Call) -> Reply:
    """What *call* is answered once the service can: 503 and a lost connection mean to ask again."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        reply = caller.call(call)
        if reply.status not in (0, 503):
            return reply
        assert time.monotonic() < deadline, f"no answer but {reply}"
        time.sleep(0.05)


def list_ranking(caller: Caller) -> list[tuple[int, int]]:
    """The whole ranking as (count, id), page by page; waits for one that is not stale."""
    rows: list[tuple[int, int]] = []
    path, deadline = "/api/v1/top?limit=100", time.monotonic() + PATIENCE_S
    while True:
        reply = caller.ask("GET", path)
        if reply.status in (0, 503) or reply.body.get("stale"):
            assert time.monotonic() < deadline, f"no answer but {reply}"
            time.sleep(0.05)
            continue
        rows += [(tweet["count_retweet"], _number(tweet["id"])) for tweet in reply.body["tweets"]]
        if reply.body["next"] is None:
            return rows
        path = f"/api/v1/top?limit=100&cursor={reply.body['next']}"


def _number(text: str) -> int:
    number = ids.decode(text)
    assert number is not None, f"{text!r} is no id"
    return number
