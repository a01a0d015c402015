"""From a URL to an index, which need not answer: its scheme picks the class."""

import threading
from typing import Any
from urllib.parse import urlsplit

from redis import Redis, RedisCluster
from redis.backoff import NoBackoff
from redis.cluster import ClusterNode
from redis.connection import ConnectionPool, parse_url
from redis.exceptions import AuthenticationError, RedisError
from redis.retry import Retry

from storage.errors import CannotOpen, IndexUnavailable, clause
from storage.index.cluster import ClusterIndex
from storage.index.ranking import TIMEOUT_S, RankingIndex

ANSWERS_WITHIN_S = 0.25
"""How long opening waits for Redis to refuse a password; a server that answers later is found out about later."""

OPTIONS = {"db", "protocol", "username", "password", "client_name"}
"""What a URL may say beside the server; and any option of TLS, whose names begin with ssl_."""

FORMS = "use redis://, rediss:// or unix://, or redis+cluster://HOST:PORT,HOST:PORT for a cluster"


def open_index(url: str, store: str) -> RankingIndex:
    """
    The index of *store* at *url*, whether or not its server answers.

    redis://, rediss:// and unix:// name a server, redis+cluster:// and rediss+cluster:// some nodes of a cluster.
    Raises CannotOpen for what can never work: no such URL, a refused password, one node of a cluster.
    """
    scheme, is_url, _ = url.partition("://")
    if "sentinel" in scheme:
        raise CannotOpen(
            "REDIS_URL names Sentinel, which is not supported; put a proxy that follows the primary before it "
            "(docs/scaling.md), or use a cluster."
        )
    try:
        if is_url and scheme in {"redis+cluster", "rediss+cluster"}:
            index: RankingIndex = _cluster_index(url, store)
        else:
            index = RankingIndex(_connect(url), store)
    except (ValueError, TypeError, RedisError) as error:
        # Not what the driver said: it may repeat a part of the password.
        raise CannotOpen(
            f"REDIS_URL is not a Redis URL; {FORMS}, and write special characters of a password as in %40."
        ) from error
    _refuse_what_cannot_work(index)
    return index


def _refuse_what_cannot_work(index: RankingIndex) -> None:
    """Raise CannotOpen if the server, asked for a moment, says that it will never serve."""
    refused: list[CannotOpen] = []

    def ask() -> None:
        try:
            index.check()
        except ValueError:
            refused.append(
                CannotOpen("REDIS_URL names one node of a cluster as if it were all; use redis+cluster://HOST:PORT.")
            )
        except IndexUnavailable as error:
            cause = _first_cause(error)
            said = clause(cause)
            # A missing password is refused by the command that comes first: HELLO or PING.
            if isinstance(cause, AuthenticationError) or "NOAUTH" in said or "WRONGPASS" in said:
                refused.append(CannotOpen(f"Redis refuses the password in REDIS_URL ({said}); correct it."))
            if "cluster mode is not enabled" in said.lower():
                refused.append(CannotOpen(f"REDIS_URL names no cluster ({said}); use redis://HOST:PORT."))

    asking = threading.Thread(target=ask, name="redis check", daemon=True)
    asking.start()
    asking.join(ANSWERS_WITHIN_S)
    if refused:
        index.close()
        raise refused[0]


def _first_cause(error: BaseException) -> BaseException:
    while error.__cause__:
        error = error.__cause__
    return error


def _connect(url: str) -> Redis:
    options = _checked(parse_url(url))
    path = urlsplit(url).path.strip("/")
    if not url.startswith("unix") and path and not path.isdigit():
        raise ValueError("the name of the database is no number")
    # A retry could do no harm (see fold.lua), but it would hide a server that is away from those who must know.
    pool = ConnectionPool(**options, **_LIMITS, retry=Retry(NoBackoff(), 0))
    pool.make_connection()  # says which option it cannot use, and connects to nothing
    return Redis.from_pool(pool)  # `close` closes the connections of the pool as well


def _cluster_index(url: str, store: str) -> ClusterIndex:
    """redis+cluster://[USER:PASSWORD@]HOST:PORT[,HOST:PORT...][?OPTION=VALUE...], rediss for TLS."""
    scheme, _, rest = url.partition("+cluster://")
    location = urlsplit(f"//{rest}")
    access, at, hosts = location.netloc.rpartition("@")
    # The driver reads all but the hosts; it gets one in their place.
    options = _checked(parse_url(f"{scheme}://{access}{at}localhost?{location.query}"))
    ConnectionPool(**options).make_connection()
    for left_out in ("host", "port", "connection_class"):
        options.pop(left_out, None)
    if location.path.strip("/") or "db" in options:
        raise ValueError("a cluster has no databases")
    nodes = [urlsplit(f"//{host}") for host in hosts.split(",")]
    if not all(node.hostname for node in nodes):
        raise ValueError("a host is missing")
    places = [(str(node.hostname), node.port or 6379) for node in nodes]

    def connect() -> RedisCluster:
        return RedisCluster(
            startup_nodes=[ClusterNode(*place) for place in places],
            require_full_coverage=False,  # the partitions of the nodes that are there can be asked
            retry=Retry(NoBackoff(), 0),  # as for one server; and of a cluster, others wait for their answers meanwhile
            ssl=scheme == "rediss",
            **_LIMITS,
            **options,
        )

    return ClusterIndex(connect, store)


def _checked(options: dict[str, Any]) -> dict[str, Any]:
    """*options* of a URL, if the index works with all of them. Raises CannotOpen."""
    known = {"host", "port", "path", "connection_class", *OPTIONS}
    for name in options:
        if name not in known and not name.startswith("ssl_"):
            names = ", ".join(sorted(OPTIONS))
            raise CannotOpen(
                f"REDIS_URL has an option that cannot be used ({name}); there are {names}, and those of TLS (ssl_...)."
            )
    return options


_LIMITS: dict[str, Any] = {
    "socket_timeout": TIMEOUT_S,
    "socket_connect_timeout": TIMEOUT_S,
    "health_check_interval": 0,
}
