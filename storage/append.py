"""
One batch of writes: what is asked for becomes rows in their places, in one transaction.

Each request of the batch gets an outcome of its own; one that is refused leaves the others alone. The outcomes hold
when the transaction commits.
"""

import hashlib
import json
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from sqlalchemy import Connection

from storage.errors import ChainTooLong, KeyReused, StorageError, TweetDeleted, TweetNotFound
from storage.fold import Entry, Link
from storage.ids import next_id
from storage.links import Links
from storage.records import NewTweet, Posted, Tweet
from storage.sql import log
from storage.sql.log import Head, Store, Target


@dataclass(frozen=True, slots=True)
class DeleteTweet:
    """A request to delete a tweet."""

    tweet_id: int


class Replay(NamedTuple):
    """The outcome of a repeated call: the tweet that the first one posted."""

    tweet_id: int


Command = NewTweet | DeleteTweet
Outcome = Posted | Replay | StorageError | None
"""The tweet posted, the tweet of a repeated call, why it was refused, or None for a deletion done."""


class Step(NamedTuple):
    """What a batch added to one partition's log: the entries between two heads."""

    before: Head
    after: Head
    entries: list[Entry]


@dataclass(frozen=True, slots=True)
class Appended:
    """The outcome of each command, in order, and a step for each partition that was appended to."""

    outcomes: list[Outcome]
    steps: dict[int, Step]


class Batch:
    """Collects the rows of one transaction while it decides the outcome of each command."""

    def __init__(self, connection: Connection, store: Store, links: Links, max_ancestors: int) -> None:
        self._connection = connection
        self._store = store
        self._links = links
        self._max_ancestors = max_ancestors
        # All new roots of a batch go to one partition, so that a batch locks few heads.
        self._root_partition = secrets.randbelow(store.partitions) if store.partitions > 1 else 0
        self._heads: dict[int, Head] = {}
        self._before: dict[int, Head] = {}
        self._targets: dict[int, Target] = {}
        self._calls: dict[bytes, tuple[int, bytes]] = {}
        self._rows: list[dict[str, Any]] = []
        self._deletions: list[dict[str, int]] = []
        self._entries: dict[int, list[Entry]] = {}

    def append(self, commands: Sequence[Command], now_ms: int) -> Appended:
        """Store *commands*, posted at *now_ms*, in the caller's transaction."""
        self._look(commands)
        outcomes = [self._outcome(command, now_ms) for command in commands]
        if self._rows:
            log.append_tweets(self._connection, self._rows)
        if self._deletions:
            log.append_deletions(self._connection, self._deletions)
        moved = {partition: self._heads[partition] for partition in self._entries}
        if moved:
            log.move_heads(self._connection, moved)
        steps = {
            partition: Step(self._before[partition], self._heads[partition], entries)
            for partition, entries in self._entries.items()
        }
        return Appended(outcomes, steps)

    def _look(self, commands: Sequence[Command]) -> None:
        """Lock the heads of all partitions concerned, then read what the outcomes depend on."""
        named = [target for command in commands if (target := _target_of(command)) is not None]
        partitions = {link.partition for target in named if (link := self._links.find(target))}
        if any(isinstance(command, NewTweet) and command.retweet is None for command in commands):
            partitions.add(self._root_partition)
        self._before = log.lock_heads(self._connection, self._store, partitions)
        self._heads = dict(self._before)
        if named:
            self._targets = log.list_targets(self._connection, set(named))
        digests = [
            _key_digest(command) for command in commands if isinstance(command, NewTweet) and command.key is not None
        ]
        if digests:
            self._calls = log.list_calls(self._connection, digests)

    def _outcome(self, command: Command, now_ms: int) -> Outcome:
        try:
            if isinstance(command, NewTweet):
                return self._post(command, now_ms)
            self._delete(command.tweet_id)
        except StorageError as refusal:
            return refusal
        return None

    def _post(self, new: NewTweet, now_ms: int) -> Posted | Replay:
        key = call = None
        if new.key is not None:
            key, call = _key_digest(new), _call_digest(new)
            if key in self._calls:
                return _replay(call, *self._calls[key])
        tweet, link = self._place(new, now_ms)
        seq, nonce = self._next_place(link.partition, last_id=tweet.id, live=1)
        self._rows.append(
            {
                "id": tweet.id,
                "parent": tweet.retweet,
                "partition": link.partition,
                "depth": link.depth,
                "seq": seq,
                "nonce": nonce,
                "base": new.base,
                "created_at": now_ms,
                "user_name": tweet.user_name,
                "title": tweet.title,
                "body": tweet.body,
                "key_digest": key,
                "call_digest": call,
            }
        )
        self._enter(link.partition, Entry(seq, nonce, tweet.id, tweet.retweet, new.base, 1))
        if key and call:
            self._calls[key] = (tweet.id, call)
        return Posted(tweet)

    def _place(self, new: NewTweet, now_ms: int) -> tuple[Tweet, Link]:
        """The tweet with its id, and where it hangs. Raises when its target refuses it."""
        target, link = None, Link(None, self._root_partition, 0)
        if new.retweet is not None:
            target = self._live_target(new.retweet)
            above = self._links.find(target.id)
            if above is None:
                raise TweetNotFound
            if above.depth >= self._max_ancestors:
                raise ChainTooLong
            link = Link(target.id, above.partition, above.depth + 1)
        title, body = new.title, new.body
        if target:
            title, body = title or target.title, body or target.body
        tweet_id = next_id(self._heads[link.partition].last_id, now_ms, link.partition)
        return Tweet(tweet_id, new.user_name, title, body, new.retweet, new.base, now_ms), link

    def _delete(self, tweet_id: int) -> None:
        target, link = self._live_target(tweet_id), self._links.find(tweet_id)
        if link is None:
            raise TweetNotFound
        seq, nonce = self._next_place(link.partition, last_id=0, live=-1)
        self._deletions.append({"tweet_id": tweet_id, "at_seq": seq, "at_nonce": nonce})
        self._enter(link.partition, Entry(seq, nonce, tweet_id, link.parent, 0, -1))
        self._targets[tweet_id] = target._replace(deleted=True)

    def _live_target(self, tweet_id: int) -> Target:
        target = self._targets.get(tweet_id)
        if target is None:
            raise TweetNotFound
        if target.deleted:
            raise TweetDeleted
        return target

    def _next_place(self, partition: int, *, last_id: int, live: int) -> tuple[int, int]:
        head = self._heads[partition]
        seq, nonce = head.seq + 1, log.new_nonce()
        self._heads[partition] = Head(seq, nonce, max(head.last_id, last_id), head.live + live)
        return seq, nonce

    def _enter(self, partition: int, entry: Entry) -> None:
        self._entries.setdefault(partition, []).append(entry)


def _target_of(command: Command) -> int | None:
    return command.tweet_id if isinstance(command, DeleteTweet) else command.retweet


def targets_of(commands: Sequence[Command]) -> set[int]:
    """The tweets that *commands* name: their links must be loaded before the batch."""
    return {target for command in commands if (target := _target_of(command)) is not None}


def _replay(call: bytes, tweet_id: int, first_call: bytes) -> Replay:
    if call != first_call:
        raise KeyReused
    return Replay(tweet_id)


def _key_digest(new: NewTweet) -> bytes:
    """Of user and key, so that the key outlives the tweet's deletion without its author's name."""
    return hashlib.blake2b(f"{new.user_name}\0{new.key}".encode(), digest_size=16).digest()


def _call_digest(new: NewTweet) -> bytes:
    values = [new.user_name, new.title, new.body, new.retweet, new.base]
    return hashlib.blake2b(json.dumps(values).encode(), digest_size=16).digest()
