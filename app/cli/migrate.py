"""`migrate`: the schema up, down, and compared."""

from argparse import Namespace
from contextlib import closing

from app.cli.verb import Refused, Verbs
from app.settings import Settings
from storage import migrate as schema
from storage import open_log
from storage.sql.engine import Database


def migrate(arguments: Namespace, settings: Settings) -> int:
    """Do one of the four acts; 1 when `check` finds a difference. Raises Refused, NoSuchRevision, SchemaOutdated."""
    if arguments.to and arguments.act != "down":
        raise Refused("--to is for `migrate down`; `migrate up` leads to the latest revision.")
    with closing(open_log(settings.data_dir, settings.database_url)) as database:
        if arguments.act == "check":
            return _check(database)
        if arguments.act == "up":
            schema.up(database, settings.partitions, settings.ranked)
        elif arguments.act == "down":
            _down(database, arguments)
        _print_status(database)
    return 0


def _down(database: Database, arguments: Namespace) -> None:
    if not arguments.yes:
        raise Refused(
            "Going down drops what those revisions made, the tweets with the first: add --yes if you mean it."
        )
    schema.down(database, arguments.to)


def _check(database: Database) -> int:
    """Print in what the tables differ from the declared ones; the exit code."""
    with database.reading() as connection:
        schema.check_current(connection)
    differences = schema.list_differences(database)
    print("\n".join(differences) if differences else "The tables are as declared.")
    return 1 if differences else 0


def _print_status(database: Database) -> None:
    for number, title, applied in schema.list_revisions(database):
        print(f"{number}  {'applied' if applied else 'missing'}  {title}")


VERBS: Verbs = {"migrate": migrate}
