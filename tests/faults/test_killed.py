"""The service and its server killed at any instant: nothing confirmed is lost, nothing counts twice."""

import random
import signal
import time
from contextlib import closing
from pathlib import Path

import pytest

from tests.e2e.commands import nothing_runs, serving
from tests.faults.crashing import AFTER, RECOVERING
from tests.faults.load import Caller, Ledger, writing
from tests.faults.services import check_all, die_at_start, eventually, is_alive, kill, server_pid, serving_until

WORKERS = ["1", "2"]


def fill(data_dir: Path, ledger: Ledger, writes: int) -> None:
    """Let a service take so many writes, and stop it."""
    with serving(data_dir, WORKERS="1") as service:
        with writing(service.url, ledger) as load:
            load.wait_for(writes)
        assert service.end() == 0


@pytest.mark.parametrize("moment", AFTER)
def test_killed_in_the_midst_of_a_write(data_dir: Path, moment: str) -> None:
    """Whatever was confirmed is found again, without an answer a client learns by its key what became of the call."""
    ledger = Ledger(seed=len(moment))
    for number in (1, 25):
        with serving_until(moment, number, data_dir) as service, writing(service.url, ledger, clients=8):
            assert service.process.wait() == -signal.SIGKILL
        assert 0 in ledger.statuses  # some client got no answer
    check_all(data_dir, ledger, keys=40)


@pytest.mark.parametrize("moment", RECOVERING)
def test_killed_while_the_index_is_brought_in_step(data_dir: Path, moment: str) -> None:
    """A start that dies half-way leaves nothing that the next one takes for whole, and nothing that stops it."""
    ledger = Ledger(seed=7)
    fill(data_dir, ledger, 60)
    file = next((data_dir / "redis" / "appendonlydir").glob("*.incr.aof"))
    if moment.startswith("caught up"):
        content = file.read_bytes()
        cut = content.rfind(b"*1\r\n$5\r\nMULTI", 0, len(content) * 2 // 3)
        assert cut > 0
        file.write_bytes(content[:cut])
    else:
        file.unlink()
        for other in file.parent.iterdir():
            other.unlink()
    die_at_start(moment, 1, data_dir)
    check_all(data_dir, ledger)


@pytest.mark.parametrize("workers", WORKERS)
def test_killed_at_random_under_load(data_dir: Path, workers: str) -> None:
    """The service, its server or both, killed while clients write, again and again: exact after each start."""
    rng, ledger = random.Random(int(workers)), Ledger(seed=11)
    for _ in range(4):
        with serving(data_dir, WORKERS=workers) as service, closing(Caller(service.url)) as caller:
            ledger.settle(caller)
            with writing(service.url, ledger) as load:
                load.wait_for(rng.randrange(10, 60))
                for _ in range(2):
                    kill(server_pid(data_dir))
                    time.sleep(rng.random() * 0.1)
                if rng.random() < 0.5:
                    kill(server_pid(data_dir))
                service.end(signal.SIGKILL)
    check_all(data_dir, ledger, keys=100)
    eventually(lambda: nothing_runs(data_dir))


def test_its_server_killed_while_it_serves(data_dir: Path) -> None:
    """Every write is answered 201 or 204 while the server is killed again and again, and all is exact by itself."""
    ledger = Ledger(seed=3)
    with serving(data_dir) as service, closing(Caller(service.url)) as caller:
        with writing(service.url, ledger) as load:
            for _ in range(6):
                load.wait_for(15)
                kill(server_pid(data_dir))
        assert set(ledger.statuses) <= {201, 204, 404, 410}
        ledger.check(caller)
        eventually(lambda: caller.ask("GET", "/readyz").body.get("lag") == 0)
        assert service.end() == 0
    check_all(data_dir, ledger)


def test_an_orphaned_server_is_ended_by_the_next_start(data_dir: Path) -> None:
    """The service was killed and its server was not: the next one ends it before it starts its own."""
    ledger = Ledger(seed=5)
    with serving(data_dir, WORKERS="1") as service, writing(service.url, ledger) as load:
        load.wait_for(20)
        service.end(signal.SIGKILL)
    orphan = server_pid(data_dir)
    assert is_alive(orphan)
    with serving(data_dir) as service, closing(Caller(service.url)) as caller:
        assert not is_alive(orphan)
        assert server_pid(data_dir) != orphan
        ledger.settle(caller)
        ledger.check(caller)
        assert service.end() == 0
    assert nothing_runs(data_dir)
