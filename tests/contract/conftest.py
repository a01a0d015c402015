"""The contract holds over every database system and every kind of index, however many partitions there are."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from storage import Tweets, open_log, open_storage, prepare_schema
from storage.sql.database import Database
from storage.tweets import CACHE_SIZES

PARTITIONS = {"server": 1, "partitions": 3, "cluster": 16}


DATABASES = {"sqlite": None, "postgresql": "postgresql_url", "pooled": "pooled_url"}


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Behind a pooler one kind of index is enough."""
    left_out = [each for each in items if "pooled-" in each.name and "pooled-partitions" not in each.name]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [each for each in items if each not in left_out]


@pytest.fixture(params=DATABASES)
def database_url(request: pytest.FixtureRequest) -> str:
    """The embedded database, then one of PostgreSQL, which then is behind a pooler in transaction mode."""
    fixture = DATABASES[request.param]
    url: str = request.getfixturevalue(fixture) if fixture else ""
    return url


@pytest.fixture(params=PARTITIONS)
def index_kind(request: pytest.FixtureRequest) -> str:
    """What the index is kept on: one server, with one partition or some, or a cluster."""
    kind: str = request.param
    return kind


@pytest.fixture
def partitions(request: pytest.FixtureRequest) -> int:
    """As many as the kind of index says, for tests that depend on it."""
    if "index_kind" not in request.fixturenames:
        return 1
    return PARTITIONS[request.getfixturevalue("index_kind")]


@pytest.fixture
def redis_url(request: pytest.FixtureRequest, index_kind: str) -> str:
    """The embedded server, or the URL of a cluster."""
    url: str = request.getfixturevalue("cluster").url if index_kind == "cluster" else ""
    return url


@pytest.fixture
def cache_sizes() -> tuple[int, int]:
    """The usual ones; tests of a cache have room for one entry."""
    return CACHE_SIZES


@pytest.fixture
def tweets(
    data_dir: Path, database_url: str, redis_url: str, partitions: int, cache_sizes: tuple[int, int]
) -> Iterator[Tweets]:
    """Empty storage."""
    opening = open_storage(data_dir, database_url, redis_url, partitions=partitions, cache_sizes=cache_sizes)
    with opening as opened:
        opened.reconciler.catch_up()
        yield opened


@pytest.fixture
def database(tmp_path: Path, database_url: str, partitions: int) -> Iterator[Database]:
    """An empty log without any index."""
    opened = open_log(tmp_path / "log", database_url)
    prepare_schema(opened, partitions, embedded=not database_url)
    yield opened
    opened.close()
