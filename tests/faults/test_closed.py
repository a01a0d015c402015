"""What is closed lets go of everything."""

from contextlib import suppress
from pathlib import Path

from storage import open_storage
from tests.builders import post


def test_closed_storage_has_no_file_open(data_dir: Path, database_url: str) -> None:
    """After close this process has no file of the data folder open: a verb may replace it."""
    with open_storage(data_dir, database_url) as tweets:
        post(tweets)
        tweets.top(10).result()
        assert open_files(data_dir)
    assert open_files(data_dir) == []


def open_files(folder: Path) -> list[str]:
    """What this process has open below *folder*."""
    found = []
    for entry in Path("/proc/self/fd").iterdir():
        with suppress(OSError):
            target = entry.readlink()
            if target.is_relative_to(folder):
                found.append(str(target))
    return found
