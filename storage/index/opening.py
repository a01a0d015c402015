"""From a URL to an index that answers: its scheme picks the class."""

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisClusterException, RedisError
from redis.retry import Retry

from storage.errors import CannotOpen, IndexUnavailable
from storage.index.cluster import ClusterIndex, connect_cluster, is_cluster_url
from storage.index.ranking import TIMEOUT_S, RankingIndex


def open_index(url: str) -> RankingIndex:
    """
    Connect to *url* and see that it answers. Raises CannotOpen.

    redis://, rediss:// and unix:// name a server, redis+cluster:// and rediss+cluster:// some nodes of a cluster.
    """
    try:
        index = ClusterIndex(connect_cluster(url)) if is_cluster_url(url) else RankingIndex(_connect(url))
    except ValueError as error:
        raise CannotOpen(
            "REDIS_URL is not a Redis URL; use redis://, rediss:// or unix://, "
            "or redis+cluster://HOST:PORT,HOST:PORT for a cluster."
        ) from error
    except (RedisError, RedisClusterException, OSError) as error:
        raise _no_answer(error) from error
    try:
        _check(index)
    except BaseException:
        index.close()
        raise
    return index


def _check(index: RankingIndex) -> None:
    """See that it answers and is all there is. Raises CannotOpen."""
    try:
        index.ping()
        if not index.is_node():
            return
    except IndexUnavailable as error:
        raise _no_answer(error.__cause__) from error
    except TypeError as error:  # an option that there is not, or of another kind; said when first used
        raise CannotOpen(f"REDIS_URL has an option that cannot be used ({error}); correct it.") from error
    raise CannotOpen("REDIS_URL names one node of a cluster as if it were all; use redis+cluster://HOST:PORT.")


def _connect(url: str) -> Redis:
    # A retry could do no harm (see fold.lua), but it would hide a server that is away from those who must know.
    return Redis.from_url(
        url,
        socket_timeout=TIMEOUT_S,
        socket_connect_timeout=TIMEOUT_S,
        retry=Retry(NoBackoff(), 0),
        health_check_interval=0,
    )


def _no_answer(cause: BaseException | None) -> CannotOpen:
    return CannotOpen(f"Redis does not answer at REDIS_URL ({cause}); start it or correct the URL.")
