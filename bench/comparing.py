"""Rates of the service: beside the bare app, or another checkout; and on few and many tweets."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack

from bench import servers
from bench.load import Contestant, Run, contest, middle, ratio_of
from bench.options import Options
from bench.planting import Fields, Stage, staged, verified
from bench.report import Table, Target
from bench.servers import CannotMeasure
from bench.workloads import WORKLOADS, Workload

RATIOS = {
    "post": (0.70, 0.70),
    "viral": (0.70, 0.70),
    "random": (0.75, 0.90),
    "deep": (0.50, 0.75),
    "top": (0.90, 0.90),
    "page": (0.85, 0.85),
    "page304": (0.95, 0.95),
    "tweet": (0.75, 0.75),
    "mixed": (0.90, 1.10),
}
"""Of the bare server's rate, at 16 clients and at 64."""

BESIDE_WRITING, BESIDE = 1.0, 0.9
"""Of the other checkout's rate: for a workload that only writes, and for the others."""

ALONE_MS = {"post": 0.8, "tweet": 0.35}
"""The median with one client."""

P99_OF_MEDIAN = Target(at_most=3, text="p99 ≤ 3 medians")
P99_OF_BARE = Target(at_most=4, text="p99 ≤ 4 of bare's")
FLAT = {"post": Target(at_least=0.95), "top": Target(at_least=0.95)}
"""The rate on the greatest number of tweets, of that on the smallest."""

SMALL_ANSWER = 1_000
"""Bytes: an answer without a body is smaller."""


def compare(options: Options, fields: Fields, tables: list[Table]) -> None:
    """Each workload, at each number of clients, on the greatest number of tweets."""
    others = ["beside"] if options.beside else ["bare", *["gunicorn"] * options.gunicorn]
    what = f"the service of {options.beside}" if options.beside else "a bare app under waitress as it comes"
    table = Table(
        f"{'Two checkouts' if options.beside else 'Beside the bare server'}, {options.tweets[-1]:,} tweets in place",
        f"Closed loop; one process each; the service beside {what}. Rates are medians over interleaved rounds, ratios "
        "medians of the ratios of neighbours, p50 and p99 in ms with those of the first other in brackets. `cpu us`: "
        "processor time of the process of the service for each request; `client`: the part of one core that the client "
        "used, at most. After each workload that writes every count was compared with the log.",
        (
            *("workload", "clients", "service /s", *(cell for name in others for cell in (f"{name} /s", "ratio"))),
            *("target", "holds", "p50 ms", "p99 ms", "cpu us", "client", "verified"),
        ),
    )
    tables.append(table)
    for workload in options.workloads:
        for connections in options.connections:
            runs, said = _run(options, fields, workload, connections, others)
            service, first = runs["service"], runs[others[0]]
            judged = _judge(options, workload, connections, service, first)
            cells = ((f"{middle(runs[name], 'rate'):,.0f}", f"{ratio_of(service, runs[name]):.2f}") for name in others)
            table.add(
                workload.title,
                connections,
                f"{middle(service, 'rate'):,.0f}",
                *(cell for pair in cells for cell in pair),
                ", ".join(str(target) for target, _ in judged),
                ", ".join(target.verdict(value) for target, value in judged),
                f"{middle(service, 'p50_ms'):.2f} ({middle(first, 'p50_ms'):.2f})",
                f"{middle(service, 'p99_ms'):.2f} ({middle(first, 'p99_ms'):.2f})",
                f"{middle(service, 'cpu_us'):,.0f} ({middle(first, 'cpu_us'):,.0f})",
                f"{max(run.client_share for each in runs.values() for run in each):.0%}",
                said,
            )


def _run(
    options: Options, fields: Fields, workload: Workload, connections: int, others: Sequence[str]
) -> tuple[dict[str, list[Run]], str]:
    """The runs of the service and of the *others*, and what `verify` said of the service."""
    tweets = options.tweets[-1]
    with ExitStack() as stack:
        stages = {"service": stack.enter_context(staged(fields, workload, tweets))}
        if options.beside:
            stages["beside"] = stack.enter_context(staged(fields, workload, tweets, options.beside))
        if "gunicorn" in others:
            gunicorn = staged(fields, workload, tweets, start=servers.under_gunicorn)
            stages["gunicorn"] = stack.enter_context(gunicorn)
        limits = {}
        if "bare" in others:
            bare = stack.enter_context(servers.bare(stages["service"].answers))
            limits["bare"] = Contestant(bare, stages["service"].requests)
        return _contest(options, workload, connections, stages, limits)


def _contest(
    options: Options,
    workload: Workload,
    connections: int,
    stages: Mapping[str, Stage],
    limits: Mapping[str, Contestant],
) -> tuple[dict[str, list[Run]], str]:
    """The runs of all in turn, and what `verify` said of the first stage. Raises CannotMeasure for a wrong count."""
    before = {name: stage.total() for name, stage in stages.items()}
    contestants = {name: Contestant(stage.server, stage.requests) for name, stage in stages.items()} | dict(limits)
    runs, answers = contest(contestants, rounds=options.pairs, connections=connections, seconds=options.seconds)
    if workload.name == "page304" and any(run.bytes_each > SMALL_ANSWER for each in runs.values() for run in each):
        raise CannotMeasure("The page changed while it was measured: not all answers were 304.")
    if not workload.writes:
        return runs, ""
    in_flight = (options.pairs + 1) * connections
    said = [verified(stage, workload, before[name], answers[name], in_flight) for name, stage in stages.items()]
    return runs, said[0]


def _judge(
    options: Options, workload: Workload, connections: int, service: Sequence[Run], first: Sequence[Run]
) -> list[tuple[Target, float]]:
    """The targets of a row, each with the figure that it is for."""
    judged = []
    if options.beside:
        judged.append((Target(at_least=BESIDE_WRITING if workload.writes == 1 else BESIDE), ratio_of(service, first)))
    elif connections >= 16:
        judged.append((Target(at_least=RATIOS[workload.name][connections >= 64]), ratio_of(service, first)))
        if workload.name == "mixed":
            judged.append((P99_OF_BARE, ratio_of(service, first, "p99_ms")))
    if connections == 1 and workload.name in ALONE_MS:
        most_ms = ALONE_MS[workload.name]
        judged.append((Target(at_most=most_ms, text=f"p50 ≤ {most_ms} ms"), middle(service, "p50_ms")))
    if connections >= 64 and workload.name == "post":
        judged.append((P99_OF_MEDIAN, middle(service, "p99_ms") / middle(service, "p50_ms")))
    return judged


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
    named = [workload for workload in options.workloads if not options.quick or workload.name in FLAT]
    for workload in named or [WORKLOADS[name] for name in FLAT]:
        with ExitStack() as stack:
            stages = {str(tweets): stack.enter_context(staged(fields, workload, tweets)) for tweets in options.tweets}
            sizes = list(_contest(options, workload, connections, stages, {})[0].values())
        ratios = [ratio_of(each, sizes[0]) for each in sizes[1:]]
        target = FLAT.get(workload.name)
        table.add(
            workload.title,
            *(f"{middle(each, 'rate'):,.0f}" for each in sizes),
            ", ".join(f"{ratio:.2f}" for ratio in ratios),
            target or "",
            target.verdict(ratios[-1]) if target and ratios else "",
        )
