"""What a request was answered with goes when it was answered; nothing is left for the garbage collector."""

import gc
from collections.abc import Iterator

import pytest

from app.http.application import Application
from app.server import Server
from app.settings import Settings
from storage import Tweets, ids
from storage.records import NewTweet
from tests.e2e.server_wire import Wire, serving

REQUESTS = 60

GETS = {
    "page": "/",
    "top": "/api/v1/top",
    "one": "/api/v1/tweet/ROOT",
    "absent": "/api/v1/tweet/0000000000000",
    "chain": "/api/v1/tweet/ROOT/chain",
}
POSTS = {
    "tweet": b'{"user_name": "ada", "title": "a title", "body": "a body"}',
    "retweet": b'{"user_name": "bob", "retweet": "ROOT"}',
}


@pytest.fixture
def server(tweets: Tweets) -> Iterator[Server]:
    """The service on a socket."""
    app = Application(tweets, Settings.from_environment({"ACCESS_LOG": "1"}))
    with serving(app, **app.hooks()) as server:
        yield server


def request_for(kind: str, root: str) -> bytes:
    """A request of that kind; *root* is the id of a tweet."""
    if kind in POSTS:
        body = POSTS[kind].replace(b"ROOT", root.encode())
        head = f"POST /api/v1/{kind} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        return head.encode() + b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
    return f"GET {GETS[kind]} HTTP/1.1\r\nHost: a\r\n\r\n".replace("ROOT", root).encode()


@pytest.mark.parametrize("kind", [*GETS, *POSTS])
def test_an_answer_leaves_no_circle(tweets: Tweets, server: Server, kind: str) -> None:
    """Fewer objects than requests are left in circles: a request that made one of its own would leave some dozens."""
    root = tweets.post(NewTweet("ada", "a title", "a body")).result().tweet.id
    asked = request_for(kind, ids.encode(root))
    with Wire(server.url) as wire:
        assert wire.ask(asked).status in (200, 201, 404)  # what is made once
        gc.collect()
        gc.disable()
        try:
            for _ in range(REQUESTS):
                wire.ask(asked)
            assert gc.collect() < REQUESTS
        finally:
            gc.enable()
