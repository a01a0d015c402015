"""A cascade's numbers and the list of its tweets are what walking it by hand says, on both database systems."""

import random
from itertools import combinations

import pytest

from storage.errors import CascadeTooLarge, CursorUnknown, TweetNotFound
from storage.ids import LARGEST
from storage.sql import cascades
from storage.sql.cascades import Cascade, list_descendants, read_cascade
from storage.sql.database import Database
from tests.planted import PlantedLog, plant

pytestmark = pytest.mark.parametrize("partitions", [3], ids=[""])


def distance(log: PlantedLog, one: int, other: int) -> int:
    """Edges between two tweets of one tree."""
    above = [one, *(each.id for each in log.ancestors(one))]
    below = [other, *(each.id for each in log.ancestors(other))]
    shared = sum(mine == its for mine, its in zip(reversed(above), reversed(below), strict=False))
    return len(above) + len(below) - 2 * shared


@pytest.mark.parametrize("seed", range(2))
def test_equal_to_counting_by_hand(database: Database, seed: int) -> None:
    """Of every tweet, deleted or not, with few and with many below it."""
    log = plant(database, random.Random(seed), 120)
    sizes = set()
    for each in log.values():
        found, below = read_cascade(database, each.id), log.descendants(each.id)
        nodes = sorted([each, *below], key=lambda node: node.id)
        pairs = list(combinations([node.id for node in nodes], 2))
        depths = [node.depth - each.depth for node in nodes]
        assert found.breadths == tuple(depths.count(level) for level in range(max(depths) + 1))
        assert found.deleted == sum(node.deleted for node in nodes)
        assert found.base == each.base
        live = sum(not node.deleted for node in below)
        assert found.count_retweet == (None if each.deleted else each.base + live)
        mean = sum(distance(log, *pair) for pair in pairs) / len(pairs) if pairs else None
        assert found.structural_virality == pytest.approx(mean)
        assert [(node.id, node.parent, node.live, node.depth) for node in found.nodes] == [
            (node.id, node.parent, not node.deleted, depth) for node, depth in zip(nodes, depths, strict=True)
        ]
        assert [node.size for node in found.nodes] == [len(log.descendants(node.id)) + 1 for node in nodes]
        sizes.add(len(nodes))
    assert max(sizes) > 10
    assert 1 in sizes


def test_a_cascade_has_its_limit(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """As many nodes as may be are read, and not one more; an unknown tweet is not found."""
    log = plant(database, random.Random(0), 60)
    root = next(iter(log))
    size = len(log.descendants(root)) + 1
    monkeypatch.setattr(cascades, "LARGEST", size)
    assert isinstance(read_cascade(database, root), Cascade)
    monkeypatch.setattr(cascades, "LARGEST", size - 1)
    with pytest.raises(CascadeTooLarge):
        read_cascade(database, root)
    with pytest.raises(TweetNotFound):
        read_cascade(database, LARGEST)


@pytest.mark.parametrize("limit", [1, 3, 1000])
def test_descendants_in_preorder(database: Database, limit: int) -> None:
    """Page by page to the end: all below a tweet, each once, before its next sibling; tombstones have no name."""
    log = plant(database, random.Random(1), 80)
    for top in log.values():
        expected = [
            (each.id, each.parent, None if each.deleted else each.user, each.id >> 21, each.depth - top.depth)
            for each in log.descendants(top.id)
        ]
        found, after = [], None
        while page := list_descendants(database, top.id, limit, after):
            assert len(page) <= limit
            found += [tuple(row) for row in page]
            after = page[-1].id
        assert found == expected


def test_a_cursor_from_elsewhere(database: Database) -> None:
    """Only a tweet below the one that is asked for is a place in its list."""
    log = plant(database, random.Random(1), 80)
    middle = next(each for each in log.values() if each.parent and log.descendants(each.id))
    below = {each.id for each in log.descendants(middle.id)}
    for after in [*log, LARGEST]:
        if after not in below:
            with pytest.raises(CursorUnknown):
                list_descendants(database, middle.id, 10, after)
    with pytest.raises(TweetNotFound):
        list_descendants(database, LARGEST, 10)
