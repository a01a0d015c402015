"""What many, slow and silent clients may do to the others: nothing."""

import time
from contextlib import ExitStack

import pytest

from app.server import Limits
from tests.e2e.server_apps import Echo, Gate, Pooled
from tests.e2e.server_wire import GET, PATIENCE_S, Wire, check_problem, child_server, serving

IMPATIENT = Limits(request_s=1, idle_s=1)
HALVES = {
    "half a line": b"GET / HT",
    "half a header": b"GET / HTTP/1.1\r\nHost:",
    "half a body": b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nhalf",
    "half a chunk": b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nhalf",
    "nothing after a 100": b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\nExpect: 100-continue\r\n\r\n",
}


@pytest.mark.parametrize("name", HALVES)
def test_half_a_request_is_given_up_at_its_deadline(name: str) -> None:
    """It gets an answer that says so, and is closed; also when it came behind a request that was answered."""
    with serving(Echo(), limits=IMPATIENT) as server, Wire(server.url) as wire:
        assert wire.ask(GET).status == 200
        answer = wire.ask(GET + HALVES[name])
        assert answer.status == 200
        answer = wire.ask(b"")
        if name == "nothing after a 100":
            assert answer.status == 100
            answer = wire.ask(b"")
        assert (answer.status, answer.json["code"]) == (408, "request_too_slow")
        check_problem(answer)
        assert wire.is_closed()


def test_a_request_that_trickles_in_is_given_up_too() -> None:
    """The deadline counts from the first byte, whatever comes in between."""
    with serving(Echo(), limits=IMPATIENT) as server, Wire(server.url) as wire:
        wire.socket.settimeout(0.05)
        wire.send(b"GET /")
        for _ in range(PATIENCE_S * 20):
            try:
                assert wire.socket.recv(12) == b"HTTP/1.1 408"
                break
            except TimeoutError:
                wire.send(b"a")
        else:
            pytest.fail("the server waited without a limit")


def test_a_silent_connection_is_closed() -> None:
    """Before its first request, and after its last."""
    with serving(Echo(), limits=IMPATIENT) as server, Wire(server.url) as fresh, Wire(server.url) as used:
        assert used.ask(GET).status == 200
        assert fresh.is_closed()
        assert used.is_closed()


def test_a_request_that_waits_behind_a_slow_answer_is_not_given_up(gate: Gate) -> None:
    """The deadline is the client's: while the application works it does not count."""
    with serving(Pooled(gate), limits=Limits(request_s=4, idle_s=60)) as server, Wire(server.url) as wire:
        wire.send(GET + GET[:-4])
        gate.entered.acquire()
        time.sleep(6)
        gate.open.set()
        assert wire.ask(b"").status == 200
        assert wire.ask(b"\r\n\r\n").status == 200


def test_a_thousand_slow_clients_do_not_stop_the_others(wires: ExitStack) -> None:
    """While they wait, others are answered, on old and on new connections; then each of them is closed."""
    halves = [b"", HALVES["half a line"], HALVES["half a body"]]
    with serving(Echo(), limits=Limits(request_s=3, idle_s=3)) as server:
        old = wires.enter_context(Wire(server.url))
        slow = []
        for number in range(1000):
            slow.append(wires.enter_context(Wire(server.url)).send(halves[number % 3]))
            if number % 20 == 0:
                assert old.ask(GET).status == 200
                with Wire(server.url) as new:
                    assert new.ask(GET).status == 200
        for number, wire in enumerate(slow):
            assert number % 3 == 0 or wire.ask(b"").status == 408
            assert wire.is_closed()


def test_when_no_more_fit_in_the_silent_ones_make_room(wires: ExitStack) -> None:
    """A full house is ten times less patient, so that a new client is answered."""
    with serving(Echo(), limits=Limits(connections=20, idle_s=PATIENCE_S + 5)) as server:
        for _ in range(40):
            wires.enter_context(Wire(server.url))
        assert wires.enter_context(Wire(server.url)).ask(GET).status == 200


FEW_FILES = """
import resource
from tests.e2e import server_apps
resource.setrlimit(resource.RLIMIT_NOFILE, (300, 300))
server_apps.main()
"""


def test_a_process_that_may_open_few_files_takes_fewer_connections(wires: ExitStack) -> None:
    """More clients than files: those inside are answered as before, and the application may still open its files."""
    with child_server("-c", FEW_FILES, "echo") as (child, url):
        inside = wires.enter_context(Wire(url))
        assert inside.ask(GET).status == 200
        for _ in range(400):
            wires.enter_context(Wire(url))
        for _ in range(500):  # the server lets in one in each turn
            assert inside.ask(GET.replace(b"/", b"/open", 1)).status == 200
        child.terminate()
        assert child.communicate(timeout=PATIENCE_S)[0] == "ended\n"
        assert child.returncode == 0
