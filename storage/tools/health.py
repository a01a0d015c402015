"""Whether both parts of a service answer, and how far the index is behind."""

from dataclasses import dataclass

from storage.errors import IndexUnavailable, StorageError
from storage.tweets import Tweets


@dataclass(frozen=True, slots=True)
class Health:
    """Which parts answer, and how many log entries the index is behind (None when a part is away)."""

    store: bool
    index: bool
    lag: int | None


def get_health(tweets: Tweets) -> Health:
    """Ask both parts of *tweets*, the database for one second. Raises nothing."""
    try:
        state = tweets.database.probe(within_s=1.0)
    except StorageError:
        state = None
    partitions = range((state.store if state else tweets.store).partitions)
    answers = tweets.index.counts_all(dict.fromkeys(partitions, ()))
    states = [answer.state for answer in answers if not isinstance(answer, IndexUnavailable)]
    has_index = len(states) == len(partitions) and not any(map(tweets.reconciler.is_unavailable, partitions))
    if state is None or not has_index:
        return Health(store=state is not None, index=has_index, lag=None)
    return Health(store=True, index=True, lag=sum(each.lag(state.heads[p]) for p, each in enumerate(states)))
