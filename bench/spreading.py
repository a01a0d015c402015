"""The service against itself: on few and many tweets, and with few and many worker processes."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack

from bench import processes
from bench.load import Contestant, Run, contest, rate_of, ratio_of
from bench.options import Options
from bench.planting import Fields
from bench.report import Machine, Table, Target
from bench.staging import Stage, staged, verified
from bench.workloads import WORKLOADS, Workload

FLAT = {"post": Target(at_least=0.95), "top": Target(at_least=0.95)}
"""The rate on the greatest number of tweets, of that on the smallest."""

SPREAD = {"top": Target(at_least=3.5), "tweet": Target(at_least=3.5), "post": Target(at_least=2.0)}
CORES = 4
"""The rate of so many workers on so many cores, of that of one."""


def compare_sizes(options: Options, fields: Fields, tables: list[Table]) -> None:
    """Each workload on each number of tweets, services of all sizes running beside each other."""
    connections = options.connections[-1]
    table = Table(
        "The same on few and on many tweets",
        f"{connections} clients; requests a second, and the ratio to the rate on the fewest tweets: medians over "
        "rounds in which the services of all sizes were measured in turn.",
        ("workload", *(f"{tweets:,} tweets" for tweets in options.tweets), "ratio", "target", "holds"),
    )
    tables.append(table)
    for workload in _chosen(options):
        with ExitStack() as stack:
            stages = {str(tweets): stack.enter_context(staged(fields, workload, tweets)) for tweets in options.tweets}
            runs = _run_verified(options, workload, stages)
        sizes = list(runs.values())
        ratios = [ratio_of(each, sizes[0]) for each in sizes[1:]]
        target = FLAT.get(workload.name)
        table.add(
            workload.title,
            *(f"{rate_of(each):,.0f}" for each in sizes),
            ", ".join(f"{ratio:.2f}" for ratio in ratios),
            target or "",
            target.verdict(ratios[-1]) if target and ratios else "",
        )


def _chosen(options: Options) -> list[Workload]:
    """The workloads that were named; else all, or in a quick run those that have a target."""
    names = [name for name in options.only if name in WORKLOADS] or (FLAT if options.quick else WORKLOADS)
    return [WORKLOADS[name] for name in names]


def compare_workers(options: Options, fields: Fields, machine: Machine, tables: list[Table]) -> None:
    """Reads and posts with each number of workers, beside the bare app with as many."""
    connections, counts = options.connections[-1], options.workers
    table = Table(
        "Worker processes",
        f"{connections} clients, {options.tweets[-1]:,} tweets, {machine.cores} cores; requests a second, and the "
        f"ratio to one worker's rate. The targets are for {CORES} workers on {CORES} cores.",
        ("workload", "server", *(f"{count} workers" for count in counts), "ratio", "target", "holds"),
    )
    tables.append(table)
    for name in SPREAD:
        workload = WORKLOADS[name]
        with ExitStack() as stack:
            stages = {
                f"service {count}": stack.enter_context(staged(fields, workload, options.tweets[-1], count))
                for count in counts
            }
            first = next(iter(stages.values()))
            limits = {
                f"bare {count}": Contestant(
                    stack.enter_context(processes.bare(first.answers, count)).url, first.requests
                )
                for count in counts
            }
            runs = _run_verified(options, workload, stages, limits)
        _add_spread(table, workload, machine, counts, runs)


def _add_spread(
    table: Table, workload: Workload, machine: Machine, counts: Sequence[int], runs: Mapping[str, list[Run]]
) -> None:
    judged = CORES in counts and machine.cores >= CORES
    for server in ("service", "bare"):
        each = [runs[f"{server} {count}"] for count in counts]
        ratios = {count: ratio_of(run, each[0]) for count, run in zip(counts, each, strict=True)}
        target = SPREAD[workload.name] if server == "service" else None
        table.add(
            workload.title,
            server,
            *(f"{rate_of(run):,.0f}" for run in each),
            ", ".join(f"{ratio:.2f}" for ratio in list(ratios.values())[1:]),
            target or "",
            target.verdict(ratios[CORES]) if target and judged else "too few cores" if target else "",
        )


def _run_verified(
    options: Options,
    workload: Workload,
    stages: Mapping[str, Stage],
    limits: Mapping[str, Contestant] | None = None,
) -> dict[str, list[Run]]:
    """The runs of all, in turn; every service's counts are verified after writes."""
    connections = options.connections[-1]
    before = {name: stage.total() for name, stage in stages.items()}
    contestants = {name: stage.contestant() for name, stage in stages.items()} | dict(limits or {})
    runs, answers = contest(contestants, rounds=options.pairs, connections=connections, seconds=options.seconds)
    if workload.writes:
        for name, stage in stages.items():
            verified(stage, workload, before[name], answers[name], (options.pairs + 1) * connections)
    return runs
