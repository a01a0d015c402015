"""Real parts for every test: an SQLite file and a valkey server of its own, gone with the test."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from storage import Tweets, open_storage

# The same examples on every run, whatever the machine is doing meanwhile.
settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.load_profile("repeatable")


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """A folder for all data of a service."""
    return tmp_path / "data"


@pytest.fixture
def tweets(data_dir: Path) -> Iterator[Tweets]:
    """Empty storage on its embedded parts."""
    with open_storage(data_dir) as opened:
        yield opened
