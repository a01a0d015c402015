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
    The store's random name, the engines and their versions, the bytes of the index, the partitions, and their sums.

    What is said of the index is None when it is away.
    """

    store: str
    database: str
    database_version: str
    index_version: str | None
    index_memory: int | None
    partitions: list[PartitionStatus]
    live: int
    entries: int


def get_status(tweets: Tweets) -> Status:
    """Ask both parts of *tweets*. Raises StoreUnavailable."""
    store, heads = tweets.database.get_state()
    answers = tweets.index.counts_all(dict.fromkeys(heads, ()))
    partitions = []
    for (number, head), answer in zip(heads.items(), answers, strict=True):
        state = None if isinstance(answer, IndexUnavailable) else answer.state
        index = (state.cardinality, state.lag(head)) if state else (None, None)
        partitions.append(PartitionStatus(number, head.seq, head.live, *index))
    name: str | None = None
    memory: int | None = None
    with suppress(IndexUnavailable):
        name, memory = tweets.index.server_name(), tweets.index.used_memory()
    return Status(
        store.id,
        tweets.database.describe(),
        tweets.database.server_version(),
        name,
        memory,
        partitions,
        sum(head.live for head in heads.values()),
        sum(head.seq for head in heads.values()),
    )
