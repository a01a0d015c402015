"""From the words of the command line to a command, and from what it raises to one sentence and an exit code."""

import gc
import importlib
import logging
import sys
from argparse import Namespace
from collections.abc import Callable, Sequence

from app.cli import CommandError
from app.cli.arguments import parser
from app.cli.streams import finish_output
from app.logging import set_up
from app.settings import SettingError, Settings
from app.signals import handle_signals

FAILED = 1
"""The exit code of a command that could not do its work; argparse's own for wrong words is 2."""

PIPE_CLOSED = 141
"""As a shell reports a program whose reader went away, as in `export | head`."""

SIGNALLED = 128
"""The exit code of a command that a signal ended is this and the number of the signal."""

COMMANDS = {
    "serve": "serve.serve",
    "migrate": "admin.migrate",
    "verify": "admin.verify",
    "rebuild": "admin.rebuild",
    "import": "transfer.import_file",
    "export": "transfer.export_file",
    "backup": "admin.backup",
    "restore": "admin.restore",
    "mirror": "mirror.mirror",
    "seed": "transfer.seed",
    "token": "token.token",
    "info": "admin.info",
}
"""The module of each command, and its function there. No other module is imported: `serve` need not wait for it."""

MAKERS = ("serve", "import", "mirror", "seed", "restore", "migrate up", "token add")
"""The commands that make the embedded database if it is missing. For all others a folder without one is a mistake."""


def main(words: Sequence[str]) -> int:
    """Run the command that *words* name; returns the exit code."""
    try:
        return _run(words)
    except BrokenPipeError:
        finish_output()
        return PIPE_CLOSED
    except SystemExit as ended:
        finish_output()
        if isinstance(ended.code, int) and ended.code > SIGNALLED:
            print("Stopped.", file=sys.stderr)
        raise
    except Exception as error:
        if sys.flags.dev_mode:
            raise
        finish_output()
        print(_sentence_of(error), file=sys.stderr)
        return FAILED


def _run(words: Sequence[str]) -> int:
    try:
        arguments = parser().parse_args(words)
    except SystemExit:  # --help and --version print
        sys.stdout.flush()
        raise
    serving = arguments.command == "serve"
    handle_signals(0 if serving else None)
    settings = Settings.from_environment()
    # What a service does by itself is news; in a command it is what was asked for.
    set_up(settings, logging.WARNING if serving else logging.ERROR)
    module, _, function = COMMANDS[arguments.command].partition(".")
    command: Callable[[Namespace, Settings], int] = getattr(importlib.import_module(f"app.cli.{module}"), function)
    _check_there(arguments, settings)
    # What was imported stays. The collector, which `__main__` has put off, would go through it again and again.
    gc.freeze()
    gc.enable()
    code = command(arguments, settings)
    sys.stdout.flush()
    return code


def _check_there(arguments: Namespace, settings: Settings) -> None:
    """Raise CommandError when the database should be embedded and is missing, unless the command makes it."""
    command = f"{arguments.command} {getattr(arguments, 'action', '')}".rstrip()
    if settings.database_url or command in MAKERS:
        return
    from storage.data_dir import database_file

    file = database_file(settings.data_dir)
    if not file.exists():
        raise CommandError(
            f"There is no database at {file}: correct DATA_DIR, or `simple-twitter serve` makes one there."
        )


def _sentence_of(error: Exception) -> str:
    """The sentence that a person gets for *error*: its own one, or that the fault is ours."""
    if isinstance(error, (SettingError, CommandError)):
        return str(error)
    if isinstance(error, ModuleNotFoundError):
        return f"The package {error.name} is missing: install requirements.lock again, in a new environment."
    from app.server import CannotServe
    from storage.errors import StorageError

    if isinstance(error, (StorageError, CannotServe)):
        return str(error)
    if isinstance(error, OSError):
        what = f"{error.filename} cannot be used" if error.filename else "Reading or writing failed"
        return f"{what} ({error.strerror or error})."
    kind = type(error).__name__
    return f"This is a fault of simple-twitter ({kind}): please report what PYTHONDEVMODE=1 shows in addition."
