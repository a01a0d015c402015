"""
The contract holds over every database system and every kind of index, however many partitions there are.

It holds as well where only counted tweets are in the index: over SQLite with one server, PostgreSQL with a cluster.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from storage import Tweets, open_storage

PARTITIONS = {"server": 1, "partitions": 3, "cluster": 16, "counted": 1}
COUNTED_ON_A_CLUSTER = 5


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> str:
    """The embedded database, then one of PostgreSQL."""
    url: str = "" if request.param == "sqlite" else request.getfixturevalue("postgresql_url")
    return url


@pytest.fixture(params=PARTITIONS)
def index_kind(request: pytest.FixtureRequest) -> str:
    """What the index is kept on: one server, with one partition or some, or a cluster; or what it holds."""
    kind: str = request.param
    return kind


@pytest.fixture
def partitions(request: pytest.FixtureRequest) -> int:
    """As many as the kind of index says, for tests that depend on it."""
    if "index_kind" not in request.fixturenames:
        return 1
    return COUNTED_ON_A_CLUSTER if _is_counted_cluster(request) else PARTITIONS[request.getfixturevalue("index_kind")]


@pytest.fixture
def ranked(request: pytest.FixtureRequest) -> str:
    """All tweets, but for one kind of index."""
    kind = request.getfixturevalue("index_kind") if "index_kind" in request.fixturenames else ""
    return "counted" if kind == "counted" else "all"


@pytest.fixture
def redis_url(request: pytest.FixtureRequest, index_kind: str) -> str:
    """The embedded server, or the URL of a cluster."""
    on_cluster = index_kind == "cluster" or _is_counted_cluster(request)
    url: str = request.getfixturevalue("cluster").url if on_cluster else ""
    return url


def _is_counted_cluster(request: pytest.FixtureRequest) -> bool:
    # By the name of the database's parameter: its fixture may wait for the number of partitions itself.
    parameters: dict[str, object] = request.node.callspec.params
    return parameters.get("index_kind") == "counted" and parameters.get("database_url") == "postgresql"


@pytest.fixture
def tweets(data_dir: Path, database_url: str, redis_url: str, partitions: int, ranked: str) -> Iterator[Tweets]:
    """Empty storage."""
    with open_storage(data_dir, database_url, redis_url, partitions=partitions, ranked=ranked) as opened:
        assert opened.store.ranked == ranked
        yield opened
