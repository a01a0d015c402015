"""Starting to listen, and stopping: what was received is answered."""

import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress

import pytest

from app import CommandError
from app.server import Limits, Server, open_socket
from tests.e2e.server_apps import Echo, Gate, Pooled
from tests.e2e.server_wire import GET, PATIENCE_S, Wire, child_server, serving

FULL = b"GET / HTTP/1.1\r\nHost: abcdef\r\n\r\n"  # 32 bytes, so that a read of 8 KiB ends with one
APPS = ("-m", "tests.e2e.server_apps")


@pytest.mark.parametrize("host", ["127.0.0.1", "192.0.2.1", "x" * 64])
def test_an_address_that_cannot_be_listened_on_is_one_sentence(host: str) -> None:
    """It names host, port and reason, and what to do: one is taken, one of another machine, one of none."""
    with open_socket("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(CommandError, match=rf"port {port} of {host} \(.+\): set HOST to .* PORT to a free"):
            open_socket(host, port)


def test_localhost_is_listened_on_where_clients_try_first() -> None:
    """At 127.0.0.1, whatever else the name means."""
    with open_socket("localhost", 0) as listening:
        assert listening.getsockname()[0] == "127.0.0.1"


def test_an_ipv6_address_is_written_in_brackets() -> None:
    """The address that is announced can be used as it is."""
    if not socket.has_ipv6:
        pytest.skip("no IPv6")
    server = Server(Echo(), open_socket("::1", 0))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        assert server.url.startswith("http://[::1]:")
        with Wire(server.url) as wire:
            assert wire.ask(GET).status == 200
    finally:
        server.stop()
        thread.join()
        server.close()


def test_two_servers_may_share_a_listening_socket() -> None:
    """As several worker processes will; one that stops leaves the port to the other."""
    with open_socket("127.0.0.1", 0) as listening:
        servers = [Server(Echo(), listening.dup()) for _ in range(2)]
        threads = [threading.Thread(target=server.run) for server in servers]
        for thread in threads:
            thread.start()
        for server, thread in zip(servers, threads, strict=True):
            for _ in range(10):
                with Wire(server.url) as wire:
                    assert wire.ask(GET).status == 200
            server.stop()
            thread.join()
            server.close()


def test_a_stop_answers_what_was_received(gate: Gate, wires: ExitStack) -> None:
    """Running, waiting for a thread, behind another on its connection, and half sent: all are answered, then closed."""
    with serving(Pooled(gate, 1)) as server:
        running = wires.enter_context(Wire(server.url)).send(FULL * 512)  # 16 KiB, in two reads
        gate.entered.acquire()
        waiting = [wires.enter_context(Wire(server.url)).send(GET) for _ in range(20)]
        half = wires.enter_context(Wire(server.url)).send(GET[:-9])
        silent = wires.enter_context(Wire(server.url))
        server.stop()
        assert silent.is_closed()
        half.send(GET[-9:])
        gate.open.set()
        assert [running.ask(b"").status for _ in range(512)] == [200] * 512
        for wire in [*waiting, half]:
            answer = wire.ask(b"")
            assert (answer.status, answer.headers["connection"]) == (200, "close")
            assert wire.is_closed()
        with pytest.raises(ConnectionRefusedError):
            Wire(server.url)


def test_a_stop_answers_those_who_were_not_yet_let_in(wires: ExitStack) -> None:
    """A connection that the kernel has made for us counts as received."""
    server = Server(Echo(), open_socket("127.0.0.1", 0))
    clients = [wires.enter_context(Wire(server.url)).send(GET) for _ in range(50)]
    server.stop()
    server.run()
    server.close()
    assert [wire.ask(b"").status for wire in clients] == [200] * 50


def test_a_stop_ends_when_its_time_is_up(gate: Gate, wires: ExitStack) -> None:
    """A request that never ends is given up, and its client sees the connection close."""
    with serving(Pooled(gate), limits=Limits(drain_s=1, grace_s=0.1)) as server:
        wire = wires.enter_context(Wire(server.url)).send(GET)
        gate.entered.acquire()
    assert wire.is_closed()
    gate.open.set()  # what is completed now goes nowhere


class Client(threading.Thread):
    """Asks without a pause until it is refused; notes when it sent each request, and which were answered."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self.url = url
        self.answered = 0
        self.unanswered_at: list[float] = []

    def run(self) -> None:
        """Ask on one connection until that is closed, then on the next one."""
        while True:
            try:
                with Wire(self.url) as wire:
                    self._ask_on(wire)
            except (ConnectionRefusedError, ConnectionResetError):
                return

    def _ask_on(self, wire: Wire) -> None:
        while True:
            wire.send(GET.replace(b"/", b"/sleep", 1))
            sent_at = time.monotonic()  # not before: it may be long until a busy machine sends
            try:
                answer = wire.find_answer()
            except ConnectionResetError:
                answer = None
            if answer is None:
                self.unanswered_at.append(sent_at)
                return
            assert answer.status == 200
            self.answered += 1
            if answer.headers.get("connection") == "close":
                return


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_under_load_loses_no_request(number: signal.Signals) -> None:
    """With more clients than threads, all requests sent before the signal are answered; the process ends with 0."""
    with child_server(*APPS, "echo") as (child, url):
        clients = [Client(url) for _ in range(16)]
        for client in clients:
            client.start()
        while min(client.answered for client in clients) < 5:
            time.sleep(0.01)
        signalled_at = time.monotonic()
        child.send_signal(number)
        assert child.communicate(timeout=PATIENCE_S) == ("ended\n", "")
        assert child.returncode == 0
        for client in clients:
            client.join()
        lost = [at for client in clients for at in client.unanswered_at if at < signalled_at]
        assert lost == []


@pytest.fixture
def busy() -> Iterator[tuple[subprocess.Popen[str], Wire]]:
    """A process that works on a request without end, and was asked to stop."""
    with child_server(*APPS, "gate") as (child, url), Wire(url) as wire, Wire(url) as silent:
        wire.send(GET)
        child.terminate()
        assert silent.is_closed()  # so it has begun to stop, half a second ago
        yield child, wire


def test_a_second_signal_ends_at_once(busy: tuple[subprocess.Popen[str], Wire]) -> None:
    """The process dies of it, its requests with it."""
    child, wire = busy
    time.sleep(0.2)
    child.terminate()
    assert child.wait(PATIENCE_S) == 128 + signal.SIGTERM
    assert wire.is_closed()


PATIENT = """
from app import signals
from tests.e2e import server_apps
signals.SAME_SIGNAL_S = 60
server_apps.main()
"""
"""Takes a signal for the same one for longer than the slowest machine takes between two lines of a test."""


def test_the_same_signal_sent_on_by_another_is_not_a_second_one() -> None:
    """`make` in a process group that gets SIGTERM passes it on: the service gets two, and stops in order."""
    with child_server("-c", PATIENT, "echo") as (child, url), Wire(url) as wire:
        wire.send(GET.replace(b"/", b"/sleep", 1))
        child.terminate()
        with suppress(ConnectionRefusedError, ConnectionResetError):  # a reset: it closed just then
            while True:  # until the first one was heard
                Wire(url).close()
        child.terminate()
        assert wire.ask(b"").status == 200
        assert child.communicate(timeout=PATIENCE_S) == ("ended\n", "")
        assert child.returncode == 0
