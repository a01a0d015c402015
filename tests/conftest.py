"""Real parts for every test: a database and a valkey server of its own, gone with the test."""

import gc
import os
import signal
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from storage import Tweets, migrate, open_storage
from storage.sql.database import open_database
from tests.cluster import Cluster, running_cluster
from tests.postgresql import PostgreSQL
from tests.system import FindProgram, program, pytest_terminal_summary

__all__ = ["program", "pytest_terminal_summary"]

# The same examples on every run, whatever the machine is doing meanwhile.
settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.load_profile("repeatable")

# A job in the background, or under nohup, ignores some signals, and so would every service that a test starts and ends.
for number in (signal.SIGINT, signal.SIGHUP):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)


def pytest_xdist_auto_num_workers() -> int:
    """Three processes for two cores: tests wait half of the time, for servers that start, stop or do not answer."""
    return max(2, (os.cpu_count() or 1) * 3 // 2)


@pytest.fixture(autouse=True)
def embedded_server_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """However slow this machine is, an embedded server answers when storage is open."""
    monkeypatch.setattr("storage.EMBEDDED_STARTS_WITHIN_S", 60.0)


@pytest.fixture
def refusals_are_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """However slow this machine is, a server that refuses a password is heard when storage is open."""
    monkeypatch.setattr("storage.index.opening.ANSWERS_WITHIN_S", 60.0)


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """A folder for all data of a service."""
    return tmp_path / "data"


@pytest.fixture
def database_url() -> str:
    """The SQLite file in the data folder; tests that run over PostgreSQL as well say so by a fixture of this name."""
    return ""


@pytest.fixture
def partitions() -> int:
    """How many partitions a new database has."""
    return 1


@pytest.fixture
def tweets(data_dir: Path, database_url: str) -> Iterator[Tweets]:
    """Empty storage, its index embedded."""
    with open_storage(data_dir, database_url) as opened:
        opened.reconciler.catch_up()
        yield opened


@pytest.fixture(scope="session")
def whole_cluster() -> Iterator[Cluster]:
    """A cluster of Redis servers, one for each process that runs tests."""
    with running_cluster() as formed:
        yield formed


@pytest.fixture
def cluster(whole_cluster: Cluster) -> Iterator[Cluster]:
    """That cluster, whole and empty; whatever a test does to it is mended afterwards."""
    whole_cluster.flush()
    yield whole_cluster
    whole_cluster.heal()
    with warnings.catch_warnings():  # of a node that left, redis-py leaves the connections to the collector
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgreSQL]:
    """A PostgreSQL server, one for each process that runs tests."""
    server = PostgreSQL()
    yield server
    server.close()


@pytest.fixture
def postgresql_name(postgresql: PostgreSQL, partitions: int) -> Iterator[str]:
    """The name of a database there with the present schema and without tweets."""
    with postgresql.database() as name:
        database = open_database(postgresql.url(name))
        migrate.up(database, partitions)
        database.close()
        yield name


@pytest.fixture
def pooled_url(postgresql: PostgreSQL, postgresql_url: str, program: FindProgram) -> Iterator[str]:
    """The DATABASE_URL of that database behind a PgBouncer in transaction mode."""
    with postgresql.pooler(program("pgbouncer")) as option:
        yield postgresql_url + option


@pytest.fixture
def postgresql_url(postgresql: PostgreSQL, postgresql_name: str) -> str:
    """The DATABASE_URL of that database."""
    return postgresql.url(postgresql_name)
