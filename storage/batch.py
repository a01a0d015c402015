"""
One batch of writes: commands become rows in their places, in one transaction.

Each command gets an outcome of its own; one that is refused leaves the others alone. The outcomes hold when the
transaction commits.
"""

import hashlib
import json
import secrets
from collections.abc import Collection, Sequence
from typing import Any

from sqlalchemy import Connection

from storage.batch_worker import POSTPONED
from storage.errors import ChainTooLong, KeyReused, StorageError, TweetDeleted, TweetNotFound
from storage.fold import Ancestry, Entry
from storage.ids import next_id
from storage.records import NewTweet, Posted, Tweet
from storage.sql import log
from storage.sql.log import Head, Row, Store

TEXT_LIMIT = 2_000_000
"""Characters of the texts that one batch stores, 2 to 8 MB: bounds how long its commit takes."""

COLUMNS = (
    *("id", "parent", "partition", "depth", "seq", "nonce"),
    *("base", "created_at", "user_name", "title", "body", "key_digest", "call_digest"),
)


Command = NewTweet | int
"""A tweet to post, or the id of one to delete."""

Outcome = Posted | int | StorageError | None
"""
The tweet posted, the id of the one that an earlier call with the same key had posted, why it was refused, `POSTPONED`,
or None for a deletion done.
"""


class Batch:
    """
    Collects the rows of one transaction while it decides the outcome of each command.

    *ancestries* are those of the tweets that the commands name, and of all their ancestors. Commands that name one of
    those *left_out* are postponed.
    """

    def __init__(
        self,
        connection: Connection,
        store: Store,
        ancestries: dict[int, Ancestry],
        left_out: Collection[int],
        max_ancestors: int,
    ) -> None:
        self._connection = connection
        self._store = store
        self.ancestries = ancestries
        self._left_out = left_out
        self._max_ancestors = max_ancestors
        # All new roots of a batch go to one partition, so that a batch locks few heads.
        self._root_partition = secrets.randbelow(store.partitions) if store.partitions > 1 else 0
        self._targets: dict[int, Row] = {}
        self._calls: dict[bytes, tuple[int, bytes]] = {}
        self._rows: list[tuple[Any, ...]] = []
        self._nonces: list[int] = []
        self._text = 0
        self._deletions: list[dict[str, int]] = []
        self.posted: dict[int, Ancestry] = {}
        """The ancestries of the tweets that it has posted."""
        self.before: dict[int, Head] = {}
        """The heads of the partitions that it has locked, as it found them."""
        self.heads: dict[int, Head] = {}
        """The same heads as they are now."""
        self.entries: dict[int, list[Entry]] = {}
        """What it has added to the log of each partition: the entries between the two heads."""

    def lock(self, commands: Sequence[Command]) -> None:
        """Lock the heads of all partitions concerned; then read what the outcomes of *commands* depend on."""
        targets = set(map(target_of, commands))
        named = {target for target in targets.difference(self._left_out) if target in self.ancestries}
        partitions = {self.ancestries[target].partition for target in named}
        if None in targets:
            partitions.add(self._root_partition)
        self.before = log.lock_heads(self._connection, self._store, partitions)
        self.heads = dict(self.before)
        if named:
            self._targets = log.list_rows(self._connection, named)
        digests = [_key_digest(each) for each in commands if isinstance(each, NewTweet) and each.key is not None]
        if digests:
            self._calls = log.list_calls(self._connection, digests)

    def append(self, commands: Sequence[Command], now_ms: int) -> list[Outcome]:
        """
        Store *commands*, for which it is locked, posted at *now_ms*, in the caller's transaction: the outcomes.

        Raises StoreUnavailable.
        """
        self._nonces = log.new_nonces(len(commands))
        outcomes: list[Outcome] = []
        for command in commands:
            try:
                if target_of(command) in self._left_out:
                    outcomes.append(POSTPONED)
                elif isinstance(command, int):
                    self._delete(command)
                    outcomes.append(None)
                else:
                    outcomes.append(self._post(command, now_ms))
            except StorageError as refusal:
                outcomes.append(refusal)
        log.insert_tweets(self._connection, COLUMNS, self._rows)
        log.append_deletions(self._connection, self._deletions)
        log.move_heads(self._connection, {partition: self.heads[partition] for partition in self.entries})
        return outcomes

    def _post(self, new: NewTweet, now_ms: int) -> Outcome:
        key = call = None
        if new.key is not None:
            key, call = _key_digest(new), _call_digest(new)
            if key in self._calls:
                tweet_id, first_call = self._calls[key]
                if call != first_call:
                    raise KeyReused
                return tweet_id
        title, body, ancestry = new.title, new.body, Ancestry(None, self._root_partition, 0)
        if new.retweet is not None:
            target = self._live_target(new.retweet)
            if target.depth >= self._max_ancestors:
                raise ChainTooLong
            title, body = title or target.title, body or target.body
            ancestry = Ancestry(target.id, target.partition, target.depth + 1)
        text = len(title or "") + len(body or "")
        if self._text + text > TEXT_LIMIT and self._rows:
            return POSTPONED
        self._text += text
        tweet_id = next_id(self.heads[ancestry.partition].last_id, now_ms, ancestry.partition)
        seq, nonce = self._enter(ancestry.partition, tweet_id, ancestry.parent, new.base, 1)
        place = (tweet_id, *ancestry, seq, nonce)
        self._rows.append((*place, new.base, now_ms, new.user_name, title, body, key, call))
        self.posted[tweet_id] = ancestry
        if key and call:
            self._calls[key] = (tweet_id, call)
        return Posted(Tweet(tweet_id, new.user_name, title, body, new.retweet, new.base, now_ms))

    def _delete(self, tweet_id: int) -> None:
        target = self._live_target(tweet_id)
        seq, nonce = self._enter(target.partition, tweet_id, target.parent, 0, -1)
        self._deletions.append({"tweet_id": tweet_id, "at_seq": seq, "at_nonce": nonce})
        self._targets[tweet_id] = target._replace(user_name=None, title=None, body=None)

    def _live_target(self, tweet_id: int) -> Row:
        target = self._targets.get(tweet_id)
        if target is None:
            raise TweetNotFound
        if target.deleted:
            raise TweetDeleted
        return target

    def _enter(self, partition: int, tweet_id: int, parent: int | None, base: int, sign: int) -> tuple[int, int]:
        """Give an entry the next place in *partition*, and return its seq and nonce."""
        head = self.heads[partition]
        seq, nonce = head.seq + 1, self._nonces.pop()
        last_id = tweet_id if sign > 0 else head.last_id
        self.heads[partition] = Head(seq, nonce, last_id, head.live + sign)
        self.entries.setdefault(partition, []).append(Entry(seq, nonce, tweet_id, parent, base, sign))
        return seq, nonce


def target_of(command: Command) -> int | None:
    """The tweet that *command* retweets or deletes."""
    return command if isinstance(command, int) else command.retweet


def _key_digest(new: NewTweet) -> bytes:
    """Of user and key, so that the key outlives the tweet's deletion without its author's name."""
    return hashlib.blake2b(f"{new.user_name}\0{new.key}".encode(), digest_size=16).digest()


def _call_digest(new: NewTweet) -> bytes:
    values = [new.user_name, new.title, new.body, new.retweet, new.base]
    return hashlib.blake2b(json.dumps(values).encode(), digest_size=16).digest()
