"""Several hosts on one PostgreSQL and one cluster, all of which is killed again and again while clients write."""

import random
from pathlib import Path

from tests.cluster import Cluster
from tests.faults.killing import DATABASE, KINDS, PRIMARY, SERVICE, opened_site
from tests.postgresql import PostgreSQL

KILLED = [SERVICE, PRIMARY, DATABASE, SERVICE, PRIMARY, SERVICE]


def test_services_primaries_and_the_database_killed(postgresql: PostgreSQL, cluster: Cluster, tmp_path: Path) -> None:
    """
    Two services, 32 clients: nothing confirmed is lost, nothing counts twice, every count is right, through every copy.

    Nor was there a moment in which a client did not find in the answer of one copy what another had shown it.
    """
    servers = (postgresql, cluster)
    with opened_site(random.Random(1), servers, tmp_path, partitions=6, copies=2, clients=32) as site:
        site.run(KILLED)
        assert site.differences() == (0, 0, 0), site.wrong
        assert site.kills.keys() == set(KINDS)
        assert sum(client.repeats for client in site.clients) > 0, "no client noticed"
        assert site.looks > 10 * len(KILLED), "no client asked another copy"
