"""Deferred responses: no request waits for another's, and each comes to the client that asked, in its order."""

import threading
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from contextlib import ExitStack
from wsgiref.types import StartResponse, WSGIEnvironment

import pytest
from bottle import HTTPResponse

from app.deferred import DEFERRED, Deferred
from app.server import Server
from tests.e2e.server_wire import GET, PATIENCE_S, Wire, serving

LATER_GET = b"GET /later/%d HTTP/1.1\r\nHost: a\r\n\r\n"
MANY = 40


class Desk:
    """Defers /later/N until the future of N is completed, and answers all else at once, with the path."""

    def __init__(self) -> None:
        self.futures: dict[str, Future[str]] = {}
        self.arrived = threading.Semaphore(0)

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer, or begin to."""
        path = environ["PATH_INFO"]
        if path.startswith("/later/"):
            deferred: Deferred | None = environ[DEFERRED]
            if deferred is None:
                future = self.futures.setdefault(path, Future())
                self.arrived.release()
                return Deferred(future, HTTPResponse)
            assert deferred.future.result() == "go"
        body = path.encode()
        start_response("200 OK", [("Content-Length", str(len(body)))])
        return [body]

    def complete(self, number: int, outcome: str = "go") -> None:
        """Complete /later/*number*."""
        self.futures[f"/later/{number}"].set_result(outcome)

    def wait_for(self, requests: int) -> None:
        """Wait until so many more have been begun."""
        for _ in range(requests):
            assert self.arrived.acquire(timeout=PATIENCE_S)


@pytest.fixture
def desk() -> Desk:
    """A desk without requests."""
    return Desk()


@pytest.fixture
def server(desk: Desk) -> Iterator[Server]:
    """The desk, served."""
    with serving(desk) as server:
        yield server


def said(wire: Wire) -> str:
    """The path that the next response is for."""
    return wire.ask(b"").body.decode()


def test_no_request_waits_for_another(server: Server, desk: Desk, wires: ExitStack) -> None:
    """Any number of requests may be deferred, and others are answered; then each gets its own."""
    waiting = [wires.enter_context(Wire(server.url)).send(LATER_GET % number) for number in range(MANY)]
    desk.wait_for(MANY)
    with Wire(server.url) as other:
        assert other.ask(GET).status == 200
    assert not any(wire.has_answer() for wire in waiting)

    for number in reversed(range(MANY)):
        desk.complete(number)

    assert [said(wire) for wire in waiting] == [f"/later/{number}" for number in range(MANY)]


def test_responses_come_in_the_order_of_the_requests(server: Server, desk: Desk, wires: ExitStack) -> None:
    """What was asked after it on the same connection waits for it, and is not begun before."""
    wire = wires.enter_context(Wire(server.url))
    wire.send(LATER_GET % 1 + GET + LATER_GET % 2 + GET)
    desk.wait_for(1)
    assert not wire.has_answer()
    desk.complete(1)
    assert [said(wire), said(wire)] == ["/later/1", "/"]
    desk.wait_for(1)
    desk.complete(2)
    assert [said(wire), said(wire)] == ["/later/2", "/"]


@pytest.mark.usefixtures("no_clock")
def test_a_future_that_is_done_already_is_answered_at_once(server: Server, desk: Desk, wires: ExitStack) -> None:
    """The loop and the thread that completes the future may be quicker: nothing waits for a clock."""
    for number in range(50):
        desk.futures[f"/later/{number}"] = Future()
        desk.complete(number)
    wire = wires.enter_context(Wire(server.url))
    assert [said(wire.send(LATER_GET % number)) for number in range(50)] == list(desk.futures)


@pytest.mark.usefixtures("no_clock")
def test_a_completed_future_wakes_the_loop(server: Server, desk: Desk, wires: ExitStack) -> None:
    """Also one completed while the loop is at work; and then the next request of that connection is read."""
    wire = wires.enter_context(Wire(server.url))
    for number in range(20):
        wire.send(LATER_GET % number)
        desk.wait_for(1)
        time.sleep(0.01 * (number % 2))  # until the loop has nothing else to do
        desk.complete(number)
        assert said(wire) == f"/later/{number}"


def test_an_error_while_it_is_resumed_is_a_500(server: Server, desk: Desk, wires: ExitStack) -> None:
    """Nothing of the cause is shown, and the connection is closed; the server goes on."""
    wire = wires.enter_context(Wire(server.url)).send(LATER_GET % 1)
    desk.wait_for(1)
    desk.complete(1, "a secret")
    answer = wire.ask(b"")
    assert (answer.status, answer.headers["connection"]) == (500, "close")
    assert b"secret" not in answer.body
    assert wires.enter_context(Wire(server.url)).ask(GET).status == 200


def test_a_client_that_has_gone_is_not_waited_for(server: Server, desk: Desk) -> None:
    """A response to a connection that was closed meanwhile goes nowhere, and the server goes on."""
    with Wire(server.url) as wire:
        wire.send(LATER_GET % 1)
        desk.wait_for(1)
    desk.complete(1)
    with Wire(server.url) as other:
        other.send(LATER_GET % 2)
        desk.wait_for(1)
        desk.complete(2)
        assert said(other) == "/later/2"


def test_a_stop_waits_for_what_was_deferred(desk: Desk, wires: ExitStack) -> None:
    """The response is given and says that it is the last."""
    with serving(desk) as server:
        wire = wires.enter_context(Wire(server.url)).send(LATER_GET % 1)
        desk.wait_for(1)
        server.stop()
        threading.Timer(0.2, desk.complete, [1]).start()
        answer = wire.ask(b"")
        assert (answer.status, answer.headers["connection"]) == (200, "close")
