"""What is where: the engines, the sizes, and how far the index is."""

from contextlib import suppress
from typing import NamedTuple

from storage.errors import IndexUnavailable
from storage.tweets import Tweets


class PartitionStatus(NamedTuple):
    """
    One partition: entries in its log and live tweets, tweets in the index, and entries that the index lacks.

    The last two are None when its server is away.
    """

    partition: int
    entries: int
    live: int
    ranked: int | None
    lag: int | None


class Status(NamedTuple):
    """
    The store's random name, the engines and their versions, the bytes of the index, the partitions.

    What is said of the index is None when it is away.
    """

    store: str
    database: str
    database_version: str
    index_version: str | None
    index_memory: int | None
    partitions: list[PartitionStatus]

    @property
    def live(self) -> int:
        """Tweets that are not deleted."""
        return sum(partition.live for partition in self.partitions)

    @property
    def entries(self) -> int:
        """Entries of the log."""
        return sum(partition.entries for partition in self.partitions)


def get_status(tweets: Tweets) -> Status:
    """Ask both parts of *tweets*. Raises StoreUnavailable."""
    store, heads = tweets.database.get_state()
    answers = tweets.index.counts_all(dict.fromkeys(heads, ()))
    partitions = [
        PartitionStatus(number, head.seq, head.live, None, None)
        if isinstance(answer, IndexUnavailable)
        else PartitionStatus(number, head.seq, head.live, answer.state.cardinality, answer.state.lag(head))
        for (number, head), answer in zip(heads.items(), answers, strict=True)
    ]
    index: tuple[str | None, int | None] = (None, None)
    with suppress(IndexUnavailable):
        index = (tweets.index.server_name(), tweets.index.used_memory())
    database = tweets.database
    return Status(store.id, database.describe(), database.server_version(), *index, partitions)
