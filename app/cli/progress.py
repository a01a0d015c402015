"""How far long work has come: a bar on a terminal, plain lines elsewhere. On stderr, so that stdout is for data."""

import shutil
import sys
import time
from types import TracebackType
from typing import Self, TextIO

BAR_WIDTH = 24
REDRAW_S = 0.1
LINE_EVERY_S = 5.0


class Progress:
    """
    Shows *what* is done as often as it is worth it: "importing  [####    ]  45 %  270,000 tweets  41,000/s".

    Call `show` as often as you like. The last state is always shown, at the end of a `with` block that ends well.
    """

    def __init__(self, what: str, unit: str = "tweets", out: TextIO | None = None) -> None:
        self._what, self._unit = what, unit
        self._out = out or sys.stderr
        self._bar = self._out.isatty()
        self._every_s = REDRAW_S if self._bar else LINE_EVERY_S
        self._began = self._shown = time.monotonic()
        self._state: tuple[int, float | None] = (0, 0.0)

    def show(self, done: int, share: float | None = None) -> None:
        """*done* units are done, which is *share* of all (0 to 1), or None where that is not known."""
        self._state = (done, share)
        now = time.monotonic()
        if now - self._shown >= self._every_s:
            self._shown = now
            self._write(now)

    def _write(self, now: float) -> None:
        done, share = self._state
        speed = done / max(now - self._began, 1e-6)
        counted = f"{done:,} {self._unit}  {speed:,.0f}/s"
        percent = "" if share is None else f"{min(share, 1):>4.0%}  "
        if not self._bar:
            print(f"{self._what}: {percent.strip()} {counted}".replace(":  ", ": "), file=self._out, flush=True)
            return
        filled = round(BAR_WIDTH * min(share or 0, 1))
        bar = "" if share is None else f"[{'#' * filled}{' ' * (BAR_WIDTH - filled)}] "
        line = f"{self._what}  {bar}{percent}{counted}"
        # A line that wraps could not be drawn over. \33[K clears the rest of one that was longer before.
        print(f"\r{line[: shutil.get_terminal_size().columns - 1]}\33[K", end="", file=self._out, flush=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self._write(time.monotonic())
        if self._bar:
            print(file=self._out, flush=True)
