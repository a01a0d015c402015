"""`backup` and `restore`: the database as a whole, out and back."""

import shutil
import sys
from argparse import Namespace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TextIO

from app.cli import CommandError
from app.cli.progress import Progress
from app.settings import Settings
from storage.data_dir import database_file, is_ours, make_data_dir
from storage.tools.backup import Contents, back_up, file_of
from storage.tools.backup import restore as put_back

WHERE = "where URL is DATABASE_URL without `+psycopg`"
DUMP = f"`pg_dump --format=custom --file=FILE URL`, {WHERE}; it may run beside the service"
UNDUMP = f"`pg_restore --clean --if-exists --dbname=URL FILE`, {WHERE}, while no service runs"


def backup(arguments: Namespace, settings: Settings) -> int:
    """Copy the database to a file. Raises CommandError or BackupRefused, with what was at that name untouched."""
    source = file_of(database_file(settings.data_dir), settings.database_url, DUMP)
    if arguments.file == "-":
        with TemporaryDirectory(prefix=".backup.", dir=source.parent) as folder:
            _back_up(source, Path(folder) / "copy", sys.stderr)
            with (Path(folder) / "copy").open("rb") as copy:
                shutil.copyfileobj(copy, sys.stdout.buffer)
        return 0
    if is_ours(Path(arguments.file), settings.data_dir, settings.database_url):
        raise CommandError(f"{arguments.file} is a file of the service itself; name another one.")
    _back_up(source, Path(arguments.file), sys.stdout)
    return 0


def _back_up(source: Path, goal: Path, out: TextIO) -> None:
    with Progress("copying", "pages") as progress:
        contents = back_up(source, goal, lambda done, total: progress.show(done, done / max(total, 1)))
    print(f"Backed up {_described(contents)}.", file=out)


def restore(arguments: Namespace, settings: Settings) -> int:
    """Put a file in the place of the database. Raises BackupRefused, with the database untouched."""
    goal = file_of(database_file(settings.data_dir), settings.database_url, UNDUMP)
    if not settings.database_url:
        make_data_dir(settings.data_dir)
    with Progress("copying", "pages") as progress:
        contents = put_back(
            Path(arguments.file),
            goal,
            lambda done, total: progress.show(done, done / max(total, 1)),
            force=arguments.force,
        )
    print(f"Restored {_described(contents)} from {arguments.file}. The next start rebuilds the ranking.")
    print("Every user who had a token then has it again: see `simple-twitter token list`.")
    return 0


def _described(contents: Contents) -> str:
    return f"{contents.live:,} tweets ({contents.entries:,} log entries of store {contents.store})"
