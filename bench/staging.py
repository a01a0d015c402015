"""A service with tweets in place for one workload; and whether all its counts are right afterwards."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench import processes
from bench.load import CannotMeasure, Contestant
from bench.planting import Fields, Planted
from bench.processes import Server, run_verb
from bench.workloads import Workload, capture, write_requests

Start = Callable[[Path, int], AbstractContextManager[Server]]
"""Brings a service up on a data directory with so many workers."""


@dataclass(frozen=True, slots=True)
class Stage:
    """A service with tweets in place, ready to be asked by one workload."""

    data_dir: Path
    planted: Planted
    server: Server
    answers: Path
    requests: Path

    def contestant(self) -> Contestant:
        """The service."""
        return Contestant(self.server.url, self.requests)

    def total(self) -> int:
        """How many tweets are ranked now."""
        rank = self.server.get(f"/api/v1/tweet/{self.planted.viral}/rank")
        return int(rank["total"])


@contextmanager
def staged(
    fields: Fields, workload: Workload, tweets: int, workers: int = 1, start: Start = processes.service
) -> Iterator[Stage]:
    """A service of its own on so many tweets, brought up by *start*."""
    data_dir, planted = fields.copy(tweets)
    try:
        with start(data_dir, workers) as server:
            answers = data_dir / "asked"
            answers.mkdir()
            tag = capture(server.url, planted, answers / "answers.json")
            requests = write_requests(workload, answers, planted, tag)
            yield Stage(data_dir, planted, server, answers / "answers.json", requests)
    finally:
        fields.discard(data_dir)


def verified(stage: Stage, workload: Workload, before: int, acknowledged: int, in_flight: int) -> str:
    """
    What `verify` says, when every count is right and what was acknowledged is there. Raises CannotMeasure.

    At the end of a run wrk leaves: up to *in_flight* more may be stored than it had an answer for.
    """
    said = run_verb(stage.data_dir, "verify")
    if ", 0 wrong" not in said:
        raise CannotMeasure(f"{workload.title}: a fast wrong answer is no answer. {said}")
    if workload.writes == 1:
        stored = stage.total() - before
        if not acknowledged <= stored <= acknowledged + in_flight:
            raise CannotMeasure(f"{workload.title}: {acknowledged:,} were acknowledged, and {stored:,} are there.")
    return said.partition(" right")[0] + " right"
