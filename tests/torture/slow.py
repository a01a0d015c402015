"""A thousand clients that send half a request or nothing, and how long the others wait for their answers meanwhile."""

import random
import statistics
import time
from contextlib import ExitStack, closing
from pathlib import Path

from tests.e2e.commands import done, serving
from tests.e2e.server_wire import Wire
from tests.e2e.test_server_load import HALVES
from tests.faults.load import Call, Caller
from tests.torture.report import Row

TARGET, MEDIAN_WITHIN_S = 1_000, 0.1
ASKED_EVERY = 5
"""Slow clients between two writes and reads of the others, and as many writes and reads when all are there."""

HALF = [half for name, half in HALVES.items() if "100" not in name]


class Slow:
    """Slow clients of a service, and what the others have waited."""

    def __init__(self, seed: int, url: str) -> None:
        self._rng = random.Random(seed)
        self._url = url
        self._half: list[Wire] = []
        self.written = 0
        self.waited_s: list[float] = []

    def come(self, clients: int, opened: ExitStack) -> None:
        """Let so many connect: one in three says nothing, the others break off. Meanwhile others write and read."""
        with closing(Caller(self._url)) as old:
            for number in range(2 * clients):
                if number < clients:
                    self._come_one(opened)
                if number % ASKED_EVERY == 0:
                    self._ask(old)
                    with closing(Caller(self._url)) as new:
                        self._ask(new)

    def _come_one(self, opened: ExitStack) -> None:
        wire = opened.enter_context(Wire(self._url))
        if self._rng.random() < 2 / 3:
            self._half.append(wire.send(self._rng.choice(HALF)))

    def _ask(self, caller: Caller) -> None:
        body = {"user_name": "ann", "title": "Title", "body": "Body"}
        for call in (Call("POST", "/api/v1/tweet", body, str(self.written)), Call("GET", "/api/v1/top", {}, "")):
            began = time.monotonic()
            response = caller.call(call)
            self.waited_s.append(time.monotonic() - began)
            assert response.status in (200, 201), response
        self.written += 1

    def count_not_closed(self) -> int:
        """How many of those who broke off are not answered 408, and closed, at their deadline."""
        return sum(wire.ask(b"").status != 408 or not wire.is_closed() for wire in self._half)


def run(seed: int, clients: int, folder: Path) -> Row:
    """Let *clients* come; wrong are those not closed at their deadline, and counts that differ."""
    began, data_dir = time.monotonic(), folder / "slow"
    with serving(data_dir, WORKERS="1") as service, ExitStack() as opened:
        slow = Slow(seed, service.url)
        slow.come(clients, opened)
        median_s = statistics.median(slow.waited_s)
        wrong = slow.count_not_closed()
        wrong += f"{slow.written:,} right, 0 wrong".encode() not in done(data_dir, "verify")
        wrong += service.end() != 0
    met = median_s <= MEDIAN_WITHIN_S if clients >= TARGET else None
    target = f"median wait of the others within {MEDIAN_WITHIN_S * 1000:.0f} ms: {median_s * 1000:.1f} ms"
    summary = f"{clients:,} clients, {len(slow.waited_s):,} answers"
    return Row("slow", summary, 0, 0, wrong, time.monotonic() - began, target, met)
