"""Many seeds, by processes of their own: no other thread is in them, and each has a valkey."""

import os
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial
from multiprocessing import get_context

from tests.simulation.hosts import MUTATIONS
from tests.simulation.run import Bench, Result, simulate


class _Own:
    bench: Bench | None = None


@dataclass
class Totals:
    """What came of many seeds."""

    seeds: int = 0
    steps: int = 0
    calls: int = 0
    writes: int = 0
    checks: int = 0
    wrong: dict[int, tuple[str, str]] = field(default_factory=dict)
    """By their seeds: the kind of each finding, and a sentence."""
    took_s: float = 0.0

    def add(self, result: Result) -> None:
        """Add what came of a seed."""
        self.seeds += 1
        self.steps += result.steps
        self.calls += result.calls
        self.writes += result.writes
        self.checks += result.checks
        if result.verdict:
            self.wrong[result.seed] = result.verdict

    def describe(self) -> str:
        """The numbers in a line."""
        return (
            f"{self.seeds:,} seeds, {self.steps:,} switches, {self.calls:,} calls, {self.writes:,} writes, "
            f"{self.checks:,} checks, {len(self.wrong):,} wrong, {self.took_s:,.0f} s"
        )


def open_pool(jobs: int | None = None) -> ProcessPoolExecutor:
    """*jobs* processes, one for each CPU unless said otherwise, in which `simulate_one` may be called."""
    # Spawned: a copy of this process would have its threads' locks.
    return ProcessPoolExecutor(jobs or os.cpu_count(), get_context("spawn"), _open)


def simulate_many(
    seeds: Iterable[int],
    jobs: int | None = None,
    hear: Callable[[Totals, Result], None] = lambda _totals, _result: None,
) -> Totals:
    """What comes of *seeds*, with *jobs* processes; *hear* is called after each of them."""
    totals, began = Totals(), time.monotonic()
    with open_pool(jobs) as pool:
        for result in pool.map(partial(simulate_one, traced=False), seeds, chunksize=4):
            totals.add(result)
            totals.took_s = time.monotonic() - began
            hear(totals, result)
    return totals


def simulate_one(seed: int, mutation: str | None = None, *, traced: bool = True) -> Result:
    """What comes of *seed*, in a process of a pool; with a *mutation*, by a product that is broken so."""
    assert _Own.bench
    with MUTATIONS[mutation]() if mutation else nullcontext():
        result = simulate(seed, _Own.bench)
    if not traced:
        result.trace = []
    return result


def _open() -> None:
    _Own.bench = Bench()  # it ends with this process
