"""
Load from wrk: one run, and runs of several contestants in turn.

The speed of a machine changes from second to second, so contestants are measured one after the other, again and again,
and compared pair by pair: what disturbs one round disturbs both sides of its ratio.
"""

import json
import resource
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from bench.servers import CannotMeasure, Server, cpu_s

SCRIPT = Path(__file__).parent / "replay.lua"
WARM_UP_S = 1


@dataclass(frozen=True, slots=True)
class Run:
    """What wrk saw in one run; `client_share`: the part of a core it used; `cpu_us`: the server's time a request."""

    requests: int
    rate: float
    p50_ms: float
    p99_ms: float
    bytes_each: float
    client_share: float
    cpu_us: float


@dataclass(frozen=True, slots=True)
class Contestant:
    """A server to be measured, and the file of requests that it is asked."""

    server: Server
    requests: Path


def find_wrk() -> str:
    """The path of wrk. Raises CannotMeasure."""
    path = shutil.which("wrk")
    if path is None:
        raise CannotMeasure("There is no wrk on PATH, which makes the load: apt-get install wrk, or brew install wrk.")
    return path


def run_wrk(contestant: Contestant, *, connections: int, seconds: int) -> Run:
    """One run. Raises CannotMeasure when an answer is an error, for a rate of errors says nothing."""
    address = [contestant.server.url, "--", str(contestant.requests)]
    command = [find_wrk(), "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "30s", "-s", str(SCRIPT), *address]
    used_before_s, before = cpu_s(contestant.server.pid), resource.getrusage(resource.RUSAGE_CHILDREN)
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if ended.returncode != 0:
        raise CannotMeasure(f"wrk failed: {ended.stderr.strip() or ended.stdout.strip()}")
    said = json.loads(ended.stdout.splitlines()[-1])
    if said["status"] or said["socket"]:
        raise CannotMeasure(
            f"{contestant.requests.stem}: of {said['requests']:,} answers {said['status']:,} were errors, "
            f"and {said['socket']:,} never came."
        )
    took_s = said["duration_us"] / 1e6
    used_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Run(
        requests=said["requests"],
        rate=said["requests"] / took_s,
        p50_ms=said["p50_us"] / 1000,
        p99_ms=said["p99_us"] / 1000,
        bytes_each=said["bytes"] / max(said["requests"], 1),
        client_share=used_s / took_s,
        cpu_us=(cpu_s(contestant.server.pid) - used_before_s) * 1e6 / max(said["requests"], 1),
    )


def contest(
    contestants: Mapping[str, Contestant], *, rounds: int, connections: int, seconds: int
) -> tuple[dict[str, list[Run]], dict[str, int]]:
    """
    The runs of each contestant, measured in turn; and how many answers each gave in all, warm-up included.

    Every second round goes the other way round: what comes first in a round has no advantage.
    """
    answers = {
        name: run_wrk(each, connections=connections, seconds=WARM_UP_S).requests for name, each in contestants.items()
    }
    runs: dict[str, list[Run]] = {name: [] for name in contestants}
    for number in range(rounds):
        for name in list(contestants)[:: -1 if number % 2 else 1]:
            run = run_wrk(contestants[name], connections=connections, seconds=seconds)
            runs[name].append(run)
            answers[name] += run.requests
    return runs, answers


def middle(runs: Sequence[Run], what: str) -> float:
    """The median of a figure of *runs*, by its name."""
    return float(median(getattr(run, what) for run in runs))


def ratio_of(runs: Sequence[Run], others: Sequence[Run], what: str = "rate") -> float:
    """The median over the rounds of a figure to the same of the other's."""
    pairs = zip(runs, others, strict=True)
    return float(median(getattr(one, what) / max(getattr(other, what), 0.001) for one, other in pairs))
