"""The verbs, their arguments and their help. Light: `--help` imports nothing of the service."""

from argparse import ArgumentParser, RawDescriptionHelpFormatter

from app import __version__

DESCRIPTION = """\
Tweets, retweets and their ranking.

Every verb reads the same settings from the environment: HOST, PORT, DATA_DIR, DATABASE_URL, REDIS_URL and
more (README has the table). All but `serve` work beside a running service as well as without one."""

SERVE = """\
Serve the API and the page until SIGTERM or Ctrl-C. Starts what is embedded, and brings an embedded database
to the latest revision by itself.

examples:
  simple-twitter serve
  PORT=8080 DATA_DIR=/srv/tweets simple-twitter serve"""

MIGRATE = """\
Bring the database to the latest revision (up), take it back by one (down), list the revisions (status), or
compare its tables with the declared ones (check: exit code 1 when they differ).

The embedded database is migrated by every start; one named by DATABASE_URL only by this verb.

examples:
  DATABASE_URL=sqlite:////srv/tweets.db simple-twitter migrate up
  simple-twitter migrate status
  simple-twitter migrate down --to base --yes"""

VERIFY = """\
Compare every count in Redis with a full count of the log. Exit code 1, and a table, when any differs. Of SQLite
the whole file is read before that: when it is damaged, one sentence says so instead. Nobody waits meanwhile. How far
it is shows on stderr.

examples:
  simple-twitter verify
  simple-twitter verify --repair"""

REBUILD = """\
Rebuild the index from the log, beside the old one, and swap. Reads and writes go on meanwhile.

example:
  simple-twitter rebuild"""

IMPORT = """\
Add the tweets of a file: lines of JSON as `export` writes them, plain or gzipped. A line may have a `key`, any text
that names the tweet in another system, in place of an `id`; then `retweet` is the key of a line above, and the tweet
gets an id of its time.

All or nothing: the input is read and checked first, then stored in one transaction, for which other writers wait.
What was imported before is refused. Exit code 0 says that all is stored, any other one that nothing is.

A URL of Redis is the data of the original Flask application: each key a tweet, as a JSON string. Stop that service
first. Nothing there is changed.

examples:
  simple-twitter import tweets.jsonl.gz
  ssh other simple-twitter export | simple-twitter import -
  simple-twitter import redis://127.0.0.1:6379/0 --zone Europe/Berlin --map ids.jsonl"""

EXPORT = """\
Write every tweet as a line of JSON, in the order of ids, as of one instant: ids, bases, times, parents and
deletions. Imported into an empty store and exported again it is the same to the byte. Idempotency keys are not
exported. A file is complete or not there; a name that ends in .gz is gzipped.

examples:
  simple-twitter export tweets.jsonl.gz
  simple-twitter export | head"""

BACKUP = """\
Copy the database to a file as of one instant, while a service runs and writes. The copy is looked at as a whole
before it gets its name: a file of that name is a good backup, and one that was there before stays until then.

It holds everything; the index needs no backup. For PostgreSQL the verb names the tool to use.

examples:
  simple-twitter backup tweets.backup
  simple-twitter backup "/srv/backups/tweets-$(date +%F).db\""""

RESTORE = """\
Put a backup in the place of the database, after looking at the whole of it. Stop the service first. What was
posted since the backup is gone; the next start sees that and brings the ranking in step.

A database that is there is replaced only with --force. A damaged one may be: the backup is what helps it.

examples:
  simple-twitter restore tweets.backup
  simple-twitter restore --force tweets.backup"""

SEED = """\
Add 120 tweets to look at: some users who retweet each other, over the last two days.

example:
  simple-twitter seed"""

TOKENS = """\
Who may write. As long as there is no token, anybody who reaches the service; from the first one on, each write
needs one: a token posts as its own user, and deletes that user's tweets. An admin's may delete any tweet and
set count_retweet.

A token is shown once, when it is made. `list` shows ids, which `revoke` takes. A running service heeds both
within about a second. Revoking the last one does not open the service again.

examples:
  simple-twitter token add ada
  simple-twitter token add root --admin
  simple-twitter token list
  simple-twitter token revoke 3f9a1c2b7d04"""

INFO = """\
Print what is where: settings, engines and versions, tweets, partitions, and how far the index is.

example:
  simple-twitter info"""


def parser() -> ArgumentParser:
    """The parser of the whole command line."""
    whole = ArgumentParser(
        prog="simple-twitter", description=DESCRIPTION, formatter_class=RawDescriptionHelpFormatter, allow_abbrev=False
    )
    whole.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    verbs = whole.add_subparsers(dest="command", required=True, metavar="COMMAND", title="commands")

    def add(name: str, words: str, description: str) -> ArgumentParser:
        return verbs.add_parser(
            name, help=words, description=description, formatter_class=RawDescriptionHelpFormatter, allow_abbrev=False
        )

    add("serve", "serve the API and the page", SERVE)
    _add_migrate_arguments(add("migrate", "bring the database up to date, or back", MIGRATE))
    add("verify", "compare every count with the log", VERIFY).add_argument(
        "--repair", action="store_true", help="rebuild the index when a count differs"
    )
    add("rebuild", "rebuild the index from the log", REBUILD)
    _add_import_arguments(add("import", "add the tweets of a file", IMPORT))
    add("export", "write all tweets to a file", EXPORT).add_argument(
        "file", nargs="?", default="-", help="the file, or - (as when left out) for standard output"
    )
    add("backup", "copy the database while it is written", BACKUP).add_argument(
        "file", help="the file to make, or - for standard output"
    )
    restore = add("restore", "put a backup in the place of the database", RESTORE)
    restore.add_argument("file", help="the backup")
    restore.add_argument("--force", action="store_true", help="yes, replace the database that is there")
    add("seed", "add tweets to look at", SEED)
    _add_token_arguments(add("token", "say who may write", TOKENS))
    add("info", "say what is where", INFO)
    return whole


def _add_migrate_arguments(verb: ArgumentParser) -> None:
    verb.add_argument("action", choices=("up", "down", "status", "check"), help="what to do")
    verb.add_argument("--json", action="store_true", help="print the revisions as JSON")
    verb.add_argument("--to", metavar="REVISION", help="down: the revision to go back to, `base` for none")
    verb.add_argument("--yes", action="store_true", help="down: yes, drop what the revisions taken back had made")


def _add_import_arguments(command: ArgumentParser) -> None:
    command.add_argument("file", help="the file, - for standard input, or redis://HOST:PORT/DB")
    command.add_argument("--map", metavar="FILE", help="write a line of JSON for each tweet: its key, and its new id")
    command.add_argument("--zone", metavar="NAME", help="redis: the time zone of its times (that of this machine)")
    command.add_argument("--cut", action="store_true", help="redis: cut texts that are too long, instead of refusing")


def _add_token_arguments(verb: ArgumentParser) -> None:
    acts = verb.add_subparsers(dest="action", required=True, metavar="ACTION", title="actions")
    adding = acts.add_parser("add", help="make a token, and show it", allow_abbrev=False)
    adding.add_argument("user", help="the only user_name that it writes as")
    adding.add_argument("--admin", action="store_true", help="it may also delete any tweet and set count_retweet")
    listing = acts.add_parser("list", help="show all tokens, without their secrets", allow_abbrev=False)
    listing.add_argument("--json", action="store_true", help="print them as JSON")
    revoking = acts.add_parser("revoke", help="take a token back, for good", allow_abbrev=False)
    revoking.add_argument("id", help="as `list` shows it")
