"""How far long work has come: one line that changes on a terminal, a line now and then elsewhere. On stderr."""

import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

REDRAW_S = 0.1
LINE_EVERY_S = 5.0


Show = Callable[..., None]
"""Takes how many units are done; and which share of all, 0 to 1, that is, if it is known."""


@contextmanager
def progress(what: str, total: int | None = None, unit: str = "tweets") -> Iterator[Show]:
    """
    Show how far *what* is as often as it is worth it: "storing: 45% 270,000 tweets  41,000/s".

    Call what it gives as often as you like; of a *total* it knows the share. The last state, all of a *total*, is
    always shown at the end of a block that ends well.
    """
    is_terminal = sys.stderr.isatty()
    every_s = REDRAW_S if is_terminal else LINE_EVERY_S
    began = shown = time.monotonic()
    state: tuple[int, float | None] = (0, 0.0)

    def write(done: int, share: float | None) -> None:
        percent = "" if share is None else f"{min(share, 1):.0%} "
        line = f"{what}: {percent}{done:,} {unit}  {done / max(time.monotonic() - began, 1e-6):,.0f}/s"
        if is_terminal:
            # A line that wraps could not be drawn over. \33[K clears the rest of one that was longer before.
            line = f"\r{line[: shutil.get_terminal_size().columns - 1]}\33[K"
        print(line, end="" if is_terminal else "\n", file=sys.stderr, flush=True)

    def show(done: int, share: float | None = None) -> None:
        nonlocal shown, state
        state = done, share if total is None else done / max(total, 1)
        if time.monotonic() - shown >= every_s:
            shown = time.monotonic()
            write(*state)

    try:
        yield show
        write(*(state if total is None else (total, 1)))
    finally:
        if is_terminal:
            print(file=sys.stderr, flush=True)
