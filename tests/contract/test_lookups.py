"""Many at once are looked up in parts, and in lengths that are not always their number: none is missed."""

import threading

import pytest

from storage import Tweets
from storage.records import Draft
from storage.sql import log
from storage.sql.prepared import LENGTHS
from tests.builders import post

MANY = LENGTHS[-1] + 40

PATIENCE_S = 60


def post_together(tweets: Tweets, drafts: list[Draft]) -> list[int]:
    """The ids of *drafts*, posted in one batch."""
    told = threading.Semaphore(0)
    begun = [tweets.begin_post(draft, told.release) for draft in drafts]
    tweets.hand_over()
    for _ in begun:
        assert told.acquire(timeout=PATIENCE_S)
    return [each.get().tweet.id for each in begun]


def test_rows_by_any_number_of_ids(tweets: Tweets) -> None:
    """Each of them that is a tweet, whatever their number."""
    ids = post_together(tweets, [Draft("ada", "t", "b") for _ in range(MANY)])
    for number in {0, 1, 2, *LENGTHS, *(length + 1 for length in LENGTHS), MANY}:
        found = tweets.database.find_rows([1, *ids[:number]])
        assert sorted(found) == sorted(ids[:number])
        assert all(row.id == tweet_id for tweet_id, row in found.items())


def test_one_batch_of_retweets_of_many(tweets: Tweets) -> None:
    """Each target and its chain is found, and gains one."""
    root = post(tweets)
    targets = post_together(tweets, [Draft("ada", None, None, root.id) for _ in range(MANY)])
    post_together(tweets, [Draft("bob", None, None, target) for target in targets])
    assert tweets.get(root.id).count_retweet == 2 * MANY
    assert {tweets.get(target).count_retweet for target in targets} == {1}


@pytest.mark.parametrize("partitions", [MANY])
def test_the_heads_of_many_partitions(tweets: Tweets) -> None:
    """All are locked, in their order."""
    with tweets.database.writing() as connection:
        assert list(log.lock_heads(connection, tweets.store, reversed(range(MANY)))) == list(range(MANY))
