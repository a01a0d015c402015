"""The change feed gives every entry of the log once, and knows the log that it gave them from."""

import random

import pytest
from sqlalchemy import text

from storage.errors import CursorUnknown, OtherTimeline
from storage.sql import changes
from storage.sql.changes import ChangesPage, read_changes
from storage.sql.database import Database
from tests.planted import PlantedLog, nonce_of, plant

PARTITIONS = 3
pytestmark = pytest.mark.parametrize("partitions", [PARTITIONS], ids=[""])


def read_all(database: Database, limit: int, cursor: str | None = None) -> list[ChangesPage]:
    """Page by page until there is nothing new."""
    pages = [read_changes(database, cursor, limit)]
    while pages[-1].changes:
        pages.append(read_changes(database, pages[-1].next, limit))
    return pages


def expected_of(log: PlantedLog, partition: int) -> list[tuple[object, ...]]:
    """The entries of a partition; the texts of deleted tweets are gone from where they were posted, too."""
    entries = {}
    for each in log.values():
        if each.partition != partition:
            continue
        seq, *gone = each.entries
        texts = (None,) * 3 if each.deleted else (each.user, f"title {seq}", f"body {seq}")
        whole = (each.id, each.parent, each.base, each.id >> 21)
        entries[seq] = (seq, nonce_of(partition, seq), 1, *whole, *texts)
        entries |= {at: (at, nonce_of(partition, at), -1, *whole, None, None, None) for at in gone}
    return [entries[seq] for seq in sorted(entries)]


@pytest.mark.parametrize("limit", [1, 7, 1000])
def test_every_entry_once_and_in_order(database: Database, limit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of every partition, without a gap; when all is read, the cursor stays as it is."""
    monkeypatch.setattr(changes, "READ_AT_ONCE", 5)
    log = plant(database, random.Random(1), 150)
    pages = read_all(database, limit)
    assert all(len(page.changes) == limit for page in pages[:-2])
    assert pages[-1].next == pages[-2].next
    found = [change for page in pages for change in page.changes]
    for partition in range(PARTITIONS):
        entries = [tuple(entry)[1:11] for entry in found if entry.partition == partition]
        assert entries == expected_of(log, partition)
    assert len(found) == sum(len(each.entries) for each in log.values())


def test_an_empty_log(database: Database) -> None:
    """There is nothing yet, and a cursor to ask again with."""
    first = read_changes(database, None, 10)
    assert first.changes == []
    log = plant(database, random.Random(1), 5)
    assert len(read_changes(database, first.next, 1000).changes) == sum(len(each.entries) for each in log.values())


def test_a_page_ends_after_long_texts(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the limit: and all are read nevertheless."""
    log = plant(database, random.Random(1), 100)
    monkeypatch.setattr(changes, "LONGEST_PAGE", 100)
    monkeypatch.setattr(changes, "READ_AT_ONCE", 5)
    pages = read_all(database, 1000)
    assert len(pages) > 10
    assert sum(len(page.changes) for page in pages) == sum(len(each.entries) for each in log.values())


OTHER_LOGS = {
    "database": "UPDATE store SET id = 'abcdef'",
    "entry": "UPDATE tweets SET nonce = nonce + 1",
    "deletion": "UPDATE tweets SET deleted_nonce = deleted_nonce + 1",
    "head": "UPDATE heads SET nonce = nonce + 1",
    "shorter": "UPDATE heads SET seq = 0, nonce = 0",
    "partitions": "DELETE FROM heads WHERE partition = 2",
}


@pytest.mark.parametrize("what", OTHER_LOGS)
def test_another_timeline(database: Database, what: str) -> None:
    """A cursor to entries that the log does not have as they were is refused, at whatever place."""
    plant(database, random.Random(1), 100)
    cursors = {page.next for page in read_all(database, 20)}
    with database.writing() as connection:
        connection.execute(text(OTHER_LOGS[what]))
        if what == "shorter":
            connection.execute(text("DELETE FROM tweets"))
    refused = 0
    for cursor in cursors:
        try:
            read_changes(database, cursor, 10)
        except OtherTimeline:
            refused += 1
    assert refused == (len(cursors) if what in {"database", "shorter", "partitions"} else refused)
    assert refused


def test_entries_after_the_cursor_may_be_others(database: Database) -> None:
    """A backup that was made after the cursor was given has all up to it: reading goes on."""
    plant(database, random.Random(1), 100)
    first = read_changes(database, None, 30)
    seqs = [int(seq) for seq in first.next.split(".")[2:]]
    with database.writing() as connection:
        for partition, seq in enumerate(seqs):
            values = {"partition": partition, "seq": seq}
            connection.execute(
                text("UPDATE tweets SET nonce = nonce + 1 WHERE partition = :partition AND seq > :seq"), values
            )
    assert read_changes(database, first.next, 10).changes


@pytest.mark.parametrize("database_url", [""])
def test_no_cursor_at_all(database: Database) -> None:
    """A text that no page gives is refused, whatever it is."""
    good = read_changes(database, None, 1).next
    store, digest, *_ = good.split(".")
    for text_ in ("", "x", store, f"{store}.{digest}", f"{store}.{digest}.-1.0.0", f"{good}.", f"{good}\n", f" {good}"):
        with pytest.raises(CursorUnknown):
            read_changes(database, text_, 1)
    for text_ in (
        f"{store}.{digest}.0.0.1",
        f"{store}.{digest}.{'9' * 18}.0.0",
        f"{good}.0",
        good.replace(digest, "0" * 16),
    ):
        with pytest.raises(OtherTimeline):
            read_changes(database, text_, 1)
    for text_ in (f"{store}.{digest}.{'9' * 19}.0.0", f"{store}.{digest}.00.0.0", good.replace(".0", ".\u0660")):
        with pytest.raises(CursorUnknown):
            read_changes(database, text_, 1)
