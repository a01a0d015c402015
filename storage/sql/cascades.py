"""
What windows and cascades ask of the tweets table: grouped retweets, links upwards, and the tree below a tweet.

A recursion or a join over the parents of a window makes PostgreSQL scan the whole table, all the more once it is
analyzed; so these statements keep to a range of the primary key, scalar subqueries and look-ups by id.
"""

_IN_RANGE = "id >= :since AND id < :until"
_RETWEETS = f"{_IN_RANGE} AND parent IS NOT NULL AND deleted_seq IS NULL"

END = f"SELECT id FROM tweets WHERE {_IN_RANGE} ORDER BY id LIMIT 1 OFFSET :tweets"  # noqa: S608  # constants
"""The id before which there are so many tweets from *since* on; nothing when there are not so many before *until*."""

# The live retweets from *since* to below *until*: (parent, retweets, what the parent itself retweets), parents rising.
# ORDER BY within the groups: PostgreSQL's hash aggregate would look the grandparents up in random order, twice as slow.
GROUPS = f"""
    SELECT g.parent, g.n, (SELECT p.parent FROM tweets p WHERE p.id = g.parent)
    FROM (SELECT parent, count(*) AS n FROM tweets WHERE {_RETWEETS} GROUP BY parent ORDER BY parent) AS g
"""  # noqa: S608
BY_USER = f"SELECT parent, user_name, count(*) FROM tweets WHERE {_RETWEETS} GROUP BY parent, user_name"  # noqa: S608
PARENTS = "SELECT id, parent FROM tweets WHERE id {in_ids}"
USERS = "SELECT id, user_name FROM tweets WHERE id {in_ids} AND deleted_seq IS NULL"

BASE = "SELECT base, depth FROM tweets WHERE id = :id"

# A tweet and its descendants as (id, parent, 1 or, once it is deleted, 0), in no order; 3 us each on both engines.
# The limit stands on the walk itself, without a sort: so the recursion stops there.
TREE = """
    WITH RECURSIVE tree(id, parent, live) AS (
        SELECT id, parent, CASE WHEN deleted_seq IS NULL THEN 1 ELSE 0 END FROM tweets WHERE id = :root
        UNION ALL
        SELECT t.id, t.parent, CASE WHEN t.deleted_seq IS NULL THEN 1 ELSE 0 END
        FROM tree JOIN tweets t ON t.parent = tree.id)
    SELECT id, parent, live FROM tree LIMIT :limit
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
