"""The tweets of an import before they are stored: many more than fit into memory at once."""

from pathlib import Path

import pytest

from storage.tools import import_export
from storage.tools.import_export import ImportRefused, ImportRow, ImportTree

NOW_MS = 1_800_000_000_000


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ImportTree:
    """A tree that keeps few rows and names in memory."""
    monkeypatch.setattr(import_export, "WRITTEN_AT_ONCE", 3)
    monkeypatch.setattr(import_export, "RECENT", 2)
    return ImportTree(tmp_path, 1, 1000, NOW_MS)


def row(number: int, parent: int | None = None) -> ImportRow:
    """A tweet with a key, of the line of its number."""
    above = None if parent is None else f"key {parent}"
    return ImportRow(number, f"key {number}", above, NOW_MS, "ann", f"Title {number}", "Body")


def test_parents_are_found_in_memory_and_in_the_file(tree: ImportTree, tmp_path: Path) -> None:
    """Each row comes back as it was added, with the place of its parent; the files have no name."""
    with tree:
        for number in range(1, 11):
            tree.add(row(number, number - 1 if number % 2 else 1) if number > 1 else row(1))
        assert [(above, name) for above, name, *_ in tree.rows()] == [
            (None if number == 1 else number - 2 if number % 2 else 0, f"key {number}") for number in range(1, 11)
        ]
        assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("between", [0, 1, 5, 6])
def test_the_same_key_twice_is_refused(tree: ImportTree, between: int) -> None:
    """However many lines are between the two, the message names both lines."""
    rows = [*map(row, range(1, between + 2)), row(1)._replace(line=between + 2)]
    with tree, pytest.raises(ImportRefused, match=rf"line {between + 2}: the tweet of line 1 has the same id or key"):
        import_all(tree, rows)


def import_all(tree: ImportTree, rows: list[ImportRow]) -> None:
    """Add them, and read them as an import does."""
    for each in rows:
        tree.add(each)
    assert len(list(tree.rows())) == len(rows)
