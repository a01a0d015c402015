"""
Ancestries of tweets, from memory or from the log: what a batch needs to credit the ancestors of its tweets.

An ancestry never changes, so what is kept is never stale. It does not decide whether a tweet exists: the log does.
"""

from collections.abc import Iterable, Mapping

from sqlalchemy import Connection

from storage.fold import Ancestry
from storage.sql import log

ANCESTORS_LIMIT = 10_000
"""
Ancestors that one batch credits, those that several of its tweets share counted for each of them: to read and to credit
so many takes some 0.2 s when none of them is in memory.
"""

LEVELS = 2
RECURSION_LIMIT = 256
"""
How ancestors are read: level by level, each level those that are not known; after some levels, as soon as few chains
are left, their rest by one recursive statement. A recursion from many tweets at once reads shared ancestors again and
again on SQLite, in parts of 256, and all of the table on PostgreSQL.
"""


def load_ancestries(
    connection: Connection, known: dict[int, Ancestry], ids: Iterable[int], limit: int = ANCESTORS_LIMIT
) -> set[int]:
    """
    Add to *known* the ancestries of those of *ids* that are tweets, and of all their ancestors; it has those already.

    Returns which of *ids* were left out: those with which their depths would add up to more than *limit*; the first one
    is always there.
    """
    asked = list(dict.fromkeys(ids))
    missing = [tweet_id for tweet_id in asked if tweet_id not in known]
    found = log.list_ancestries(connection, missing) if missing else {}
    left_out: set[int] = set()
    ancestors = 0
    for tweet_id in asked:
        one = known.get(tweet_id) or found.get(tweet_id)
        if one and ancestors and ancestors + one.depth > limit:
            left_out.add(tweet_id)
            found.pop(tweet_id, None)
        elif one:
            ancestors += one.depth
    known |= _with_ancestors(connection, found, known)
    return left_out


def _with_ancestors(
    connection: Connection, some: Mapping[int, Ancestry], known: Mapping[int, Ancestry]
) -> dict[int, Ancestry]:
    """*some* ancestries and those of all their ancestors that are not *known*."""
    found = dict(some)
    level, levels = found, 0
    while wanted := {
        each.parent
        for each in level.values()
        if each.parent is not None and each.parent not in known and each.parent not in found
    }:
        levels += 1
        by_level = levels < LEVELS or len(wanted) > RECURSION_LIMIT
        level = (log.list_ancestries if by_level else log.list_chains)(connection, wanted)
        found |= level
    return found
