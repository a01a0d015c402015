"""Hosts, clients and faults, interleaved by seeds: see `tests.simulation`."""

from collections.abc import Iterator

import pytest

from tests.simulation.hosts import MUTATIONS
from tests.simulation.run import Bench, simulate
from tests.simulation.seeds import FIXED

AT_ONCE = 30
"""Seeds of one test: so many that the processes have equal shares."""

FOUND_WITHIN = 50
REPLAYED, REPLAYS = FIXED[:5], 3


@pytest.fixture(scope="module")
def bench() -> Iterator[Bench]:
    """A valkey and empty databases."""
    with Bench() as opened:
        yield opened


@pytest.mark.parametrize("first", range(0, len(FIXED), AT_ONCE))
def test_every_seed_comes_to_rest_and_nothing_is_wrong(bench: Bench, first: int) -> None:
    """Whatever fails, in whatever order: no write is lost or counted twice, no read is old, and the faults pass."""
    wrong = {}
    for seed in FIXED[first : first + AT_ONCE]:
        result = simulate(seed, bench)
        if result.verdict:
            wrong[seed] = result.verdict
    assert not wrong, f"replay with `python -m tests.simulation --seed {min(wrong)} --trace`"


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_what_the_design_rests_on_is_missed_soon(bench: Bench, mutation: str) -> None:
    """Without one of the things that the design rests on, one of fifty seeds at most fails."""
    with MUTATIONS[mutation]():
        verdicts = (simulate(seed, bench).verdict for seed in FIXED[:FOUND_WITHIN])
        assert any(verdicts)


@pytest.mark.parametrize("seed", REPLAYED)
def test_a_seed_is_replayed_to_the_byte(bench: Bench, seed: int) -> None:
    """A seed decides everything: who runs when, each fault, each id, each answer."""
    traces = {"\n".join(simulate(seed, bench).trace) for _ in range(REPLAYS)}
    assert len(traces) == 1
