"""What was measured, as tables: on the terminal, as Markdown and as JSON; and the machine that it was measured on."""

import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path

from bench.load import find_wrk
from storage.index.embedded import find_server

BUSY = 0.3
"""Load average above which other work takes part in the measurement."""

PACKAGES = ("bottle", "msgspec", "redis", "sqlalchemy", "waitress")


@dataclass(frozen=True, slots=True)
class Target:
    """What a figure must reach, or must stay under."""

    at_least: float | None = None
    at_most: float | None = None
    text: str = ""

    def __str__(self) -> str:
        return self.text or (f"≥ {self.at_least:.2f}" if self.at_least is not None else f"≤ {self.at_most:.2f}")

    def verdict(self, value: float) -> str:
        """`yes` when *value* holds it, else `NO`."""
        holds = (self.at_least is None or value >= self.at_least) and (self.at_most is None or value <= self.at_most)
        return "yes" if holds else "NO"


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
        print(
            "  "
            + "  |  ".join(f"{name}: {cell}" for name, cell in zip(self.columns, self.rows[-1], strict=True) if cell)
        )
        sys.stdout.flush()

    def markdown(self) -> str:
        """The table as Markdown."""
        if not self.columns:
            return f"## {self.title}\n\n{self.note}\n"
        lines = [list(self.columns), ["---"] * len(self.columns), *self.rows]
        body = "\n".join("| " + " | ".join(cells) + " |" for cells in lines)
        return f"## {self.title}\n\n{self.note}\n\n{body}\n"


@dataclass(frozen=True, slots=True)
class Machine:
    """Where and when, taken before the first measurement."""

    date: str
    cores: int
    processor: str
    memory_gb: float
    system: str
    versions: str
    load: float
    commit: str

    @property
    def is_busy(self) -> bool:
        """Whether other work uses the machine."""
        return self.load > BUSY

    def warning(self) -> str:
        """What to think of the figures, empty when nothing is against them."""
        if not self.is_busy:
            return ""
        return (
            f"THE MACHINE WAS BUSY: the load average was {self.load:.2f} before the run, more than {BUSY}. "
            "These figures mean nothing."
        )

    def markdown(self) -> str:
        """The facts, a line each."""
        facts = {
            "date": self.date,
            "machine": f"{self.cores} cores of {self.processor}, {self.memory_gb:.0f} GB",
            "system": self.system,
            "versions": self.versions,
            "commit": self.commit,
            "load average before": f"{self.load:.2f}",
        }
        return "\n".join(f"- {name}: {fact}" for name, fact in facts.items())


def look_at_machine() -> Machine:
    """What this machine is, and does, now."""
    packages = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    server = _said(find_server(), "--version").split(" ")
    wrk = _said(find_wrk(), "--version").split(" ")
    return Machine(
        date=time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        processor=_processor(),
        memory_gb=os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1e9,
        system=f"{platform.system()} {platform.release()}",
        versions=f"Python {platform.python_version()}, {packages}, {' '.join(server[:3])}, {' '.join(wrk[:2])}",
        load=os.getloadavg()[0],
        commit=_said("git", "describe", "--always", "--dirty"),
    )


def write(folder: Path, machine: Machine, tables: Sequence[Table], command: str) -> Path:
    """Write both files; the path of the Markdown one."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{machine.date[:10]}-{machine.cores}cores.md"
    head = f"# Measured on {machine.date[:10]}, {machine.cores} cores\n\n{machine.markdown()}\n- command: `{command}`\n"
    warning = f"\n**{machine.warning()}**\n" if machine.is_busy else ""
    file.write_text("\n".join([head + warning, *(table.markdown() for table in tables)]))
    whole = {"machine": asdict(machine), "command": command, "tables": [asdict(table) for table in tables]}
    file.with_suffix(".json").write_text(json.dumps(whole, indent=1) + "\n")
    return file


def _said(*command: str) -> str:
    try:
        ended = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:
        return "unknown"
    return (ended.stdout or ended.stderr).partition("\n")[0].strip()


def _processor() -> str:
    known = Path("/proc/cpuinfo")
    lines = known.read_text().splitlines() if known.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
