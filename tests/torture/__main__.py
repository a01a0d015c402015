"""`python -m tests.torture [PART ...]`: break what can be broken, and print what came of it."""

import argparse
import os
import secrets
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from tests.torture import files, hosts, kills, recovery, requests, restarts, simulation, slow
from tests.torture.report import Row, machine, table

Part = Callable[[int, Path], Row]


def main() -> int:
    """Run the parts that are named, by default all; 1 when one of them found anything lost, doubled or wrong."""
    options = read_options()
    parts = parts_of(options)
    folder, rows = Path(tempfile.mkdtemp(prefix="torture-")), []
    print(f"seed {options.seed}  ({machine()}; what the services say is in {folder}/log)", flush=True)
    with (folder / "log").open("ab") as log:
        os.dup2(log.fileno(), sys.stderr.fileno())
    for name in options.parts or parts:
        print(f"{name}:", flush=True)
        began = time.monotonic()
        try:
            rows.append(parts[name](options.seed, folder))
        except AssertionError as error:
            print(f"  {error}", flush=True)
            rows.append(Row(name, "ended early", 0, 0, 1, time.monotonic() - began))
    print(f"\n{table(rows)}\n\nAgain: {command(options)}")
    if any(row.failed for row in rows):
        print(f"What is left of it is in {folder}")
        return 1
    shutil.rmtree(folder)
    return 0


def command(options: argparse.Namespace) -> str:
    """What does the same again."""
    values = {name: value for name, value in vars(options).items() if name != "parts"}
    named = (f"--{name} {value}" for name, value in values.items())
    return " ".join(["python -m tests.torture", *options.parts, *named])


def parts_of(options: argparse.Namespace) -> dict[str, Part]:
    """Each part by its name, as much of it as the options say."""
    return {
        "kills": partial(in_folder, kills.run, options.kills),
        "hosts": partial(in_folder, hosts.run, options.hosts),
        "requests": partial(in_folder, requests.run, options.requests),
        "slow": partial(in_folder, slow.run, options.clients),
        "restarts": partial(in_folder, restarts.run, options.restarts),
        "cuts": partial(in_folder, files.cuts, options.cuts),
        "flips": partial(in_folder, files.flips, options.flips),
        "recovery": partial(in_folder, recovery.recovery, options.tweets),
        "catch-up": partial(in_folder, recovery.catch_up, options.lag),
        "simulation": partial(in_folder, simulation.run, options.seeds),
    }


def in_folder(act: Callable[[int, int, Path], Row], amount: int, seed: int, folder: Path) -> Row:
    """What *act* finds."""
    return act(seed, amount, folder)


def read_options() -> argparse.Namespace:
    """What is to be done, and how much of it."""
    parser = argparse.ArgumentParser("python -m tests.torture", description=__doc__, allow_abbrev=False)
    names = ("kills", "hosts", "requests", "slow", "restarts", "cuts", "flips", "recovery", "catch-up", "simulation")
    parser.add_argument("parts", nargs="*", choices=[*names, []], metavar="PART", help=f"of {', '.join(names)}; or all")
    parser.add_argument("--seed", type=int, default=secrets.randbelow(10**6), help="a number that decides everything")
    parser.add_argument("--kills", type=int, default=kills.TARGET, help=f"kill -9 in all ({kills.TARGET:,})")
    parser.add_argument("--hosts", type=int, default=hosts.TARGET, help=f"kill -9 of several hosts ({hosts.TARGET:,})")
    parser.add_argument("--requests", type=int, default=requests.TARGET, help=f"bad requests ({requests.TARGET:,})")
    parser.add_argument("--clients", type=int, default=slow.TARGET, help=f"slow clients ({slow.TARGET:,})")
    parser.add_argument("--restarts", type=int, default=restarts.TARGET, help=f"of a copy ({restarts.TARGET:,})")
    parser.add_argument("--cuts", type=int, default=files.CUT_BYTES, help=f"bytes to cut ({files.CUT_BYTES:,})")
    parser.add_argument("--flips", type=int, default=files.FLIPS, help=f"bits to change ({files.FLIPS:,})")
    parser.add_argument("--tweets", type=int, default=recovery.TWEETS, help=f"to recover ({recovery.TWEETS:,})")
    parser.add_argument("--lag", type=int, default=recovery.LAG, help=f"entries to catch up ({recovery.LAG:,})")
    parser.add_argument("--seeds", type=int, default=simulation.TARGET, help=f"to simulate ({simulation.TARGET:,})")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
