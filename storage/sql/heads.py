"""The heads of the log compared with the rows that they stand for, and mended: what only commands do."""

from sqlalchemy import Connection

from storage.errors import StoreDamaged
from storage.sql.log import Head, find_nonce, get_state, lock_heads, move_heads
from storage.sql.statements import rows

COUNTED_HEADS = """
SELECT heads.partition, heads.seq, heads.nonce, heads.last_id, heads.live,
    coalesce(counted.entries, 0), coalesce(counted.seq, 0), coalesce(counted.deleted_seq, 0),
    coalesce(counted.last_id, 0), coalesce(counted.live, 0)
FROM heads LEFT JOIN (
    SELECT partition, count(*) + count(deleted_seq) AS entries, max(seq) AS seq, max(deleted_seq) AS deleted_seq,
        max(id) AS last_id, count(*) - count(deleted_seq) AS live
    FROM tweets GROUP BY partition
) AS counted ON counted.partition = heads.partition
ORDER BY heads.partition
"""
"""Every head beside what the rows of its partition make it, as of one instant. Reads the whole table."""


def list_wrong_heads(connection: Connection) -> dict[int, tuple[Head, Head]]:
    """
    The heads that are not what the rows of their partition make them: by partition, the head and the right one.

    Reads the whole table. Raises StoreDamaged when entries are missing, which no head can mend.
    """
    wrong = {}
    for partition, *stored, entries, seq, deleted_seq, last_id, live in rows(connection, COUNTED_HEADS):
        head, last = Head(*stored), max(seq, deleted_seq)
        if entries != last or last < head.seq:
            raise StoreDamaged(
                f"Entries of partition {partition} are missing: there are {entries} up to place {max(last, head.seq)}; "
                "restore a backup."
            )
        nonce = find_nonce(connection, partition, last)
        right = Head(last, head.nonce if nonce is None else nonce, max(head.last_id, last_id), live)
        if head != right:
            wrong[partition] = head, right
    return wrong


def repair_heads(connection: Connection) -> dict[int, tuple[Head, Head]]:
    """
    Make every head what the rows of its partition make it, inside a transaction that writes; what was wrong.

    Other writers wait until it commits. Raises StoreDamaged as `list_wrong_heads` does.
    """
    store, heads = get_state(connection)
    lock_heads(connection, store, heads)
    wrong = list_wrong_heads(connection)
    if wrong:
        move_heads(connection, {partition: right for partition, (_, right) in wrong.items()})
    return wrong
