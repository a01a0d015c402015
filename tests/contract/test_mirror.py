"""A mirror has all that its source has, over its own partitions, whenever it was killed on the way."""

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from storage import ids, open_log, prepare_schema
from storage.errors import OtherTimeline, ToolRefused
from storage.sql.database import Database
from storage.tools import mirror
from storage.tools.mirror import Mirror, MirrorPage, copy_tokens, read_database
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
    for partition, entry in entries:
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


def level(source: Database, target: Database, state: Path) -> None:
    """Mirror until there is nothing new."""
    running = Mirror(target, state)
    while running.step(lambda cursor: read_database(source, cursor)):
        pass


@pytest.mark.parametrize("limit", [1, 7, 1000])
def test_all_is_mirrored(
    source: Database, database: Database, state: Path, limit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ids, times, bases, deletions, keys and tokens; and what happens to the source afterwards."""
    monkeypatch.setattr(mirror, "LIMIT", limit)
    log = plant(source, random.Random(1), 80)
    with source.writing() as connection:
        connection.execute(
            text("UPDATE tweets SET key_digest = x'00', call_digest = x'01' WHERE id = :id"), {"id": [*log][3]}
        )
        connection.execute(
            text("INSERT INTO tokens (id, user_name, admin, digest, created_at) VALUES ('t', 'ada', true, x'02', 3)")
        )
    level(source, database, state)
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
    Mirror(database, state).step(lambda cursor: read_database(source, cursor)._replace(keys=None))
    for _ in range(2):
        running = Mirror(database, state)
        running.copy_keys(source)
        assert not running.step(lambda cursor: read_database(source, cursor))
        keys = "SELECT id, key_digest, call_digest FROM tweets WHERE key_digest IS NOT NULL"
        assert rows_of(source, keys) == rows_of(database, keys) != []


class Killed(BaseException):
    """The process ends."""


@pytest.mark.parametrize("where", ["before", "after"])
def test_killed_at_any_moment(
    source: Database, database: Database, state: Path, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before a page is committed, or right after: the next run goes on with what there is."""
    monkeypatch.setattr(mirror, "LIMIT", 10)
    log = plant(source, random.Random(2), 60)
    save, append = Mirror._save, Mirror._append

    def killed_before(self: Mirror, name: str, places: list[Any]) -> None:
        save(self, name, places)
        raise Killed

    def killed_after(self: Mirror, page: MirrorPage, name: str) -> None:
        append(self, page, name)
        raise Killed

    for _ in range(4):
        with monkeypatch.context() as patched:
            if where == "before":
                patched.setattr(Mirror, "_save", killed_before)
            else:
                patched.setattr(Mirror, "_append", killed_after)
            with pytest.raises(Killed):
                level(source, database, state)
        Mirror(database, state).step(lambda cursor: read_database(source, cursor))
    level(source, database, state)
    check_equal(source, database, log)


def test_a_target_with_other_content(source: Database, database: Database, state: Path, tmp_path: Path) -> None:
    """It is refused: tweets of no mirror, another writer's entries, another source, the source itself."""
    with pytest.raises(ToolRefused, match="itself"):
        level(source, source, tmp_path / "of itself")
    plant(source, random.Random(2), 30)
    level(source, database, state)
    with pytest.raises(ToolRefused, match="of no mirror"):
        Mirror(database, tmp_path / "no such file")
    running = Mirror(database, state)
    other = open_log(tmp_path / "other", "")
    prepare_schema(other, 2, embedded=True)
    with pytest.raises(OtherTimeline):
        running.step(lambda cursor: read_database(other, cursor))
    with pytest.raises(ToolRefused, match="another database"):
        running.step(lambda _: read_database(other, None))
    other.close()
    with database.writing() as connection:
        connection.execute(text("UPDATE heads SET nonce = 1 WHERE partition = 0"))
    page = read_database(source, None)
    with pytest.raises(ToolRefused, match="Another program"):
        running.step(lambda _: page)
    with pytest.raises(ToolRefused, match="left it"):
        Mirror(database, state)
