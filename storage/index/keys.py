"""How tweets are spelled in Redis: the only file that knows a key, a member or the text of a position."""

from typing import NamedTuple

from storage.ids import decode, encode
from storage.records import LARGEST_COUNT, Place

PREFIX = "twitter"


class Position(NamedTuple):
    """The last log entry that a partition's index holds: of which database, where, and its nonce."""

    store: str
    seq: int
    nonce: int


class Keys(NamedTuple):
    """The keys of one partition, all in one cluster slot by their hash tag."""

    ranking: str
    position: str
    staging: str  # of one rebuild: `staging` plus a name of its own


def keys_of(partition: int) -> Keys:
    """The keys of *partition*."""
    tag = f"{PREFIX}:{{{partition}}}"
    return Keys(f"{tag}:ranking", f"{tag}:position", f"{tag}:staging:")


UNREADABLE = -1
"""The seq and the nonce of a position whose text nobody of us wrote: its store is that text, which is no store's id."""


def write_position(position: Position) -> bytes:
    """The text of *position*."""
    if position.seq == UNREADABLE:
        return position.store.encode("latin-1")
    return f"{position.store} {position.seq} {position.nonce}".encode()


def read_position(text: bytes | None) -> Position | None:
    """
    The position that *text* spells; None for none.

    Whatever *text* is, `write_position` gives it back to the byte: a rebuild must name what it replaces.
    """
    if not text:
        return None
    store, *numbers = text.split(b" ")
    if len(numbers) == 2 and all(map(bytes.isdigit, numbers)):
        read = Position(store.decode("latin-1"), int(numbers[0]), int(numbers[1]))
        if read.seq < 2**63 and write_position(read) == text:  # a greater one the database could not look up
            return read
    return Position(text.decode("latin-1"), UNREADABLE, UNREADABLE)


NO_COUNT = -1
"""What is read in the place of a score that no tweet can have: not a whole number from 0 to `LARGEST_COUNT`."""


def member(tweet_id: int) -> str:
    """The member of a tweet: its fixed-width text, so that equal scores rank newer first."""
    return encode(tweet_id)


def read_place(name: bytes, score: bytes) -> Place | None:
    """The place of a member with its score, None for a member that nobody of us wrote."""
    tweet_id = decode(name.decode("ascii", "replace"))
    return None if tweet_id is None else Place(read_count(score), tweet_id)


def read_count(score: bytes) -> int:
    """The count that *score* spells, `NO_COUNT` for one that nobody of us wrote, as 0.5, inf or nan."""
    count = float(score)
    return int(count) if count.is_integer() and 0 <= count <= LARGEST_COUNT else NO_COUNT
