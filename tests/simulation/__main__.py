"""
Simulate hosts that share a database and a Redis, and print what was wrong.

    python -m tests.simulation --seeds 20000          the seeds from 0 on
    python -m tests.simulation --fixed                those of `make test`
    python -m tests.simulation --seed 7 --trace       one of them, with all that happened
    python -m tests.simulation --seeds 20 --replays 10    each so often, compared to the byte
"""

import argparse
import sys

from tests.simulation.many import Totals, simulate_many
from tests.simulation.run import Bench, Result, simulate
from tests.simulation.seeds import FIXED

SHOW_EVERY = 500


def main() -> int:
    """Do what the options say; 1 when something was wrong."""
    parser = argparse.ArgumentParser(
        "python -m tests.simulation", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=1000, help="how many (1000)")
    parser.add_argument("--fixed", action="store_true", help="those that every run of the tests simulates")
    parser.add_argument("--first", type=int, default=0, help="the first of them (0)")
    parser.add_argument("--jobs", type=int, help="processes (one for each CPU)")
    parser.add_argument("--seed", type=int, help="only this one")
    parser.add_argument("--trace", action="store_true", help="print who ran, which call, which fault")
    parser.add_argument("--replays", type=int, default=0, help="simulate each seed so often, and compare the traces")
    options = parser.parse_args()
    if options.seed is not None:
        return show(options.seed, trace=options.trace)
    seeds = range(options.first, options.first + options.seeds)
    if options.replays:
        return replay(seeds, options.replays)
    totals = simulate_many(FIXED if options.fixed else seeds, options.jobs, hear)
    print(totals.describe())
    return 1 if totals.wrong else 0


def hear(totals: Totals, result: Result) -> None:
    """Print what was wrong, and now and then how far it is."""
    if result.verdict:
        kind, sentence = result.verdict
        print(f"seed {result.seed}: {kind}: {sentence[:400]}", flush=True)
    if totals.seeds % SHOW_EVERY == 0:
        print(f"  {totals.describe()}", flush=True)


def show(seed: int, *, trace: bool) -> int:
    """Simulate one seed and print what came of it."""
    totals = Totals()
    with Bench() as bench:
        result = simulate(seed, bench)
    totals.add(result)
    if trace:
        print("\n".join(result.trace))
    hear(totals, result)
    print(totals.describe())
    return 1 if totals.wrong else 0


def replay(seeds: range, times: int) -> int:
    """Simulate each of *seeds* so often; 1 when two traces of one seed differ."""
    different = 0
    with Bench() as bench:
        for seed in seeds:
            traces = {"\n".join(simulate(seed, bench).trace) for _ in range(times)}
            different += len(traces) > 1
            print(f"seed {seed}: {times} replays, {len(traces)} trace", flush=True)
    print(f"{len(seeds)} seeds, {times} replays each, {different} differ")
    return 1 if different else 0


if __name__ == "__main__":
    sys.exit(main())
