"""
Load from wrk: one run, and runs of several contestants in turn.

A machine is never as fast as it was a second ago, so contestants are measured one after the other, again and again,
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

SCRIPT = Path(__file__).parent / "replay.lua"
WARM_UP_S = 1


class CannotMeasure(Exception):
    """There is nothing to measure with, or the answers are wrong; the message is a sentence for a person."""


@dataclass(frozen=True, slots=True)
class Run:
    """What wrk saw in one run; `client_share` is the part of one core that wrk itself used."""

    requests: int
    rate: float
    p50_ms: float
    p99_ms: float
    bytes_each: float
    client_share: float


@dataclass(frozen=True, slots=True)
class Contestant:
    """A server to be measured, and the file of requests that it is asked."""

    url: str
    requests: Path


def find_wrk() -> str:
    """The path of wrk. Raises CannotMeasure."""
    path = shutil.which("wrk")
    if path is None:
        raise CannotMeasure("There is no wrk on PATH, which makes the load: apt-get install wrk, or brew install wrk.")
    return path


def run_wrk(contestant: Contestant, *, connections: int, seconds: int) -> Run:
    """One run. Raises CannotMeasure when an answer is an error, for a rate of errors says nothing."""
    address = [contestant.url, "--", str(contestant.requests)]
    command = [find_wrk(), "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "30s", "-s", str(SCRIPT), *address]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
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
    )


def contest(
    contestants: Mapping[str, Contestant], *, rounds: int, connections: int, seconds: int
) -> tuple[dict[str, list[Run]], dict[str, int]]:
    """The runs of each contestant, measured in turn; and how many answers each gave in all, warm-up included."""
    answers = {
        name: run_wrk(each, connections=connections, seconds=WARM_UP_S).requests for name, each in contestants.items()
    }
    runs: dict[str, list[Run]] = {name: [] for name in contestants}
    for _ in range(rounds):
        for name, each in contestants.items():
            run = run_wrk(each, connections=connections, seconds=seconds)
            runs[name].append(run)
            answers[name] += run.requests
    return runs, answers


def rate_of(runs: Sequence[Run]) -> float:
    """The median rate, requests a second."""
    return median(run.rate for run in runs)


def ratio_of(runs: Sequence[Run], others: Sequence[Run]) -> float:
    """The median over the rounds of this rate to the other's."""
    return median(one.rate / other.rate for one, other in zip(runs, others, strict=True))


def p99_ratio_of(runs: Sequence[Run], others: Sequence[Run]) -> float:
    """The same of the time within which 99 of 100 requests were answered."""
    return median(one.p99_ms / max(other.p99_ms, 0.001) for one, other in zip(runs, others, strict=True))
