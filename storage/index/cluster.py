"""
The ranking on a Redis or Valkey Cluster: the same calls, each sent to the node that has the partition's slot.

Only primaries are asked: a replica may be behind. A node that does not answer fails its own partitions alone. Where the
cluster stands is learnt anew by every failure, so the next call after a failover goes to the new primary.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any
from urllib.parse import urlsplit

from redis import Redis, RedisCluster
from redis.backoff import NoBackoff
from redis.cluster import ClusterNode
from redis.connection import Connection, parse_url
from redis.exceptions import (
    AskError,
    RedisClusterException,
    RedisError,
    ResponseError,
    SlotNotCoveredError,
    TryAgainError,
)
from redis.retry import Retry

from storage.errors import IndexUnavailable
from storage.index.calls import Call
from storage.index.ranking import TIMEOUT_S, RankingIndex, name_of, unavailable


class ClusterIndex(RankingIndex):
    """The index on a cluster."""

    def __init__(self, client: RedisCluster) -> None:
        super().__init__(client)
        self._cluster = client

    def ping(self) -> None:
        """See that some primary answers."""
        self._ask_primaries("PING")

    def is_node(self) -> bool:
        """No: all of them."""
        return False

    def used_memory(self) -> int:
        """The bytes that all primaries use, of those that answer; their replicas use as much again."""
        return sum(int(answer["used_memory"]) for answer in self._ask_primaries("INFO", "memory"))

    def incarnation(self) -> str:
        """Names the processes of all primaries: another one, too, when a replica has taken a primary's place."""
        answers = self._ask_primaries("INFO", "server")
        if len(answers) < len(self._cluster.get_primaries()):
            raise IndexUnavailable("a primary does not answer")
        return " ".join(sorted(str(answer["run_id"]) for answer in answers))

    def server_name(self) -> str:
        """The servers and their version, as in "valkey 9.1.2, 3 primaries"."""
        one = self._ask_primaries("INFO", "server")[0]
        return f"{name_of(one)}, {len(self._cluster.get_primaries())} primaries"

    def _ask_primaries(self, *command: str) -> list[Any]:
        """The answers of those primaries that answer, one at least."""
        answers, failure = [], IndexUnavailable("the cluster has no primary")
        for node in self._cluster.get_primaries():
            try:
                with self._translated():
                    answers.append(self._cluster.get_redis_connection(node).execute_command(*command))
            except IndexUnavailable as error:
                failure = error
        if not answers:
            raise failure
        return answers

    def _run_all(self, asked: Sequence[Call]) -> list[Any]:
        """
        Run *asked* in one round trip to each node concerned, all under way at the same time.

        The client's own pipeline would give the whole of it up when one node cannot be reached.
        """
        shares: dict[str, _Share] = {}
        answers: dict[int, Any] = {}
        for number, call in enumerate(asked):
            try:
                node = self._cluster.get_node_from_key(call.keys[0])
            except SlotNotCoveredError as error:
                answers[number] = unavailable(error)
                continue
            if node.name not in shares:
                shares[node.name] = _Share(self._cluster.get_redis_connection(node))
            shares[node.name].calls[number] = call
        for share in shares.values():
            share.send()
        for share in shares.values():
            answers |= share.receive()
        if any(isinstance(answer, IndexUnavailable) for answer in answers.values()):
            self._look_around(next((node for node, share in shares.items() if share.failure), None))
        return [self._settle(call, answers[number]) for number, call in enumerate(asked)]

    def _settle(self, call: Call, answer: Any) -> Any:
        # Elsewhere (MOVED is a kind of ASK) or in a moment: the client follows these by itself when a call comes alone.
        return self._try(call) if isinstance(answer, (AskError, TryAgainError)) else super()._settle(call, answer)

    def _look_around(self, failed: str | None) -> None:
        """Learn anew which node has which slots, asking the one that failed last."""
        with suppress(IndexUnavailable), self._translated():
            self._cluster.nodes_manager.initialize(last_failed_node_name=failed)

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            with super()._translated():
                yield
        except (RedisClusterException, AttributeError, IndexError, KeyError) as error:
            # The first is no RedisError, when no node can be reached. The others are what redis-py makes of a node that
            # it has not heard of yet, and of a map that has no node.
            raise unavailable(error) from error


class _Share:
    """The calls that go to one node, by their number: sent at once, answered in order."""

    def __init__(self, client: Redis) -> None:
        self.calls: dict[int, Call] = {}
        self.failure: IndexUnavailable | None = None
        self._client = client
        self._connection: Connection | None = None

    def send(self) -> None:
        """Send them, without waiting."""
        commands = [
            ("EVALSHA", script.sha, len(keys), *keys, *arguments) for script, keys, arguments in self.calls.values()
        ]
        try:
            connection = self._connection = self._client.connection_pool.get_connection()
            connection.send_packed_command(connection.pack_commands(commands))
        except (RedisError, OSError) as error:
            self.failure = unavailable(error)

    def receive(self) -> dict[int, Any]:
        """The answers; a ResponseError is one, and after a failure of the node its IndexUnavailable is the rest."""
        answers: dict[int, Any] = {}
        try:
            for number in () if self.failure else self.calls:
                answers[number] = self._next()
        except (RedisError, OSError) as error:
            self.failure = unavailable(error)
        if self._connection:
            if self.failure:
                self._connection.disconnect()  # or the next one who uses it would read our answers
            self._client.connection_pool.release(self._connection)
        return dict.fromkeys(self.calls, self.failure) | answers

    def _next(self) -> Any:
        try:
            return self._client.parse_response(self._connection, "EVALSHA")
        except ResponseError as error:
            return error


def is_cluster_url(url: str) -> bool:
    """Whether *url* names a cluster."""
    return url.partition("://")[0] in {"redis+cluster", "rediss+cluster"}


def connect_cluster(url: str) -> RedisCluster:
    """
    Learn the cluster from the first node of *url* that answers. Raises ValueError for what is no URL, and RedisError.

    redis+cluster://[USER:PASSWORD@]HOST:PORT[,HOST:PORT...][?OPTION=VALUE...], rediss for TLS; the options are those
    of redis-py's connections, such as ssl_ca_certs.
    """
    scheme, _, rest = url.partition("+cluster://")
    location = urlsplit(f"//{rest}")
    access, at, hosts = location.netloc.rpartition("@")
    # The driver reads all but the hosts; it gets one in their place.
    options: dict[str, Any] = {**parse_url(f"{scheme}://{access}{at}localhost?{location.query}")}
    for left_out in ("host", "port", "connection_class"):
        options.pop(left_out, None)
    if location.path.strip("/") or "db" in options:
        raise ValueError("a cluster has no databases")
    nodes = [urlsplit(f"//{host}") for host in hosts.split(",")]
    if not all(node.hostname for node in nodes):
        raise ValueError("a host is missing")
    return RedisCluster(
        startup_nodes=[ClusterNode(node.hostname, node.port or 6379) for node in nodes],
        require_full_coverage=False,  # the partitions of the nodes that are there can be asked
        retry=Retry(NoBackoff(), 0),  # as for one server; and of a cluster, others wait for their answers meanwhile
        ssl=scheme == "rediss",
        socket_timeout=TIMEOUT_S,
        socket_connect_timeout=TIMEOUT_S,
        health_check_interval=0,
        **options,
    )
