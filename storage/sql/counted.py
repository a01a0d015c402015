"""
What is asked of the log when the index holds only counted tweets, those with a count above 0.

Most answers are for a place of the log, `at`: the seq of the last entry that matters. What came after it is left out,
so that they are true at the very instant for which the index has answered.
"""

from collections.abc import Collection, Iterable
from itertools import islice
from typing import Any, NamedTuple

from sqlalchemy import BigInteger, Connection, bindparam, case, delete, func, insert, or_, select, text

from storage.sql.tables import tweets, unordered

ASKED_AT_ONCE = 10_000
"""Ids in one statement."""


class Candidate(NamedTuple):
    """A live tweet that was posted with a count of 0."""

    id: int
    partition: int


def list_live(connection: Connection, ids: Iterable[int], at: int) -> set[int]:
    """Those of *ids*, tweets of one partition, that were not deleted when *at* was its last entry."""
    waiting, found = iter(ids), set[int]()
    while asked := list(islice(waiting, ASKED_AT_ONCE)):
        found.update(connection.execute(_LIVE, {"ids": asked, "at": at}).scalars())
    return found


def list_partitions(connection: Connection, ids: Collection[int]) -> dict[int, int]:
    """For those of *ids* that are live, the partition."""
    return {row[0]: row[1] for row in connection.execute(_PARTITIONS, {"ids": list(ids)})}


def list_candidates(connection: Connection, below: int, limit: int) -> list[Candidate]:
    """Live tweets that may count 0, newest first, with ids below *below*: those that count are among them."""
    return [Candidate(*row) for row in connection.execute(_CANDIDATES, {"below": below, "limit": limit})]


def count_deletions(connection: Connection, partition: int, after: int, at: int) -> int:
    """How many entries of *partition* between the two, the second included, are deletions."""
    found: int = connection.execute(_DELETIONS, {"partition": partition, "after": after, "at": at}).scalar_one()
    return found


def count_newer(connection: Connection, partition: int, at: int, tweet_id: int) -> int:
    """
    How many live tweets of *partition* are newer than *tweet_id*, a tweet of any partition.

    Tweets are posted in the order of their ids, so those that are newer came after one place of the log; it is found in
    O(log n), and they are counted by their places, less the deletions among these: O(deletions). Up to where an import
    has broken the order, see `unordered`, they are counted one by one.
    """
    asked = {"partition": partition, "id": tweet_id, "at": at}
    ordered_after = min(at, connection.execute(_ORDERED_AFTER, asked).scalar() or 0)
    step = 1 << (at - ordered_after).bit_length()
    older_to: int = connection.execute(_OLDER_TO, {**asked, "after": ordered_after, "step": step}).scalar_one()
    deletions, gone = connection.execute(_DELETED, {**asked, "after": older_to}).one()
    newer: int = at - older_to - deletions - gone
    posted = {**asked, "after": ordered_after, "to": older_to}
    if ordered_after and connection.execute(_POSTED_BETWEEN, posted).first() is None:  # else all before is older
        newer += connection.execute(_NEWER_AMONG, {**asked, "to": ordered_after}).scalar_one()
    return newer


def note_unordered(connection: Connection, partition: int, to_seq: int) -> None:
    """Say that up to *to_seq* the tweets of *partition* are not in the order of their ids."""
    connection.execute(delete(unordered).where(unordered.c.partition == partition))
    connection.execute(insert(unordered).values(partition=partition, to_seq=to_seq))


def _number(name: str) -> Any:
    return bindparam(name, type_=BigInteger)


_LIVE = select(tweets.c.id).where(
    tweets.c.id.in_(bindparam("ids", expanding=True)),
    or_(tweets.c.deleted_seq.is_(None), tweets.c.deleted_seq > _number("at")),
)
_PARTITIONS = select(tweets.c.id, tweets.c.partition).where(
    tweets.c.id.in_(bindparam("ids", expanding=True)), tweets.c.deleted_seq.is_(None)
)
_CANDIDATES = (
    select(tweets.c.id, tweets.c.partition)
    .where(tweets.c.id < _number("below"), tweets.c.base == 0, tweets.c.deleted_seq.is_(None))
    .order_by(tweets.c.id.desc())
    .limit(_number("limit"))
)
_IN = tweets.c.partition == _number("partition")
_DELETIONS = select(func.count()).where(
    _IN, tweets.c.deleted_seq > _number("after"), tweets.c.deleted_seq <= _number("at")
)
_DELETED = select(
    func.count(case((tweets.c.deleted_seq > _number("after"), 1))), func.count(case((tweets.c.id > _number("id"), 1)))
).where(_IN, tweets.c.deleted_seq <= _number("at"))
"""Of the deletions up to `at`: those after `after`, and those of tweets that are newer than `id`."""

_ORDERED_AFTER = select(unordered.c.to_seq).where(unordered.c.partition == _number("partition"))
_POSTED_BETWEEN = (
    select(tweets.c.id).where(_IN, tweets.c.seq > _number("after"), tweets.c.seq <= _number("to")).limit(1)
)
_NEWER_AMONG = select(func.count()).where(_IN, tweets.c.seq <= _number("to"), tweets.c.id > _number("id"))
_OLDER_TO = text("""
WITH RECURSIVE search(older_to, step) AS (
    SELECT CAST(:after AS BIGINT), CAST(:step AS BIGINT)
    UNION ALL
    SELECT
        older_to + CASE WHEN older_to + step <= :at AND coalesce((
            SELECT tweets.id FROM tweets
            WHERE tweets.partition = :partition AND tweets.seq > older_to AND tweets.seq <= older_to + step
            ORDER BY tweets.seq DESC LIMIT 1
        ), -1) <= :id THEN step ELSE 0 END,
        step / 2
    FROM search WHERE step > 0
)
SELECT max(older_to) FROM search
""")
"""The last place up to which no tweet is newer than `id`: from `after` on, in steps that are halved each time."""
