"""The contract holds over every database system."""

import pytest


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> str:
    """The embedded database, then one of PostgreSQL."""
    url: str = "" if request.param == "sqlite" else request.getfixturevalue("postgresql_url")
    return url
