"""kill -9 of services, of a cluster's primaries and of PostgreSQL, while clients write through all copies."""

import random
import time
from collections import Counter
from contextlib import closing
from pathlib import Path

from tests.cluster import Cluster, running_cluster
from tests.faults.killing import DATABASE, KINDS, PRIMARY, SERVICE, opened_site
from tests.faults.load import Differences
from tests.postgresql import PostgreSQL
from tests.torture.report import Row

KILLS_IN_ONE_STORE = 50
"""Then the next one begins, on the same cluster: what that holds is another store's."""

KILLS_IN_A_ROW = 10
"""Then all is made whole, and every count is looked at, through every copy."""

CLIENTS = 32
WEIGHTS = {SERVICE: 9, PRIMARY: 9, DATABASE: 2}
TARGET = 300


class Hosts:
    """Stores that are filled while all that they are made of is killed; what was found wrong in them."""

    def __init__(self, seed: int) -> None:
        self._rng = random.Random(seed)
        self.kills: Counter[str] = Counter()
        self.written = self.looks = 0
        self.found = Differences(0, 0, 0)

    def run_store(self, servers: tuple[PostgreSQL, Cluster], folder: Path, kills: int) -> None:
        """Kill so often in one store; after every ten, and at the end, look at all of it."""
        rng = self._rng
        partitions, copies = rng.choice((3, 6, 16)), rng.choice((2, 3, 3))
        with opened_site(rng, servers, folder, partitions=partitions, copies=copies, clients=CLIENTS) as site:
            while site.kills.total() < kills:
                many = min(KILLS_IN_A_ROW, kills - site.kills.total())
                site.run(rng.choices(KINDS, [WEIGHTS[kind] for kind in KINDS], k=many))
                found = site.differences()
                self.found = self.found.plus(found)
                print(f"  {site.summary()}, {found}", flush=True)
            for line in site.wrong[:10]:
                print(f"  {line}", flush=True)
            self.kills += site.kills
            self.written += site.ledger.written
            self.looks += site.looks


def run(seed: int, kills: int, folder: Path) -> Row:
    """Kill *kills* times, in as many stores as that takes."""
    began, torture = time.monotonic(), Hosts(seed)
    with closing(PostgreSQL()) as postgresql, running_cluster() as cluster:
        while (so_far := torture.kills.total()) < kills:
            many = min(KILLS_IN_ONE_STORE, kills - so_far)
            torture.run_store((postgresql, cluster), folder / f"hosts-{so_far}", many)
    each = ", ".join(f"{number} {kind}" for kind, number in torture.kills.items())
    summary = f"{torture.kills.total():,} kill -9 ({each}), {torture.written:,} writes, {torture.looks:,} looks"
    met = True if torture.kills.total() >= TARGET else None
    return Row("hosts", summary, *torture.found, time.monotonic() - began, f"{TARGET:,} kills", met)
