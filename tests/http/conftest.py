"""Clients of the application on real storage: one shared by a worker's tests, one on storage that is empty."""

from collections.abc import Iterator

import pytest

from app.http.application import Application
from app.settings import Settings
from storage import Tweets, open_storage
from tests.http.client import Client

SETTINGS = Settings.from_environment({})


@pytest.fixture(scope="package")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """A client on storage that other tests have written to: for facts that do not depend on what is there."""
    with open_storage(tmp_path_factory.mktemp("shared") / "data") as tweets:
        tweets.reconciler.catch_up()
        yield Client(Application(tweets, SETTINGS))


@pytest.fixture
def fresh(tweets: Tweets) -> Client:
    """A client on empty storage."""
    return Client(Application(tweets, SETTINGS))
