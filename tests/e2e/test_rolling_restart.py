"""A rolling restart behind the proxy of deploy/: no request is lost, however many workers a copy has."""

import signal
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

from storage.index.embedded import EmbeddedServer
from tests.e2e.commands import Service, done, serving
from tests.e2e.deployed import free_port, nginx, short_folder
from tests.faults.load import Caller, Ledger, writing
from tests.system import FindProgram

CLIENTS = 8
WRITES_BETWEEN = 100


@contextmanager
def two_copies(data_dir: Path, workers: int) -> Iterator[tuple[list[int], dict[str, str]]]:
    """The ports of two copies on one store, which the caller starts, and their settings."""
    with ExitStack() as stack:
        server = EmbeddedServer(data_dir / "own")
        stack.callback(server.stop)
        settings = {
            "DATABASE_URL": f"sqlite:///{data_dir / 'own.db'}",
            "REDIS_URL": f"unix://{server.socket}",
            "WORKERS": str(workers),
            "ALLOW_ANONYMOUS_WRITES": "1",
        }
        done(data_dir, "migrate", "up", given=None, **settings)
        yield [free_port(), free_port()], settings


def restart_copies(nginx_path: str, data_dir: Path, *, workers: int, restarts: int) -> Ledger:
    """Restart two copies in turn while clients write through the proxy; their ledger. Raises AssertionError."""
    ledger = Ledger(seed=restarts)
    with two_copies(data_dir, workers) as (ports, settings), short_folder() as folder, ExitStack() as stack:

        def start(port: int) -> Service:
            return stack.enter_context(serving(data_dir, PORT=str(port), **settings))

        copies = [start(port) for port in ports]
        url = f"http://127.0.0.1:{stack.enter_context(nginx(nginx_path, folder, *ports))}"
        with writing(url, ledger, CLIENTS) as load:
            load.wait_for(WRITES_BETWEEN)
            for number in range(restarts):
                copy = number % 2
                assert copies[copy].end(signal.SIGTERM) == 0
                load.wait_for(WRITES_BETWEEN)
                copies[copy] = start(ports[copy])
                load.wait_for(WRITES_BETWEEN)
        with closing(Caller(url)) as caller:
            ledger.check(caller)
        assert [copy.end() for copy in copies] == [0, 0]
    return ledger


def test_a_rolling_restart_loses_no_request(program: FindProgram, data_dir: Path) -> None:
    """Two copies with four workers each behind nginx, restarted under load: every response is their own."""
    ledger = restart_copies(program("nginx"), data_dir, workers=4, restarts=3)
    assert set(ledger.statuses) <= {201, 204, 404, 410}, ledger.statuses
