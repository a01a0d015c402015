"""Rates of the service: beside the bare app, or another checkout; and beside itself on fewer tweets."""

from collections.abc import Sequence
from contextlib import ExitStack

from bench.load import Run, contest, middle, ratio_of
from bench.options import Options
from bench.planting import Fields, staged, verified
from bench.report import Table, verdict
from bench.servers import ROOT, CannotMeasure, started
from bench.workloads import Workload

ALONE = {"post": "p50 ≤ 0.8 ms", "tweet": "p50 ≤ 0.35 ms"}
"""The median with one client."""

FLAT, OF_FEW = ("post", "top"), "≥ 0.95 of few"
"""The rate on the greatest number of tweets, of that on the smallest: of two workloads, with most clients."""

SMALL = 1_000
"""Bytes: an answer without a body is smaller."""


def compare(options: Options, fields: Fields, tables: list[Table]) -> None:
    """Each workload, at each number of clients, on the greatest number of tweets."""
    tweets = options.tweets[-1]
    other = "beside" if options.beside else "bare"
    what = f"the service of {options.beside}" if options.beside else "a bare app under waitress as it comes"
    table = Table(
        f"{'Two checkouts' if options.beside else 'Beside the bare server'}, {tweets:,} tweets in place",
        f"Closed loop; one process each; the service beside {what}. Rates are medians over interleaved rounds, ratios "
        "medians of the ratios of neighbours, p50 and p99 in ms with those of the other in brackets. `cpu us`: "
        "processor time of the process of the service for each request; `client`: the part of one core that the client "
        "used, at most. After each workload that writes every count was compared with the log. "
        f"`few`: the service on {options.tweets[0]:,} tweets, measured in turn with the others.",
        (
            *("workload", "clients", "service /s", f"{other} /s", "ratio", "few /s", "target", "holds"),
            *("p50 ms", "p99 ms", "cpu us", "client", "verified"),
        ),
    )
    tables.append(table)
    for workload in options.workloads:
        for connections in options.connections:
            runs, said = _measure(options, fields, workload, connections)
            ours, theirs, few = runs["service"], runs[other], runs.get("few")
            judged = _judge(options, workload, connections, ours, theirs)
            if few:
                judged[OF_FEW] = ratio_of(ours, few)
            p50, p99, cpu = (
                f"{middle(ours, what):{form}} ({middle(theirs, what):{form}})"
                for what, form in (("p50_ms", ".2f"), ("p99_ms", ".2f"), ("cpu_us", ",.0f"))
            )
            table.add(
                *(workload.title, connections, f"{middle(ours, 'rate'):,.0f}", f"{middle(theirs, 'rate'):,.0f}"),
                *(f"{ratio_of(ours, theirs):.2f}", f"{middle(few, 'rate'):,.0f}" if few else "", ", ".join(judged)),
                ", ".join(verdict(target, value) for target, value in judged.items()),
                *(p50, p99, cpu, f"{max(run['client'] for run in (*ours, *theirs)):.0%}", said),
            )


def _judge(
    options: Options, workload: Workload, connections: int, ours: Sequence[Run], theirs: Sequence[Run]
) -> dict[str, float]:
    """The targets of a row, each with the figure that it is for."""
    judged = {}
    if options.beside:
        judged["≥ 1.00" if workload.writes == 1 else "≥ 0.90"] = ratio_of(ours, theirs)
    elif connections >= 16:
        judged[workload.at_64 if connections >= 64 else workload.at_16] = ratio_of(ours, theirs)
        if workload.name == "mixed":
            judged["p99 ≤ 4 of bare's"] = ratio_of(ours, theirs, "p99_ms")
    if connections == 1 and workload.name in ALONE:
        judged[ALONE[workload.name]] = middle(ours, "p50_ms")
    if connections >= 64 and workload.name == "post":
        judged["p99 ≤ 3 medians"] = middle(ours, "p99_ms") / middle(ours, "p50_ms")
    return judged


def _measure(
    options: Options, fields: Fields, workload: Workload, connections: int
) -> tuple[dict[str, list[Run]], str]:
    """The runs of all in turn, and what `verify` said of the service. Raises CannotMeasure for a wrong count."""
    tweets = options.tweets[-1]
    with ExitStack() as stack:
        stages = {"service": stack.enter_context(staged(fields, workload, tweets))}
        if options.beside:
            stages["beside"] = stack.enter_context(staged(fields, workload, tweets, options.beside))
        elif workload.name in FLAT and connections == options.connections[-1]:
            stages["few"] = stack.enter_context(staged(fields, workload, options.tweets[0]))
        contestants = {name: (stage.server, stage.requests) for name, stage in stages.items()}
        if not options.beside:
            requests = stages["service"].requests
            bare = started(["bench.bare", str(requests.with_name("answers.json"))], requests.parent, ROOT)
            contestants["bare"] = (stack.enter_context(bare), requests)
        before = {name: stage.total() for name, stage in stages.items()}
        runs, answers = contest(contestants, rounds=options.pairs, connections=connections, seconds=options.seconds)
        if workload.name == "page304" and max(run["bytes_each"] for each in runs.values() for run in each) > SMALL:
            raise CannotMeasure("The page changed while it was measured: not all answers were 304.")
        if not workload.writes:
            return runs, ""
        in_flight = (options.pairs + 1) * connections
        said = [verified(stage, workload, before[name], answers[name], in_flight) for name, stage in stages.items()]
        return runs, said[0]
