"""
The ranking on a Redis or Valkey Cluster: the same calls, each sent to the node that has the partition's slot.

Only primaries are asked: a replica may be behind. A node that does not answer fails its own partitions alone. Where the
slots are is learnt again after every failure, so the next call after a failover goes to the new primary.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

from redis import RedisCluster
from redis.cluster import ClusterNode
from redis.exceptions import AskError, RedisClusterException, TryAgainError

from storage.errors import IndexUnavailable
from storage.index.keys import keys_of
from storage.index.ranking import Call, RankingIndex, evictions, name_of, run_on, unavailable

NODES_AT_ONCE = 16
"""Nodes that are asked at the same time."""


class ClusterIndex(RankingIndex):
    """The index on a cluster, which is joined by *connect* when it is asked first, and again until it answers."""

    def __init__(self, connect: Callable[[], RedisCluster], store: str) -> None:
        self._store = store
        self._connect = connect
        self._cluster: RedisCluster | None = None
        self._joining = threading.Lock()
        self._pool = ThreadPoolExecutor(NODES_AT_ONCE, thread_name_prefix="cluster")

    @property
    def _client(self) -> RedisCluster:
        with self._joining:
            if self._cluster is None:
                self._cluster = self._connect()
            return self._cluster

    def check(self) -> None:
        """See that some primary answers."""
        self._ask_primaries("PING")

    def used_memory(self) -> int:
        """The bytes that all primaries use, of those that answer; their replicas use as much again."""
        return sum(int(answer["used_memory"]) for answer in self._ask_primaries("INFO", "memory"))

    def run_ids(self) -> set[str]:
        """Name the processes of all primaries: a new one, too, when a replica has taken a primary's place."""
        answers = self._ask_primaries("INFO", "server")
        if len(answers) < len(self._client.get_primaries()):
            raise IndexUnavailable("a primary does not answer")
        return {str(answer["run_id"]) for answer in answers}

    def run_id(self, partition: int) -> str:
        """The name of the process that serves *partition*."""
        with self._translated():
            node = self._client.get_node_from_key(keys_of(self._store, partition).ranking)
            return str(self._client.get_redis_connection(node).info("server")["run_id"])

    def list_evictions(self) -> set[str]:
        """The maxmemory policies, other than noeviction, under which a primary may remove keys of the index."""
        return evictions(self._ask_primaries("INFO", "memory"))

    def server_name(self) -> str:
        """The servers and their version, as in "valkey 9.1.2, 3 primaries"."""
        one = self._ask_primaries("INFO", "server")[0]
        return f"{name_of(one)}, {len(self._client.get_primaries())} primaries"

    def close(self) -> None:
        """Close all connections."""
        self._pool.shutdown(cancel_futures=True)
        if self._cluster:
            self._cluster.close()

    def _ask_primaries(self, *command: str) -> list[Any]:
        """The answers of those primaries that answer, one at least."""
        answers, failure = [], IndexUnavailable("the cluster has no primary")
        with self._translated():
            primaries = self._client.get_primaries()
        for node in primaries:
            try:
                with self._translated():
                    answers.append(self._client.get_redis_connection(node).execute_command(*command))
            except IndexUnavailable as error:
                failure = error
        if not answers:
            raise failure
        return answers

    def _run_all(self, calls: Sequence[Call]) -> list[Any]:
        """Run *calls* in one pipeline for each node concerned, all of them at the same time."""
        answers: dict[int, Any] = {}
        shares: dict[str, tuple[ClusterNode, list[int]]] = {}
        for number, call in enumerate(calls):
            try:
                with self._translated():
                    node = self._client.get_node_from_key(call.keys[0])
                shares.setdefault(node.name, (node, []))[1].append(number)
            except IndexUnavailable as error:
                answers[number] = error

        def ask(share: tuple[ClusterNode, list[int]]) -> list[Any]:
            node, numbers = share
            try:
                with self._translated():
                    return run_on(self._client.get_redis_connection(node), [calls[number] for number in numbers])
            except IndexUnavailable as error:
                return [error] * len(numbers)

        each = map(ask, shares.values()) if len(shares) == 1 else self._pool.map(ask, shares.values())
        for (_, numbers), found in zip(shares.values(), each, strict=True):
            answers |= zip(numbers, found, strict=True)
        lost = [node for node, numbers in shares.values() if isinstance(answers[numbers[0]], IndexUnavailable)]
        if self._cluster and (lost or len(answers) < len(calls)):
            self._learn_slots(lost[0].name if lost else None)
        return [self._settle(call, answers[number]) for number, call in enumerate(calls)]

    def _settle(self, call: Call, answer: Any) -> Any:
        # Elsewhere (MOVED is a kind of ASK) or in a moment: the client follows these by itself when a call comes alone.
        if isinstance(answer, (AskError, TryAgainError)):
            return self._run_alone(call)
        return answer if isinstance(answer, IndexUnavailable) else super()._settle(call, answer)

    def _learn_slots(self, failed: str | None) -> None:
        """Learn again which node has which slots, asking the one that *failed* last."""
        try:
            with self._translated():
                self._client.nodes_manager.initialize(last_failed_node_name=failed)
        except IndexUnavailable:
            return

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            with super()._translated():
                yield
        except (RedisClusterException, AttributeError, IndexError, KeyError) as error:
            # The first is no RedisError, when no node can be reached. The last are what redis-py makes of a node that
            # it has not heard of yet, and of a map that has no node.
            raise unavailable(error) from error
