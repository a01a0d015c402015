"""kill -9 of the service and of its server, again and again, while clients write."""

import random
import signal
import time
from contextlib import closing
from pathlib import Path

from tests.e2e.commands import Service, done, serving
from tests.faults.crashing import AFTER
from tests.faults.load import Caller, Differences, Ledger, writing
from tests.faults.services import kill, server_pid, serving_until
from tests.torture.report import Row

KILLS_IN_ONE_STORE = 50
"""Then the next one begins empty: the whole ranking is looked at after each start."""

KEYS = 20
TARGET = 2_000


class Kills:
    """Stores that are filled while their service and server are killed; what was found wrong in them."""

    def __init__(self, seed: int) -> None:
        self._rng = random.Random(seed)
        self.done = 0
        self.written = 0
        self.found = Differences(0, 0, 0)

    def run_store(self, data_dir: Path, kills: int) -> None:
        """Kill so often in one store, and look at all of it after each start."""
        ledger, until = Ledger(self._rng.randrange(2**32)), self.done + kills
        while self.done < until:
            if self._rng.random() < 0.3:
                self._live_until_a_moment(data_dir, ledger)
            else:
                self._live(data_dir, ledger, until)
        with serving(data_dir, WORKERS="1") as service:
            self._look(service, ledger)
            if b" 0 wrong" not in done(data_dir, "verify"):
                self.found = self.found.plus(Differences(0, 0, 1))
            service.end()
        self.written += ledger.written

    def _live(self, data_dir: Path, ledger: Ledger, until: int) -> None:
        """One life of the service under load: its server is killed some times, then it, then perhaps the server."""
        rng = self._rng
        with serving(data_dir, WORKERS=rng.choice("12")) as service:
            self._look(service, ledger)
            with writing(service.url, ledger, clients=8):
                for _ in range(min(rng.randrange(6), until - self.done - 1)):
                    time.sleep(rng.random() ** 2 * 0.4)
                    kill(server_pid(data_dir))
                    self.done += 1
                time.sleep(rng.random() ** 2 * 0.4)
                if rng.random() < 0.3:
                    kill(server_pid(data_dir))
                service.end(signal.SIGKILL)
                self.done += 1

    def _live_until_a_moment(self, data_dir: Path, ledger: Ledger) -> None:
        """One life that ends by its own hand in the midst of a write."""
        moment, number = self._rng.choice(list(AFTER)), self._rng.randrange(1, 60)
        starting = serving_until(moment, number, data_dir)
        with starting as service, writing(service.url, ledger, clients=8):
            service.process.wait()
        self.done += 1

    def _look(self, service: Service, ledger: Ledger) -> None:
        """Repeat the calls that got no answer, and compare all that is shown."""
        with closing(Caller(service.url)) as caller:
            ledger.settle(caller)
            self.found = self.found.plus(ledger.differences(caller))
            ledger.check_keys(caller, KEYS)


def run(seed: int, kills: int, folder: Path) -> Row:
    """Kill *kills* times, in as many stores as that takes."""
    began, torture = time.monotonic(), Kills(seed)
    while torture.done < kills:
        torture.run_store(folder / f"kills-{torture.done}", min(KILLS_IN_ONE_STORE, kills - torture.done))
        print(f"  {torture.done:,} kills, {torture.written:,} writes acknowledged, {torture.found}", flush=True)
    summary = f"{torture.done:,} kill -9, {torture.written:,} writes"
    met = True if torture.done >= TARGET else None
    return Row("kills", summary, *torture.found, time.monotonic() - began, f"{TARGET:,} kills", met)
