"""How tweets are spelled in Redis: the only file that knows a key, a member or the text of a position."""

from typing import NamedTuple

from storage.ids import decode, encode
from storage.records import Place

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


def write_position(position: Position) -> str:
    """The text of *position*."""
    return f"{position.store} {position.seq} {position.nonce}"


def read_position(text: bytes | None) -> Position | None:
    """The position that *text* spells; None for none, and for a text that nobody of us wrote."""
    parts = (text or b"").split(b" ")
    if len(parts) != 3 or not (parts[1].isdigit() and parts[2].isdigit()):
        return None
    return Position(parts[0].decode("ascii", "replace"), int(parts[1]), int(parts[2]))


def member(tweet_id: int) -> str:
    """The member of a tweet: its fixed-width text, so that equal scores rank newer first."""
    return encode(tweet_id)


def read_place(name: bytes, score: bytes) -> Place | None:
    """The place of a member with its score, None for a member that nobody of us wrote."""
    tweet_id = decode(name.decode("ascii", "replace"))
    return None if tweet_id is None else Place(int(float(score)), tweet_id)
