"""`backup` and `restore`: the database as a whole, out and back."""

from argparse import Namespace
from pathlib import Path

from app.cli import CommandError
from app.cli.progress import Progress
from app.settings import Settings
from storage.backup import Contents, back_up, file_of
from storage.backup import restore as put_back
from storage.data_dir import is_ours

DUMP = "`pg_dump --format=custom --file=FILE URL`, which may run beside the service"
UNDUMP = "`pg_restore --clean --if-exists --dbname=URL FILE`, while no service runs"


def backup(arguments: Namespace, settings: Settings) -> int:
    """Copy the database to a file. Raises CommandError or BackupRefused, with whatever was at that name untouched."""
    source = file_of(settings.data_dir, settings.database_url, DUMP)
    if is_ours(Path(arguments.file), settings.data_dir, settings.database_url):
        raise CommandError(f"{arguments.file} is a file of the service itself; name another one.")
    with Progress("copying", "pages") as progress:
        contents = back_up(source, Path(arguments.file), lambda done, total: progress.show(done, done / max(total, 1)))
    print(f"Backed up {_told(contents)} to {arguments.file}.")
    return 0


def restore(arguments: Namespace, settings: Settings) -> int:
    """Put a file in the place of the database. Raises BackupRefused, with the database untouched."""
    goal = file_of(settings.data_dir, settings.database_url, UNDUMP)
    with Progress("copying", "pages") as progress:
        contents = put_back(
            Path(arguments.file),
            goal,
            settings.data_dir / "redis" / "owner.lock",
            lambda done, total: progress.show(done, done / max(total, 1)),
            force=arguments.force,
        )
    print(f"Restored {_told(contents)} from {arguments.file}. The next start brings the ranking in step.")
    print("Whoever had a token then has it again: see `simple-twitter token list`.")
    return 0


def _told(contents: Contents) -> str:
    return f"{contents.live:,} tweets ({contents.entries:,} log entries of store {contents.store})"
