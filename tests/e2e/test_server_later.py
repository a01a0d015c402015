"""Answers in two steps: nobody waits for them but who asked, and each comes to the one who asked, in his order."""

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from wsgiref.types import StartResponse, WSGIEnvironment

import pytest

from app.later import LATER, Begun
from app.server import Hooks, Server
from tests.e2e.server_wire import GET, PATIENCE_S, Wire, serving

LATER_GET = b"GET /later/%d HTTP/1.1\r\nHost: a\r\n\r\n"
MANY = 40


class Desk(Hooks):
    """Answers /later/... once it is told to, everything else at once; each answer is the path and the thread's name."""

    def __init__(self) -> None:
        self.begun: dict[str, Callable[[], None]] = {}
        self.ready = True
        self.arrived = threading.Semaphore(0)

    def is_quick(self, method: str, path: str) -> bool:
        """What comes later is begun at once; the rest is for threads."""
        return method == "GET" and path.startswith("/later/")

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer, or begin to."""
        if not environ["PATH_INFO"].startswith("/later/") or LATER not in environ:
            return self._answer(environ, start_response)
        self.begun[environ["PATH_INFO"]] = environ[LATER]
        self.arrived.release()
        return Begun(self._answer, lambda: self.ready)

    def _answer(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if environ["PATH_INFO"] == "/later/666":
            raise ValueError("a secret of the second step")
        body = f"{environ['PATH_INFO']} {threading.current_thread().name}".encode()
        start_response("200 OK", [("Content-Length", str(len(body)))])
        return [body]

    def wait_for(self, requests: int) -> None:
        """Wait until so many more have been begun."""
        for _ in range(requests):
            assert self.arrived.acquire(timeout=PATIENCE_S)


@pytest.fixture
def desk() -> Desk:
    """A desk where nobody has asked yet."""
    return Desk()


@pytest.fixture
def server(desk: Desk) -> Iterator[Server]:
    """The desk, served with one thread for what is not quick."""
    with serving(desk, threads=1, hooks=desk) as server:
        yield server


def said(wire: Wire) -> str:
    """The path that the next answer is for."""
    return wire.ask(b"").body.decode().partition(" ")[0]


def test_nobody_waits_for_what_others_wait_for(server: Server, desk: Desk, wires: ExitStack) -> None:
    """With one thread, any number of requests may be under way, and others are answered; then each gets its own."""
    waiting = [wires.enter_context(Wire(server.url)).send(LATER_GET % number) for number in range(MANY)]
    desk.wait_for(MANY)
    with Wire(server.url) as other:
        assert other.ask(GET).status == 200
    assert not any(wire.has_answer() for wire in waiting)

    for tell in reversed(desk.begun.values()):
        tell()

    assert [said(wire) for wire in waiting] == [f"/later/{number}" for number in range(MANY)]


def test_answers_come_in_the_order_of_the_questions(server: Server, desk: Desk, wires: ExitStack) -> None:
    """What was asked after it on the same connection waits for it."""
    wire = wires.enter_context(Wire(server.url))
    wire.send(LATER_GET % 1 + GET + LATER_GET % 2 + GET)
    desk.wait_for(1)
    assert not wire.has_answer()
    desk.begun["/later/1"]()
    assert [said(wire), said(wire)] == ["/later/1", "/"]
    desk.wait_for(1)
    desk.begun["/later/2"]()
    assert [said(wire), said(wire)] == ["/later/2", "/"]


def test_an_answer_may_be_there_before_the_first_step_has_ended(server: Server, desk: Desk, wires: ExitStack) -> None:
    """Another thread may be quicker than the one that has asked it."""
    desk.begun = Told()
    assert wires.enter_context(Wire(server.url)).ask(LATER_GET % 1).status == 200


@pytest.mark.usefixtures("no_clock")
def test_being_told_wakes_the_server(desk: Desk, wires: ExitStack) -> None:
    """Also when somebody was told before while the server was at work: it need not look by itself."""
    with serving(desk, threads=1, hooks=desk) as server:
        waiting = wires.enter_context(Wire(server.url)).send(LATER_GET % 2)
        desk.wait_for(1)
        tell = desk.begun["/later/2"]
        desk.begun = Told()
        assert wires.enter_context(Wire(server.url)).ask(LATER_GET % 1).status == 200
        time.sleep(0.1)  # until the server has nothing else to do
        tell()
        assert said(waiting) == "/later/2"


@pytest.mark.usefixtures("no_clock")
def test_after_an_answer_that_came_later_the_next_request_is_read(server: Server, desk: Desk, wires: ExitStack) -> None:
    """The server waits for the connection again, whoever has told it."""
    wire = wires.enter_context(Wire(server.url))
    for number in range(20):
        wire.send(LATER_GET % number)
        desk.wait_for(1)
        desk.begun[f"/later/{number}"]()
        assert said(wire) == f"/later/{number}"


class Told(dict[str, Callable[[], None]]):
    """Tells whoever begins, at once, from another thread, and waits until that was done."""

    def __setitem__(self, path: str, tell: Callable[[], None]) -> None:
        thread = threading.Thread(target=tell)
        thread.start()
        thread.join()


def test_a_second_step_that_may_wait_has_a_thread(server: Server, desk: Desk, wires: ExitStack) -> None:
    """The thread that runs the server takes only those in hand that are ready."""
    desk.ready = False
    wire = wires.enter_context(Wire(server.url)).send(LATER_GET % 1)
    desk.wait_for(1)
    desk.begun["/later/1"]()
    assert wire.ask(b"").body == b"/later/1 waitress-0"

    desk.ready = True
    wire.send(LATER_GET % 2)
    desk.wait_for(1)
    desk.begun["/later/2"]()
    assert b"waitress" not in wire.ask(b"").body


def test_an_error_of_the_second_step_is_told_like_any(server: Server, desk: Desk, wires: ExitStack) -> None:
    """500, nothing of the cause, and the connection is closed; the server goes on."""
    wire = wires.enter_context(Wire(server.url)).send(LATER_GET % 666)
    desk.wait_for(1)
    desk.begun["/later/666"]()
    answer = wire.ask(b"")
    assert (answer.status, answer.headers["connection"]) == (500, "close")
    assert b"secret" not in answer.body
    assert wires.enter_context(Wire(server.url)).ask(GET).status == 200


def test_who_has_gone_is_not_waited_for(server: Server, desk: Desk) -> None:
    """An answer to a connection that was closed meanwhile goes nowhere, and the server goes on."""
    with Wire(server.url) as wire:
        wire.send(LATER_GET % 1)
        desk.wait_for(1)
    desk.begun["/later/1"]()
    with Wire(server.url) as other:
        other.send(LATER_GET % 2)
        desk.wait_for(1)
        desk.begun["/later/2"]()
        assert said(other) == "/later/2"


def test_a_stop_waits_for_what_was_begun(desk: Desk, wires: ExitStack) -> None:
    """The answer is given and says that it is the last; what is told after the end does nothing."""
    with serving(desk, threads=1, hooks=desk) as server:
        wire = wires.enter_context(Wire(server.url)).send(LATER_GET % 1)
        desk.wait_for(1)
        server.stop()
        threading.Timer(0.2, desk.begun["/later/1"]).start()
        answer = wire.ask(b"")
        assert (answer.status, answer.headers["connection"]) == (200, "close")
    desk.begun["/later/1"]()
