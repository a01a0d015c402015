"""What to measure, and how long: the arguments of `python -m bench`."""

import argparse
from dataclasses import dataclass
from pathlib import Path

from bench.processes import ROOT
from bench.workloads import WORKLOADS

SECTIONS = ("sizes", "workers", "batches", "limits", "rebuild", "log", "import", "memory", "profile")
CASCADES = ROOT.parent / "shared" / "data" / "cascades.tsv.gz"
SAMPLE = ROOT / "tests" / "data" / "cascades-sample.tsv.gz"

DESCRIPTION = """\
Measure the service and its limits beside each other, and write a table of both to bench/results/.

Everything runs on this machine, in a temporary folder, and takes about an hour; --quick takes some minutes and shows
little. Without --only all is measured. It is one of the workloads
  """
EPILOG = """\
examples:
  python -m bench
  python -m bench --quick
  python -m bench --only post --only mixed --connections 64 --pairs 9
  python -m bench --tweets 10000,10000000 --only sizes --only rebuild --only memory"""


@dataclass(frozen=True, slots=True)
class Options:
    """What to measure. `tweets` rises: most is measured on the last of them."""

    quick: bool
    only: tuple[str, ...]
    tweets: tuple[int, ...]
    connections: tuple[int, ...]
    workers: tuple[int, ...]
    seconds: int
    pairs: int
    cascades: Path
    planted: Path | None
    results: Path

    def wants(self, name: str) -> bool:
        """Whether the workload or section *name* is to be measured."""
        return not self.only or name in self.only

    @property
    def workloads(self) -> list[str]:
        """The workloads to be measured beside the bare server."""
        return [name for name in WORKLOADS if self.wants(name)]


def read_options(arguments: list[str] | None = None) -> Options:
    """The options of the command line."""
    given = _parser().parse_args(arguments)
    tweets = given.tweets or ([10_000, 100_000] if given.quick else [10_000, 100_000, 1_000_000])
    return Options(
        quick=given.quick,
        only=tuple(given.only or ()),
        tweets=tuple(sorted(tweets)),
        connections=tuple(given.connections or ([64] if given.quick else [1, 16, 64])),
        workers=tuple(given.workers or ([1, 2] if given.quick else [1, 2, 4])),
        seconds=given.seconds or (1 if given.quick else 3),
        pairs=given.pairs or (2 if given.quick else 5),
        cascades=given.cascades or (CASCADES if CASCADES.exists() and not given.quick else SAMPLE),
        planted=given.planted,
        results=given.results,
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description=f"{DESCRIPTION}{', '.join(WORKLOADS)},\nor one of {', '.join(SECTIONS)}.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--quick", action="store_true", help="few and short measurements on 100,000 tweets")
    parser.add_argument(
        "--only", action="append", choices=(*WORKLOADS, *SECTIONS), metavar="NAME", help="measure this; may be repeated"
    )
    parser.add_argument("--tweets", type=_numbers, help="how many tweets are in place (10000,100000,1000000)")
    parser.add_argument("--connections", type=_numbers, help="clients at once (1,16,64)")
    parser.add_argument("--workers", type=_numbers, help="worker processes to compare (1,2,4)")
    parser.add_argument("--seconds", type=_number, help="length of one measurement (3)")
    parser.add_argument("--pairs", type=_number, help="measurements of each side (5)")
    parser.add_argument("--cascades", type=Path, help="the file to import")
    parser.add_argument("--planted", type=Path, help="a folder that keeps the tweets in place for the next run")
    parser.add_argument("--results", type=Path, default=ROOT / "bench" / "results", help="where the tables go")
    return parser


def _number(text: str) -> int:
    return _numbers(text)[0]


def _numbers(text: str) -> list[int]:
    numbers = [int(part) for part in text.split(",") if part.isascii() and part.isdigit() and int(part) > 0]
    if len(numbers) != len(text.split(",")):
        raise argparse.ArgumentTypeError(f"{text!r} must be whole numbers from 1 up, with commas between")
    return numbers
