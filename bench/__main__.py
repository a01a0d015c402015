"""`python -m bench`: measure what the options say, print the tables, and write them to bench/results/."""

import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from bench import limits, report, whole
from bench.comparing import compare, compare_sizes
from bench.options import Options, read_options
from bench.planting import Fields
from bench.report import Table
from bench.servers import CannotMeasure


def main() -> int:
    """Measure; 1 when something cannot be measured, or an answer was wrong. Targets missed are no failure."""
    options = read_options()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))  # an exit that ends the servers as well
    try:
        machine = report.look_at_machine()
    except CannotMeasure as error:
        print(error, file=sys.stderr)
        return 1
    machine["command"] = shlex.join(["python", "-m", "bench", *sys.argv[1:]])
    print("\n".join(machine.values()), report.warning(machine), sep="\n", flush=True)
    tables: list[Table] = []
    failures = run(options, tables)
    print(f"\nWritten to {report.write(options.results, machine, tables)}")
    print(report.warning(machine), file=sys.stderr)
    return 1 if failures else 0


def run(options: Options, tables: list[Table]) -> int:
    """Fill *tables* with all that is wanted; how much of it failed. What was measured until then stays."""
    failures = 0
    with TemporaryDirectory(prefix="bench-") as folder:
        fields = Fields(Path(folder), options.planted)
        for name, measure in sections(options, fields).items():
            if options.workloads if name == "workloads" else options.wants(name):
                began = time.monotonic()
                print(f"\n{name}", flush=True)
                try:
                    measure(tables)
                except (CannotMeasure, subprocess.CalledProcessError) as error:
                    failures += 1
                    tables.append(Table(f"{name}: NOT MEASURED", str(error)))
                    print(f"NOT MEASURED: {error}", file=sys.stderr)
                print(f"  ({time.monotonic() - began:.0f} s)", flush=True)
    return failures


def sections(options: Options, fields: Fields) -> dict[str, Callable[[list[Table]], None]]:
    """What can be measured, by name: each adds its tables to those there are, and then fills them."""
    return {
        "workloads": partial(compare, options, fields),
        "sizes": partial(compare_sizes, options, fields),
        "limits": partial(limits.measure_limits, options),
        "log": partial(limits.measure_log, options, fields),
        "rebuild": partial(whole.measure_rebuild, options, fields),
        "import": partial(whole.measure_import, options),
        "memory": partial(whole.measure_memory, options, fields),
    }


if __name__ == "__main__":
    sys.exit(main())
