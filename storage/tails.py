"""The ends of the logs, as an import moves them: kept here until it is over, and the heads are moved once."""

from collections.abc import Iterator
from dataclasses import dataclass

from sqlalchemy import Connection

from storage.sql import log
from storage.sql.log import Head

NONCES_AT_ONCE = 10_000


@dataclass(slots=True)
class Tail:
    """A head that moves with every row."""

    seq: int
    nonce: int
    last_id: int
    live: int

    def move(self, nonce: int, live: int) -> tuple[int, int]:
        """Move on by one entry, which makes *live* more tweets live; returns its seq and *nonce*."""
        self.seq += 1
        self.nonce = nonce
        self.live += live
        return self.seq, nonce

    def see(self, tweet_id: int) -> None:
        """Let ids that are given later be greater than *tweet_id*."""
        self.last_id = max(self.last_id, tweet_id)

    def head(self) -> Head:
        """The head as it is now."""
        return Head(self.seq, self.nonce, self.last_id, self.live)


def lock_tails(connection: Connection) -> dict[int, Tail]:
    """The tail of every partition; nobody else can move its head until the transaction ends."""
    store = log.get_store(connection)
    heads = log.lock_heads(connection, store, range(store.partitions))
    return {partition: Tail(*head) for partition, head in heads.items()}


def draw_nonces() -> Iterator[int]:
    """Nonces without end; many for one question to the system, which takes microseconds."""
    while True:
        yield from log.new_nonces(NONCES_AT_ONCE)
