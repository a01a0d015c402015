"""What is where, for a person: the engines, the sizes, and how far the index is."""

from dataclasses import dataclass

from storage.sql import log
from storage.tweets import Tweets


@dataclass(frozen=True, slots=True)
class PartitionState:
    """One partition: entries in its log and live tweets, tweets ranked, and entries that the index lacks."""

    partition: int
    entries: int
    live: int
    ranked: int
    lag: int


@dataclass(frozen=True, slots=True)
class Description:
    """The store's random name, the engines and their versions, the bytes that the index takes, the partitions."""

    store: str
    database: str
    database_version: str
    index_version: str
    index_memory: int
    partitions: tuple[PartitionState, ...]

    @property
    def live(self) -> int:
        """Tweets that are not deleted."""
        return sum(partition.live for partition in self.partitions)


def describe(tweets: Tweets) -> Description:
    """Ask both parts of *tweets*. Raises StoreUnavailable or IndexUnavailable."""
    with tweets.database.reading() as connection:
        heads = log.list_heads(connection)
    states = []
    for partition, head in sorted(heads.items()):
        stand = tweets.index.counts(partition).stand
        position = stand.position.seq if stand.position else 0
        lag = max(0, head.seq - position)
        states.append(PartitionState(partition, head.seq, head.live, stand.cardinality, lag))
    return Description(
        store=tweets.store.id,
        database=tweets.database.describe(),
        database_version=tweets.database.server_version(),
        index_version=tweets.index.server_name(),
        index_memory=tweets.index.used_memory(),
        partitions=tuple(states),
    )
