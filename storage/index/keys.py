"""The keys of a store in Redis, and what is read there: the only file that knows a key."""

from typing import NamedTuple

from storage.ids import decode
from storage.records import LARGEST_COUNT, Place

PREFIX = "twitter"


class Keys(NamedTuple):
    """The keys of one partition of one store, all in one cluster slot by their hash tag."""

    ranking: str  # sorted set: member = tweet id, score = count_retweet
    position: str  # the last log entry that the ranking holds
    server: str  # run_id of the Redis process that the ranking was built in
    lease: str  # held by the one process that rebuilds the partition
    staging: str  # the ranking that it builds


def keys_of(store: str, partition: int) -> Keys:
    """The keys of *partition*: the store is part of them, so two databases on one Redis do not meet."""
    tag = f"{PREFIX}:{{{store}:{partition}}}"
    return Keys(*(f"{tag}:{name}" for name in Keys._fields))


def old_keys_of(partition: int) -> tuple[str, str, str]:
    """The keys that version 0.1 had for *partition*, whatever the store; the first one is the position."""
    tag = f"{PREFIX}:{{{partition}}}"
    return f"{tag}:position", f"{tag}:ranking", f"{tag}:by_id"


def write_position(store: str, seq: int, nonce: int, live: int) -> bytes:
    """The text of a position: which database, the last entry held, its nonce, and how many tweets are ranked then."""
    return f"{store} {seq} {nonce} {live}".encode()


def read_position(store: str, text: bytes) -> tuple[int, int, int] | None:
    """The (seq, nonce, live) that *text* spells; None unless `write_position` gives it for *store*."""
    numbers = text.split(b" ")[1:]
    if len(numbers) != 3 or not all(map(bytes.isdigit, numbers)):
        return None
    seq, nonce, live = map(int, numbers)
    # A greater seq the database could not look up.
    return (seq, nonce, live) if seq < 2**63 and write_position(store, seq, nonce, live) == text else None


NO_COUNT = -1
"""What is read in the place of a score that no tweet can have: not a whole number from 0 to `LARGEST_COUNT`."""


def read_place(name: bytes, score: bytes) -> Place | None:
    """The place of a member with its score, None for a member that this service cannot have written."""
    tweet_id = decode(name.decode("ascii", "replace"))
    return None if tweet_id is None else Place(read_count(score), tweet_id)


def read_count(score: bytes) -> int:
    """The count that *score* spells, `NO_COUNT` for one that is no count, as 0.5, inf or nan."""
    count = float(score)
    return int(count) if count.is_integer() and 0 <= count <= LARGEST_COUNT else NO_COUNT
