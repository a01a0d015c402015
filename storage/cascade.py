"""A cascade: a tweet and all its descendants, with the numbers that describe its shape, and the list of them."""

from collections import Counter
from dataclasses import dataclass, field
from typing import NamedTuple

from storage.errors import CascadeTooLarge, CursorUnknown, TweetNotFound
from storage.sql import cascades
from storage.sql.database import Database
from storage.sql.statements import rows as run

LARGEST = 100_000
"""Nodes that are read for one answer: 0.35 to 0.5 s and 17 MB."""


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
        rows = run(connection, cascades.TREE, root=tweet_id, limit=LARGEST + 1)
        top = run(connection, cascades.BASE, id=tweet_id)
    if not top or not rows:
        raise TweetNotFound
    if len(rows) > LARGEST:
        raise CascadeTooLarge
    rows.sort()  # by id: a parent comes before its children
    (_, _, top_is_live), *below = rows
    depth: dict[int | None, int] = {tweet_id: 0}
    size: dict[int | None, int] = {row[0]: 1 for row in rows}
    for row_id, parent, _ in below:
        depth[row_id] = depth[parent] + 1
    for row_id, parent, _ in reversed(below):
        size[parent] += size[row_id]
    # An edge lies between the s nodes below it and the n - s others, so it is part of s(n - s) distances.
    count = len(rows)
    distances = sum(each * (count - each) for each in size.values())
    breadths = Counter(depth.values())
    live = sum(is_live for _, _, is_live in rows)
    return Cascade(
        deleted=count - live,
        breadths=tuple(breadths[level] for level in range(len(breadths))),
        structural_virality=2 * distances / (count * (count - 1)) if count > 1 else None,
        base=top[0][0],
        count_retweet=top[0][0] + live - 1 if top_is_live else None,
        nodes=tuple(Node(each, parent, bool(is_live), depth[each], size[each]) for each, parent, is_live in rows),
    )


def list_descendants(database: Database, tweet_id: int, limit: int, after: int | None = None) -> list[Descendant]:
    """
    At most *limit* descendants of *tweet_id* that follow *after*, deleted ones too.

    In pre-order: each tweet, then all below it, before its next sibling; siblings by rising id. One that is posted
    meanwhile under a place already passed is not seen. Raises TweetNotFound, CursorUnknown (*after* is not below it).
    """
    with database.reading() as connection:
        top = run(connection, cascades.BASE, id=tweet_id)
        if not top:
            raise TweetNotFound
        if after is not None and not run(connection, cascades.IS_BELOW, root=tweet_id, id=after):
            raise CursorUnknown
        start = tweet_id if after is None else after
        rows = run(connection, cascades.PREORDER, root=tweet_id, after=start, limit=limit)
    return [Descendant(*row)._replace(depth=row[4] - top[0][1]) for row in rows]
