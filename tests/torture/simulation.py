"""The simulation, with many seeds: see `tests.simulation`."""

import time
from pathlib import Path

from tests.simulation.many import Totals, simulate_many
from tests.simulation.run import Result
from tests.torture.report import Row

TARGET = 20_000
SHOW_EVERY = 1_000

LOST, DOUBLED = {"lost"}, {"doubled"}
"""Kinds of findings; any other one is something wrong."""


def run(seed: int, seeds: int, _folder: Path) -> Row:
    """Simulate *seeds* seeds, the first of which is drawn from *seed*."""
    began, first = time.monotonic(), seed * TARGET
    totals = simulate_many(range(first, first + seeds), hear=_hear)
    kinds = [kind for kind, _ in totals.wrong.values()]
    lost, doubled = sum(kind in LOST for kind in kinds), sum(kind in DOUBLED for kind in kinds)
    done = f"{totals.seeds:,} seeds, {totals.steps:,} switches, {totals.writes:,} writes, {totals.checks:,} checks"
    met = True if totals.seeds >= TARGET else None
    wrong = len(kinds) - lost - doubled
    return Row("simulation", done, lost, doubled, wrong, time.monotonic() - began, f"{TARGET:,} seeds", met)


def _hear(totals: Totals, result: Result) -> None:
    if result.verdict:
        kind, sentence = result.verdict
        print(f"  python -m tests.simulation --seed {result.seed} --trace: {kind}: {sentence[:300]}", flush=True)
    if totals.seeds % SHOW_EVERY == 0:
        print(f"  {totals.describe()}", flush=True)
