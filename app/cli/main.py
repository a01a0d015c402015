"""
The commands, their arguments and their help; from a command line to one of them, and from errors to sentences.

Light: `--help` imports no module of a command.
"""

import gc
import importlib
import logging
import sys
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Callable, Sequence
from typing import Any

from app import CommandError, __version__
from app.cli.streams import finish_output
from app.logging import set_up
from app.settings import Settings
from app.signals import handle_signals

FAILED = 1
"""The exit code of a command that could not do its work; argparse's own for wrong words is 2."""

PIPE_CLOSED = 141
"""As a shell reports a program whose reader went away, as in `export | head`."""

SIGNALLED = 128
"""The exit code of a command that a signal ended is this and the number of the signal."""

MAKERS = ("serve", "import", "mirror", "seed", "restore", "migrate up", "token add")
"""The commands that make the embedded database if it is missing. For all others a folder without one is a mistake."""

DESCRIPTION = """\
Tweets, retweets and their ranking.

Every command reads the same settings from the environment: HOST, PORT, DATA_DIR, DATABASE_URL, REDIS_URL and
more (README has the table). All commands but `restore` work beside a running service as well as without one."""

COMMANDS = {
    "serve": """\
serve the API and the page

Serve the API and the page until SIGTERM or Ctrl-C. Starts the embedded parts, and migrates an embedded database
to the latest revision.

examples:
  simple-twitter serve
  PORT=8080 DATA_DIR=/srv/tweets simple-twitter serve""",
    "migrate": """\
bring the database up to date, or back

Bring the database to the latest revision (up), take it back by one (down), list the revisions (status), or
compare its tables with the declared ones (check: exit code 1 when they differ).

Every start migrates an embedded database. A database named by DATABASE_URL is migrated only by this command.

examples:
  DATABASE_URL=sqlite:////srv/tweets.db simple-twitter migrate up
  simple-twitter migrate status
  simple-twitter migrate down --to base --yes""",
    "verify": """\
compare every count with the log

Compare every count in Redis with a full count of the log. If any differs, print a table and end with exit code 1.
A SQLite file is checked for damage first. Reads and writes go on meanwhile; progress is shown on stderr.

examples:
  simple-twitter verify
  simple-twitter verify --repair""",
    "rebuild": """\
rebuild the index from the log

Rebuild the index from the log, beside the old one, and swap. Reads and writes go on meanwhile.

example:
  simple-twitter rebuild""",
    "import": """\
add the tweets of a file

Add the tweets of a file: lines of JSON as `export` writes them, plain or gzipped. A line may have a `key`, any text
that names the tweet in another system, in place of an `id`; then `retweet` is the key of a line above, and the tweet
gets an id of its time.

All or nothing: the input is read and checked first, then stored in one transaction, for which other writers wait.
What was imported before is refused. Exit code 0 says that all is stored, any other one that nothing is. A running
service, or its next start, ranks what is stored.

A URL of Redis is the data of the original Flask application: each key a tweet, as a JSON string. Stop that service
first. Nothing there is changed.

examples:
  simple-twitter import tweets.jsonl.gz
  ssh other simple-twitter export | simple-twitter import -
  simple-twitter import redis://127.0.0.1:6379/0 --zone Europe/Berlin --map ids.jsonl""",
    "export": """\
write all tweets to a file

Write every tweet as a line of JSON, in the order of ids, as of one instant: ids, bases, times, parents and
deletions. Imported into an empty store and exported again it is the same to the byte. Idempotency keys are not
exported. A file is complete or not there; a name that ends in .gz is gzipped.

examples:
  simple-twitter export tweets.jsonl.gz
  simple-twitter export | head""",
    "backup": """\
copy the database while it is written

Copy the database to a file as of one instant, while a service runs and writes. The whole copy is checked before it
gets its name: a file of that name is a good backup, and an older file of that name stays until then.

It holds everything; the index needs no backup. For PostgreSQL the command names the tool to use.

examples:
  simple-twitter backup tweets.backup
  simple-twitter backup "/srv/backups/tweets-$(date +%F).db\"""",
    "restore": """\
replace the database by a backup

Replace the database by a backup, after checking the whole backup. Stop the service first. What was posted since the
backup is lost; the next start rebuilds the ranking.

An existing database is replaced only with --force, also a damaged one.

examples:
  simple-twitter restore tweets.backup
  simple-twitter restore --force tweets.backup""",
    "mirror": """\
keep this database equal to another one

Keep the database of these settings equal to SOURCE until stopped. SOURCE is the address of a running service, or the
URL of a database. Ids, times, bases and deletions are kept; chains are spread over the partitions of this database.

It may be stopped or killed at any moment and resumes where it was; its place is in mirror.json in DATA_DIR. The
database must be empty at first, and nothing else may write to it. Tokens and idempotency keys come from a database
only. To move a service: mirror it while it runs, stop it, `mirror --once` from its database, start the new one.

examples:
  DATA_DIR=/srv/new PARTITIONS=8 simple-twitter mirror http://127.0.0.1:8080
  DATA_DIR=/srv/new simple-twitter mirror --once sqlite:////srv/old/tweets.db""",
    "seed": """\
add tweets to look at

Add 120 tweets to look at: some users who retweet each other, over the last two days.

example:
  simple-twitter seed""",
    "token": """\
manage API tokens

Manage API tokens. While there is no token, everyone who reaches the service may write. From the first token on,
each write needs one: a token posts as its own user, and deletes that user's tweets. An admin's token may delete any
tweet and set count_retweet.

A token is shown once, when it is made. `list` shows ids, which `revoke` takes. A running service sees a change
within about a second. Revoking the last token does not open the service again.

examples:
  simple-twitter token add ada
  simple-twitter token add root --admin
  simple-twitter token list
  simple-twitter token revoke 3f9a1c2b7d04""",
    "info": """\
print what is where

Print versions, settings, engines, tweets, partitions, and how far the index lags.

example:
  simple-twitter info""",
}
"""Of each command what it does in a few words, and then its help."""

MODULES = {"serve": "serve", "mirror": "mirror", "import": "transfer", "export": "transfer", "seed": "transfer"}
"""Where the function of a command is, if not in `admin`. No other module is imported: `serve` need not wait for it."""


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
    module = importlib.import_module(f"app.cli.{MODULES.get(arguments.command, 'admin')}")
    command: Callable[[Namespace, Settings], int] = getattr(module, f"{arguments.command}_command")
    makes = f"{arguments.command} {vars(arguments).get('action', '')}".rstrip() in MAKERS
    if not (makes or settings.database_url or (file := settings.data_dir / "tweets.db").exists()):
        raise CommandError(
            f"There is no database at {file}: correct DATA_DIR, or `simple-twitter serve` makes one there."
        )
    # What was imported stays. The collector, which `__main__` has put off, would go through it again and again.
    gc.freeze()
    gc.enable()
    code = command(arguments, settings)
    sys.stdout.flush()
    return code


def _sentence_of(error: Exception) -> str:
    """The sentence that a person gets for *error*: its own one, or that the fault is ours."""
    if isinstance(error, CommandError):
        return str(error)
    if isinstance(error, ModuleNotFoundError):
        return f"The package {error.name} is missing: install requirements.lock again, in a new environment."
    from storage.errors import StorageError

    if isinstance(error, StorageError):
        return str(error)
    if isinstance(error, OSError):
        what = f"{error.filename} cannot be used" if error.filename else "Reading or writing failed"
        return f"{what} ({error.strerror or error})."
    kind = type(error).__name__
    return f"This is a fault of simple-twitter ({kind}): please report what PYTHONDEVMODE=1 shows in addition."


def parser() -> ArgumentParser:
    """The parser of the whole command line: its result has `command`, and `action` where a command has some."""
    form: dict[str, Any] = {"formatter_class": RawDescriptionHelpFormatter, "allow_abbrev": False}
    whole = ArgumentParser(prog="simple-twitter", description=DESCRIPTION, **form)
    whole.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = whole.add_subparsers(dest="command", required=True, metavar="COMMAND", title="commands")
    add = {
        name: commands.add_parser(name, help=summary, description=text.strip(), **form).add_argument
        for name, (summary, _, text) in ((name, text.partition("\n")) for name, text in COMMANDS.items())
    }
    yes: dict[str, Any] = {"action": "store_true"}
    add["migrate"]("action", choices=("up", "down", "status", "check"), help="what to do")
    add["migrate"]("--to", metavar="REVISION", help="down: the revision to go back to, `base` for none")
    add["migrate"]("--yes", **yes, help="down: yes, drop what the revisions added")
    add["migrate"]("--json", **yes, help="print the revisions as JSON")
    add["verify"]("--repair", **yes, help="rebuild the index when a count differs")
    add["verify"]("--json", **yes, help="print what was found as JSON")
    add["import"]("file", help="the file, - for standard input, or redis://HOST:PORT/DB")
    add["import"]("--map", metavar="FILE", help="write a line of JSON for each tweet: its key, and its new id")
    add["import"]("--zone", metavar="NAME", help="redis: the time zone of its times (that of this machine)")
    add["import"]("--cut", **yes, help="redis: cut texts that are too long, do not refuse them")
    add["export"]("file", nargs="?", default="-", help="the file, or - (the default) for standard output")
    add["backup"]("file", help="the file to make, or - for standard output")
    add["restore"]("file", help="the backup")
    add["restore"]("--force", **yes, help="yes, replace the existing database")
    add["mirror"]("source", metavar="SOURCE", help="http://HOST:PORT, sqlite:///FILE or postgresql://...")
    add["mirror"]("--once", **yes, help="end when there is nothing new")
    add["mirror"]("--token", help="http: a token to send, where a proxy asks for one")
    add["info"]("--json", **yes, help="print it as JSON")
    actions = commands.choices["token"].add_subparsers(dest="action", required=True, metavar="ACTION", title="actions")
    adding = actions.add_parser("add", help="make a token, and show it", allow_abbrev=False)
    adding.add_argument("user", help="the only user_name that it writes as")
    adding.add_argument("--admin", **yes, help="it may also delete any tweet and set count_retweet")
    listing = actions.add_parser("list", help="show all tokens, without their secrets", allow_abbrev=False)
    listing.add_argument("--json", **yes, help="print them as JSON")
    revoking = actions.add_parser("revoke", help="revoke a token for good", allow_abbrev=False)
    revoking.add_argument("id", help="as `list` shows it")
    return whole
