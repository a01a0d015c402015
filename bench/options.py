"""What to measure, and how long: the arguments of `python -m bench`."""

import argparse
import re
from dataclasses import dataclass
from pathlib import Path
from shutil import which

from bench.servers import ROOT
from bench.workloads import WORKLOADS, Workload

SECTIONS = ("rebuild", "log", "import", "memory")
CASCADES = ROOT.parent / "shared" / "data" / "cascades.tsv.gz"
SAMPLE = ROOT / "tests" / "data" / "cascades-sample.tsv.gz"
EPILOG = f"NAME is one of {', '.join(WORKLOADS)}, or one of {', '.join(SECTIONS)}. Examples: docs/performance.md."


@dataclass(frozen=True, slots=True)
class Options:
    """What to measure. `tweets` rises: all is measured on the last, some beside the first."""

    only: list[str]
    tweets: list[int]
    connections: list[int]
    seconds: int
    pairs: int
    beside: Path | None
    cascades: Path
    planted: Path | None
    results: Path

    def wants(self, name: str) -> bool:
        """Whether the section *name* is to be measured. Beside another checkout the log is not."""
        if name == "workloads":
            return bool(self.workloads)
        return name in self.only if self.only else not (self.beside and name == "log")

    @property
    def workloads(self) -> list[Workload]:
        """The workloads to be measured."""
        return [workload for name, workload in WORKLOADS.items() if not self.only or name in self.only]

    @property
    def checkouts(self) -> dict[Path, str]:
        """The checkouts to be measured, this one and that of `beside`, and what a row of each has after its name."""
        return {ROOT: "", **({self.beside: f" ({self.beside.name})"} if self.beside else {})}


def read_options() -> Options:
    """The options of the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description="Measure the service beside its limits, or two checkouts of it; tables go to bench/results/.",
        epilog=EPILOG,
        allow_abbrev=False,
    )
    add, names = parser.add_argument, (*WORKLOADS, *SECTIONS)
    add("--quick", action="store_true", help="few and short measurements on 100,000 tweets")
    add("--only", action="append", default=[], choices=names, metavar="NAME", help="this alone; may be repeated")
    add("--tweets", type=_numbers, default="10000,1000000", help="how many are in place (%(default)s)")
    add("--connections", type=_numbers, default="1,16,64", help="clients at once (%(default)s)")
    add("--seconds", type=lambda text: _numbers(text)[0], default=3, help="length of one measurement (%(default)s)")
    add("--pairs", type=lambda text: _numbers(text)[0], default=5, help="measurements of each side (%(default)s)")
    add("--beside", type=Path, metavar="DIR", help="a checkout of another commit, to be measured in turn with this one")
    add("--cascades", type=Path, default=CASCADES if CASCADES.exists() else SAMPLE, help="the file to import")
    add("--planted", type=Path, help="a folder that keeps the tweets in place for the next run")
    add("--results", type=Path, default=ROOT / "bench" / "results", help="where the tables go")
    given = parser.parse_args()
    if not which("wrk"):
        parser.error("There is no wrk on PATH, which makes the load: apt-get install wrk, or brew install wrk.")
    if vars(given).pop("quick"):
        parser.set_defaults(tweets="10000,100000", connections="64", seconds=1, pairs=2, cascades=SAMPLE)
        given = parser.parse_args()
        del given.quick
    if given.beside:
        given.beside = given.beside.resolve()
        if not (given.beside / "wsgi.py").exists():
            parser.error(f"{given.beside} is no checkout of the service.")
    return Options(**vars(given))


def _numbers(text: str) -> list[int]:
    if not re.fullmatch(r"[1-9][0-9]*(,[1-9][0-9]*)*", text):
        raise argparse.ArgumentTypeError(f"{text!r} must be whole numbers from 1 up, with commas between")
    return sorted(map(int, text.split(",")))
