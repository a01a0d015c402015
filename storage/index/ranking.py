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
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

from redis import Redis
from redis.exceptions import AskError, NoScriptError, RedisError, TryAgainError

from storage.errors import IndexDamaged, IndexUnavailable, StorageError, clause
from storage.fold import Change
from storage.ids import encode
from storage.index.keys import NO_COUNT, keys_of, old_keys_of, read_count, read_place, read_position, write_position
from storage.records import Place
from storage.sql.log import Head

TIMEOUT_S = 2.0
"""How long a call waits for Redis: a hundred times what the longest one takes."""

LEASE_S = 10.0
"""How long the lease of a rebuild outlives its last renewal, and so a process that was killed."""

STAGING_TTL_S = 60.0
"""How long a staged ranking outlives the last renewal; the next rebuild of the partition removes it before."""

SCRIPTS = {file.stem: file.read_text() for file in sorted((Path(__file__).parent / "scripts").glob("*.lua"))}

_SHAS = {name: hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest() for name, text in SCRIPTS.items()}

Call = tuple[str, Sequence[str], Sequence[Any]]
"""The name of a script, the keys of one partition to run it on, and its arguments."""


class IndexState(NamedTuple):
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


class Answer(NamedTuple):
    """
    What a partition answers, and the state of the index that it is true for.

    `counts` are those of the tweets asked for, None for those not ranked. A page has `places`: `above` tweets of the
    partition rank above the first of them, and `is_taken` says whether a tweet stands at the very place after which it
    starts. A count is `NO_COUNT` where the score is none.
    """

    state: IndexState
    counts: Sequence[int | None] = ()
    places: Sequence[Place] = ()
    above: int = 0
    is_taken: bool = False

    def is_damaged(self) -> bool:
        """Whether a score is one that this service cannot have written."""
        return NO_COUNT in self.counts or any(place.count_retweet == NO_COUNT for place in self.places)


class RankingIndex:
    """
    The index of one store on one Redis or Valkey server. Every call may be repeated, and may raise IndexUnavailable.

    Those about several partitions do not raise: there the IndexUnavailable is what stands in the answer's place.
    """

    _errors: tuple[type[Exception], ...] = (RedisError, OSError)
    """What the driver raises."""

    def __init__(self, client: Redis, store: str) -> None:
        self._redis = client
        self._store = store

    def fold_all(self, requests: Iterable[FoldRequest]) -> list[IndexState | IndexUnavailable]:
        """
        Apply each change whose partition stands where it starts; else nothing is written: see fold.lua.

        Returns where each partition stands then.
        """
        answers = self._run_all([fold_call(self._store, request) for request in requests])
        return [each if isinstance(each, IndexUnavailable) else self._state(*each[1:]) for each in answers]

    def pages(
        self, partitions: Iterable[int], limit: int, after: Place | None = None
    ) -> list[Answer | IndexUnavailable]:
        """Of each partition at most *limit* places below *after*, and how many stand above them: see page.lua."""
        arguments = [limit, after.count_retweet, encode(after.id)] if after else [limit, "", ""]

        def read(answer: Any) -> Answer:
            position, cardinality, above, is_taken, rows = answer
            places = [place for pair in zip(rows[::2], rows[1::2], strict=True) if (place := read_place(*pair))]
            return Answer(self._state(position, cardinality), (), places, above, bool(is_taken))

        return self._ask(read, [("page", keys_of(self._store, each)[:2], arguments) for each in partitions])

    def counts_all(self, asked: Mapping[int, Iterable[int]]) -> list[Answer | IndexUnavailable]:
        """The counts of ids, which *asked* names by their partition; without ids, where a partition stands."""

        def read(answer: Any) -> Answer:
            position, cardinality, *scores = answer
            counts = [read_count(score) if score else None for score in scores]
            return Answer(self._state(position, cardinality), counts)

        calls = [("counts", keys_of(self._store, each)[:2], [*map(encode, ids)]) for each, ids in asked.items()]
        return self._ask(read, calls)

    def counts(self, partition: int, ids: Iterable[int] = ()) -> Answer:
        """The same of one partition. Raises IndexUnavailable."""
        (answer,) = self.counts_all({partition: ids})
        if isinstance(answer, IndexUnavailable):
            raise answer
        return answer

    def scan(self, partition: int) -> Iterator[Place]:
        """Every place of a partition, in no order; a tweet may come twice when the ranking changes meanwhile."""
        with self._translated():
            for name, score in self._client.zscan_iter(keys_of(self._store, partition).ranking, count=5000):
                if place := read_place(name, str(score).encode()):
                    yield place

    def acquire(self, partition: int) -> str | None:
        """
        Take the lease to rebuild *partition*, and remove what an earlier rebuild left; None while another has it.

        Returns the token of the lease.
        """
        keys = keys_of(self._store, partition)
        token = self._run("acquire", (keys.lease, keys.staging), [secrets.token_hex(8), int(LEASE_S * 1000)])
        return token.decode("latin-1") if token else None

    def stage(self, partition: int, token: str, counts: Collection[tuple[int, int]] = ()) -> int:
        """
        Add (id, count) pairs, at most some thousands, to the new ranking of *partition*, and renew the lease.

        Returns how many it has. Raises IndexUnavailable, also when *token* is no longer that of the lease.
        """
        keys = keys_of(self._store, partition)
        pairs = chain.from_iterable((count, encode(tweet_id)) for tweet_id, count in counts)
        arguments = [token, int(LEASE_S * 1000), int(STAGING_TTL_S * 1000), *pairs]
        staged = int(self._run("stage", (keys.lease, keys.staging), arguments))
        if staged < 0:
            raise IndexUnavailable(LEASE_LOST)
        return staged

    def swap(self, partition: int, token: str, found: IndexState, to: Head) -> bool:
        """
        Make what is staged, `to.live` tweets, the ranking at *to*, built in the process that granted the lease.

        False if the index has moved from *found* since. Raises IndexUnavailable, also when the lease is lost.
        """
        position = write_position(self._store, to.seq, to.nonce, to.live)
        swapped = int(self._run("swap", keys_of(self._store, partition), [found.text, position, to.live, token]))
        if swapped < 0:
            raise IndexUnavailable(STAGING_LOST if swapped == -1 else LEASE_LOST)
        return bool(swapped)

    def release(self, partition: int, token: str) -> None:
        """Give the lease back, and remove what is staged."""
        keys = keys_of(self._store, partition)
        self._run("stage", (keys.lease, keys.staging), [token, 0, 0])

    def list_built_elsewhere(self, partitions: Iterable[int], *, trust: bool = False) -> set[int]:
        """
        Those of *partitions* whose ranking was built in another server process than has it now, or in one not known.

        A process that was restarted may have loaded its file wrongly. With *trust* all are taken as built in this one.
        """
        asked = list(partitions)
        calls: list[Call] = [("server", (keys_of(self._store, each).server,), [int(trust)]) for each in asked]
        answers = self._run_all(calls)
        for error in answers:
            if isinstance(error, IndexUnavailable):
                raise error
        return {partition for partition, is_here in zip(asked, answers, strict=True) if not is_here}

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

    def used_memory(self) -> int:
        """The bytes that the server uses in all; on a cluster all primaries, their replicas use as much again."""
        return sum(int(each["used_memory"]) for each in self.info("memory"))

    def server_name(self) -> str:
        """The server and its version, as in "valkey 9.1.2", or in "valkey 9.1.2, 3 primaries"."""
        one, *others = self.info("server")
        name = one.get("server_name", "redis")
        full = f"{name} {one.get(f'{name}_version', '')}".rstrip()
        return f"{full}, {1 + len(others)} primaries" if others else full

    def info(self, section: str) -> list[dict[str, Any]]:
        """What the server, or on a cluster each primary, says of itself."""
        with self._translated():
            return [self._client.info(section)]

    def close(self) -> None:
        """Close all connections."""
        self._redis.close()

    @property
    def _client(self) -> Any:
        return self._redis

    def _state(self, position: bytes | None, cardinality: int) -> IndexState:
        text = position or b""
        seq, nonce, live = read_position(self._store, text) or (0, None, 0)
        return IndexState(text, seq, nonce, live, cardinality)

    def _ask(self, read: Callable[[Any], Answer], calls: Sequence[Call]) -> list[Answer | IndexUnavailable]:
        """What *calls* answer, in their order, each or why not."""
        return [each if isinstance(each, IndexUnavailable) else read(each) for each in self._run_all(calls)]

    def _run_all(self, calls: Sequence[Call]) -> list[Any]:
        """Run *calls* in one round trip; each has its own answer or IndexUnavailable."""
        if len(calls) == 1:  # a pipeline of one costs 20 us more
            return [self._try(calls[0])]
        return self._run_on(lambda: self._client, calls)

    def _run_on(self, client: Callable[[], Any], calls: Sequence[Call]) -> list[Any]:
        """As `_run_all`, on the one server that *client* is of."""
        try:
            with self._translated():
                pipeline = client().pipeline(transaction=False)
                for name, keys, arguments in calls:
                    pipeline.evalsha(_SHAS[name], len(keys), *keys, *arguments)
                answers = pipeline.execute(raise_on_error=False)
        except IndexUnavailable as error:
            return [error] * len(calls)
        for number, answer in enumerate(answers):
            # A slot is elsewhere (MOVED is a kind of ASK) or on its way: a call that comes alone follows it.
            if isinstance(answer, (NoScriptError, AskError, TryAgainError)):
                answers[number] = self._try(calls[number])
            elif isinstance(answer, Exception):
                answers[number] = unavailable(answer)
        return list(answers)

    def _try(self, call: Call) -> Any:
        """The answer of one call, or the IndexUnavailable in its place."""
        try:
            return self._run(*call)
        except IndexUnavailable as error:
            return error

    def _run(self, name: str, keys: Sequence[str], arguments: Sequence[Any]) -> Any:
        """The answer of one call. Raises IndexUnavailable."""
        with self._translated():
            try:
                return self._client.evalsha(_SHAS[name], len(keys), *keys, *arguments)
            except NoScriptError:
                # A server forgets its scripts when it restarts, and another may have taken its place. Sending the text
                # teaches the one that lacks it; SCRIPT LOAD would ask every server of a cluster, those away as well.
                return self._client.eval(SCRIPTS[name], len(keys), *keys, *arguments)

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """Turn the driver's errors into ours."""
        try:
            yield
        except self._errors as error:
            raise unavailable(error) from error


def fold_call(store: str, request: FoldRequest) -> Call:
    """The call that applies *request* to a partition of *store*: see fold.lua."""
    partition, before, after, change = request
    arguments = chain(
        (write_position(store, each.seq, each.nonce, each.live) for each in (before, after)),
        (len(change.added), len(change.credited)),
        chain.from_iterable((count, encode(tweet_id)) for tweet_id, count in change.added.items()),
        map(encode, change.credited),
        change.credited.values(),
        map(encode, change.removed),
    )
    return "fold", keys_of(store, partition)[:2], [*arguments]


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


def advice(error: StorageError) -> str:
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
