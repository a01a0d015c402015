"""What the tests of the server share."""

import gzip
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from app.server import server
from bench.convert import convert
from tests.e2e.commands import CASCADES
from tests.e2e.server_apps import Gate
from tests.e2e.server_wire import PATIENCE_S


@pytest.fixture(scope="session")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sample of the cascades as JSON lines, for `import`."""
    file = tmp_path_factory.mktemp("sample") / "cascades.jsonl.gz"
    with gzip.open(file, "wb") as lines:
        lines.writelines(convert(CASCADES))
    return file


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


@pytest.fixture
def no_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Servers do nothing once a second: what they do not notice at once, they never do."""
    monkeypatch.setattr(server, "_TICK_S", 100 * PATIENCE_S)
