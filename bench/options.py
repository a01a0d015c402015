"""What to measure, and how long: the arguments of `python -m bench`."""

import argparse
from dataclasses import dataclass
from pathlib import Path

from bench.servers import ROOT
from bench.workloads import WORKLOADS, Workload

SECTIONS = ("sizes", "limits", "rebuild", "log", "import", "memory")
CASCADES = ROOT.parent / "shared" / "data" / "cascades.tsv.gz"
SAMPLE = ROOT / "tests" / "data" / "cascades-sample.tsv.gz"
EPILOG = f"""\
NAME is one of {", ".join(WORKLOADS)}, or one of {", ".join(SECTIONS)}.

examples:
  python -m bench --quick
  python -m bench --only post --only mixed --connections 64 --pairs 9
  python -m bench --tweets 10000,10000000 --only top --only sizes --only rebuild --only memory --only log
  git worktree add ../old COMMIT && python -m bench --beside ../old --connections 16,64 --pairs 9"""


@dataclass(frozen=True, slots=True)
class Options:
    """What to measure. `tweets` rises: most is measured on the last of them."""

    quick: bool
    only: tuple[str, ...]
    tweets: tuple[int, ...]
    connections: tuple[int, ...]
    seconds: int
    pairs: int
    beside: Path | None
    gunicorn: bool
    cascades: Path
    planted: Path | None
    results: Path

    def wants(self, name: str) -> bool:
        """Whether the section *name* is to be measured. Beside another checkout there is nothing else in some."""
        return name in self.only if self.only else not (self.beside and name in {"sizes", "limits", "log"})

    @property
    def workloads(self) -> list[Workload]:
        """The workloads to be measured."""
        return [workload for name, workload in WORKLOADS.items() if not self.only or name in self.only]

    @property
    def checkouts(self) -> list[Path]:
        """The checkouts to be measured: this one, and that of `beside`."""
        return [ROOT, *([self.beside] if self.beside else [])]

    def name_of(self, checkout: Path) -> str:
        """How a row of *checkout* says that it is not this one's."""
        return "" if checkout == ROOT else f" ({checkout.name})"


def read_options(arguments: list[str] | None = None) -> Options:
    """The options of the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description="Measure the service beside its limits, or two checkouts of it; tables go to bench/results/.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--quick", action="store_true", help="few and short measurements on 100,000 tweets")
    add("--only", action="append", choices=(*WORKLOADS, *SECTIONS), metavar="NAME", help="this alone; may be repeated")
    add("--tweets", type=_numbers, help="how many tweets are in place (10000,100000,1000000)")
    add("--connections", type=_numbers, help="clients at once (1,16,64)")
    add("--seconds", type=_number, help="length of one measurement (3)")
    add("--pairs", type=_number, help="measurements of each side (5)")
    add("--beside", type=Path, metavar="DIR", help="a checkout of another commit, to be measured in turn with this one")
    add("--gunicorn", action="store_true", help="the service under gunicorn as well, which must be installed")
    add("--cascades", type=Path, help="the file to import")
    add("--planted", type=Path, help="a folder that keeps the tweets in place for the next run")
    add("--results", type=Path, default=ROOT / "bench" / "results", help="where the tables go")
    given = parser.parse_args(arguments)
    if given.beside and not (given.beside / "wsgi.py").exists():
        parser.error(f"{given.beside} is no checkout of the service.")
    return Options(
        quick=given.quick,
        only=tuple(given.only or ()),
        tweets=tuple(sorted(given.tweets or ([10_000, 100_000] if given.quick else [10_000, 100_000, 1_000_000]))),
        connections=tuple(given.connections or ([64] if given.quick else [1, 16, 64])),
        seconds=given.seconds or (1 if given.quick else 3),
        pairs=given.pairs or (2 if given.quick else 5),
        beside=given.beside and given.beside.resolve(),
        gunicorn=given.gunicorn,
        cascades=given.cascades or (CASCADES if CASCADES.exists() and not given.quick else SAMPLE),
        planted=given.planted,
        results=given.results,
    )


def _number(text: str) -> int:
    return _numbers(text)[0]


def _numbers(text: str) -> list[int]:
    numbers = [int(part) for part in text.split(",") if part.isascii() and part.isdigit() and int(part) > 0]
    if len(numbers) != len(text.split(",")):
        raise argparse.ArgumentTypeError(f"{text!r} must be whole numbers from 1 up, with commas between")
    return numbers
