"""
Ancestries of tweets, from memory or from the log: what a batch needs to credit the ancestors of its tweets.

An ancestry never changes, so what is kept is never stale. It does not decide whether a tweet exists: the log does.
"""

from collections.abc import Iterable, Mapping

from sqlalchemy import Connection

from storage.fold import Ancestry
from storage.sql import log

ANCESTORS_LIMIT = 10_000
"""Ancestors that one batch credits: reading and crediting them takes some 0.2 s when none of them is in memory."""

LEVELS = 2
RECURSION_LIMIT = 256
"""
How ancestors are read: level by level, each level those that are not known; after some levels, as soon as few chains
are left, their rest by one recursive statement. A recursion from many tweets at once reads shared ancestors again and
again on SQLite, in parts of 256, and all of the table on PostgreSQL.
"""


class AncestorCache:
    """Ancestries in memory; of each tweet there those of all its ancestors too. Belongs to one thread at a time."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._known: dict[int, Ancestry] = {}

    def load(
        self, connection: Connection, ids: Iterable[int], limit: int = ANCESTORS_LIMIT
    ) -> tuple[dict[int, Ancestry], set[int]]:
        """
        The ancestries of those of *ids* that are tweets and of all their ancestors, and which of *ids* were left out.

        Those are left out with which it would be more than *limit* ancestors; the first one is always there. What is
        returned is not evicted: the caller may add the tweets that it has stored.
        """
        if len(self._known) > self._capacity:
            self._known = {}  # not `clear`: the last batch may still hold the old one
        known, asked = self._known, list(dict.fromkeys(ids))
        missing = [tweet_id for tweet_id in asked if tweet_id not in known]
        found = log.list_ancestries(connection, missing) if missing else {}
        there = [tweet_id for tweet_id in asked if tweet_id in known or tweet_id in found]
        if sum((known.get(tweet_id) or found[tweet_id]).depth for tweet_id in there) <= limit:
            known |= _with_ancestors(connection, found, known)
            return known, set()
        credited: set[int] = set()
        left_out: set[int] = set()
        for tweet_id in there:
            if tweet_id not in known:
                one = found[tweet_id]
                is_near = one.parent is None or one.parent in known
                if not is_near and credited and len(credited) + one.depth > limit:
                    left_out.add(tweet_id)
                    continue
                known |= _with_ancestors(connection, {tweet_id: one}, known)
            chain = set()
            at: int | None = tweet_id
            while at is not None and at not in credited:
                chain.add(at)
                at = known[at].parent
            if credited and len(credited) + len(chain) > limit:
                left_out.add(tweet_id)
            else:
                credited |= chain
        return known, left_out

    def clear(self) -> None:
        """Forget all: the log may have gone back to an earlier place, and give these ids to other tweets."""
        self._known = {}


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
