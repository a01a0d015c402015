"""All that several hosts are made of, killed at random: copies of the service, primaries of the cluster, PostgreSQL."""

import random
import time
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

from storage import migrate
from storage.sql.database import open_database
from tests.cluster import Cluster, Node
from tests.e2e.commands import done
from tests.faults.copies import Client, Copy, at_work
from tests.faults.load import Caller, Differences, Ledger
from tests.faults.services import eventually
from tests.postgresql import PostgreSQL

SERVICE, PRIMARY, DATABASE = KINDS = ("service", "primary", "database")
DOWN_AT_MOST = 2
"""Nodes that are dead at the same time: then one of them is started before the next kill."""


class Site:
    """Copies of the service on a new database and a cluster, their clients, and what these were answered."""

    def __init__(self, rng: random.Random, postgresql: PostgreSQL, cluster: Cluster, name: str, folder: Path) -> None:
        self._rng = rng
        self._postgresql = postgresql
        self._cluster = cluster
        self._folder = folder
        nodes = ",".join(f"127.0.0.1:{node.port}" for node in cluster.nodes)
        self._settings = {"DATABASE_URL": postgresql.url(name), "REDIS_URL": f"redis+cluster://{nodes}"}
        self._down: deque[Node] = deque()
        self._copies: list[Copy] = []
        self.ledger = Ledger(rng.randrange(2**32))
        self.clients: list[Client] = []
        self.kills: Counter[str] = Counter()
        self._wrong_before = 0

    def open(self, partitions: int, copies: int, clients: int) -> None:
        """Migrate the database, and start services and clients."""
        database = open_database(self._settings["DATABASE_URL"])
        with closing(database):
            migrate.up(database, partitions)
        for number in range(copies):
            workers = {"WORKERS": self._rng.choice("112")}
            self._copies.append(Copy(self._folder / f"copy{number}", **self._settings, **workers))
        seed = self._rng.randrange(2**32)
        self.clients += [Client(self._copies, self.ledger, f"client-{number}-{seed}") for number in range(clients)]
        self._wait_for_copies()

    def run(self, kinds: Sequence[str]) -> None:
        """Kill one of each of *kinds*, one after the other, while the clients write; then start all that is dead."""
        with at_work(self.clients) as failures:
            for kind in kinds:
                self._wait_for_a_moment(failures)
                self._start_some()
                self._kill(kind)
            self._wait_for_copies(failures)
            self._wait_for_looks(50, failures)
        while self._down:
            self._down.popleft().start()
        self._cluster.heal()
        self._wait_for_copies()

    def differences(self) -> Differences:
        """
        What any copy shows otherwise than was answered.

        Wrong is, too, what clients saw since the last time that could not be, and what `verify` finds.
        """
        found = Differences(0, 0, len(self.wrong) - self._wrong_before)
        self._wrong_before = len(self.wrong)
        for copy in self._copies:
            with closing(Caller(copy.url or "")) as caller:
                found = found.plus(self.ledger.differences(caller))
                self.ledger.check_keys(caller, 20)
        database_url, redis_url = self._settings["DATABASE_URL"], self._settings["REDIS_URL"]
        said = done(self._folder / "verify", "verify", DATABASE_URL=database_url, REDIS_URL=redis_url)
        return found.plus(Differences(0, 0, int(b" 0 wrong" not in said)))

    @property
    def looks(self) -> int:
        """How often a client asked another copy for what it had just read, and got an answer."""
        return sum(client.looks for client in self.clients)

    @property
    def wrong(self) -> list[str]:
        """What clients were answered that could not be."""
        return [line for client in self.clients for line in client.wrong]

    def summary(self) -> str:
        """What was done so far, in one line."""
        return f"{self.kills.total():,} kills, {self.ledger.written:,} writes acknowledged, {self.looks:,} looks"

    def close(self) -> list[int | None]:
        """End the services; their exit codes."""
        for client in self.clients:
            client.close()
        return [copy.stop() for copy in self._copies]

    def _kill(self, kind: str) -> None:
        if kind == SERVICE:
            copy = self._rng.choice(self._copies)
            eventually(copy.kill)
        elif kind == PRIMARY:
            node = self._rng.choice([node for node in self._cluster.nodes if node.is_primary])
            node.kill()
            if self._rng.random() < 0.5:
                node.start()  # before the others missed it: it is a primary still, and empty
            else:
                self._down.append(node)
        else:
            self._postgresql.kill()
            time.sleep(self._rng.random() ** 2 * 2)
            self._postgresql.start()
        self.kills[kind] += 1

    def _start_some(self) -> None:
        """Start dead nodes again, by chance: in the time between a replica may have taken over, or not."""
        while self._down and (len(self._down) >= DOWN_AT_MOST or self._rng.random() < 0.5):
            self._down.popleft().start()

    def _wait_for_a_moment(self, failures: Sequence[BaseException]) -> None:
        """Mostly until all copies are there and see what the others do; now and then not at all."""
        if self._rng.random() < 0.7:
            self._wait_for_copies(failures)
            self._wait_for_looks(self._rng.randrange(10, 100), failures)
        time.sleep(self._rng.random() ** 2 * 0.5)

    def _wait_for_looks(self, more: int, failures: Sequence[BaseException]) -> None:
        goal = self.looks + more
        eventually(lambda: failures or self.looks >= goal)

    def _wait_for_copies(self, failures: Sequence[BaseException] = ()) -> None:
        eventually(lambda: failures or all(copy.url for copy in self._copies))


@contextmanager
def opened_site(
    rng: random.Random, servers: tuple[PostgreSQL, Cluster], folder: Path, *, partitions: int, copies: int, clients: int
) -> Iterator[Site]:
    """A site on a database of its own, for the length of the block; its services end in order."""
    postgresql, cluster = servers
    with postgresql.database() as name:
        site = Site(rng, postgresql, cluster, name, folder)
        try:
            site.open(partitions, copies, clients)
            yield site
        finally:
            codes = site.close()
    assert codes == [0] * copies, codes
