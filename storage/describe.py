"""What is where, for a person: the engines, the sizes, and how far the index is."""

from dataclasses import dataclass

from storage.errors import IndexUnavailable
from storage.index.ranking import Counts
from storage.sql.log import Head
from storage.tweets import Tweets


@dataclass(frozen=True, slots=True)
class PartitionState:
    """
    One partition: entries in its log and live tweets, tweets in the index, and entries that the index lacks.

    The last two are None when its server is away.
    """

    partition: int
    entries: int
    live: int
    ranked: int | None
    lag: int | None


@dataclass(frozen=True, slots=True)
class Description:
    """The store's random name, the engines and their versions, the bytes of the index, the partitions."""

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
    store, heads = tweets.database.get_state()
    answers = tweets.index.counts_all(dict.fromkeys(heads, ()))
    states = [_state(*item, answer) for item, answer in zip(heads.items(), answers, strict=True)]
    return Description(
        store=store.id,
        database=tweets.database.describe(),
        database_version=tweets.database.server_version(),
        index_version=tweets.index.server_name(),
        index_memory=tweets.index.used_memory(),
        partitions=tuple(states),
    )


def _state(partition: int, head: Head, answer: Counts | IndexUnavailable) -> PartitionState:
    if isinstance(answer, IndexUnavailable):
        return PartitionState(partition, head.seq, head.live, None, None)
    lacking = answer.state.lag(head)
    return PartitionState(partition, head.seq, head.live, answer.state.cardinality, lacking)
