"""What is closed lets go of everything."""

import gc
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


def test_closed_storage_has_no_socket_open(data_dir: Path) -> None:
    """Connections to Redis are closed by `close`, and not when they happen to be collected."""
    before = open_sockets()
    gc.disable()
    try:
        with open_storage(data_dir) as tweets:
            connections = tweets.index._client.connection_pool
            post(tweets)
            tweets.top(10).result()
            assert open_sockets() > before
        assert open_sockets() == before
    finally:
        gc.enable()
    del connections


def open_sockets() -> set[str]:
    """The sockets that this process has open."""
    found = set()
    for entry in Path("/proc/self/fd").iterdir():
        with suppress(OSError):
            if (target := str(entry.readlink())).startswith("socket:"):
                found.add(target)
    return found


def open_files(folder: Path) -> list[str]:
    """What this process has open below *folder*."""
    found = []
    for entry in Path("/proc/self/fd").iterdir():
        with suppress(OSError):
            target = entry.readlink()
            if target.is_relative_to(folder):
                found.append(str(target))
    return found
