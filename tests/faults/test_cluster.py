"""Nodes of a cluster die, hang, come back empty or old, hand their slots over: writes go on, and all is exact again."""

import os
import random
import signal
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from storage import Tweets, open_storage
from storage.errors import CannotOpen, IndexUnavailable
from storage.index.keys import keys_of, read_position
from storage.index.opening import open_index
from storage.records import Tweet
from storage.tools.health import get_health
from storage.tools.verify import verify
from tests.builders import post, retweet, whole_ranking
from tests.cluster import Cluster, Node, eventually

# Of a node that leaves, redis-py leaves the connections to the collector of circles.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")

PARTITIONS = 9
WRITERS = 3


@pytest.fixture
def tweets(data_dir: Path, cluster: Cluster) -> Iterator[Tweets]:
    """Empty storage on the cluster, with a root in every partition."""
    with open_storage(data_dir, redis_url=cluster.url, partitions=PARTITIONS) as opened:
        opened.reconciler.catch_up()
        yield opened


class Load:
    """Clients who retweet chains in all partitions; `credits` is what each tweet must have gained."""

    def __init__(self, tweets: Tweets) -> None:
        self._tweets = tweets
        self.roots = list(roots_everywhere(tweets))
        self.credits: Counter[int] = Counter()
        self.failures: list[BaseException] = []
        self.slowest_s = 0.0
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._write, args=(number,)) for number in range(WRITERS)]

    def start(self) -> None:
        """Let them begin."""
        for thread in self._threads:
            thread.start()

    def more(self, number: int) -> None:
        """Wait until so many more retweets were posted."""
        enough = self.credits.total() + number
        eventually(lambda: bool(self.failures) or self.credits.total() >= enough)

    def stop(self) -> None:
        """Let them end; what kept one of them from posting is raised here."""
        self._stop.set()
        for thread in self._threads:
            thread.join()
        if self.failures:
            raise self.failures[0]

    def _write(self, number: int) -> None:
        mine = self.roots[number::WRITERS]
        rng = random.Random(number)
        try:
            while not self._stop.is_set():
                root = rng.choice(mine)
                began = time.monotonic()
                retweet(self._tweets, root)
                self.slowest_s = max(self.slowest_s, time.monotonic() - began)
                self.credits[root.id] += 1
        except BaseException as error:  # noqa: BLE001  # raised by `stop`
            self.failures.append(error)


def roots_everywhere(tweets: Tweets) -> Iterator[Tweet]:
    """A root in each partition, which is chosen by chance."""
    missing = set(range(tweets.store.partitions))
    while missing:
        root = post(tweets)
        if root.id % 1024 in missing:
            missing.remove(root.id % 1024)
            yield root


@contextmanager
def written_to(tweets: Tweets) -> Iterator[Load]:
    """Clients write as long as the block lasts; after it each of their writes was kept, and each count is exact."""
    load = Load(tweets)
    load.start()
    try:
        load.more(50)
        yield load
        load.more(50)
    finally:
        load.stop()
    eventually(lambda: is_exact(tweets))
    counts = {tweet_id: count for count, tweet_id in whole_ranking(tweets)}
    assert {root.id: counts[root.id] for root in load.roots} == {root.id: load.credits[root.id] for root in load.roots}


def is_exact(tweets: Tweets) -> bool:
    """Whether the whole index answers and equals the log."""
    try:
        return verify(tweets) == []
    except IndexUnavailable:
        return False


def position_on(node: Node, store: str, partition: int) -> int:
    """The entry that a node holds last, be it a primary or a replica."""
    node.client.readonly()
    at = read_position(store, node.client.get(keys_of(store, partition).position).encode())
    assert at
    return at[0]


@pytest.fixture
def victim(tweets: Tweets, cluster: Cluster) -> Node:
    """The primary of partition 0."""
    return cluster.primary_of(tweets.store.id, 0)


@pytest.mark.parametrize("whole_or_nothing", ["no", "yes"])
def test_primary_killed(tweets: Tweets, cluster: Cluster, victim: Node, whole_or_nothing: str) -> None:
    """A primary is killed: its replica takes over, and then the dead one comes back; no write fails or is lost."""
    for node in cluster.nodes:
        node.client.config_set("cluster-require-full-coverage", whole_or_nothing)
    with written_to(tweets) as load:
        replica = cluster.replica_of(victim)
        victim.kill()
        load.more(100)
        eventually(lambda: replica.is_primary)
        eventually(lambda: tweets.reconciler.is_current(0))
        victim.start()
        load.more(100)


def test_primary_killed_and_back_empty_at_once(tweets: Tweets, victim: Node) -> None:
    """A primary that is back before the others missed it has forgotten all; it is rebuilt from the log."""
    with written_to(tweets) as load:
        victim.kill()
        victim.start()
        load.more(100)
    assert tweets.reconciler.rebuilds > 0


def test_failover_to_a_replica_that_lacks_a_part(tweets: Tweets, cluster: Cluster, victim: Node) -> None:
    """A replica that was cut off takes over with what it had; what it lacks is folded again, and nothing twice."""
    with written_to(tweets) as load:
        replica = cluster.replica_of(victim)
        cut_off(victim, replica)
        load.more(200)
        had = position_on(replica, tweets.store.id, 0)
        assert position_on(victim, tweets.store.id, 0) > had
        victim.kill()
        load.more(50)
        replica.client.execute_command("CLUSTER", "FAILOVER", "TAKEOVER")
        eventually(lambda: replica.is_primary)
        eventually(lambda: tweets.reconciler.is_current(0))
        replica.client.config_set("masterauth", "")
        load.more(100)


def cut_off(primary: Node, replica: Node) -> None:
    """Break the stream to a replica, so that it cannot be taken up again."""
    replica.client.config_set("masterauth", "a password that no server knows")
    primary.client.execute_command("CLIENT", "KILL", "TYPE", "replica")
    eventually(lambda: replica.client.role()[3] != "connected")


def test_slot_moved(tweets: Tweets, cluster: Cluster, victim: Node) -> None:
    """A partition is moved to another node, key by key, and the way back in one go: no write fails or is lost."""
    other = next(node for node in cluster.nodes if node.is_primary and node is not victim)
    with written_to(tweets) as load:
        move(cluster, tweets.store.id, victim, other, lambda: load.more(40))
        eventually(lambda: tweets.reconciler.is_current(0))
        move(cluster, tweets.store.id, other, victim)
        eventually(lambda: tweets.reconciler.is_current(0))


def test_slot_moved_to_a_new_node(tweets: Tweets, cluster: Cluster, victim: Node) -> None:
    """A partition moves to a node that has just joined, of which the service has never heard, and back."""
    with cluster.joined() as new, written_to(tweets) as load:
        move(cluster, tweets.store.id, victim, new, lambda: load.more(40))
        eventually(lambda: tweets.reconciler.is_current(0))
        assert position_on(new, tweets.store.id, 0) > 0
        move(cluster, tweets.store.id, new, victim, lambda: load.more(40))
        eventually(lambda: tweets.reconciler.is_current(0))


def move(cluster: Cluster, store: str, source: Node, goal: Node, pause: Callable[[], None] = lambda: None) -> None:
    """Move the slot of partition 0, with a pause before, between and after its keys."""
    slot = source.client.execute_command("CLUSTER", "KEYSLOT", keys_of(store, 0).ranking)
    goal.client.execute_command("CLUSTER", "SETSLOT", slot, "IMPORTING", source.id)
    source.client.execute_command("CLUSTER", "SETSLOT", slot, "MIGRATING", goal.id)
    pause()
    while keys := source.client.execute_command("CLUSTER", "GETKEYSINSLOT", slot, 1):
        source.client.execute_command("MIGRATE", "127.0.0.1", goal.port, "", 0, 5000, "KEYS", *keys)
        pause()
    for node in (goal, source, *(node for node in cluster.nodes if node.is_primary)):
        node.client.execute_command("CLUSTER", "SETSLOT", slot, "NODE", goal.id)


def test_hanging_node_stops_nobody_else(tweets: Tweets, cluster: Cluster, victim: Node) -> None:
    """While one primary hangs, without a replica to take over, the partitions of the others are folded and read."""
    roots = {root.id % 1024: root for root in roots_everywhere(tweets)}
    hanging = {partition for partition in roots if cluster.primary_of(tweets.store.id, partition) is victim}
    assert 0 < len(hanging) < PARTITIONS
    cluster.replica_of(victim).client.config_set("cluster-replica-no-failover", "yes")
    known = tweets.top(5).result().tweets
    os.kill(victim.process.pid, signal.SIGSTOP)
    try:
        for root in roots.values():
            retweet(tweets, root)
            retweet(tweets, root)
        eventually(lambda: all(tweets.reconciler.is_unavailable(partition) for partition in hanging))
        others = roots.keys() - hanging
        stands = tweets.index.counts_all(dict.fromkeys(others, ()))
        assert all(not isinstance(stand, IndexUnavailable) for stand in stands)
        assert all(tweets.reconciler.is_current(partition) for partition in others)
        assert all(tweets.get(root.id).result().count_retweet == 2 for root in roots.values())
        assert tweets.top(5).result().stale
        assert tweets.top(5).result().tweets == known
        assert get_health(tweets).index is False
    finally:
        os.kill(victim.process.pid, signal.SIGCONT)
        eventually(victim.answers)
    eventually(lambda: is_exact(tweets))
    assert not tweets.top(5).result().stale


def test_whole_cluster_killed(tweets: Tweets, cluster: Cluster) -> None:
    """With all of its nodes gone writes are stored; when they are back, empty, all is rebuilt."""
    with written_to(tweets) as load:
        for node in cluster.nodes:
            node.kill()
        load.more(100)
        cluster.heal()


def test_servers_that_forgot_the_scripts(tweets: Tweets, cluster: Cluster) -> None:
    """A server that lacks the scripts, as a new primary may, is taught them on the way."""
    roots = list(roots_everywhere(tweets))
    for node in cluster.nodes:
        node.client.script_flush()
    for root in roots:
        retweet(tweets, root)
    assert whole_ranking(tweets)[:PARTITIONS] == sorted(((1, root.id) for root in roots), reverse=True)
    assert all(map(tweets.reconciler.is_current, range(PARTITIONS)))


def test_service_starts_while_a_part_is_away(tweets: Tweets, cluster: Cluster, victim: Node, data_dir: Path) -> None:
    """A service may be started while a primary is dead: it takes writes, and ranks when there is another one."""
    replica = cluster.replica_of(victim)
    replica.client.config_set("cluster-replica-no-failover", "yes")
    root = next(root for root in roots_everywhere(tweets) if root.id % 1024 == 0)
    victim.kill()
    with open_storage(data_dir, redis_url=cluster.url) as beside:
        retweet(beside, root)
        assert beside.get(root.id).result().count_retweet == 1
        replica.client.config_set("cluster-replica-no-failover", "no")
        eventually(lambda: is_exact(beside))
        assert beside.rank(root.id).count_retweet == 1


def test_password(cluster: Cluster) -> None:
    """The user and password of the URL are those of every node, the ones learnt from others included."""
    for node in cluster.nodes:
        node.client.acl_setuser("app", enabled=True, passwords=["+p@ss/word"], keys=["*"], categories=["+@all"])
    hosts = cluster.url.partition("://")[2]
    try:
        index = open_index(f"redis+cluster://app:p%40ss%2Fword@{hosts}", "store")
        assert {index.counts(partition).state.cardinality for partition in range(PARTITIONS)} == {0}
        index.close()
        with pytest.raises(CannotOpen, match="REDIS_URL"):
            open_index(f"redis+cluster://app:wrong@{hosts}", "store")
    finally:
        for node in cluster.nodes:
            node.client.acl_deluser("app")


@pytest.mark.parametrize(
    "url",
    [
        "redis+cluster://",
        "redis+cluster://127.0.0.1:1,",
        "redis+cluster://127.0.0.1:nonsense",
        "redis+cluster://127.0.0.1:7000/1",
        "redis+cluster://127.0.0.1:7000?db=1",
        "unix+cluster:///tmp/socket",
        "redis+cluster://127.0.0.1:7000?colour=red",
    ],
)
def test_url_that_leads_nowhere_is_one_sentence(url: str) -> None:
    """A wrong URL of a cluster stops the start with a sentence that names the setting."""
    with pytest.raises(CannotOpen, match="REDIS_URL"):
        open_index(url, "store")


@pytest.mark.usefixtures("refusals_are_waited_for")
def test_one_node_of_a_cluster_is_not_taken_for_all(cluster: Cluster) -> None:
    """The URL of a single server that is a node of a cluster is refused, and the right one is named."""
    with pytest.raises(CannotOpen, match=r"one node of a cluster.* use redis\+cluster://"):
        open_index(f"redis://127.0.0.1:{cluster.nodes[0].port}", "store")


@pytest.mark.usefixtures("refusals_are_waited_for")
def test_single_server_is_not_taken_for_a_cluster(data_dir: Path) -> None:
    """The URL of a cluster that leads to a single server is refused."""
    with open_storage(data_dir) as tweets:
        tweets.index._client.config_set("port", free_port := _free_port())
        with pytest.raises(CannotOpen, match="Cluster mode is not enabled"):
            open_index(f"redis+cluster://127.0.0.1:{free_port}", "store")


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@contextmanager
def slot_under_way(tweets: Tweets, cluster: Cluster, source: Node) -> Iterator[None]:
    """The slot of partition 0 is marked as migrating as long as the block lasts; none of its keys is moved."""
    other = next(node for node in cluster.nodes if node.is_primary and node is not source)
    slot = source.client.execute_command("CLUSTER", "KEYSLOT", keys_of(tweets.store.id, 0).ranking)
    other.client.execute_command("CLUSTER", "SETSLOT", slot, "IMPORTING", source.id)
    source.client.execute_command("CLUSTER", "SETSLOT", slot, "MIGRATING", other.id)
    try:
        yield
    finally:
        for node in (source, other):
            node.client.execute_command("CLUSTER", "SETSLOT", slot, "STABLE")


def test_a_slot_under_way_can_be_read(tweets: Tweets, cluster: Cluster, victim: Node) -> None:
    """From the moment that its slot is marked as migrating, and for as long as that lasts, a partition is answered."""
    root = next(root for root in roots_everywhere(tweets) if root.id % 1024 == 0)
    for _ in roots_everywhere(tweets):  # a ranking of every partition
        pass
    tweets.reconciler.catch_up()
    with slot_under_way(tweets, cluster, victim):
        for number in range(1, 11):
            retweet(tweets, root)
            assert not tweets.top(10 + number).result().stale
            assert tweets.rank(root.id).count_retweet == number


def test_a_slot_of_an_empty_partition_under_way(tweets: Tweets, cluster: Cluster, victim: Node) -> None:
    """Of a partition without a live tweet one of two keys is missing, and Redis refuses both: it is as if away."""
    roots = {root.id % 1024: root for root in roots_everywhere(tweets)}
    ranked = {each for _, each in whole_ranking(tweets)}
    for each in ranked:
        if each % 1024 == 0:
            tweets.delete(each).result()
    tweets.reconciler.catch_up()
    assert victim.client.exists(keys_of(tweets.store.id, 0).ranking) == 0
    assert not tweets.top(3).result().stale
    with slot_under_way(tweets, cluster, victim):
        eventually(lambda: tweets.reconciler.is_unavailable(0))
        kept = {retweet(tweets, root).id for partition, root in roots.items() if partition}
        assert tweets.top(3).result().stale
        assert all(tweets.get(each).result() for each in kept)
    eventually(lambda: not tweets.top(3).result().stale)
    assert {each for _, each in whole_ranking(tweets)} == kept | {each for each in ranked if each % 1024}
