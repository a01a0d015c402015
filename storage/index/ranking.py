"""
The ranking in Redis: a sorted set and a position for each partition.

Each call is one script on the keys of one partition, so what it reads or writes belongs to one instant, and it runs as
it is on a cluster; calls about several partitions travel together, and none waits for another's failure. Every answer
carries the state that it is true for; whether that is good enough is for the caller to say.
"""

import hashlib
import secrets
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from redis import Redis
from redis.exceptions import NoScriptError, RedisError, ResponseError

from storage.errors import IndexDamaged, IndexUnavailable, LeaseLost, clause
from storage.fold import Change
from storage.index.keys import (
    NO_COUNT,
    keys_of,
    member,
    old_keys_of,
    read_count,
    read_place,
    read_position,
    write_position,
)
from storage.records import Place
from storage.sql.log import Head

TIMEOUT_S = 2.0
"""How long a call waits for Redis: a hundred times what the longest one takes."""

LEASE_S = 10.0
"""How long the lease of a rebuild outlives its last renewal, and so a process that was killed."""

STAGING_TTL_S = 60.0
"""How long a staged ranking outlives the last renewal; the next rebuild of the partition removes it before."""

Answer = TypeVar("Answer")


class Script(NamedTuple):
    """A script, and the digest by which a server that has seen it knows it."""

    text: str
    sha: str


class Call(NamedTuple):
    """A script to run on the keys of one partition."""

    script: Script
    keys: Sequence[str]
    arguments: Sequence[Any]


@dataclass(frozen=True, slots=True)
class IndexState:
    """
    Where a partition of the index stands: the last log entry that it holds, and how many tweets it ranks.

    `text` is its position as found; `nonce` is None, and `seq` 0, if that is missing or cannot be one of this store.
    `live` is how many tweets it must rank there: a server that evicts keys loses some.
    """

    text: bytes
    seq: int
    nonce: int | None
    live: int
    cardinality: int

    def matches(self, head: Head) -> bool:
        """Whether it holds everything up to *head*, and nothing after it."""
        return (self.seq, self.nonce, self.cardinality) == (head.seq, head.nonce, head.live)

    def includes(self, head: Head) -> bool:
        """Whether it holds everything up to *head*, as far as can be seen without the log."""
        return self.nonce is not None and self.cardinality == self.live and (self.seq > head.seq or self.matches(head))

    def is_before(self, head: Head) -> bool:
        """Whether it is behind *head* on the same timeline, as while another process's batch is under way."""
        return self.nonce is not None and self.seq < head.seq

    def lag(self, head: Head) -> int:
        """How many entries it lacks: all of them where it holds another timeline."""
        if self.nonce is None or (self.seq == head.seq and self.nonce != head.nonce):
            return head.seq
        return max(0, head.seq - self.seq)


class FoldRequest(NamedTuple):
    """A change of one partition's ranking, which leads from one entry of its log to another."""

    partition: int
    before: Head
    after: Head
    change: Change


@dataclass(frozen=True, slots=True)
class FoldResult:
    """Whether the batch was applied, and where the partition stands now."""

    applied: bool
    state: IndexState


@dataclass(frozen=True, slots=True)
class RankingPage:
    """
    A part of one partition's ranking: `above` tweets of that partition rank above the first of `places`.

    `is_taken` says whether a tweet stands at the very place after which it starts.
    """

    state: IndexState
    above: int
    is_taken: bool
    places: list[Place]


@dataclass(frozen=True, slots=True)
class Counts:
    """The counts of the tweets asked for, None for those not ranked, `NO_COUNT` for a score that is no count."""

    state: IndexState
    counts: list[int | None]


class RankingIndex:
    """
    The index of one store on one Redis or Valkey server. Every call may be repeated, and may raise IndexUnavailable.

    Those about several partitions do not raise: there the IndexUnavailable is what stands in the answer's place.
    """

    def __init__(self, client: Redis, store: str) -> None:
        self._redis = client
        self._store = store

    def fold_all(self, requests: Iterable[FoldRequest]) -> list[FoldResult | IndexUnavailable]:
        """Apply each change whose partition stands where it starts; else nothing is written: see fold.lua."""

        def read(answer: Any) -> FoldResult:
            return FoldResult(bool(answer[0]), self._state(*answer[1:]))

        return self._ask(read, [fold_call(self._store, request) for request in requests])

    def pages(
        self, partitions: Iterable[int], limit: int, after: Place | None = None
    ) -> list[RankingPage | IndexUnavailable]:
        """Of each partition at most *limit* places below *after*, and how many stand above them: see page.lua."""
        arguments = [limit, after.count_retweet, member(after.id)] if after else [limit, "", ""]

        def read(answer: Any) -> RankingPage:
            position, cardinality, above, is_taken, rows = answer
            places = [place for pair in zip(rows[::2], rows[1::2], strict=True) if (place := read_place(*pair))]
            _check_counts(place.count_retweet for place in places)
            return RankingPage(self._state(position, cardinality), above, bool(is_taken), places)

        return self._ask(read, [Call(_PAGE, keys_of(self._store, each)[:2], arguments) for each in partitions])

    def counts_all(self, asked: Mapping[int, Iterable[int]]) -> list[Counts | IndexUnavailable]:
        """The counts of ids, which *asked* names by their partition; without ids, where a partition stands."""

        def read(answer: Any) -> Counts:
            counts = self._read_counts(answer)
            _check_counts(counts.counts)
            return counts

        return self._ask(read, [self._counts_call(*item) for item in asked.items()])

    def counts(self, partition: int, ids: Iterable[int] = ()) -> Counts:
        """The same of one partition, with `NO_COUNT` for a score that is no count. Raises IndexUnavailable."""
        return _raised(self._ask(self._read_counts, [self._counts_call(partition, ids)])[0])

    def scan(self, partition: int) -> Iterator[Place]:
        """Every place of a partition, in no order; a tweet may come twice when the ranking changes meanwhile."""
        with self._translated():
            for name, score in self._client.zscan_iter(keys_of(self._store, partition).ranking, count=5000):
                if place := read_place(name, str(score).encode()):
                    yield place

    def acquire(self, partition: int, run_id: str = "") -> str | None:
        """
        Take the lease to rebuild *partition*, and remove what an earlier rebuild left; None while another has it.

        The token that it returns begins with *run_id*, the name of the server process that grants it.
        """
        keys, token = keys_of(self._store, partition), f"{run_id} {secrets.token_hex(8)}"
        call = Call(_ACQUIRE, (keys.lease, keys.staging), [token, int(LEASE_S * 1000)])
        return token if self._run(call) else None

    def stage(self, partition: int, token: str, counts: Collection[tuple[int, int]] = ()) -> int:
        """
        Add (id, count) pairs, at most some thousands, to the new ranking of *partition*, and renew the lease.

        Returns how many it has. Raises IndexUnavailable, LeaseLost when *token* is no longer that of the lease.
        """
        keys = keys_of(self._store, partition)
        pairs = chain.from_iterable((count, member(tweet_id)) for tweet_id, count in counts)
        arguments = [token, int(LEASE_S * 1000), int(STAGING_TTL_S * 1000), *pairs]
        staged = int(self._run(Call(_STAGE, (keys.lease, keys.staging), arguments)))
        if staged < 0:
            raise LeaseLost(LEASE_LOST)
        return staged

    def swap(self, partition: int, token: str, found: IndexState, to: Head, server: str) -> bool:
        """
        Make what is staged, `to.live` tweets, the ranking at *to*; *server* is the run_id that it was built in.

        False if the index has moved from *found* since. Raises IndexUnavailable, LeaseLost.
        """
        keys = keys_of(self._store, partition)
        arguments = [found.text, self._position(to), to.live, server, token]
        swapped = int(self._run(Call(_SWAP, keys, arguments)))
        if swapped < 0:
            raise IndexUnavailable(STAGING_LOST) if swapped == -1 else LeaseLost(LEASE_LOST)
        return bool(swapped)

    def release(self, partition: int, token: str) -> None:
        """Give the lease back, and remove what is staged."""
        keys = keys_of(self._store, partition)
        self._run(Call(_RELEASE, (keys.lease, keys.staging), [token]))

    def break_lease(self, partition: int, run_id: str) -> None:
        """Remove the lease of *partition*, and what is staged, unless the server process *run_id* granted it."""
        with self._translated():
            token = (self._client.get(keys_of(self._store, partition).lease) or b"").decode("latin-1")
        if token and not token.startswith(run_id):
            self.release(partition, token)

    def remove(self, partition: int) -> None:
        """Remove a partition, whatever its keys hold."""
        with self._translated():
            self._client.unlink(*keys_of(self._store, partition)[:3])

    def remove_old(self, partitions: Iterable[int]) -> None:
        """Remove the keys of *partitions* that version 0.1 left, where they are those of this store."""
        for position, ranking, by_id in map(old_keys_of, partitions):
            with self._translated():
                if self._store.encode() in (self._client.get(position) or b"").split():
                    for key in (position, ranking, by_id):
                        self._client.unlink(key)

    def list_builders(self, partitions: Iterable[int]) -> dict[int, str]:
        """For each partition the run_id of the process that its ranking was built in, '' when that is not known."""
        with self._translated():
            values = ((each, self._client.get(keys_of(self._store, each).server)) for each in partitions)
            return {partition: (value or b"").decode("latin-1") for partition, value in values}

    def trust(self, partition: int, run_id: str) -> None:
        """Say that the ranking of *partition* is as good as if it had been built in the process *run_id*."""
        with self._translated():
            self._client.set(keys_of(self._store, partition).server, run_id)

    def run_ids(self) -> set[str]:
        """Name the server's process: another one after each restart, which may have loaded its file wrongly."""
        return {self.run_id(0)}

    def run_id(self, _partition: int) -> str:
        """The name of the process that serves a partition."""
        with self._translated():
            return str(self._client.info("server")["run_id"])

    def list_evictions(self) -> set[str]:
        """The maxmemory policies, other than noeviction, under which a server may remove keys of the index."""
        with self._translated():
            return evictions([self._client.info("memory")])

    def check(self) -> None:
        """See that the server answers and has all keys. Raises IndexUnavailable, ValueError for a node of a cluster."""
        with self._translated():
            self._client.ping()
            if self._client.info("cluster").get("cluster_enabled"):
                raise ValueError("one node of a cluster")

    def used_memory(self) -> int:
        """The bytes that the server uses in all."""
        with self._translated():
            return int(self._client.info("memory")["used_memory"])

    def server_name(self) -> str:
        """The server and its version, as in "valkey 9.1.2"."""
        with self._translated():
            return name_of(self._client.info("server"))

    def close(self) -> None:
        """Close all connections."""
        self._redis.close()

    @property
    def _client(self) -> Any:
        return self._redis

    def _position(self, head: Head) -> bytes:
        return write_position(self._store, head.seq, head.nonce, head.live)

    def _state(self, position: bytes | None, cardinality: int) -> IndexState:
        text = position or b""
        seq, nonce, live = read_position(self._store, text) or (0, None, 0)
        return IndexState(text, seq, nonce, live, cardinality)

    def _counts_call(self, partition: int, ids: Iterable[int]) -> Call:
        return Call(_COUNTS, keys_of(self._store, partition)[:2], [*map(member, ids)])

    def _read_counts(self, answer: Any) -> Counts:
        position, cardinality, *scores = answer
        return Counts(self._state(position, cardinality), [read_count(score) if score else None for score in scores])

    def _ask(self, read: Callable[[Any], Answer], calls: Sequence[Call]) -> list[Answer | IndexUnavailable]:
        """What *calls* answer, in their order, each or why not."""
        found: list[Answer | IndexUnavailable] = []
        for answer in self._run_all(calls):
            try:
                found.append(answer if isinstance(answer, IndexUnavailable) else read(answer))
            except IndexDamaged as error:
                found.append(error)
        return found

    def _run(self, call: Call) -> Any:
        return _raised(self._run_all([call])[0])

    def _run_all(self, calls: Sequence[Call]) -> list[Any]:
        """Run *calls* in one round trip; each has its own answer or IndexUnavailable."""
        try:
            with self._translated():
                return [self._settle(*pair) for pair in zip(calls, run_on(self._redis, calls), strict=True)]
        except IndexUnavailable as error:
            return [error] * len(calls)

    def _settle(self, call: Call, answer: Any) -> Any:
        """The answer to a call that travelled with others; an error that came in its place is dealt with."""
        if isinstance(answer, NoScriptError):
            return self._run_alone(call)
        return unavailable(answer) if isinstance(answer, Exception) else answer

    def _run_alone(self, call: Call) -> Any:
        # A server forgets its scripts when it restarts, and another may have taken its place. Sending the text teaches
        # the one that lacks it; SCRIPT LOAD would ask every server of a cluster, those away as well.
        script, keys, arguments = call
        try:
            with self._translated():
                return self._client.eval(script.text, len(keys), *keys, *arguments)
        except IndexUnavailable as error:
            return error

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """Turn the driver's errors into ours."""
        try:
            yield
        except (RedisError, OSError) as error:
            raise unavailable(error) from error


def fold_call(store: str, request: FoldRequest) -> Call:
    """The call that applies *request* to a partition of *store*: see fold.lua."""
    partition, before, after, change = request
    arguments = chain(
        (write_position(store, each.seq, each.nonce, each.live) for each in (before, after)),
        (len(change.added), len(change.credited)),
        chain.from_iterable((count, member(tweet_id)) for tweet_id, count in change.added.items()),
        map(member, change.credited),
        change.credited.values(),
        map(member, change.removed),
    )
    return Call(_FOLD, keys_of(store, partition)[:2], [*arguments])


def run_on(client: Redis, calls: Sequence[Call]) -> list[Any]:
    """Run *calls* on one server in one round trip; an error of the server is the answer of its call."""
    if len(calls) == 1:  # a pipeline of one costs 20 us more
        script, keys, arguments = calls[0]
        try:
            return [client.evalsha(script.sha, len(keys), *keys, *arguments)]
        except ResponseError as error:
            return [error]
    pipeline = client.pipeline(transaction=False)
    for script, keys, arguments in calls:
        pipeline.evalsha(script.sha, len(keys), *keys, *arguments)
    return pipeline.execute(raise_on_error=False)


def name_of(server: Mapping[str, Any]) -> str:
    """The name and version of a server, by what it says of itself."""
    name = server.get("server_name", "redis")
    return f"{name} {server.get(f'{name}_version', '')}".rstrip()


def evictions(memories: Iterable[Mapping[str, Any]]) -> set[str]:
    """The policies of servers, by what they say of their memory, under which one of them may remove keys."""
    policies = {str(memory.get("maxmemory_policy", "")) for memory in memories if int(memory.get("maxmemory", 0))}
    return policies - {"", "noeviction"}


def _check_counts(counts: Iterable[int | None]) -> None:
    if NO_COUNT in counts:
        raise IndexDamaged("a score is no count")


def _raised(answer: Answer | IndexUnavailable) -> Answer:
    if isinstance(answer, IndexUnavailable):
        raise answer
    return answer


LEASE_LOST = "the lease of the rebuild is gone: it ran out, Redis evicted it, or another process has taken over"
STAGING_LOST = "what was staged is gone before it was complete; does Redis evict keys?"

_ADVICE = {
    "noauth": "name the password in REDIS_URL",
    "wrongpass": "correct the password in REDIS_URL",
    "username-password": "correct the password in REDIS_URL",
    "no permission": "grant its user the rights that docs/operations.md lists",
    "noperm": "grant its user the rights that docs/operations.md lists",
    "used memory": "give Redis more memory: a rebuild needs twice the size of a partition",
    "read only replica": "name the primary in REDIS_URL",
    "noreplicas": "start its replicas, or lower min-replicas-to-write",
    "misconf": "make room on the disk of Redis",
    "loading": "wait until it has loaded its file",
    "unknown": "enable the command again",
    "staged is gone": "set maxmemory-policy to noeviction",
}
"""What to do, by a part of the server's words, which the driver gives without their code."""


def advice(error: IndexUnavailable) -> str:
    """The cause of *error* in the server's own words, and what to do about it, as one part of a sentence."""
    said = clause(error.__cause__ or error)
    default = "start it, or correct REDIS_URL" if error.__cause__ else ""
    todo = next((todo for words, todo in _ADVICE.items() if words in said.lower()), default)
    return f"{said}; {todo}" if todo else said


def unavailable(cause: Exception) -> IndexUnavailable:
    """The error that says that *cause* kept Redis from answering."""
    damaged = "WRONGTYPE" in str(cause)  # of a command, or a script with one, on a key that holds something else
    error = IndexDamaged("a key is of another type") if damaged else IndexUnavailable(f"Redis did not answer ({cause})")
    error.__cause__ = cause
    return error


def _script(name: str) -> Script:
    text = (Path(__file__).parent / "scripts" / f"{name}.lua").read_text()
    return Script(text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())


_FOLD, _PAGE, _COUNTS = map(_script, ("fold", "page", "counts"))
_ACQUIRE, _STAGE, _SWAP, _RELEASE = map(_script, ("acquire", "stage", "swap", "release"))
