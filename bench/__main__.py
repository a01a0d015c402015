"""`python -m bench`: measure what the options say, print the tables, and write them to bench/results/."""

import shlex
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from bench import report, whole
from bench.comparing import compare
from bench.options import Options, read_options
from bench.planting import Fields
from bench.report import Table
from bench.servers import CannotMeasure

SECTIONS: dict[str, Callable[[Options, Fields, list[Table]], None]] = {
    "workloads": compare,
    "log": whole.measure_log,
    "rebuild": whole.measure_rebuild,
    "import": whole.measure_import,
    "memory": whole.measure_memory,
}
"""What can be measured, by name: each adds its tables to those there are, and then fills them."""


def main() -> int:
    """Measure; 1 when something cannot be measured, or an answer was wrong. Targets missed are no failure."""
    options = read_options()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))  # an exit that ends the servers as well
    machine = report.look_at_machine()
    machine["command"] = shlex.join(["python", "-m", "bench", *sys.argv[1:]])
    print("\n".join(machine.values()), report.warning(machine), sep="\n", flush=True)
    tables: list[Table] = []
    failures = 0
    with TemporaryDirectory(prefix="bench-") as folder:
        fields = Fields(Path(folder), options.planted)
        for name, measure in SECTIONS.items():
            if options.wants(name):
                began = time.monotonic()
                print(f"\n{name}", flush=True)
                try:
                    measure(options, fields, tables)
                except CannotMeasure as error:
                    failures += 1  # what was measured until then stays
                    tables.append(Table(f"{name}: NOT MEASURED", str(error)))
                    print(f"NOT MEASURED: {error}", file=sys.stderr)
                print(f"  ({time.monotonic() - began:.0f} s)", flush=True)
    print(f"\nWritten to {report.write(options.results, machine, tables)}")
    print(report.warning(machine), file=sys.stderr)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
