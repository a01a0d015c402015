"""
Load from wrk: one run, and runs of several contestants in turn.

The speed of a machine changes from second to second, so contestants are measured one after the other, again and again,
and compared pair by pair: what disturbs one round disturbs both sides of its ratio.
"""

import json
import resource
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median

from bench.servers import CannotMeasure, Server, cpu_s

SCRIPT = Path(__file__).parent / "replay.lua"
WARM_UP_S = 1


Run = dict[str, float]
"""
What wrk saw in one run, by name: requests, rate, p50_ms, p99_ms, bytes_each; what the client used of a core (client);
and the server's processor time for a request (cpu_us).
"""


def run_wrk(server: Server, requests: Path, *, connections: int, seconds: int) -> Run:
    """One run of a file of *requests*. Raises CannotMeasure when an answer is an error: a rate of such says nothing."""
    how = ["-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "30s", "-s", str(SCRIPT)]
    used_before_s, before = cpu_s(server.pid), resource.getrusage(resource.RUSAGE_CHILDREN)
    command = ["wrk", *how, server.url, "--", str(requests)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if ended.returncode != 0:
        raise CannotMeasure(f"wrk failed: {ended.stderr.strip() or ended.stdout.strip()}")
    said = json.loads(ended.stdout.splitlines()[-1])
    if said["status"] or said["socket"]:
        raise CannotMeasure(
            f"{requests.stem}: of {said['requests']:,} answers {said['status']:,} were errors, "
            f"and {said['socket']:,} never came."
        )
    took_s, answered = said["duration_us"] / 1e6, max(said["requests"], 1)
    return {
        "requests": said["requests"],
        "rate": said["requests"] / took_s,
        "p50_ms": said["p50_us"] / 1000,
        "p99_ms": said["p99_us"] / 1000,
        "bytes_each": said["bytes"] / answered,
        "client": (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) / took_s,
        "cpu_us": (cpu_s(server.pid) - used_before_s) * 1e6 / answered,
    }


def contest(
    contestants: Mapping[str, tuple[Server, Path]], *, rounds: int, connections: int, seconds: int
) -> tuple[dict[str, list[Run]], dict[str, int]]:
    """
    The runs of each contestant, measured in turn; and how many answers each gave in all, warm-up included.

    Every second round goes the other way round: what comes first in a round has no advantage.
    """
    runs: dict[str, list[Run]] = {name: [] for name in contestants}
    for number in range(-1, rounds):
        for name in list(contestants)[:: -1 if number % 2 else 1]:
            length_s = WARM_UP_S if number < 0 else seconds
            runs[name].append(run_wrk(*contestants[name], connections=connections, seconds=length_s))
    answers = {name: int(sum(run["requests"] for run in each)) for name, each in runs.items()}
    return {name: each[1:] for name, each in runs.items()}, answers


def middle(runs: Sequence[Run], what: str) -> float:
    """The median of a figure of *runs*, by its name."""
    return median(run[what] for run in runs)


def ratio_of(runs: Sequence[Run], others: Sequence[Run], what: str = "rate") -> float:
    """The median over the rounds of a figure to the same of the other's."""
    return median(one[what] / max(other[what], 0.001) for one, other in zip(runs, others, strict=True))
