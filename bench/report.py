"""What was measured, as tables: on the terminal and as Markdown; and the machine that it was measured on."""

import os
import platform
import re
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

from storage.index.embedded import find_server

BUSY = 0.3
"""Load average above which other work takes part in the measurement."""

PACKAGES = ("bottle", "msgspec", "redis", "sqlalchemy", "waitress")


def verdict(target: str, value: float) -> str:
    """`yes` when *value* holds *target*, which has a bound in it, as "p99 ≤ 3 medians" has; else `NO`."""
    sign, bound = re.findall(r"([≤≥]) ([\d.,]+)", target)[0]
    reached = float(bound.replace(",", ""))
    return "yes" if (value <= reached if sign == "≤" else value >= reached) else "NO"


@dataclass(slots=True)
class Table:
    """Rows of cells under a title, with a sentence that says how they came about."""

    title: str
    note: str
    columns: Sequence[str] = ()
    rows: list[list[str]] = field(default_factory=list)

    def add(self, *cells: object) -> None:
        """Add a row, and print it: a run takes long."""
        self.rows.append([str(cell) for cell in cells])
        named = zip(self.columns, self.rows[-1], strict=True)
        print("  " + "  |  ".join(f"{name}: {cell}" for name, cell in named if cell), flush=True)

    def markdown(self) -> str:
        """The table as Markdown."""
        lines = [list(self.columns), ["---"] * len(self.columns), *self.rows] if self.columns else []
        body = "".join("| " + " | ".join(cells) + " |\n" for cells in lines)
        return f"## {self.title}\n\n{self.note}\n\n{body}"


def look_at_machine() -> dict[str, str]:
    """What this machine is, and does, now: facts by their names."""
    packages = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    server, wrk = (_said(program, "--version").split(" ") for program in (find_server(), "wrk"))
    known = Path("/proc/cpuinfo")
    names = re.findall(r"^model name\s*: (.+)$", known.read_text() if known.exists() else "", re.MULTILINE)
    memory_gb = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1e9
    return {
        "date": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        "machine": f"{os.cpu_count()} cores of {[*names, platform.machine()][0]}, {memory_gb:.0f} GB",
        "system": f"{platform.system()} {platform.release()}",
        "versions": f"Python {platform.python_version()}, {packages}, {' '.join(server[:3])}, {' '.join(wrk[:2])}",
        "commit": _said("git", "describe", "--always", "--dirty"),
        "load average before": f"{os.getloadavg()[0]:.2f}",
    }


def warning(machine: Mapping[str, str]) -> str:
    """What to think of the figures, empty when nothing is against them."""
    load = machine["load average before"]
    said = f"THE MACHINE WAS BUSY: the load average was {load} before the run, more than {BUSY}: figures mean nothing."
    return said if float(load) > BUSY else ""


def write(folder: Path, machine: Mapping[str, str], tables: Sequence[Table]) -> Path:
    """Write the tables to a file of *folder*, and return its path."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{machine['date'][:10]}-{os.cpu_count()}cores.md"
    facts = "\n".join(f"- {name}: {fact}" for name, fact in machine.items())
    head = f"# Measured on {machine['date'][:10]}\n\n{facts}\n\n{warning(machine)}\n"
    file.write_text("\n".join([head, *(table.markdown() for table in tables)]))
    return file


def _said(*command: str) -> str:
    try:
        ended = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:
        return "unknown"
    return (ended.stdout or ended.stderr).partition("\n")[0].strip()
