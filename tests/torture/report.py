"""What a run of torture prints: a row for each part."""

import os
import platform
from typing import NamedTuple

HEADINGS = ("part", "done", "lost", "doubled", "wrong", "took", "target", "")


class Row(NamedTuple):
    """What was done in one part, and what came of it; `met` is None where there is no target for that much work."""

    part: str
    done: str
    lost: int
    doubled: int
    wrong: int
    took_s: float
    target: str = ""
    met: bool | None = None

    @property
    def failed(self) -> bool:
        """Whether a promise was broken. A target of time that was missed breaks none."""
        return bool(self.lost or self.doubled or self.wrong)

    def cells(self) -> tuple[str, ...]:
        """The row as texts."""
        verdict = "FAILED" if self.failed else {True: "met", False: "missed", None: ""}[self.met]
        numbers = (f"{self.lost:,}", f"{self.doubled:,}", f"{self.wrong:,}")
        return (self.part, self.done, *numbers, f"{self.took_s:,.0f} s", self.target, verdict)


def machine() -> str:
    """What it runs on, in one line."""
    load = os.getloadavg()[0]
    return f"Python {platform.python_version()}, {os.cpu_count()} CPUs, {platform.machine()}, load {load:.1f}"


def table(rows: list[Row]) -> str:
    """The rows under their headings, in columns."""
    lines = [HEADINGS, *(row.cells() for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in lines)
