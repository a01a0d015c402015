"""From a URL to an index, which need not answer: its scheme says whether it is one server or a cluster."""

import re
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

from redis import Redis, RedisCluster
from redis.backoff import NoBackoff
from redis.cluster import ClusterNode
from redis.connection import ConnectionPool, parse_url
from redis.exceptions import AuthenticationError, RedisClusterException, RedisError
from redis.retry import Retry

from storage.errors import CannotOpen, IndexUnavailable, clause
from storage.index.ranking import TIMEOUT_S, Call, RankingIndex

ANSWERS_WITHIN_S = 0.25
"""How long opening waits for Redis to refuse a password; a server that answers later is found out about later."""

CALLS_AT_ONCE = 32
"""Calls and pipelines to a cluster under way at the same time."""

OPTIONS = {"host", "port", "path", "connection_class", "db", "protocol", "username", "password", "client_name"}
"""What a URL may say; and any option of TLS, whose names begin with ssl_."""

LIMITS: dict[str, Any] = {
    "socket_timeout": TIMEOUT_S,
    "socket_connect_timeout": TIMEOUT_S,
    "health_check_interval": 0,
    # A retry could do no harm (see fold.lua), but it would hide a server that is away from those who must know; and of
    # a cluster, others wait for their answers meanwhile.
    "retry": Retry(NoBackoff(), 0),
}


class ClusterIndex(RankingIndex):
    """
    The index on a cluster: the same calls, sent to the primaries that have the partitions' slots.

    A node that does not answer fails its own partitions alone. The client follows a slot that has moved, and learns
    again after each failure where the slots are. It joins the cluster when it is asked first, and again until it
    answers.
    """

    # RedisClusterException is no RedisError, when no node can be reached. The last are what redis-py makes of a node
    # that it has not heard of yet, and of a map that has no node.
    _errors = (RedisError, OSError, RedisClusterException, AttributeError, IndexError, KeyError)

    def __init__(self, connect: Callable[[], RedisCluster], store: str) -> None:
        self._store = store
        self._connect = connect
        self._cluster: RedisCluster | None = None
        self._joining = threading.Lock()
        self._pool = ThreadPoolExecutor(CALLS_AT_ONCE, thread_name_prefix="cluster")

    @property
    def _client(self) -> RedisCluster:
        with self._joining:
            if self._cluster is None:
                self._cluster = self._connect()
            return self._cluster

    def close(self) -> None:
        """Close all connections."""
        self._pool.shutdown(cancel_futures=True)
        if self._cluster:
            self._cluster.close()

    def info(self, section: str) -> list[dict[str, Any]]:
        """What each primary says of itself."""
        with self._translated():
            nodes = [self._client.get_redis_connection(node) for node in self._client.get_primaries()]
            return [node.info(section) for node in nodes]

    def _run_all(self, calls: Sequence[Call]) -> list[Any]:
        """Run *calls* in one pipeline for each node, all of them at the same time."""
        if len(calls) == 1:
            return [self._try(calls[0])]
        try:
            with self._translated():
                nodes = [self._client.get_node_from_key(keys[0]) for _, keys, _ in calls]
        except IndexUnavailable:  # of a slot that is nowhere: the others' calls go on, each for itself
            return [*self._pool.map(self._try, calls)]
        shares: dict[str, list[int]] = {}
        for number, node in enumerate(nodes):
            shares.setdefault(node.name, []).append(number)

        def ask(share: list[int]) -> list[Any]:
            node = nodes[share[0]]
            return self._run_on(lambda: self._client.get_redis_connection(node), [calls[each] for each in share])

        answers: dict[int, Any] = {}
        for share, found in zip(shares.values(), self._pool.map(ask, shares.values()), strict=True):
            answers |= zip(share, found, strict=True)
        for name, share in shares.items():
            if isinstance(answers[share[0]], IndexUnavailable):
                with suppress(IndexUnavailable), self._translated():
                    self._client.nodes_manager.initialize(last_failed_node_name=name)
                break
        return [answers[number] for number in range(len(calls))]


def open_index(url: str, store: str) -> RankingIndex:
    """
    The index of *store* at *url*, whether or not its server answers.

    redis://, rediss:// and unix:// name a server, redis+cluster:// and rediss+cluster:// some nodes of a cluster.
    Raises CannotOpen for what can never work: no such URL, a refused password, one node of a cluster.
    """
    scheme, _, rest = url.partition("://")
    if "sentinel" in scheme:
        raise CannotOpen(
            "REDIS_URL names Sentinel, which is not supported; put a proxy that follows the primary before it "
            "(docs/scaling.md), or use a cluster."
        )
    try:
        if scheme in {"redis+cluster", "rediss+cluster"}:
            index: RankingIndex = ClusterIndex(_read_cluster(scheme, rest), store)
        else:
            pool = ConnectionPool(**_read_options(url), **LIMITS)
            index = RankingIndex(Redis.from_pool(pool), store)  # `close` closes the connections of the pool as well
    except (ValueError, TypeError, RedisError) as error:
        # Not what the driver said: it may repeat a part of the password.
        raise CannotOpen(
            "REDIS_URL is not a Redis URL; use redis://, rediss:// or unix://, or redis+cluster://HOST:PORT,HOST:PORT "
            "for a cluster, write special characters of a password as in %40, and of options only db, protocol, "
            "username, password, client_name, and those of TLS (ssl_...)."
        ) from error
    refused: list[CannotOpen] = []
    asking = threading.Thread(target=_check, args=(index, refused), name="redis check", daemon=True)
    asking.start()
    asking.join(ANSWERS_WITHIN_S)
    if refused:
        index.close()
        raise refused[0]
    return index


def _check(index: RankingIndex, refused: list[CannotOpen]) -> None:
    """Add an error to *refused* if the server says that it will never serve."""
    try:
        (found, *_) = index.info("cluster")
    except IndexUnavailable as error:
        cause: BaseException = error
        while cause.__cause__:
            cause = cause.__cause__
        said = clause(cause)
        # A missing password is refused by the command that comes first: HELLO or INFO.
        if isinstance(cause, AuthenticationError) or "NOAUTH" in said or "WRONGPASS" in said:
            refused.append(CannotOpen(f"Redis refuses the password in REDIS_URL ({said}); correct it."))
        if "cluster mode is not enabled" in said.lower():
            refused.append(CannotOpen(f"REDIS_URL names no cluster ({said}); use redis://HOST:PORT."))
    else:
        if found.get("cluster_enabled") and not isinstance(index, ClusterIndex):
            sentence = "REDIS_URL names one node of a cluster as if it were all; use redis+cluster://HOST:PORT."
            refused.append(CannotOpen(sentence))


def _read_options(url: str) -> dict[str, Any]:
    """What *url* says to the driver. Raises ValueError, TypeError or RedisError."""
    options: dict[str, Any] = parse_url(url)
    if unknown := [name for name in options if name not in OPTIONS and not name.startswith("ssl_")]:
        raise ValueError(f"{unknown} cannot be set")
    if "path" not in options and not re.fullmatch("/?[0-9]*", urlsplit(url).path):
        raise ValueError("the name of the database is no number")
    ConnectionPool(**options).make_connection()  # says which option it cannot use, and connects to nothing
    return options


def _read_cluster(scheme: str, rest: str) -> Callable[[], RedisCluster]:
    """What joins the cluster at [USER:PASSWORD@]HOST:PORT[,HOST:PORT...][?OPTION=VALUE...], with the same errors."""
    location = urlsplit(f"//{rest}")
    access, at, hosts = location.netloc.rpartition("@")
    # The driver reads all but the hosts; it gets one in their place.
    options = _read_options(f"{scheme.removesuffix('+cluster')}://{access}{at}localhost?{location.query}")
    if location.path.strip("/") or "db" in options:
        raise ValueError("a cluster has no databases")
    given = {name: value for name, value in options.items() if name not in {"host", "port", "connection_class"}}
    nodes = [urlsplit(f"//{host}") for host in hosts.split(",")]
    places = [(node.hostname or "", node.port or 6379) for node in nodes]
    if not all(host for host, _ in places):
        raise ValueError("a host is missing")
    return lambda: RedisCluster(
        startup_nodes=[ClusterNode(*place) for place in places],
        require_full_coverage=False,  # the partitions of the nodes that are there can be asked
        ssl=scheme.startswith("rediss"),
        **LIMITS,
        **given,
    )
