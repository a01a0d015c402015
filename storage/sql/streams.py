"""Every tweet of the log, or of a partition as of one of its places: for those who count them all."""

from collections.abc import Collection, Iterator
from typing import Any

from sqlalchemy import BigInteger, Connection, Integer, bindparam, cast, or_, select

from storage.sql.tables import tweets

READ_AT_ONCE = 10_000
"""Rows a long read takes from the database at once: bounds memory, costs no measurable time."""


def stream_all(
    connection: Connection, partitions: Collection[int] | None = None
) -> Iterator[tuple[int, int | None, int, int, int]]:
    """
    Every tweet, or every one of *partitions*, as (id, parent, partition, base, live), newest id first.

    Plain tuples, as there may be millions.
    """
    # The sum keeps SQLite from going by the index of partitions, and sorting all it finds there.
    chosen = _ALL if partitions is None else _ALL.where((tweets.c.partition + 0).in_(partitions))
    if stream_rows := connection.get_execution_options().get("stream_rows"):  # see `storage.sql.sqlite`
        yield from stream_rows(connection, chosen)
        return
    with connection.execute(chosen, execution_options={"yield_per": READ_AT_ONCE}) as rows:
        for part in rows.partitions():
            yield from part


def stream_until(connection: Connection, partition: int, seq: int) -> Iterator[tuple[int, int | None, int, int, int]]:
    """The tweets of *partition* as they were when *seq* was its last entry, in the form and order of `stream_all`."""
    bounds = {"partition": partition, "seq": seq}
    with connection.execute(_UNTIL, bounds, execution_options={"yield_per": READ_AT_ONCE}) as rows:
        for part in rows.partitions():
            yield from part


_ALL = select(
    tweets.c.id, tweets.c.parent, tweets.c.partition, tweets.c.base, cast(tweets.c.deleted_seq.is_(None), Integer)
).order_by(tweets.c.id.desc())
_SEQ: Any = bindparam("seq", type_=BigInteger)
_LIVE_THEN = or_(tweets.c.deleted_seq.is_(None), tweets.c.deleted_seq > _SEQ)
_UNTIL = (
    select(tweets.c.id, tweets.c.parent, tweets.c.partition, tweets.c.base, cast(_LIVE_THEN, Integer))
    # The sums: as in `stream_all`.
    .where(tweets.c.partition + 0 == bindparam("partition", type_=BigInteger), tweets.c.seq + 0 <= _SEQ)
    .order_by(tweets.c.id.desc())
)
