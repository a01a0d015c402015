"""What the tests of the server share."""

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.e2e.server_apps import Gate


@pytest.fixture
def gate() -> Iterator[Gate]:
    """An application that waits; opened at the end, so that its threads end."""
    gate = Gate()
    yield gate
    gate.open.set()


@pytest.fixture
def wires() -> Iterator[ExitStack]:
    """A place for connections, which are closed in the end."""
    with ExitStack() as stack:
        yield stack
