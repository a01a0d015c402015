"""
What windows and cascades ask of the tweets table: grouped retweets, links upwards, and the tree below a tweet.

A recursion or a join over the parents of a window makes PostgreSQL scan the whole table, all the more once it is
analyzed; so these statements keep to a range of the primary key, scalar subqueries and look-ups by id.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from sqlalchemy import Connection, select, text

from storage.sql.schema import tweets
from storage.sql.statements import ids as ids_parameter
from storage.sql.statements import in_list

FETCHED = 1_000
"""Rows that are taken from the driver at a time, so that others get the interpreter in between."""


class Descendant(NamedTuple):
    """A tweet below another one; `depth` counts its own ancestors, and `user_name` is None once it is deleted."""

    id: int
    parent: int
    user_name: str | None
    created_at: int
    depth: int


def find_end(connection: Connection, since: int, until: int, tweets: int) -> int:
    """The id before which there are *tweets* tweets from *since* on; *until* when there are not so many before it."""
    found = connection.execute(_END, {"since": since, "until": until, "tweets": tweets}).scalar()
    return until if found is None else int(found)


def group_retweets(connection: Connection, since: int, until: int) -> Iterator[list[tuple[int, int, int | None]]]:
    """
    The live retweets with ids from *since* to below *until*, by parent with ids rising, some at a time.

    As (parent, retweets, what the parent itself retweets).
    """
    for rows in connection.execute(_GROUPS, {"since": since, "until": until}).partitions(FETCHED):
        yield [(row[0], row[1], row[2]) for row in rows]


def group_by_user(connection: Connection, since: int, until: int) -> Iterator[list[tuple[int, str, int]]]:
    """As `group_retweets`, by parent and author: (parent, user_name, retweets)."""
    for rows in connection.execute(_BY_USER, {"since": since, "until": until}).partitions(FETCHED):
        yield [(row[0], row[1], row[2]) for row in rows]


def list_parents(connection: Connection, ids: Sequence[int]) -> list[tuple[int, int | None]]:
    """(id, parent) of those of *ids* that name a tweet."""
    return [(row[0], row[1]) for row in connection.execute(_PARENTS, {"ids": ids})]


def list_users(connection: Connection, ids: Sequence[int]) -> list[tuple[int, str]]:
    """(id, user_name) of those of *ids* that name a tweet which is not deleted."""
    return [(row[0], row[1]) for row in connection.execute(_USERS, {"ids": ids})]


def find_base_and_depth(connection: Connection, tweet_id: int) -> tuple[int, int] | None:
    """The count a tweet was posted with, and how many ancestors it has; None when there never was one."""
    row = connection.execute(_BASE, {"id": tweet_id}).first()
    return None if row is None else (row[0], row[1])


def walk_tree(connection: Connection, root: int, limit: int) -> list[tuple[int, int | None, int]]:
    """
    At most *limit* of *root* and its descendants as (id, parent, 1 or, once it is deleted, 0).

    In no order; 3 us each on both engines.
    """
    return [(row[0], row[1], row[2]) for row in connection.execute(_TREE, {"root": root, "limit": limit})]


def is_below(connection: Connection, root: int, tweet_id: int) -> bool:
    """Whether *tweet_id* is a descendant of *root*."""
    return connection.execute(_IS_BELOW, {"root": root, "id": tweet_id}).first() is not None


def list_preorder(connection: Connection, root: int, after: int, limit: int) -> list[Descendant]:
    """
    At most *limit* descendants of *root* that follow *after*, *root* itself or one of them, in pre-order.

    Each step is one look-up in the index by (parent, id): a page costs the page, however large the tree.
    """
    values = {"root": root, "after": after, "limit": limit}
    return [Descendant(*row) for row in connection.execute(_PREORDER, values)]


_IN_RANGE = "id >= :since AND id < :until"
_RETWEETS = f"{_IN_RANGE} AND parent IS NOT NULL AND deleted_seq IS NULL"
_IS_ASKED = in_list(tweets.c.id, ids_parameter())

_END = text(f"SELECT id FROM tweets WHERE {_IN_RANGE} ORDER BY id LIMIT 1 OFFSET :tweets")  # noqa: S608  # constants

# ORDER BY within the groups: PostgreSQL's hash aggregate would look the grandparents up in random order, twice as slow.
_GROUPS = text(f"""
    SELECT g.parent, g.n, (SELECT p.parent FROM tweets p WHERE p.id = g.parent)
    FROM (SELECT parent, count(*) AS n FROM tweets WHERE {_RETWEETS} GROUP BY parent ORDER BY parent) AS g
""")  # noqa: S608
_BY_USER = text(f"SELECT parent, user_name, count(*) FROM tweets WHERE {_RETWEETS} GROUP BY parent, user_name")  # noqa: S608
_PARENTS = select(tweets.c.id, tweets.c.parent).where(_IS_ASKED)
_USERS = select(tweets.c.id, tweets.c.user_name).where(_IS_ASKED, tweets.c.deleted_seq.is_(None))

_BASE = text("SELECT base, depth FROM tweets WHERE id = :id")

# The limit stands on the walk itself, without a sort: so the recursion stops there.
_TREE = text("""
    WITH RECURSIVE tree(id, parent, live) AS (
        SELECT id, parent, CASE WHEN deleted_seq IS NULL THEN 1 ELSE 0 END FROM tweets WHERE id = :root
        UNION ALL
        SELECT t.id, t.parent, CASE WHEN t.deleted_seq IS NULL THEN 1 ELSE 0 END
        FROM tree JOIN tweets t ON t.parent = tree.id)
    SELECT id, parent, live FROM tree LIMIT :limit
""")
_IS_BELOW = text("""
    WITH RECURSIVE up(id, parent) AS (
        SELECT id, parent FROM tweets WHERE id = :id
        UNION ALL
        SELECT t.id, t.parent FROM up JOIN tweets t ON t.id = up.parent WHERE up.parent >= :root)
    SELECT 1 FROM up WHERE parent = :root
""")

# The tweet after another one in pre-order is its first child, else the next sibling of the nearest of its ancestors,
# itself included, that has one.
_SIBLING = "(SELECT min(s.id) FROM tweets s WHERE s.parent = t.parent AND s.id > t.id)"
_PREORDER = text(f"""
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
""")  # noqa: S608
