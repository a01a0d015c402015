"""`python -m app COMMAND`, and the entry point of the command `simple-twitter`: see `--help`."""

import gc
import sys

if sys.version_info < (3, 11):  # noqa: UP036  # one sentence instead of a syntax error
    sys.exit(f"simple-twitter needs Python 3.11 or later, and this is Python {sys.version.split()[0]}.")

from app.cli.streams import open_streams
from app.signals import handle_signals


def run() -> int:
    """Run the command of the command line; returns the exit code."""
    open_streams()
    handle_signals(0 if sys.argv[1:2] == ["serve"] else None)  # Ctrl-C while the rest is imported is no fault
    gc.disable()  # see `app.cli.main`
    from app.cli.main import main  # noqa: PLC0415  # what is imported is not to be collected

    return main(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(run())
