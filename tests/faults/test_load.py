"""More than it can take, and a stop in the midst of it: a refusal comes at once, all else is answered."""

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from subprocess import TimeoutExpired

import pytest

from storage.locks import FileLock
from tests.e2e.commands import Service, command, nothing_runs, serving
from tests.e2e.server_wire import Answer, Wire, check_problem
from tests.faults.load import Caller, Ledger, Reply, writing
from tests.faults.services import check_all, eventually

FLOOD, FLOOD_AT_MOST_S = 3_000, 2
"""Writes, on a quick machine: a batch that cannot get the lock for four seconds is given up."""

GROWTH_KIB = 60_000
"""What a flood may add to the memory of the service: a third of what it sends."""

BODY = b'{"user_name":"ann","title":"Title","body":"%b"}' % (b"b" * 9_000)
BODY += b" " * (60_000 - len(BODY))
POST = b"POST /api/v1/tweet HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
POST += b"Content-Length: %d\r\n\r\n%b" % (len(BODY), BODY)


def test_few_files_are_said(data_dir: Path) -> None:
    """Where the process may open too few files for more than some connections, the log says what to do; it serves."""
    limited = ("sh", "-c", f'ulimit -n 128; exec "$0" "$@" 2> {data_dir}.log', *command("serve"))
    with serving(data_dir, *limited, WORKERS="1") as service:
        assert service.get("/api/v1/top")["tweets"] == []
        assert service.end() == 0
    assert "1 connections at most: raise the limit" in Path(f"{data_dir}.log").read_text()


@contextmanager
def log_locked(data_dir: Path) -> Iterator[None]:
    """In this block no process can write to the log: what is accepted waits."""
    with closing(FileLock(data_dir / "tweets.db.lock")) as lock, lock.hold(60):
        yield


def memory_kib(service: Service) -> int:
    """What the service has in memory."""
    lines = Path(f"/proc/{service.process.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))


def test_more_writes_than_may_wait(data_dir: Path) -> None:
    """Those beyond the queue get 503 while the others still wait; what was confirmed is kept; memory stays."""
    with serving(data_dir, WORKERS="1", QUEUE_LIMIT="20") as service, ExitStack() as wires:
        first = wires.enter_context(Wire(service.url))
        assert first.ask(POST).status == 201
        before = memory_kib(service)
        with log_locked(data_dir):
            waiting = [wires.enter_context(Wire(service.url)).send(POST) for _ in range(60)]
            eventually(lambda: count_answered(waiting) >= 30)
            deadline = time.monotonic() + FLOOD_AT_MOST_S
            for _ in range(FLOOD):
                check_refused(first.ask(POST))
                if time.monotonic() > deadline:
                    break
            refused = count_answered(waiting)
            assert refused < len(waiting)
        answers = [wire.ask(b"") for wire in waiting]
        for answer in answers:
            if answer.status != 201:  # the batch that waited for the lock may have given up on a slow machine
                check_refused(answer, "overloaded", "store_unavailable")
        kept = {answer.json["id"] for answer in answers if answer.status == 201}
        assert 0 < len(kept) <= len(waiting) - refused
        assert memory_kib(service) < before + GROWTH_KIB
        shown = service.get("/api/v1/users/ann/tweets?limit=100")["tweets"]
        assert len(shown) == len(kept) + 1
        assert kept < {tweet["id"] for tweet in shown}
        assert service.end() == 0


def test_reads_do_not_wait_for_writes(data_dir: Path) -> None:
    """While no process can write and many have asked to, the one thread there is answers all kinds of reads."""
    with serving(data_dir, WORKERS="1", THREADS="1") as service, ExitStack() as wires:
        tweet = wires.enter_context(Wire(service.url)).ask(POST).json
        with log_locked(data_dir):
            waiting = [wires.enter_context(Wire(service.url)).send(POST) for _ in range(30)]
            for path in (f"/api/v1/tweet/{tweet['id']}", "/api/v1/top", "/", "/livez", "/api/v1/users/ann/tweets"):
                with Wire(service.url) as other:
                    assert other.ask(b"GET %b HTTP/1.1\r\nHost: a\r\n\r\n" % path.encode()).status == 200
            assert not any(wire.has_answer() for wire in waiting)
        assert {wire.ask(b"").status for wire in waiting} == {201}
        assert service.end() == 0


def count_answered(wires: list[Wire]) -> int:
    """How many of *wires* have something to read."""
    return sum(wire.has_answer() for wire in wires)


def check_refused(answer: Answer, *codes: str) -> None:
    """*answer* says that it is too much, or one of *codes*, and when to come again."""
    assert (answer.status, answer.headers["retry-after"]) == (503, "1")
    assert answer.json["code"] in (codes or ("overloaded",))
    check_problem(answer)


class Client(threading.Thread):
    """Writes until the service is gone; notes when it sent what was not answered."""

    def __init__(self, url: str, ledger: Ledger) -> None:
        super().__init__()
        self._url, self._ledger = url, ledger
        self.answered = 0
        self.gone = False
        self.unanswered_at: float | None = None
        """When it was sent; None for one that could not be sent."""

    def run(self) -> None:
        """Ask on one connection after the other: the last answer on each says that it is the last."""
        while not self.gone:
            with closing(Caller(self._url)) as caller:
                self._write(caller)

    def _write(self, caller: Caller) -> None:
        reply = Reply(201)
        while reply.headers.get("connection") != "close":
            call = self._ledger.draw()
            reply = caller.call(call)
            self._ledger.note(call, reply, 0)
            if reply.status == 0:
                self.gone, self.unanswered_at = True, caller.sent_at
                return
            self.answered += 1


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_stop_under_load(data_dir: Path, workers: str) -> None:
    """Every request sent before the signal is answered, the process ends with 0, and all confirmed is there."""
    ledger = Ledger(seed=4)
    with serving(data_dir, WORKERS=workers) as service:
        clients = [Client(service.url, ledger) for _ in range(12)]
        for client in clients:
            client.start()
        eventually(lambda: min(client.answered for client in clients) > 3)
        signalled_at = time.monotonic()
        assert service.end(signal.SIGTERM) == 0
        for client in clients:
            client.join()
    lost = [client for client in clients if (client.unanswered_at or signalled_at) < signalled_at]
    assert lost == []
    assert nothing_runs(data_dir)
    check_all(data_dir, ledger)


def has_ended(service: Service) -> bool:
    """Whether it has, after one more signal: two that come before it looks are one to it."""
    service.process.terminate()
    with suppress(TimeoutExpired):
        service.process.wait(1)
    return service.process.returncode is not None


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_second_signal_ends_at_once(data_dir: Path, workers: str) -> None:
    """A stop that waits for requests under way is cut short by a second signal; what was confirmed before is there."""
    ledger = Ledger(seed=6)
    with serving(data_dir, WORKERS=workers) as service:
        with writing(service.url, ledger) as load:
            load.wait_for(20)
        with log_locked(data_dir), Wire(service.url) as wire:
            wire.send(POST)
            service.process.terminate()
            time.sleep(1)
            assert service.process.poll() is None
            eventually(lambda: has_ended(service))
            assert service.process.returncode == 128 + signal.SIGTERM
    model = ledger.model()
    with serving(data_dir) as service, closing(Caller(service.url)) as caller:
        ids = {tweet["id"] for tweet in caller.ask("GET", "/api/v1/top?limit=100").body["tweets"]}
        assert len(ids) - len(model.live()) in (0, 1)  # the one that was under way may have been stored
        assert service.end() == 0
