"""
The change feed: every entry of the log, page by page, without a gap and in order within a partition.

A cursor is a place in every partition's log, with the name of the store and a digest of the nonces of the entries
there. So a log that is not the one that was read is recognized: a restored backup, another database.
"""

import re
from collections.abc import Mapping
from hashlib import blake2b
from typing import NamedTuple

from sqlalchemy import Connection

from storage.errors import CursorUnknown, OtherTimeline, StoreDamaged
from storage.sql import log
from storage.sql.database import Database
from storage.sql.log import LogState
from storage.sql.statements import rows

READ_AT_ONCE = 100
"""Entries in one statement."""

LONGEST_PAGE = 2**20
"""Characters of titles and bodies after which a page ends, whatever its limit."""

CURSOR_PATTERN = r"^[0-9A-Za-z]{1,32}\.[0-9a-f]{16}(\.(0|[1-9][0-9]{0,17}))+$"
"""What a cursor looks like: the store, the digest, and the seq of the last entry read of each partition."""
_CURSOR = re.compile(CURSOR_PATTERN.strip("^$"), re.ASCII)


class EntryRow(NamedTuple):
    """
    An entry of the log of a partition: `sign` 1 for a post, -1 for a deletion.

    The texts are None once the tweet is deleted; the digests, of idempotency key and call, where it has no key.
    """

    partition: int
    seq: int
    nonce: int
    sign: int
    id: int
    parent: int | None
    base: int
    created_at: int
    user_name: str | None
    title: str | None
    body: str | None
    key_digest: bytes | None = None
    call_digest: bytes | None = None


class ChangesPage(NamedTuple):
    """Some entries, and the cursor after them. Without `changes` the reader is up to date."""

    changes: list[EntryRow]
    next: str


def read_changes(database: Database, cursor: str | None, limit: int) -> ChangesPage:
    """
    At most *limit* entries after *cursor*, None for the first ones; fewer also where their texts are long.

    Those of one partition come in order of `seq`, without a gap; a tweet comes before its retweets and its deletion.
    Partitions with the most entries to read come first. Raises CursorUnknown (it is none), OtherTimeline.
    """
    changes: list[EntryRow] = []
    with database.reading() as connection:
        state = log.get_state(connection)
        seqs = dict.fromkeys(state.heads, 0) if cursor is None else _read_cursor(cursor, state)
        nonces = {
            at: head.nonce if seqs[at] == head.seq else log.find_nonce(connection, at, seqs[at])
            for at, head in state.heads.items()
        }
        if cursor not in {None, _write_cursor(state, seqs, nonces)}:
            raise OtherTimeline
        room = LONGEST_PAGE
        for partition in sorted(seqs, key=lambda each: seqs[each] - state.heads[each].seq):
            while len(changes) < limit and room > 0 and seqs[partition] < state.heads[partition].seq:
                after = seqs[partition]
                to = min(after + min(READ_AT_ONCE, limit - len(changes)), state.heads[partition].seq)
                entries = _list_entries(connection, partition, after, to)
                if [entry.seq for entry in entries] != list(range(after + 1, to + 1)):
                    raise StoreDamaged(f"The log of partition {partition} has a gap after entry {after}.")
                changes += entries
                room -= sum(len(entry.title or "") + len(entry.body or "") for entry in entries)
                seqs[partition], nonces[partition] = to, entries[-1].nonce
    return ChangesPage(changes, _write_cursor(state, seqs, nonces))


def _read_cursor(cursor: str, state: LogState) -> dict[int, int]:
    """The places that *cursor* spells. Raises CursorUnknown, OtherTimeline."""
    if not _CURSOR.fullmatch(cursor):
        raise CursorUnknown
    store, _, *seqs = cursor.split(".")
    if store != state.store.id or len(seqs) != len(state.heads):
        raise OtherTimeline
    return dict(zip(sorted(state.heads), map(int, seqs), strict=True))


def _write_cursor(state: LogState, seqs: Mapping[int, int], nonces: Mapping[int, int | None]) -> str:
    """The cursor at *seqs*; one that no one was given where an entry has no nonce, for it is not there."""
    digest = blake2b(repr([nonces[partition] for partition in sorted(seqs)]).encode(), digest_size=8).hexdigest()
    return ".".join([state.store.id, digest, *(str(seqs[partition]) for partition in sorted(seqs))])


def _list_entries(connection: Connection, partition: int, after_seq: int, to_seq: int) -> list[EntryRow]:
    """The entries of *partition* after *after_seq* until and with *to_seq*, in order."""
    # Bounds and not a LIMIT: with one, PostgreSQL reads and sorts everything after the place.
    statement = """
    SELECT partition, seq, nonce, 1, id, parent, base, created_at, user_name, title, body, key_digest, call_digest
    FROM tweets WHERE partition = :partition AND seq > :after AND seq <= :last UNION ALL
    SELECT partition, deleted_seq, deleted_nonce, -1, id, parent, base, created_at, NULL, NULL, NULL, NULL, NULL
    FROM tweets WHERE partition = :partition AND deleted_seq > :after AND deleted_seq <= :last ORDER BY 2
    """
    return [EntryRow(*row) for row in rows(connection, statement, partition=partition, after=after_seq, last=to_seq)]
