"""The index holds what no service wrote: the first reader that meets it notices, and all is repaired."""

from collections.abc import Iterator

import pytest

from storage import Tweets
from storage.ids import encode
from storage.index.keys import keys_of
from storage.records import Rank
from storage.tools.health import get_health
from storage.tools.repair import rebuild_all
from storage.tools.verify import verify
from tests.builders import post, retweet, whole_ranking
from tests.faults.services import eventually

SCORES = [0.5, -1, 2.0**53 + 2, float("inf"), float("-inf")]
OTHER_TYPES = [("ranking", "SET"), ("ranking", "LPUSH"), ("position", "LPUSH")]


@pytest.mark.parametrize("score", SCORES)
def test_a_score_that_is_no_count_is_a_difference(tweets: Tweets, score: float) -> None:
    """What no sum of retweets can be is found by a comparison, and a rebuild puts it right."""
    root = post(tweets)
    retweet(tweets, root)
    tweets.index._client.zadd(keys_of(tweets.store.id, 0).ranking, {encode(root.id): score})
    assert verify(tweets) == [(root.id, 1, -1)]
    rebuild_all(tweets)
    assert verify(tweets) == []


@pytest.mark.parametrize("score", SCORES)
def test_a_score_that_is_no_count_is_shown_to_nobody(tweets: Tweets, score: float) -> None:
    """A reader that meets such a score, for one tweet or in the ranking, gets the right count: the index is rebuilt."""
    root = post(tweets)
    leaf = retweet(tweets, root)

    def spoil() -> None:
        assert verify(tweets) == []
        tweets.index._client.zadd(keys_of(tweets.store.id, 0).ranking, {encode(root.id): score})

    spoil()
    assert tweets.get(root.id).result().count_retweet == 1
    spoil()
    assert whole_ranking(tweets, 7) == [(1, root.id), (0, leaf.id)]
    spoil()
    assert tweets.rank(root.id) == Rank(1, 1, 2)
    assert verify(tweets) == []


def of_another_type(tweets: Tweets) -> Iterator[str]:
    """Each key of the index in turn, replaced at once by one of a type that it never has."""
    for key, command in OTHER_TYPES:
        name = getattr(keys_of(tweets.store.id, 0), key)
        with tweets.index._client.pipeline(transaction=True) as pipeline:
            pipeline.delete(name)
            pipeline.execute_command(command, name, "x")
            pipeline.execute()
        yield name


def test_a_key_of_another_type_is_replaced_for_a_reader(tweets: Tweets) -> None:
    """A client that asks while a key of the index is of another type gets the whole ranking."""
    root = post(tweets)
    leaf = retweet(tweets, root)
    for limit, name in enumerate(of_another_type(tweets), 10):
        assert whole_ranking(tweets, limit) == [(1, root.id), (0, leaf.id)], name
        assert verify(tweets) == []


def test_a_key_of_another_type_is_replaced_after_a_write(tweets: Tweets) -> None:
    """A write that finds a key of another type is stored, and counted a moment later, though no client asks."""
    root = post(tweets)
    for written, name in enumerate(of_another_type(tweets), 1):
        retweet(tweets, root)
        eventually(lambda: get_health(tweets).lag == 0 and tweets.reconciler.is_current(0))
        assert verify(tweets) == [], name
        assert tweets.get(root.id).result().count_retweet == written


def test_a_key_of_another_type_is_replaced_by_itself(tweets: Tweets) -> None:
    """The reconciler sees a key of another type though no client writes or asks."""
    retweet(tweets, post(tweets))
    for rebuilds, _ in enumerate(of_another_type(tweets), tweets.reconciler.rebuilds + 1):
        eventually(lambda: tweets.reconciler.rebuilds >= rebuilds and get_health(tweets).lag == 0)  # noqa: B023
    assert verify(tweets) == []
