"""Answers of Redis lost, late or cut in pieces, and a server that hangs: no write counts twice, none waits long."""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from storage.index.embedded import EmbeddedServer
from tests.e2e.commands import Service, done, serving
from tests.faults.load import Caller, Ledger, writing
from tests.faults.proxy import Proxy
from tests.faults.services import eventually, server_pid

ANSWERED = {201, 204, 404, 410}
"""What a write may be answered, whatever befalls Redis."""

LIMIT_S = 30
"""What a request may take at most, on a slow machine: the two seconds that Redis gets, many times over."""


@pytest.fixture
def proxy(tmp_path: Path) -> Iterator[Proxy]:
    """A server of its own, and what lies before it."""
    server = EmbeddedServer(tmp_path / "server")
    with Proxy(tmp_path / "proxy.sock", server.socket) as proxy:
        yield proxy
    server.stop()


@pytest.fixture
def service(tmp_path: Path, data_dir: Path, proxy: Proxy) -> Iterator[Service]:
    """A service that reaches its Redis through the proxy alone."""
    assert proxy
    with serving(data_dir, WORKERS="1", REDIS_URL=f"unix://{tmp_path / 'proxy.sock'}") as service:
        yield service
        assert service.end() == 0


FAULTS: dict[str, Callable[[Proxy], None]] = {
    "one answer in ten is lost": lambda proxy: proxy.lose(0.1, seed=1),
    "every answer is lost": lambda proxy: proxy.lose(1, seed=1),
    "answers come in pieces, some not whole": lambda proxy: proxy.cut(seed=1),
    "answers come late": lambda proxy: proxy.delay(0.05),
    "answers come too late": lambda proxy: proxy.delay(2.5),
}


@pytest.mark.parametrize("name", FAULTS)
def test_answers_that_go_astray(service: Service, proxy: Proxy, name: str) -> None:
    """Every write is answered as if nothing were, and each counts once."""
    ledger = Ledger(seed=len(name))
    with closing(Caller(service.url)) as caller:
        with writing(service.url, ledger, clients=4) as load:
            load.wait_for(10)
            FAULTS[name](proxy)
            load.wait_for(60)
            eventually(lambda: proxy.lost or "late" in name)
        proxy.pass_on()
        assert set(ledger.statuses) <= ANSWERED
        eventually(lambda: caller.ask("GET", "/readyz").body.get("lag") == 0)
        ledger.check(caller)
        ledger.check_keys(caller, 10)


def test_a_hanging_server(data_dir: Path) -> None:
    """While it hangs, writes are 201, pages and counts are answered, each within its limit; then all is right again."""
    ledger = Ledger(seed=9)
    with serving(data_dir, WORKERS="1") as service, closing(Caller(service.url)) as caller:
        with writing(service.url, ledger, clients=4) as load:
            load.wait_for(20)
            assert caller.ask("GET", "/api/v1/top").status == 200
            pid = server_pid(data_dir)
            os.kill(pid, signal.SIGSTOP)
            try:
                load.wait_for(40)
                reply = caller.ask("GET", "/api/v1/top")
                assert (reply.status, reply.body.get("stale"), reply.headers["stale"]) == (200, True, "true")
                known = reply.body["tweets"][0]["id"]
                assert caller.ask("GET", f"/api/v1/tweet/{known}").status in (200, 410)
                assert caller.ask("GET", f"/api/v1/tweet/{known}/rank").status in (503, 410)
                assert caller.ask("GET", "/readyz").status == 503
                assert caller.ask("GET", "/livez").status == 200
            finally:
                os.kill(pid, signal.SIGCONT)
        assert set(ledger.statuses) <= ANSWERED
        assert ledger.slowest_s < LIMIT_S
        eventually(lambda: caller.ask("GET", "/readyz").body.get("lag") == 0)
        ledger.check(caller)
        assert b" 0 wrong" in done(data_dir, "verify")
        assert service.end() == 0
