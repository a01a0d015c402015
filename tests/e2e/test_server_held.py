"""The event loop never waits: while SQL and Redis stand still, every route may be asked, and /livez is answered."""

import os
import re
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from app.http.application import Application
from app.server import Server
from app.settings import Settings
from storage import Tweets, ids
from storage.records import NewTweet
from storage.sql.database import Database
from tests.e2e.server_wire import CALM, PATIENCE_S, Wire, serving

ANSWERED_WITHIN_S = 0.1
"""What /livez takes at most; of many tries the quickest counts, for other processes may keep us from the processor."""

LIVEZ = b"GET /livez HTTP/1.1\r\nHost: a\r\n\r\n"
BODIES = {
    "/api/v1/tweet": '{"user_name": "ada", "title": "T", "body": "B"}',
    "/api/v1/retweet": '{"user_name": "bob", "retweet": "ROOT"}',
}
QUERIES = {"/api/v1/top/users": "?window=day"}
"""What a route needs beside its path."""

VALUES = {"user_name": "ada", "name:path": "page.css"}
"""What stands for the parts of a route's path; anything else is the id of a tweet."""

AT_ONCE = {"/livez", "/api/v1", "/api/v1/", "/api/v1/openapi.json", "/static/<name:path>"}
"""Routes that ask neither SQL nor Redis: they are answered meanwhile."""


@pytest.fixture
def app(tweets: Tweets, data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Application:
    """The application, with numbers: no route is left out."""
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", "")  # put back in the end
    return Application(tweets, Settings.from_environment({"DATA_DIR": str(data_dir), "METRICS": "1"}))


@pytest.fixture
def server(app: Application) -> Iterator[Server]:
    """The application on a socket."""
    with serving(app, limits=replace(CALM, drain_s=PATIENCE_S), **app.hooks()) as server:
        yield server


@contextmanager
def held(tweets: Tweets, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Within this block no statement comes back from SQL, and Redis does not answer."""
    release = threading.Event()

    def hold(name: str) -> None:
        original = getattr(Database, name)

        @contextmanager
        def holding(*given: object, **named: object) -> Iterator[object]:
            assert release.wait(PATIENCE_S)
            with original(*given, **named) as connection:
                yield connection

        def waiting(*given: object, **named: object) -> object:
            assert release.wait(PATIENCE_S)
            return original(*given, **named)

        monkeypatch.setattr(Database, name, holding if name in ("reading", "writing") else waiting)

    for name in ("reading", "writing", "find_row", "find_rows", "get_state"):
        if hasattr(Database, name):
            hold(name)
    assert tweets.server
    os.kill(tweets.server.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        release.set()
        os.kill(tweets.server.pid, signal.SIGCONT)


def requests_of(app: Application, root: str) -> dict[tuple[str, str], bytes]:
    """A request for each route, from the table of routes; *root* is the id of a tweet."""
    made = {}
    for route in app.routes:
        path = re.sub(r"<([^>]+)>", lambda part: VALUES.get(part[1], root), route.rule)
        query = QUERIES.get(route.rule, "")
        body = BODIES.get(path, "").replace("ROOT", root).encode() if route.method == "POST" else b""
        head = f"{route.method} {path}{query} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        made[route.method, route.rule] = head.encode() + b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
    return made


def quickest_livez_s(server: Server) -> float:
    """The time of the quickest of some requests for /livez, each on a connection of its own."""
    times = []
    for _ in range(20):
        began = time.monotonic()
        with Wire(server.url) as wire:
            assert wire.ask(LIVEZ).status == 200
        times.append(time.monotonic() - began)
        if times[-1] < ANSWERED_WITHIN_S:
            break
    return min(times)


@pytest.mark.parametrize("conditional", [False, True])
def test_no_route_stops_the_loop(
    app: Application,
    server: Server,
    tweets: Tweets,
    monkeypatch: pytest.MonkeyPatch,
    wires: ExitStack,
    *,
    conditional: bool,
) -> None:
    """Each route of the table is asked, and none keeps /livez from being answered; all are answered in the end."""
    root = ids.encode(tweets.post(NewTweet("ada", "T", "B")).result().tweet.id)
    requests = requests_of(app, root)
    assert len(requests) >= 15
    with Wire(server.url) as wire:  # once before, so that nothing is made for the first time
        assert [wire.ask(raw).status for (method, _), raw in requests.items() if method == "GET"]
    with held(tweets, monkeypatch):
        waiting = {}
        for key, raw in requests.items():
            sent = raw.replace(b"\r\n", b'\r\nIf-Match: "x"\r\n', 1) if conditional else raw
            waiting[key] = wires.enter_context(Wire(server.url)).send(sent)
            assert quickest_livez_s(server) < ANSWERED_WITHIN_S, key
        answered = {rule for (_, rule), wire in waiting.items() if wire.has_answer()}
        assert answered >= AT_ONCE  # and some that are kept from before
        assert answered.isdisjoint({"/api/v1/tweet", "/api/v1/tweet/<tweet_id>/chain", "/readyz"})
    for key, wire in waiting.items():
        assert wire.ask(b"").status in (200, 201, 204, 308, 404, 410, 412, 503), key


def test_tokens_and_health_are_read_beside_the_loop(
    server: Server, tweets: Tweets, monkeypatch: pytest.MonkeyPatch, wires: ExitStack
) -> None:
    """Once a second the tokens are read, and /readyz may be asked by many: neither is felt."""
    with held(tweets, monkeypatch):
        for _ in range(200):
            wires.enter_context(Wire(server.url)).send(LIVEZ.replace(b"livez", b"readyz"))
        ends_at = time.monotonic() + 2.5
        while time.monotonic() < ends_at:
            assert quickest_livez_s(server) < ANSWERED_WITHIN_S
            time.sleep(0.05)


def test_the_threads_of_the_pool_are_bounded(tweets: Tweets, monkeypatch: pytest.MonkeyPatch, wires: ExitStack) -> None:
    """More calls than threads and room to wait: 503 at once, with the time after which to ask again."""
    monkeypatch.setattr("app.http.application.CALLS_WAITING", 3)
    app = Application(tweets, Settings.from_environment({"THREADS": "2"}))
    with serving(app, **app.hooks()) as server, held(tweets, monkeypatch):
        time.sleep(0.1)  # the reading of the tokens is one of the calls
        clients = [wires.enter_context(Wire(server.url)).send(LIVEZ.replace(b"livez", b"readyz")) for _ in range(12)]
        refused: list[Wire] = []
        while len(refused) < 7:
            refused = [wire for wire in clients if wire.has_answer()]
            time.sleep(0.01)
        for wire in refused[:7]:
            answer = wire.ask(b"")
            assert (answer.status, answer.json["code"], answer.headers["retry-after"]) == (503, "overloaded", "1")
        assert quickest_livez_s(server) < ANSWERED_WITHIN_S
