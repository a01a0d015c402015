"""Where the index stands, held against the log."""

from storage.index.ranking import IndexState
from storage.sql.log import Head, Store

ON_ITS_WAY_S = 0.001
LOOKS = 20
"""A batch that is stored is in the index about a millisecond later: so look again before it is mended."""


def is_of(stand: IndexState, store: Store) -> bool:
    """Whether the index is one of *store*."""
    return stand.position is not None and stand.position.store == store.id


def equals(stand: IndexState, store: Store, head: Head) -> bool:
    """Whether the index holds everything up to *head*, and nothing after it."""
    at = stand.position == (store.id, head.seq, head.nonce)
    return at and stand.cardinality == head.live


def reaches(stand: IndexState, store: Store, head: Head) -> bool:
    """Whether the index holds everything up to *head*, as far as can be told without the log."""
    at = stand.position
    if at is None or not is_of(stand, store) or at.seq < head.seq:
        return False
    return at.seq > head.seq or (at.nonce == head.nonce and stand.cardinality == head.live)


def is_before(stand: IndexState, store: Store, head: Head) -> bool:
    """Whether it is behind *head* in the same history, as while another process's batch is on its way."""
    at = stand.position
    return at is not None and is_of(stand, store) and at.seq < head.seq


def is_known(stand: IndexState, store: Store, nonce: int | None) -> bool:
    """Whether it stands at an entry of the log, which at that place has *nonce*, None for no entry."""
    at = stand.position
    return at is not None and is_of(stand, store) and at.nonce == nonce


def lag(stand: IndexState, store: Store, head: Head) -> int:
    """How many entries the index lacks: all of them, where it holds another history."""
    at = stand.position
    if at is None or not is_of(stand, store) or (at.seq == head.seq and at.nonce != head.nonce):
        return head.seq
    return max(0, head.seq - at.seq)
