"""
A mirror: a database that is kept equal to another one, entry by entry of its change feed.

Ids, times, bases and deletions are kept; every chain goes to the partition that the hash of its root names, so the two
may have different numbers of partitions. A page of the feed is one transaction. A state file beside the target has the
place in the feed and the heads of the target, both as they were before that transaction and as they will be after it:
so a mirror may be killed at any moment, and sees by the random nonces in the heads when others wrote to it.
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from sqlalchemy import delete, insert, select

from storage import ids
from storage.changes import read_changes
from storage.errors import ToolRefused
from storage.files import replacing
from storage.sql import log
from storage.sql.changes import EntryRow, TreePlace, list_keys, list_keys_after, list_places, set_keys
from storage.sql.database import Database
from storage.sql.log import Head
from storage.sql.schema import tokens

LIMIT = 1000
"""Entries in a page, and in a transaction."""


class MirrorPage(NamedTuple):
    """Entries of the source, their idempotency keys (id -> digests) if it gives any, and the cursor after them."""

    entries: list[EntryRow]
    keys: Mapping[int, tuple[bytes, bytes]] | None
    next: str


ReadPage = Callable[[str | None], MirrorPage]


def read_database(source: Database, cursor: str | None) -> MirrorPage:
    """A page of the feed of another database, with its idempotency keys. Raises OtherTimeline."""
    page = read_changes(source, cursor, LIMIT)
    entries = [entry for _, entry in page.changes]
    with source.reading() as connection:
        keys = list_keys(connection, [entry.id for entry in entries if entry.sign > 0])
    return MirrorPage(entries, keys, page.next)


def copy_tokens(source: Database, target: Database) -> None:
    """Give *target* the tokens of *source*, revoked ones too."""
    listed = []
    for database in (source, target):
        with database.reading() as connection:
            listed.append(connection.execute(select(tokens).order_by(tokens.c.id)).mappings().all())
    rows, known = listed
    if rows == known:
        return
    with target.writing() as connection:
        connection.execute(delete(tokens))
        if rows:
            connection.execute(insert(tokens), [dict(row) for row in rows])


class Mirror:
    """Keeps *target* equal to a source, from where *state* says; raises ToolRefused for a target of other content."""

    def __init__(self, target: Database, state: Path) -> None:
        self._target = target
        self._file = state
        found = target.get_state()
        self._store, self._heads = found.store, found.heads
        self._source = ""
        self._cursor: str | None = None
        self._lacks_keys = False
        if not state.exists():
            if any(head.seq for head in found.heads.values()):
                raise ToolRefused("The target has tweets that are of no mirror; name an empty database.")
            return
        saved = json.loads(state.read_text())
        for cursor, heads in (saved["after"], saved["before"]):
            if saved["target"] == self._store.id and heads == _plain(self._heads):
                self._source, self._cursor, self._lacks_keys = saved["source"], cursor, saved["lacks_keys"]
                return
        raise ToolRefused(f"The target is not as the mirror of {state} left it; name an empty database.")

    def step(self, read: ReadPage) -> int:
        """
        Read a page of the source and append it; returns how many entries it had, 0 when the target is level.

        Raises OtherTimeline, ToolRefused, and what *read* and the database raise, with nothing of the page stored.
        """
        page = read(self._cursor)
        source = page.next.partition(".")[0]
        if source == self._store.id:
            raise ToolRefused("The source is the target itself.")
        if self._source not in {"", source}:
            raise ToolRefused("The target is the mirror of another database.")
        if page.entries:
            self._lacks_keys |= page.keys is None
            self._append(page, source)
        self._source, self._cursor = source, page.next
        return len(page.entries)

    def copy_keys(self, source: Database) -> None:
        """Give the target the keys of those tweets that came from a service, which does not give them."""
        after = 0
        while self._lacks_keys:
            with source.reading() as connection:
                rows = list_keys_after(connection, after, LIMIT)
            if not rows:
                self._lacks_keys = False
                self._save(self._source, [[self._cursor, _plain(self._heads)]] * 2)
                return
            with self._target.writing() as connection:
                set_keys(connection, rows)
            after = rows[-1]["tweet_id"]

    def _append(self, page: MirrorPage, source: str) -> None:
        with self._target.writing() as connection:
            heads = log.lock_heads(connection, self._store, range(self._store.partitions))
            if heads != self._heads:
                raise ToolRefused("Another program has written to the target; name an empty database.")
            asked = {entry.parent if entry.sign > 0 else entry.id for entry in page.entries}
            places = list_places(connection, [each for each in asked if each is not None])
            rows, gone = self._place(page, places, heads)
            if rows:
                log.insert_tweets(connection, tuple(rows[0]), [tuple(row.values()) for row in rows])
            if gone:
                log.append_deletions(connection, gone)
            log.move_heads(connection, heads)
            self._save(source, [[self._cursor, _plain(self._heads)], [page.next, _plain(heads)]])
        self._heads = heads

    def _place(
        self, page: MirrorPage, places: dict[int, TreePlace], heads: dict[int, Head]
    ) -> tuple[list[dict[str, Any]], list[dict[str, int]]]:
        """The rows to insert and the deletions; *places* and *heads* move on with each entry."""
        rows: list[dict[str, Any]] = []
        gone: list[dict[str, int]] = []
        nonces = iter(log.new_nonces(2 * len(page.entries)))

        def enter(partition: int, live: int) -> tuple[int, int]:
            head = heads[partition]
            heads[partition] = head._replace(seq=head.seq + 1, nonce=next(nonces), live=head.live + live)
            return heads[partition][:2]

        for entry in page.entries:
            if entry.sign < 0:
                place = places[entry.id]
                if not place.deleted:
                    seq, nonce = enter(place.partition, -1)
                    gone.append({"tweet_id": entry.id, "at_seq": seq, "at_nonce": nonce})
                    places[entry.id] = place._replace(deleted=True)
                continue
            # Its text is gone, so it was deleted since: the entry of that comes later in the source, and now here.
            is_gone = entry.body is None
            if entry.parent is None:
                place = TreePlace(ids.hash_of(entry.id) % len(heads), 0, is_gone)
            else:
                above = places[entry.parent]
                place = TreePlace(above.partition, above.depth + 1, is_gone)
            places[entry.id] = place
            row = entry._asdict() | {"partition": place.partition, "depth": place.depth}
            del row["sign"]
            row["seq"], row["nonce"] = enter(place.partition, 1)
            row["deleted_seq"], row["deleted_nonce"] = enter(place.partition, -1) if is_gone else (None, None)
            row["key_digest"], row["call_digest"] = (page.keys or {}).get(entry.id, (None, None))
            rows.append(row)
            # The partition that the id names must not give it again.
            for partition in {place.partition, entry.id % ids.PARTITIONS} & heads.keys():
                heads[partition] = heads[partition]._replace(last_id=max(heads[partition].last_id, entry.id))
        return rows, gone

    def _save(self, source: str, places: list[Any]) -> None:
        """Replace the state file, so that it survives a power cut as a commit does."""
        before, after = places
        state = {"target": self._store.id, "source": source, "before": before, "after": after}
        content = json.dumps(state | {"lacks_keys": self._lacks_keys})
        with replacing(self._file, self._file.parent) as part:
            part.write_text(content)


def _plain(heads: Mapping[int, Head]) -> list[list[int]]:
    """The heads as JSON has them."""
    return [list(heads[partition]) for partition in sorted(heads)]
