"""The service beside the bare app: each workload, at each number of clients."""

from collections.abc import Mapping
from statistics import median

from bench import processes
from bench.load import CannotMeasure, Contestant, Run, contest, p99_ratio_of, rate_of, ratio_of
from bench.options import Options
from bench.planting import Fields
from bench.report import Table, Target
from bench.staging import staged, verified
from bench.workloads import WORKLOADS, Workload

RATIOS = {
    "post": Target(at_least=0.70),
    "viral": Target(at_least=0.70),
    "random": Target(at_least=0.65),
    "deep": Target(at_least=0.35),
    "top": Target(at_least=0.90),
    "page": Target(at_least=0.85),
    "page304": Target(at_least=0.95),
    "tweet": Target(at_least=0.75),
    "mixed": Target(at_least=0.80),
}
P99 = Target(at_most=4, text="< 4")
MANY = 16
"""The targets are for so many clients and more; at depth 1,000 for 64."""

COLUMNS = (
    *("workload", "clients", "service /s", "bare /s", "ratio", "target", "holds", "bare on ours /s", "ratio to that"),
    *("p50 ms", "p99 ms", "bare p99 ms", "p99 ratio", "client", "verified"),
)

SMALL_ANSWER = 1_000
"""Bytes: an answer without a body is smaller."""


def compare(options: Options, fields: Fields, tables: list[Table]) -> None:
    """Each workload, at each number of clients, on the greatest number of tweets: the service and the bare apps."""
    tweets = options.tweets[-1]
    table = Table(
        f"Beside the bare server, {tweets:,} tweets in place",
        "Closed loop; each figure a median over interleaved runs of all three servers, one process each: the service, "
        "the bare app on waitress, and the bare app on the service's own server. The ratios are those of the rates; "
        "`client` is the part of one core that the client used, at most. After each workload that writes every count "
        "was compared with the log.",
        COLUMNS,
    )
    tables.append(table)
    for name in options.workloads:
        _compare_one(options, fields, WORKLOADS[name], table)


def _compare_one(options: Options, fields: Fields, workload: Workload, table: Table) -> None:
    for connections in options.connections:
        with (
            staged(fields, workload, options.tweets[-1]) as stage,
            processes.bare(stage.answers) as bare,
            processes.bare(stage.answers, ours=True) as ours,
        ):
            before = stage.total()
            limits = {name: Contestant(each.url, stage.requests) for name, each in (("bare", bare), ("ours", ours))}
            runs, answers = contest(
                {"service": stage.contestant(), **limits},
                rounds=options.pairs,
                connections=connections,
                seconds=options.seconds,
            )
            _check_unmodified(workload, runs)
            in_flight = (options.pairs + 1) * connections
            said = verified(stage, workload, before, answers["service"], in_flight) if workload.writes else ""
        _add(table, workload, connections, runs, said)


def _check_unmodified(workload: Workload, runs: Mapping[str, list[Run]]) -> None:
    if workload.name == "page304" and any(run.bytes_each > SMALL_ANSWER for each in runs.values() for run in each):
        raise CannotMeasure("The page changed while it was measured: not all answers were 304.")


def _add(table: Table, workload: Workload, connections: int, runs: Mapping[str, list[Run]], said: str) -> None:
    service, bare, ours = runs["service"], runs["bare"], runs["ours"]
    ratio, p99_ratio = ratio_of(service, bare), p99_ratio_of(service, bare)
    target = RATIOS[workload.name] if connections >= (64 if workload.name == "deep" else MANY) else None
    goal, verdict = str(target or ""), target.verdict(ratio) if target else ""
    if target and workload.name == "mixed":
        goal, verdict = f"{goal}, p99 {P99}", f"{verdict}, {P99.verdict(p99_ratio)}"
    p50_ms, p99_ms = median(run.p50_ms for run in service), median(run.p99_ms for run in service)
    table.add(
        workload.title,
        connections,
        f"{rate_of(service):,.0f}",
        f"{rate_of(bare):,.0f}",
        f"{ratio:.2f}",
        goal,
        verdict,
        f"{rate_of(ours):,.0f}",
        f"{ratio_of(service, ours):.2f}",
        f"{p50_ms:.1f}",
        f"{p99_ms:.1f}",
        f"{median(run.p99_ms for run in bare):.1f}",
        f"{p99_ratio:.1f}",
        f"{max(run.client_share for run in (*service, *bare, *ours)):.0%}",
        said,
    )
