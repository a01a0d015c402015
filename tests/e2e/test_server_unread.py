"""Clients that ask and do not read, or do not end: each costs a bounded amount of memory, no thread and no file."""

import resource
import select
import socket
import threading
import time
from collections.abc import Iterable
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit
from wsgiref.types import StartResponse, WSGIEnvironment

import pytest
from waitress.channel import HTTPChannel

from app.server import Limits, Server
from tests.e2e import commands
from tests.e2e.server_wire import CALM, GET, PATIENCE_S, Wire, child_server, serving

MIB = 1024 * 1024
HALF = b"GET / HT"
IMPATIENT = replace(CALM, request_s=1, idle_s=2)


class Large:
    """Answers with 4 MiB, counts how often, and answers /small with a few bytes."""

    def __init__(self) -> None:
        self.made = 0

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer 200."""
        small = environ["PATH_INFO"] == "/small"
        self.made += not small
        body = b"small" if small else bytes(4 * MIB)
        start_response("200 OK", [("Content-Length", str(len(body)))])
        return [body]


def mute(server: Server | commands.Service, data: bytes) -> socket.socket:
    """A client with little room for answers, which has sent *data* and never reads."""
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    address = urlsplit(server.url)
    client.connect((address.hostname, address.port))
    client.sendall(data)
    return client


def wait_for_end(client: socket.socket) -> None:
    """Wait until the server has reset the connection, without reading from it."""
    poll = select.poll()
    poll.register(client, 0)
    assert poll.poll(PATIENCE_S * 1000), "the server keeps it"


@pytest.fixture(autouse=True)
def no_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waitress never waits for its buffers to empty: that has stopped the loop for good."""

    def fail(_channel: HTTPChannel) -> None:
        raise AssertionError("waitress would wait for a client to read")

    monkeypatch.setattr(HTTPChannel, "_flush_outbufs_below_high_watermark", fail)


def is_served(server: Server) -> bool:
    """Whether others are answered."""
    with Wire(server.url) as wire:
        return wire.ask(GET.replace(b"/", b"/small", 1)).body == b"small"


@pytest.mark.parametrize("requests", [1, 12, 40])
@pytest.mark.parametrize("rest", [b"", HALF])
def test_one_response_is_made_for_a_client_that_does_not_read(requests: int, rest: bytes) -> None:
    """However many requests it pipelines, and whatever follows them: the second is begun when the first is sent."""
    app = Large()
    with serving(app, limits=IMPATIENT) as server, mute(server, GET * requests + rest) as client:
        assert is_served(server)
        wait_for_end(client)
        assert is_served(server)
        assert app.made == 1
    assert server.unsent_bytes == server.received_bytes == 0


def test_a_thousand_clients_that_do_not_read(wires: ExitStack) -> None:
    """Their sum is bounded: those who come after that are reset, and others are answered throughout."""
    app = Large()
    limits = replace(CALM, idle_s=PATIENCE_S, unsent_bytes=64 * MIB)
    with serving(app, limits=limits) as server:
        before, threads = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, threading.active_count()
        for number in range(1000):
            wires.enter_context(mute(server, GET * 8 + HALF))
            if number % 50 == 0:
                assert is_served(server)
        assert is_served(server)
        assert server.unsent_bytes <= limits.unsent_bytes
        assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 < 4 * limits.unsent_bytes
        assert threading.active_count() < threads + 50
    assert server.unsent_bytes == server.received_bytes == 0


def test_a_byte_now_and_then_is_not_enough() -> None:
    """A client that takes some bytes in time, but less than a least rate, is closed as well."""
    with serving(Large(), limits=IMPATIENT) as server, mute(server, GET) as client:
        client.settimeout(PATIENCE_S)
        began = time.monotonic()
        with suppress(ConnectionResetError):
            while client.recv(2000):
                assert time.monotonic() - began < 10 * PATIENCE_S
                connection = next(iter(server.active_channels.values()), None)
                if connection is not None:
                    connection._sent_by = min(connection._sent_by, began + 3)  # as after some minutes
                time.sleep(0.3)
        assert is_served(server)


def test_a_slow_client_gets_all_of_it() -> None:
    """One that reads steadily has as long as it needs."""
    with (
        serving(Large(), limits=IMPATIENT) as server,
        mute(server, GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")) as client,
    ):
        taken = 0
        while data := client.recv(MIB):
            taken += len(data)
            time.sleep(0.002)
        assert taken > 4 * MIB


def test_half_requests_of_many_are_bounded(wires: ExitStack) -> None:
    """Bodies that never end are refused when they are too much together; whole requests are answered meanwhile."""
    limits = replace(CALM, request_s=PATIENCE_S, received_bytes=MIB)
    with serving(Large(), limits=limits) as server:
        half = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n" + bytes(60_000)
        clients = [wires.enter_context(Wire(server.url)).send(half) for _ in range(40)]
        least = 40 - MIB // 60_000 - 2
        answers: list[Wire] = []
        while len(answers) < least:
            answers = [wire for wire in clients if wire.has_answer()]
            time.sleep(0.05)
        for wire in answers:
            answer = wire.ask(b"")
            assert (answer.status, answer.headers["retry-after"]) == (503, "1")
        assert server.received_bytes < 2 * MIB
        assert is_served(server)


def test_a_stop_does_not_wait_for_a_client_that_does_not_read(wires: ExitStack) -> None:
    """It has three seconds of the stop, and another that reads has all of its response."""
    with serving(Large(), limits=replace(CALM, drain_s=PATIENCE_S)) as server:
        client = wires.enter_context(mute(server, GET))
        while not server.unsent_bytes:
            time.sleep(0.01)
        began = time.monotonic()
        server.stop()
        wait_for_end(client)
    assert time.monotonic() - began < PATIENCE_S


def test_four_workers_outlive_them(data_dir: Path) -> None:
    """Half requests behind responses that are not read, past their deadline: all workers answer, and end in time."""
    script = GET.replace(b"/", b"/static/vendor/swagger-ui/swagger-ui-bundle.js", 1)
    with commands.serving(data_dir, WORKERS="4") as service, ExitStack() as clients:
        for number in range(48):
            clients.enter_context(mute(service, script * (8 + number % 12) + HALF))
        ends_at = time.monotonic() + Limits().request_s + 2
        while time.monotonic() < ends_at:
            with Wire(service.url) as wire:
                assert wire.ask(GET.replace(b"/", b"/livez", 1)).status == 200
            time.sleep(0.1)
        assert service.end() == 0
    assert commands.nothing_runs(data_dir)


NO_FILES = """
import resource
from tests.e2e import server_apps
resource.setrlimit(resource.RLIMIT_NOFILE, (300, 300))
server_apps.main()
"""


def test_without_a_free_file_the_loop_rests(wires: ExitStack) -> None:
    """A connection that cannot be accepted is left for a second, said once; when files are free it is answered."""
    with child_server("-c", NO_FILES, "echo") as (child, url):
        inside = wires.enter_context(Wire(url))
        assert inside.ask(GET).status == 200
        used = len(list(Path(f"/proc/{child.pid}/fd").iterdir()))
        resource.prlimit(child.pid, resource.RLIMIT_NOFILE, (used, 300))
        outside = wires.enter_context(Wire(url)).send(GET)
        time.sleep(0.3)
        before = cpu_ticks(child.pid)
        time.sleep(2)
        assert cpu_ticks(child.pid) - before < 50, "the loop spins"
        assert inside.ask(GET).status == 200
        resource.prlimit(child.pid, resource.RLIMIT_NOFILE, (300, 300))
        assert outside.ask(b"").status == 200
        child.terminate()
        assert child.communicate(timeout=PATIENCE_S)[1].count("no connection can be accepted") == 1


def cpu_ticks(pid: int) -> int:
    """The processor time of a process, in hundredths of a second."""
    return sum(map(int, Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]))
