"""The server asks a connection what it waits for only when that may have changed, and misses no change."""

import time
from collections.abc import Iterable
from contextlib import ExitStack
from wsgiref.types import StartResponse, WSGIEnvironment

import pytest

from app.server import Limits
from tests.e2e.server_apps import Echo, Gate, Pooled
from tests.e2e.server_wire import GET, Wire, serving

pytestmark = pytest.mark.usefixtures("no_clock")

MIB = 1024 * 1024


class Large:
    """Answers with the number of MiB that the path says, in pieces of one, or in one piece when it has a query."""

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer 200 with zeros."""
        count = int(environ["PATH_INFO"].strip("/"))
        start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(count * MIB))])
        return [bytes(count * MIB)] if environ["QUERY_STRING"] else (bytes(MIB) for _ in range(count))


def test_after_an_answer_by_a_thread_the_next_request_is_read(wires: ExitStack) -> None:
    """The thread wakes the loop, which waits for the connection again."""
    with serving(Pooled(Echo())) as server:
        wire = wires.enter_context(Wire(server.url))
        assert [wire.ask(GET).status for _ in range(100)] == [200] * 100


@pytest.mark.parametrize("path", [b"/12?one", b"/12", b"/40?one", b"/40"])
def test_a_large_answer_is_sent_to_its_end(path: bytes, wires: ExitStack) -> None:
    """What the kernel does not take at once is sent as the client reads."""
    with serving(Large()) as server:
        wire = wires.enter_context(Wire(server.url))
        for _ in range(2):
            answer = wire.ask(GET.replace(b"/", path, 1))
            assert len(answer.body) == int(answer.headers["content-length"])


def test_who_has_gone_does_not_wake_the_loop(gate: Gate) -> None:
    """A client that leaves while its request runs is seen when the response is sent, and not again and again before."""
    turns = 0

    def count() -> None:
        nonlocal turns
        turns += 1

    with serving(Pooled(gate), on_idle=count) as server:
        with Wire(server.url) as wire:
            wire.send(GET)
            gate.entered.acquire()
        time.sleep(0.3)
        assert turns < 50
        gate.open.set()
        with Wire(server.url) as other:
            assert other.ask(GET).status == 200


def test_who_goes_makes_room(wires: ExitStack) -> None:
    """When no more fit in, the next one is let in as soon as one has gone, though no other client does anything."""
    with serving(Echo(), limits=Limits(connections=10)) as server:
        inside = [wires.enter_context(Wire(server.url)) for _ in range(10)]
        assert [wire.ask(GET).status for wire in inside] == [200] * 10
        waiting = [wires.enter_context(Wire(server.url)).send(GET) for _ in range(10)]
        for gone, wire in zip(inside, waiting, strict=True):
            assert not wire.has_answer()
            gone.close()
            assert wire.ask(b"").status == 200


def test_connections_may_come_and_go(wires: ExitStack) -> None:
    """The numbers of those closed are given to others; each is answered, and one that stays sees nothing of it."""
    with serving(Echo()) as server:
        stays = wires.enter_context(Wire(server.url))
        for turn in range(100):
            with ExitStack() as some:
                wires_of_turn = [some.enter_context(Wire(server.url)) for _ in range(8)]
                for number, wire in enumerate(wires_of_turn):
                    wire.send(GET.replace(b"/", b"/%d/%d" % (turn, number), 1))
                for wire in wires_of_turn[::3]:
                    wire.close()
                for number, wire in enumerate(wires_of_turn):
                    if number % 3:
                        assert wire.ask(b"").json["path"] == f"/{turn}/{number}"
            assert stays.ask(GET).status == 200
