"""A mirror has all that its source has, over its own partitions, whenever it was killed on the way."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, text

from storage import ids, open_log, prepare_schema
from storage.errors import OtherTimeline, ToolRefused
from storage.sql.changes import ChangesPage, read_changes
from storage.sql.database import Database
from storage.tools.mirror import copy_keys, copy_page, copy_tokens
from tests.contract.test_changes import read_all
from tests.planted import PlantedLog, plant

PARTITIONS = 3
pytestmark = pytest.mark.parametrize("partitions", [PARTITIONS], ids=[""])

KEPT = "id, parent, depth, base, created_at, user_name, title, body, key_digest, call_digest"


@pytest.fixture
def source(tmp_path: Path) -> Iterator[Database]:
    """A log over two partitions."""
    opened = open_log(tmp_path / "source", "")
    prepare_schema(opened, 2, embedded=True)
    yield opened
    opened.close()


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """Where the mirror keeps its place."""
    return tmp_path / "mirror.json"


def rows_of(database: Database, query: str) -> list[tuple[Any, ...]]:
    """What *query* finds."""
    with database.reading() as connection:
        return [tuple(row) for row in connection.execute(text(query))]


def check_equal(source: Database, target: Database, log: PlantedLog) -> None:
    """All is there, and the log of the target is one that the service could have written itself."""
    kept = f"SELECT {KEPT} FROM tweets ORDER BY id"
    assert rows_of(source, kept) == rows_of(target, kept)
    pages = read_all(target, 50)  # raises when there is a gap
    entries = [change for page in pages for change in page.changes]
    assert len(entries) == sum(len(each.entries) for each in log.values())
    seen = set[int]()
    for partition, entry in ((each.partition, each) for each in entries):
        if entry.sign > 0:
            root = log.ancestors(entry.id)[-1].id if entry.parent else entry.id
            assert partition == ids.hash_of(root) % PARTITIONS
            assert entry.parent is None or entry.parent in seen
            seen.add(entry.id)
        else:
            assert entry.id in seen
    heads = target.get_state().heads
    assert sum(head.live for head in heads.values()) == sum(not each.deleted for each in log.values())
    for partition, head in heads.items():
        given = [each for each in log if each % ids.PARTITIONS == partition]
        assert head.last_id >= max(given, default=0)


def level(source: Database, target: Database, state: Path, limit: int = 1000) -> None:
    """Mirror until there is nothing new."""
    while copy_page(target, state, partial(read_changes, source, limit=limit)):
        pass


@pytest.mark.parametrize("limit", [1, 7, 1000])
def test_all_is_mirrored(source: Database, database: Database, state: Path, limit: int) -> None:
    """Ids, times, bases, deletions, keys and tokens; and what happens to the source afterwards."""
    log = plant(source, random.Random(1), 80)
    with source.writing() as connection:
        connection.execute(
            text("UPDATE tweets SET key_digest = x'00', call_digest = x'01' WHERE id = :id"), {"id": [*log][3]}
        )
        connection.execute(
            text("INSERT INTO tokens (id, user_name, admin, digest, created_at) VALUES ('t', 'ada', true, x'02', 3)")
        )
    level(source, database, state, limit)
    check_equal(source, database, log)
    copy_tokens(source, database)
    copy_tokens(source, database)
    assert rows_of(source, "SELECT * FROM tokens") == rows_of(database, "SELECT * FROM tokens")
    victim = next(each for each in log.values() if not each.deleted)
    with source.writing() as connection:
        deletion = "deleted_seq = seq + 1, deleted_nonce = 5, user_name = NULL, title = NULL, body = NULL"
        head = {"partition": victim.partition, "id": victim.id}
        connection.execute(
            text("UPDATE heads SET seq = seq + 1, nonce = 5, live = live - 1 WHERE partition = :partition"), head
        )
        deletion = deletion.replace("seq + 1", "(SELECT h.seq FROM heads h WHERE h.partition = :partition)")
        connection.execute(text(f"UPDATE tweets SET {deletion} WHERE id = :id"), head)
    victim.deleted = True
    victim.entries.append(0)
    level(source, database, state)
    check_equal(source, database, log)


def test_keys_of_what_came_from_a_service(source: Database, database: Database, state: Path) -> None:
    """They are not in its feed, so they are taken from its database afterwards."""
    plant(source, random.Random(1), 40)
    with source.writing() as connection:
        connection.execute(
            text("UPDATE tweets SET key_digest = x'00', call_digest = x'01' WHERE id IN (SELECT min(id) FROM tweets)")
        )
    page = read_changes(source, None, 1000)
    given = [entry._replace(key_digest=None, call_digest=None) for entry in page.changes]
    copy_page(database, state, lambda _: ChangesPage(given, page.next))
    keys = "SELECT id, key_digest, call_digest FROM tweets WHERE key_digest IS NOT NULL"
    assert rows_of(database, keys) == []
    for _ in range(2):
        copy_keys(source, database)
        level(source, database, state)
        assert rows_of(source, keys) == rows_of(database, keys) != []


class Killed(BaseException):
    """The process ends."""


@pytest.mark.parametrize("where", ["before", "after"])
def test_killed_at_any_moment(
    source: Database, database: Database, state: Path, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before a page is committed, or right after: the next run goes on with what there is."""
    log = plant(source, random.Random(2), 60)
    write = Database.writing

    @contextmanager
    def killed(self: Database) -> Iterator[Connection]:
        with write(self) as connection:
            yield connection
            if where == "before":
                raise Killed
        raise Killed

    for _ in range(4):
        with monkeypatch.context() as patched:
            patched.setattr(Database, "writing", killed)
            with pytest.raises(Killed):
                level(source, database, state, 10)
        copy_page(database, state, partial(read_changes, source, limit=10))
    level(source, database, state, 10)
    check_equal(source, database, log)


def test_a_target_with_other_content(source: Database, database: Database, state: Path, tmp_path: Path) -> None:
    """It is refused: tweets of no mirror, another writer's entries, another source, the source itself."""
    with pytest.raises(ToolRefused, match="itself"):
        level(source, source, tmp_path / "of itself")
    plant(source, random.Random(2), 30)
    level(source, database, state)
    with pytest.raises(ToolRefused, match="of no mirror"):
        level(source, database, tmp_path / "no such file")
    other = open_log(tmp_path / "other", "")
    prepare_schema(other, 2, embedded=True)
    with pytest.raises(OtherTimeline):
        level(other, database, state)
    with pytest.raises(ToolRefused, match="another database"):
        copy_page(database, state, lambda _: read_changes(other, None, 10))
    other.close()

    def read_while_another_writes(_: str | None) -> ChangesPage:
        with database.writing() as connection:
            connection.execute(text("UPDATE heads SET nonce = 1 WHERE partition = 0"))
        return read_changes(source, None, 10)

    with pytest.raises(ToolRefused, match="Another program"):
        copy_page(database, state, read_while_another_writes)
    with pytest.raises(ToolRefused, match="left it"):
        level(source, database, state)
