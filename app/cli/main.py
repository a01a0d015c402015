"""From the words of the command line to a verb, and from what it raises to one sentence and an exit code."""

import gc
import logging
import os
import sys
from argparse import Namespace
from collections.abc import Sequence

from app.cli.arguments import parser
from app.cli.stopping import heed_signals
from app.cli.verb import Refused, Verbs
from app.log import set_up
from app.settings import SettingError, Settings

FAILED = 1
"""The exit code of a verb that could not do its work; argparse's own for wrong words is 2."""

PIPE_CLOSED = 141
"""As a shell reports a program whose reader went away, as in `export | head`."""


MAKERS = ("serve", "import", "seed", "restore", "migrate up", "token add")
"""What makes the embedded database if it is not there. To all else a folder without one is a DATA_DIR misspelt."""


def main(words: Sequence[str]) -> int:
    """Run the verb that *words* name; returns the exit code."""
    arguments = parser().parse_args(words)
    serving = arguments.verb == "serve"
    heed_signals(0 if serving else None)
    try:
        settings = Settings.from_environment()
        # What a service does by itself is news; in a verb it is what was asked for.
        set_up(settings, logging.WARNING if serving else logging.ERROR)
        verb = _verbs_with(arguments.verb)[arguments.verb]
        _check_there(arguments, settings)
        # What was imported stays. The collector, which `__main__` has put off, would go through it again and again.
        gc.freeze()
        gc.enable()
        code = verb(arguments, settings)
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or the interpreter's own flush fails again
        return PIPE_CLOSED
    except Exception as error:
        if not _is_for_a_person(error):
            raise
        print(error, file=sys.stderr)
        return FAILED
    return code


def _verbs_with(name: str) -> Verbs:
    """The verbs of the module that has *name*. No other module is imported: `serve` must not wait for `import`'s."""
    if name == "serve":
        from app.cli.serve import VERBS
    elif name == "migrate":
        from app.cli.migrate import VERBS
    elif name in {"verify", "rebuild"}:
        from app.cli.index import VERBS
    elif name in {"import", "export"}:
        from app.cli.transfer import VERBS
    elif name in {"backup", "restore"}:
        from app.cli.backup import VERBS
    elif name == "token":
        from app.cli.token import VERBS
    elif name == "seed":
        from app.cli.seed import VERBS
    else:
        from app.cli.info import VERBS
    return VERBS


def _check_there(arguments: Namespace, settings: Settings) -> None:
    """Raise Refused when the database should be embedded and is not there, unless the verb is one that makes it."""
    verb = f"{arguments.verb} {getattr(arguments, 'act', '')}".rstrip()
    if settings.database_url or verb in MAKERS:
        return
    from storage.data_dir import database_file

    file = database_file(settings.data_dir)
    if not file.exists():
        raise Refused(f"There is no database at {file}: correct DATA_DIR, or `python -m app serve` makes one there.")


def _is_for_a_person(error: Exception) -> bool:
    """Whether the message of *error* is a sentence that says what to do; anything else is a fault of ours."""
    if isinstance(error, (SettingError, Refused)):
        return True
    from app.server import CannotServe
    from storage.errors import StorageError

    return isinstance(error, (StorageError, CannotServe))
