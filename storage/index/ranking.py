"""
The ranking in Redis: one sorted set and one position for each partition, and nothing else.

Each call is one script on one partition, so what it reads or writes belongs to one instant; calls about several
partitions travel together, and none waits for another's failure. Every answer carries the position it is true for;
whether that is good enough is for the caller to say. Nothing here knows SQL.
"""

import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from redis import Redis, RedisCluster
from redis.exceptions import NoScriptError, RedisError

from storage.errors import IndexDamaged, IndexUnavailable
from storage.fold import Change
from storage.index import calls
from storage.index.calls import Call, Counts, FoldRequest, FoldResult, IndexState, RankingPage
from storage.index.keys import Position, keys_of, member, read_place
from storage.records import Place

__all__ = ["Counts", "FoldRequest", "FoldResult", "IndexState", "RankingIndex", "RankingPage"]

TIMEOUT_S = 2.0
"""How long a call waits for Redis: a hundred times what the longest one takes."""

OTHER_TYPE = "WRONGTYPE"
"""In the error of a command, or of a script with such a command, on a key that holds something else than it is for."""

STAGING_TTL_S = 300
"""A rebuild that died leaves its staging key behind for this long."""

Answer = TypeVar("Answer")


class RankingIndex:
    """
    The index on one Redis or Valkey server. Every call may be repeated, and may raise IndexUnavailable.

    Those about several partitions do not raise: there the IndexUnavailable is what stands in the answer's place.
    """

    def __init__(self, client: Redis | RedisCluster) -> None:
        self._client: Any = client

    def fold(self, partition: int, at: Position, to: Position, change: Change) -> FoldResult:
        """Apply *change*, which leads from *at* to *to*, unless the index stands elsewhere: then nothing is written."""
        return calls.read_folded(self._run(calls.fold_call(FoldRequest(partition, at, to, change))))

    def fold_all(self, deliveries: Iterable[FoldRequest]) -> list[FoldResult | IndexUnavailable]:
        """Fold changes of several partitions, each by itself."""
        return self._ask(calls.read_folded, [calls.fold_call(delivery) for delivery in deliveries])

    def page(self, partition: int, limit: int, after: Place | None = None) -> RankingPage:
        """At most *limit* places below *after*, and how many stand above them."""
        return calls.read_part(self._run(calls.page_call(partition, limit, after)))

    def pages(
        self, partitions: Iterable[int], limit: int, after: Place | None = None
    ) -> list[RankingPage | IndexUnavailable]:
        """The same of several partitions."""
        return self._ask(calls.read_part, [calls.page_call(partition, limit, after) for partition in partitions])

    def counts(self, partition: int, ids: Iterable[int] = ()) -> Counts:
        """The counts of *ids*, in their order, -1 for a score that is none; without ids, where the partition stands."""
        return calls.read_counts(self._run(calls.counts_call(partition, ids)))

    def counts_all(self, asked: Mapping[int, Iterable[int]]) -> list[Counts | IndexUnavailable]:
        """The same of several partitions, but no score that is none: *asked* names ids by their partition."""
        return self._ask(calls.read_right_counts, [calls.counts_call(*item) for item in asked.items()])

    def stage(self, partition: int) -> str:
        """A name for the staging key of a new rebuild, of its own: two rebuilds at once must not mix."""
        return keys_of(partition).staging + secrets.token_hex(8)

    def fill(self, staging: str, counts: Sequence[tuple[int, int]]) -> None:
        """Add (id, count) pairs to a staging key, at most some thousands at once."""
        with self._translated():
            pipeline = self._client.pipeline(transaction=False)
            pipeline.zadd(staging, {member(tweet_id): count for tweet_id, count in counts})
            pipeline.expire(staging, STAGING_TTL_S)
            pipeline.execute()

    def swap(self, partition: int, staging: str, found: Position | None, to: Position, cardinality: int) -> bool:
        """Make what is staged the ranking at *to*. False if the index moved from *found* since."""
        swapped = self._run(calls.swap_call(partition, staging, found, to, cardinality))
        if swapped < 0:
            raise IndexUnavailable("the rebuilt ranking was not whole")
        return bool(swapped)

    def drop(self, partitions: Iterable[int]) -> None:
        """Remove partitions, whatever their keys hold."""
        for answer in self._ask(int, [calls.drop_call(partition) for partition in partitions]):
            if isinstance(answer, IndexUnavailable):
                raise answer

    def scan(self, partition: int) -> Iterator[Place]:
        """Every place of a partition, in no order; a tweet may come twice when the ranking changes meanwhile."""
        with self._translated():
            for name, score in self._client.zscan_iter(keys_of(partition).ranking, count=5000):
                if place := read_place(name, str(score).encode()):
                    yield place

    def ping(self) -> None:
        """See that the server answers."""
        with self._translated():
            self._client.ping()

    def is_node(self) -> bool:
        """Whether the server is a node of a cluster, which has but a part of the keys."""
        with self._translated():
            return bool(self._client.info("cluster").get("cluster_enabled"))

    def used_memory(self) -> int:
        """The bytes that the server uses in all."""
        with self._translated():
            return int(self._client.info("memory")["used_memory"])

    def server_name(self) -> str:
        """The server and its version, as in "valkey 9.1.2"."""
        with self._translated():
            return name_of(self._client.info("server"))

    def incarnation(self) -> str:
        """Names the server's process: another one after each restart, which may have loaded what it kept wrongly."""
        with self._translated():
            return str(self._client.info("server")["run_id"])

    def close(self) -> None:
        """Close all connections."""
        self._client.close()

    def _ask(self, read: Callable[[Any], Answer], asked: Sequence[Call]) -> list[Answer | IndexUnavailable]:
        """What *asked* answers, in its order, each or why not."""
        answers = self._run_all(asked) if len(asked) > 1 else [self._try(call) for call in asked]
        return [answer if isinstance(answer, IndexUnavailable) else _understood(read, answer) for answer in answers]

    def _run_all(self, asked: Sequence[Call]) -> list[Any]:
        """Run *asked* in one round trip; each has its own answer or IndexUnavailable."""
        try:
            with self._translated():
                pipeline = self._client.pipeline(transaction=False)
                for script, keys, arguments in asked:
                    pipeline.evalsha(script.sha, len(keys), *keys, *arguments)
                answers = pipeline.execute(raise_on_error=False)
        except IndexUnavailable as error:
            return [error] * len(asked)
        return [self._settle(*pair) for pair in zip(asked, answers, strict=True)]

    def _settle(self, call: Call, answer: Any) -> Any:
        """The answer to a call that travelled with others; an error that came in its place is dealt with."""
        if isinstance(answer, NoScriptError):
            return self._try(call)
        return unavailable(answer) if isinstance(answer, Exception) else answer

    def _try(self, call: Call) -> Any:
        try:
            return self._run(call)
        except IndexUnavailable as error:
            return error

    def _run(self, call: Call) -> Any:
        script, keys, arguments = call
        with self._translated():
            try:
                return self._client.evalsha(script.sha, len(keys), *keys, *arguments)
            except NoScriptError:
                # A server forgets its scripts when it restarts, and another may have taken its place. Sending the text
                # teaches the one that lacks it; SCRIPT LOAD would ask every server of a cluster, those away as well.
                return self._client.eval(script.text, len(keys), *keys, *arguments)

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """Turn the driver's errors into ours."""
        try:
            yield
        except (RedisError, OSError) as error:
            raise unavailable(error) from error


def name_of(server: Mapping[str, Any]) -> str:
    """The name and version of a server, by what it says of itself."""
    name = server.get("server_name", "redis")
    return f"{name} {server.get(f'{name}_version', '')}".rstrip()


def _understood(read: Callable[[Any], Answer], answer: Any) -> Answer | IndexUnavailable:
    try:
        return read(answer)
    except IndexDamaged as error:
        return error


def unavailable(cause: Exception) -> IndexUnavailable:
    """The error that says that *cause* kept Redis from answering."""
    damaged = OTHER_TYPE in str(cause)
    error = IndexDamaged("a key is of another type") if damaged else IndexUnavailable("Redis did not answer")
    error.__cause__ = cause
    return error
