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
from typing import Any

from sqlalchemy import bindparam, delete, insert, select, update

from storage import ids
from storage.errors import ToolRefused
from storage.files import replacing
from storage.sql import log
from storage.sql.changes import ChangesPage, EntryRow
from storage.sql.database import Database
from storage.sql.log import Head, LogState, Row
from storage.sql.schema import tokens, tweets

LIMIT = 1000
"""Entries in a page, and in a transaction."""

NEW = (
    *("id", "parent", "partition", "depth", "base", "created_at", "user_name", "title", "body"),
    *("seq", "nonce", "deleted_seq", "deleted_nonce", "key_digest", "call_digest"),
)
"""The columns of a tweet, those of a `Row` first."""


def copy_page(target: Database, file: Path, read: Callable[[str | None], ChangesPage]) -> int:
    """
    Have *read* give a page of the source from where *file* says, and append it to *target*, which *file* is of.

    Returns how many entries the page had, 0 when the target is level. Raises OtherTimeline, ToolRefused for a target of
    other content, and what *read* and the database raise, with nothing of the page stored.
    """
    state = target.get_state()
    known, cursor = _find_place(file, state)
    page = read(cursor)
    source = page.next.partition(".")[0]
    if source == state.store.id:
        raise ToolRefused("The source is the target itself.")
    if known not in {"", source}:
        raise ToolRefused("The target is the mirror of another database.")
    if not page.changes:
        return 0
    with target.writing() as connection:
        heads = log.lock_heads(connection, state.store, range(state.store.partitions))
        if heads != state.heads:
            raise ToolRefused("Another program has written to the target; name an empty database.")
        asked = {entry.parent if entry.sign > 0 else entry.id for entry in page.changes}
        known_rows = log.list_rows(connection, [each for each in asked if each is not None])
        new, gone = _place(page.changes, known_rows, heads)
        log.insert_tweets(connection, NEW, new)
        log.append_deletions(connection, gone)
        log.move_heads(connection, heads)
        before, after = [cursor, _plain(state.heads)], [page.next, _plain(heads)]
        content = json.dumps({"target": state.store.id, "source": source, "before": before, "after": after})
        with replacing(file, file.parent) as part:  # so that it survives a power cut as a commit does
            part.write_text(content)
    return len(page.changes)


def copy_keys(source: Database, target: Database) -> None:
    """Give *target* the idempotency keys that it lacks, as the feed of a service gives none."""
    keyed = select(tweets.c.id.label("of"), tweets.c.key_digest.label("key"), tweets.c.call_digest.label("call"))
    keyed = keyed.where(tweets.c.key_digest.is_not(None)).order_by(tweets.c.id).limit(LIMIT)
    give = update(tweets).where(tweets.c.id == bindparam("of"), tweets.c.key_digest.is_(None))
    give = give.values(key_digest=bindparam("key"), call_digest=bindparam("call"))
    after = -1
    while True:
        with source.reading() as connection:
            rows = connection.execute(keyed.where(tweets.c.id > after)).mappings().all()
        if not rows:
            return
        with target.writing() as connection:
            connection.execute(give, [dict(row) for row in rows])
        after = rows[-1]["of"]


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


def _find_place(file: Path, state: LogState) -> tuple[str, str | None]:
    """The source and the cursor of a target in *state*, by its *file*; none for one that is new. Raises ToolRefused."""
    if not file.exists():
        if any(head.seq for head in state.heads.values()):
            raise ToolRefused("The target has tweets that are of no mirror; name an empty database.")
        return "", None
    saved = json.loads(file.read_text())
    for cursor, heads in (saved["after"], saved["before"]):
        if saved["target"] == state.store.id and heads == _plain(state.heads):
            return saved["source"], cursor
    raise ToolRefused(f"The target is not as the mirror of {file} left it; name an empty database.")


def _place(
    entries: list[EntryRow], rows: dict[int, Row], heads: dict[int, Head]
) -> tuple[list[tuple[Any, ...]], list[dict[str, int]]]:
    """The rows to insert and the deletions; *rows*, of the tweets named, and *heads* move on with each entry."""
    new: list[tuple[Any, ...]] = []
    gone: list[dict[str, int]] = []
    nonces = iter(log.new_nonces(2 * len(entries)))

    def enter(partition: int, live: int) -> tuple[int, int]:
        head = heads[partition]
        heads[partition] = head._replace(seq=head.seq + 1, nonce=next(nonces), live=head.live + live)
        return heads[partition][:2]

    for entry in entries:
        if entry.sign < 0:
            row = rows[entry.id]
            if not row.deleted:
                seq, nonce = enter(row.partition, -1)
                gone.append({"tweet_id": entry.id, "at_seq": seq, "at_nonce": nonce})
                rows[entry.id] = row._replace(body=None)
            continue
        partition, depth = ids.hash_of(entry.id) % len(heads), 0
        if entry.parent is not None:
            partition, depth = rows[entry.parent].partition, rows[entry.parent].depth + 1
        texts = entry.user_name, entry.title, entry.body
        row = rows[entry.id] = Row(entry.id, entry.parent, partition, depth, entry.base, entry.created_at, *texts)
        posted = enter(partition, 1)
        # Its text is gone, so it was deleted since: the entry of that comes later in the source, and now here.
        deleted = enter(partition, -1) if row.deleted else (None, None)
        new.append((*row, *posted, *deleted, entry.key_digest, entry.call_digest))
        # The partition that the id names must not give it again.
        for each in {partition, entry.id % ids.PARTITIONS} & heads.keys():
            heads[each] = heads[each]._replace(last_id=max(heads[each].last_id, entry.id))
    return new, gone


def _plain(heads: Mapping[int, Head]) -> list[list[int]]:
    """The heads as JSON has them."""
    return [list(heads[partition]) for partition in sorted(heads)]
