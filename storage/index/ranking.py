"""
The ranking in Redis: one sorted set and one position for each partition, and nothing else.

Each call is one script, so what it reads or writes belongs to one instant. Every answer carries the position it is
true for; whether that is good enough is for the caller to say. Nothing here knows SQL.
"""

import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from storage.errors import CannotOpen, IndexUnavailable
from storage.fold import Change
from storage.index.keys import Position, keys_of, member, read_place, read_position, write_position
from storage.records import Place

TIMEOUT_S = 2.0
"""How long a call waits for Redis: a hundred times what the longest one takes."""

STAGING_TTL_S = 300
"""A rebuild that died leaves its staging key behind for this long."""

_SCRIPTS = Path(__file__).parent / "scripts"


@dataclass(frozen=True, slots=True)
class Stand:
    """Where a partition of the index stands: its position, None for none, and how many tweets it ranks."""

    position: Position | None
    cardinality: int


@dataclass(frozen=True, slots=True)
class Folded:
    """Whether the batch was applied, and where the partition stands now."""

    applied: bool
    stand: Stand


@dataclass(frozen=True, slots=True)
class Part:
    """A part of one partition's ranking: `above` tweets of that partition rank above the first of `places`."""

    stand: Stand
    above: int
    places: list[Place]


@dataclass(frozen=True, slots=True)
class Counts:
    """The counts of the tweets asked for, None for those not ranked."""

    stand: Stand
    counts: list[int | None]


class RankingIndex:
    """The index on one Redis or Valkey server. Every call may raise IndexUnavailable, and may be repeated."""

    def __init__(self, client: Redis) -> None:
        self._client = client
        self._fold = self._script("fold")
        self._swap = self._script("swap")
        self._page = self._script("page")
        self._counts = self._script("counts")

    def fold(self, partition: int, at: Position, to: Position, change: Change) -> Folded:
        """Apply *change*, which leads from *at* to *to*, unless the index stands elsewhere: then nothing is written."""
        keys = keys_of(partition)
        arguments = chain(
            (write_position(at), write_position(to), len(change.added), len(change.credited)),
            _pairs(change.added),
            _pairs(change.credited),
            map(member, change.removed),
        )
        applied, position, cardinality = self._run(self._fold, [keys.ranking, keys.position], [*arguments])
        return Folded(bool(applied), Stand(read_position(position), cardinality))

    def page(self, partition: int, limit: int, after: Place | None = None) -> Part:
        """At most *limit* places below *after*, and how many stand above them."""
        keys = keys_of(partition)
        arguments = [limit, after.count_retweet, member(after.id)] if after else [limit, "", ""]
        position, cardinality, above, *rows = self._run(self._page, [keys.ranking, keys.position], arguments)
        places = [place for pair in zip(rows[::2], rows[1::2], strict=True) if (place := read_place(*pair))]
        return Part(Stand(read_position(position), cardinality), above, places)

    def counts(self, partition: int, ids: Sequence[int] = ()) -> Counts:
        """The counts of *ids*, in their order; without ids, where the partition stands."""
        keys = keys_of(partition)
        position, cardinality, *scores = self._run(self._counts, [keys.ranking, keys.position], [*map(member, ids)])
        counts = [int(float(score)) if score else None for score in scores]
        return Counts(Stand(read_position(position), cardinality), counts)

    def stage(self, partition: int) -> str:
        """A name for the staging key of a new rebuild, of its own: two rebuilds at once must not mix."""
        return keys_of(partition).staging + secrets.token_hex(8)

    def fill(self, staging: str, counts: Sequence[tuple[int, int]]) -> None:
        """Add (id, count) pairs to a staging key, at most some thousands at once."""
        with _translated():
            pipeline = self._client.pipeline(transaction=False)
            pipeline.zadd(staging, {member(tweet_id): count for tweet_id, count in counts})
            pipeline.expire(staging, STAGING_TTL_S)
            pipeline.execute()

    def swap(self, partition: int, staging: str, found: Position | None, to: Position, cardinality: int) -> bool:
        """Make a filled staging key the ranking at *to*. False if the index moved from *found* since."""
        keys = keys_of(partition)
        arguments = [write_position(found) if found else "", write_position(to), cardinality]
        swapped = self._run(self._swap, [keys.ranking, keys.position, staging], arguments)
        if swapped < 0:
            raise IndexUnavailable("the rebuilt ranking was not whole")
        return bool(swapped)

    def scan(self, partition: int) -> Iterator[Place]:
        """Every place of a partition, in no order; a tweet may come twice when the ranking changes meanwhile."""
        with _translated():
            for name, score in self._client.zscan_iter(keys_of(partition).ranking, count=5000):
                if place := read_place(name, str(score).encode()):
                    yield place

    def ping(self) -> None:
        """See that the server answers."""
        with _translated():
            self._client.ping()

    def used_memory(self) -> int:
        """The bytes that the server uses in all."""
        with _translated():
            memory: Any = self._client.info("memory")
            return int(memory["used_memory"])

    def server_name(self) -> str:
        """The server and its version, as in "valkey 9.1.2"."""
        with _translated():
            server: Any = self._client.info("server")
            name = server.get("server_name", "redis")
            return f"{name} {server.get(f'{name}_version', '')}".rstrip()

    def close(self) -> None:
        """Close all connections."""
        self._client.close()

    def _script(self, name: str) -> Any:
        return self._client.register_script((_SCRIPTS / f"{name}.lua").read_text())

    def _run(self, script: Any, keys: Sequence[str], arguments: Sequence[Any]) -> Any:
        with _translated():
            return script(keys=keys, args=arguments)


def open_index(url: str) -> RankingIndex:
    """Connect to the server at *url* (redis://, rediss://, unix://) and see that it answers. Raises CannotOpen."""
    try:
        # A retry could do no harm (see fold.lua), but it would hide a server that is away from those who must know.
        client = Redis.from_url(
            url,
            socket_timeout=TIMEOUT_S,
            socket_connect_timeout=TIMEOUT_S,
            retry=Retry(NoBackoff(), 0),
            health_check_interval=0,
        )
    except ValueError as error:
        raise CannotOpen("REDIS_URL is not a Redis URL; use redis://, rediss:// or unix://.") from error
    index = RankingIndex(client)
    try:
        index.ping()
    except IndexUnavailable as error:
        index.close()
        raise CannotOpen(
            f"Redis does not answer at REDIS_URL ({error.__cause__}); start it or correct the URL."
        ) from error
    return index


def _pairs(numbers: Mapping[int, int]) -> Iterable[Any]:
    return chain.from_iterable((number, member(tweet_id)) for tweet_id, number in numbers.items())


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except (RedisError, OSError) as error:
        raise IndexUnavailable("Redis did not answer") from error
