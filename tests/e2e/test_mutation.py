"""
The real service, and 20,000 requests that are almost right: never a 5xx, never half a change.

Each seed has a service of its own, and gives the same requests again but for the ids in them.
"""

import logging
import random
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from app.http.application import Application
from app.server import Server
from app.settings import Settings
from storage import Tweets, ids
from storage.records import NewTweet
from storage.tools.verify import verify
from tests.e2e.server_mutations import mutate, valid_requests
from tests.e2e.server_wire import Answer, Wire, check_problem, serving

SEEDS = 10
REQUESTS = 2_000
AT_ONCE = 40
"""Connections that are open together: enough for writes to share a transaction."""


@pytest.fixture
def server(tweets: Tweets, data_dir: Path) -> Iterator[Server]:
    """The real service."""
    settings = Settings.from_environment({"DATA_DIR": str(data_dir)})
    app = Application(tweets, settings)
    with serving(app, **app.hooks()) as running:
        yield running


def post_some(tweets: Tweets) -> list[str]:
    """The ids of a chain of thirty tweets."""
    made: list[int] = []
    for _ in range(30):
        draft = NewTweet("ada", "A title", "A body", made[-1] if made else None)
        made.append(tweets.post(draft).result().tweet.id)
    return [ids.encode(tweet_id) for tweet_id in made]


def exchange(server: Server, raws: list[bytes]) -> Iterator[tuple[bytes, list[Answer]]]:
    """Send each of *raws* on a connection of its own, all at once; what each was answered until the server closed."""
    with ExitStack() as opened:
        wires = [opened.enter_context(Wire(server.url)).send(raw).end() for raw in raws]
        for raw, wire in zip(raws, wires, strict=True):
            yield raw, wire.read_answers(may_be_head=b"HEAD" in raw)
            wire.close()


def check(raw: bytes, answer: Answer) -> None:
    """*answer* is no fault of the service, and an error has the shape that all have; pages say it to people."""
    assert answer.status < 500 or answer.status == 505, raw
    if answer.status < 400:
        return
    if answer.headers["content-type"].startswith("text/html") and (b"text/html" in raw or b" /tweet/" in raw):
        return
    check_problem(answer, head=b"HEAD" in raw and not answer.body)


def count_live(tweets: Tweets) -> int:
    """How many tweets are in the ranking."""
    found, after = 0, None
    while True:
        page = tweets.top(100, after).result()
        found, after = found + len(page.tweets), page.next
        if after is None:
            return found


@pytest.mark.parametrize("seed", range(SEEDS))
def test_almost_right_requests_do_no_harm(
    tweets: Tweets, server: Server, seed: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Errors are answered and not logged; there are as many tweets as were answered with 201, less those with 204."""
    rng = random.Random(seed)
    posted = post_some(tweets)
    expected, statuses = count_live(tweets), set()
    with caplog.at_level(logging.WARNING):
        for _ in range(0, REQUESTS, AT_ONCE):
            requests = valid_requests(rng.sample(posted, 3))
            for raw, answers in exchange(server, [mutate(rng, requests) for _ in range(AT_ONCE)]):
                for answer in answers:
                    check(raw, answer)
                    statuses.add(answer.status)
                    expected += answer.status == 201 and "idempotency-replayed" not in answer.headers
                    expected -= answer.status == 204
    assert caplog.text == ""
    assert statuses >= {200, 201, 204, 400, 404, 405, 410, 415, 422}  # so they come as far as the tweets
    with Wire(server.url) as wire:
        assert wire.ask(requests[3]).status == 200
    assert count_live(tweets) == expected
    assert verify(tweets) == []
