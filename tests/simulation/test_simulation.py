"""Hosts, clients and faults, interleaved by seeds: see `tests.simulation`."""

from collections.abc import Iterator, Sequence
from concurrent.futures import Executor
from functools import partial

import pytest

from tests.simulation.hosts import MUTATIONS
from tests.simulation.many import open_pool, simulate_one
from tests.simulation.seeds import FIXED, ON_POSTGRESQL

AT_ONCE = 15
"""Seeds of one test: so many that the processes have equal shares."""

SHARES = [FIXED[first : first + AT_ONCE] for first in range(0, len(FIXED), AT_ONCE)]

FOUND_WITHIN = 50
REPLAYED, REPLAYS = FIXED[:4], 3


@pytest.fixture(scope="module")
def process() -> Iterator[Executor]:
    """A process of its own: threads that an earlier test has left are none of a simulation's."""
    with open_pool(1) as opened:
        yield opened


@pytest.mark.parametrize("seeds", SHARES, ids=lambda seeds: f"{seeds[0]}")
def test_every_seed_comes_to_rest_and_nothing_is_wrong(process: Executor, seeds: Sequence[int]) -> None:
    """Whatever fails, in whatever order: no write is lost or counted twice, no read is old, and the faults pass."""
    results = process.map(partial(simulate_one, traced=False), seeds)
    wrong = {result.seed: result.verdict for result in results if result.verdict}
    assert not wrong, f"replay with `python -m tests.simulation --seed {min(wrong)} --trace`"


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_what_the_design_rests_on_is_missed_soon(process: Executor, mutation: str) -> None:
    """Without one of the things that the design rests on, one of fifty seeds at most fails."""
    assert any(process.submit(simulate_one, seed, mutation).result().verdict for seed in FIXED[:FOUND_WITHIN])


@pytest.mark.parametrize("seed", REPLAYED)
def test_a_seed_is_replayed_to_the_byte(process: Executor, seed: int) -> None:
    """A seed decides everything: who runs when, each fault, each id, each answer."""
    traces = {"\n".join(result.trace) for result in process.map(simulate_one, [seed] * REPLAYS)}
    assert len(traces) == 1


def test_both_hold_on_postgresql(process: Executor) -> None:
    """Also where connections are cut, and where statements wait for locks of other hosts."""
    for seed in ON_POSTGRESQL:
        first, again = process.map(simulate_one, [seed] * 2)
        assert first.verdict is None
        assert first.trace == again.trace, f"seed {seed}"
