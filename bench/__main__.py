"""`python -m bench`: measure what the options say, print the tables, and write them to bench/results/."""

import shlex
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from bench import bulk, load, report
from bench.batches import count_batches
from bench.comparing import compare
from bench.limits import measure_limits
from bench.options import Options, read_options
from bench.parts import profile
from bench.planting import Fields
from bench.report import Machine, Table
from bench.spreading import compare_sizes, compare_workers


def main() -> int:
    """Measure; 1 when something cannot be measured, or an answer was wrong. Targets missed are no failure."""
    options = read_options()
    try:
        load.find_wrk()
        machine = report.look_at_machine()
        print(f"{machine.markdown()}\n{machine.warning()}", flush=True)
        tables = run(options, machine)
    except load.CannotMeasure as error:
        print(error, file=sys.stderr)
        return 1
    command = shlex.join(["python", "-m", "bench", *sys.argv[1:]])
    print(f"\nWritten to {report.write(options.results, machine, tables, command)}")
    if machine.is_busy:
        print(f"\n{machine.warning()}", file=sys.stderr)
    return 0


def run(options: Options, machine: Machine) -> list[Table]:
    """All the tables that are wanted, in their order."""
    tables: list[Table] = []
    with ExitStack() as stack:
        folder = options.planted or Path(stack.enter_context(TemporaryDirectory(prefix="bench-")))
        fields = Fields(folder)
        for name, measure in sections(options, machine, fields).items():
            if options.workloads if name == "workloads" else options.wants(name):
                began = time.monotonic()
                print(f"\n{name}", flush=True)
                tables += measure()
                print(f"  ({time.monotonic() - began:.0f} s)", flush=True)
    return tables


def sections(options: Options, machine: Machine, fields: Fields) -> dict[str, Callable[[], list[Table]]]:
    """What can be measured, by name."""
    return {
        "workloads": lambda: [compare(options, fields)],
        "sizes": lambda: [compare_sizes(options, fields)],
        "workers": lambda: [compare_workers(options, fields, machine)],
        "batches": lambda: [count_batches(options, fields)],
        "limits": lambda: [measure_limits(options)],
        "rebuild": partial(_bulk, "Rebuild", lambda table: bulk.measure_rebuild(options, fields, table)),
        "import": partial(_bulk, "Import", lambda table: bulk.measure_import(options, machine, table)),
        "memory": partial(_bulk, "Memory and start", lambda table: bulk.measure_memory(options, fields, table)),
        "profile": lambda: profile(options, fields),
    }


def _bulk(title: str, measure: Callable[[Table], None]) -> list[Table]:
    table = bulk.new_table(title)
    measure(table)
    return [table]


if __name__ == "__main__":
    sys.exit(main())
