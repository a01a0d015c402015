"""Requests that are almost right, by the hundred thousand, to the real service as a process of its own."""

import random
import time
from contextlib import closing
from pathlib import Path

from tests.e2e.commands import Service, done, serving
from tests.e2e.server_mutations import mutate, valid_requests
from tests.e2e.server_wire import Answer, Wire
from tests.e2e.test_mutation import AT_ONCE, check
from tests.faults.load import Caller, list_ranking
from tests.torture.report import Row

TARGET = 200_000
SHOW_EVERY = 20_000


class Requests:
    """What was asked, what was wrong with the answers, and how many tweets there must be by them."""

    def __init__(self, seed: int) -> None:
        self._rng = random.Random(seed)
        self.done = 0
        self.wrong = 0
        self.live = 0
        self._ids: list[str] = []

    def post_some(self, service: Service) -> None:
        """Post a chain of thirty tweets, for the requests to name."""
        for number in range(30):
            if number:
                made = service.post("/api/v1/retweet", user_name="ada", retweet=self._ids[-1])
            else:
                made = service.post("/api/v1/tweet", user_name="ada", title="A title", body="A body")
            self._ids.append(made["id"])
        self.live += 30

    def exchange(self, service: Service) -> None:
        """Send some at once, each on a connection of its own, and look at all that is answered."""
        requests = valid_requests(self._rng.sample(self._ids, 3))
        raws = [mutate(self._rng, requests) for _ in range(AT_ONCE)]
        wires = [Wire(service.url).send(raw).end() for raw in raws]
        for raw, wire in zip(raws, wires, strict=True):
            with wire:
                for answer in wire.read_answers(may_be_head=b"HEAD" in raw):
                    self._look(raw, answer)
        self.done += AT_ONCE

    def _look(self, raw: bytes, answer: Answer) -> None:
        self.live += answer.status == 201 and "idempotency-replayed" not in answer.headers
        self.live -= answer.status == 204
        try:
            check(raw, answer)
        except AssertionError as error:
            self.wrong += 1
            print(f"  {raw!r}: {answer.status} {error}", flush=True)


def run(seed: int, requests: int, folder: Path) -> Row:
    """Send *requests*; wrong are those answered with a 5xx or an error of another shape, and counts that differ."""
    began, torture, data_dir = time.monotonic(), Requests(seed), folder / "requests"
    with serving(data_dir, WORKERS="1") as service, closing(Caller(service.url)) as caller:
        torture.post_some(service)
        while torture.done < requests:
            torture.exchange(service)
            if torture.done % SHOW_EVERY == 0:
                print(f"  {torture.done:,} requests, {torture.wrong} answered wrongly", flush=True)
        there = len(list_ranking(caller))
        wrong = torture.wrong + (b" 0 wrong" not in done(data_dir, "verify")) + (service.end() != 0)
    lost, doubled = max(0, torture.live - there), max(0, there - torture.live)
    met = True if torture.done >= TARGET else None
    summary = f"{torture.done:,} requests, {there:,} tweets"
    return Row("requests", summary, lost, doubled, wrong, time.monotonic() - began, f"{TARGET:,} requests", met)
