"""A cascade: a tweet and all its descendants, with the numbers that describe its shape, and the list of them."""

from collections import Counter
from dataclasses import dataclass, field
from typing import NamedTuple

from storage.errors import CascadeTooLarge, CursorUnknown, TweetNotFound
from storage.sql.database import Database
from storage.sql.statements import rows as run

LARGEST = 100_000
"""Nodes that are read for one answer: 0.35 to 0.5 s and 17 MB."""

DEPTH = "SELECT depth FROM tweets WHERE id = :id"

# A tweet and its descendants as (id, parent, 1 or, once it is deleted, 0, depth, base), in no order; 3 us each on both
# engines. The limit stands on the walk itself, without a sort: so the recursion stops there.
TREE = """
    WITH RECURSIVE tree(id, parent, live, depth, base) AS (
        SELECT id, parent, CASE WHEN deleted_seq IS NULL THEN 1 ELSE 0 END, depth, base FROM tweets WHERE id = :root
        UNION ALL
        SELECT t.id, t.parent, CASE WHEN t.deleted_seq IS NULL THEN 1 ELSE 0 END, t.depth, t.base
        FROM tree JOIN tweets t ON t.parent = tree.id)
    SELECT id, parent, live, depth, base FROM tree LIMIT :limit
"""
IS_BELOW = """
    WITH RECURSIVE up(id, parent) AS (
        SELECT id, parent FROM tweets WHERE id = :id
        UNION ALL
        SELECT t.id, t.parent FROM up JOIN tweets t ON t.id = up.parent WHERE up.parent >= :root)
    SELECT 1 FROM up WHERE parent = :root
"""

# The descendants that follow *after*: a page costs the page, however large the tree, as each step is one look-up in the
# index by (parent, id). The tweet after another one in pre-order is its first child, else the next sibling of the
# nearest of its ancestors, itself included, that has one.
_SIBLING = "(SELECT min(s.id) FROM tweets s WHERE s.parent = t.parent AND s.id > t.id)"
PREORDER = f"""
    WITH RECURSIVE walk(id, n) AS (
        SELECT CAST(:after AS BIGINT), 0
        UNION ALL
        SELECT coalesce(
            (SELECT min(t.id) FROM tweets t WHERE t.parent = walk.id),
            (WITH RECURSIVE up(id, parent, next) AS (
                SELECT t.id, t.parent, {_SIBLING} FROM tweets t WHERE t.id = walk.id AND t.id <> :root
                UNION ALL
                SELECT t.id, t.parent, {_SIBLING} FROM up JOIN tweets t ON t.id = up.parent
                WHERE up.next IS NULL AND up.parent <> :root)
             SELECT next FROM up WHERE next IS NOT NULL)), n + 1
        FROM walk WHERE n < :limit AND id IS NOT NULL)
    SELECT t.id, t.parent, t.user_name, t.created_at, t.depth FROM walk JOIN tweets t ON t.id = walk.id
    WHERE walk.n > 0 ORDER BY walk.n
"""  # noqa: S608


class Descendant(NamedTuple):
    """A tweet below another one, by so many edges; `user_name` is None once it is deleted."""

    id: int
    parent: int
    user_name: str | None
    created_at: int
    depth: int


class Node(NamedTuple):
    """A tweet of a cascade: `depth` edges below its top, with `size` tweets in its own cascade, itself counted."""

    id: int
    parent: int | None
    live: bool
    depth: int
    size: int


@dataclass(frozen=True, slots=True)
class Cascade:
    """
    The shape of a cascade. Deleted tweets are nodes as well; `deleted` says how many they are.

    `breadths` has the number of nodes at each depth, from the top's 1. `structural_virality` is the mean distance, in
    edges, over all pairs of nodes (Goel, Anderson, Hofman, Watts, Management Science 2016), None for a single node.
    `count_retweet` is `base` plus the live descendants, None when the tweet itself is deleted. `nodes` are in the order
    of ids, the top first.
    """

    deleted: int
    breadths: tuple[int, ...]
    structural_virality: float | None
    base: int
    count_retweet: int | None
    nodes: tuple[Node, ...] = field(repr=False)


def read_cascade(database: Database, tweet_id: int) -> Cascade:
    """The cascade below *tweet_id*, deleted or not. Raises TweetNotFound, CascadeTooLarge (above `LARGEST` nodes)."""
    with database.reading() as connection:
        rows = run(connection, TREE, root=tweet_id, limit=LARGEST + 1)
    if not rows:
        raise TweetNotFound
    if len(rows) > LARGEST:
        raise CascadeTooLarge
    rows.sort()  # by id: a parent comes before its children
    _, _, top_is_live, top_depth, base = rows[0]
    size: dict[int, int] = {row[0]: 1 for row in rows}
    for row in reversed(rows[1:]):
        size[row[1]] += size[row[0]]
    nodes = tuple(
        Node(each, parent, bool(is_live), depth - top_depth, size[each]) for each, parent, is_live, depth, _ in rows
    )
    # An edge lies between the s nodes below it and the n - s others, so it is part of s(n - s) distances.
    count = len(rows)
    distances = sum(each * (count - each) for each in size.values())
    breadths = Counter(node.depth for node in nodes)
    live = sum(node.live for node in nodes)
    return Cascade(
        deleted=count - live,
        breadths=tuple(breadths[level] for level in range(len(breadths))),
        structural_virality=2 * distances / (count * (count - 1)) if count > 1 else None,
        base=base,
        count_retweet=base + live - 1 if top_is_live else None,
        nodes=nodes,
    )


def list_descendants(database: Database, tweet_id: int, limit: int, after: int | None = None) -> list[Descendant]:
    """
    At most *limit* descendants of *tweet_id* that follow *after*, deleted ones too.

    In pre-order: each tweet, then all below it, before its next sibling; siblings by rising id. One that is posted
    meanwhile under a place already passed is not seen. Raises TweetNotFound, CursorUnknown (*after* is not below it).
    """
    with database.reading() as connection:
        top = run(connection, DEPTH, id=tweet_id)
        if not top:
            raise TweetNotFound
        if after is not None and not run(connection, IS_BELOW, root=tweet_id, id=after):
            raise CursorUnknown
        start = tweet_id if after is None else after
        rows = run(connection, PREORDER, root=tweet_id, after=start, limit=limit)
    return [Descendant(*row)._replace(depth=row[4] - top[0][0]) for row in rows]
