"""`migrate`: the schema up, down, and compared."""

import json
from argparse import Namespace

from app.bootstrap import opened_database
from app.cli import CommandError
from app.settings import Settings
from storage import migrate as schema
from storage.sql.database import Database


def migrate(arguments: Namespace, settings: Settings) -> int:
    """
    Do one of the four actions; the exit code is 1 when `check` finds a difference.

    Raises CommandError, NoSuchRevision, SchemaOutdated.
    """
    if arguments.to and arguments.action != "down":
        raise CommandError("--to is for `migrate down`; `migrate up` leads to the latest revision.")
    if arguments.action == "down" and not arguments.yes:
        raise CommandError(
            "Going down drops what those revisions made, the tweets with the first: add --yes if you mean it."
        )
    with opened_database(settings, prepare=False) as database:
        if arguments.action == "check":
            return _check(database)
        if arguments.action == "up":
            schema.up(database, settings.partitions)
        elif arguments.action == "down":
            schema.down(database, arguments.to)
        revisions = schema.list_revisions(database)
    if arguments.json:
        print(json.dumps([revision._asdict() for revision in revisions]))
    else:
        for number, title, applied in revisions:
            print(f"{number}  {'applied' if applied else 'missing'}  {title}")
    return 0


def _check(database: Database) -> int:
    """Print in what the tables differ from the declared ones; the exit code."""
    with database.reading() as connection:
        schema.check_usable(connection)
    differences = schema.list_differences(database)
    print("\n".join(differences) if differences else "The tables are as declared.")
    return 1 if differences else 0
