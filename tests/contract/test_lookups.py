"""Many at once are looked up in parts, and in lengths that are not always their number: none is missed."""

import pytest

from storage import Tweets
from storage.records import NewTweet
from storage.sql import log
from storage.sql.prepared import LENGTHS
from tests.builders import post

MANY = LENGTHS[-1] + 40


def post_together(tweets: Tweets, drafts: list[NewTweet]) -> list[int]:
    """The ids of *drafts*, posted in one batch."""
    return [future.result().tweet.id for future in [tweets.post(draft) for draft in drafts]]


def test_rows_by_any_number_of_ids(tweets: Tweets) -> None:
    """Each of them that is a tweet, whatever their number."""
    ids = post_together(tweets, [NewTweet("ada", "t", "b") for _ in range(MANY)])
    for number in {0, 1, 2, *LENGTHS, *(length + 1 for length in LENGTHS), MANY}:
        found = tweets.database.find_rows([1, *ids[:number]])
        assert sorted(found) == sorted(ids[:number])
        assert all(row.id == tweet_id for tweet_id, row in found.items())


def test_one_batch_of_retweets_of_many(tweets: Tweets) -> None:
    """Each target and its chain is found, and gains one."""
    root = post(tweets)
    targets = post_together(tweets, [NewTweet("ada", None, None, root.id) for _ in range(MANY)])
    post_together(tweets, [NewTweet("bob", None, None, target) for target in targets])
    assert tweets.get(root.id).result().count_retweet == 2 * MANY
    assert {tweets.get(target).result().count_retweet for target in targets} == {1}


@pytest.mark.parametrize("partitions", [MANY])
def test_the_heads_of_many_partitions(tweets: Tweets) -> None:
    """All are locked, in their order."""
    with tweets.database.writing() as connection:
        assert list(log.lock_heads(connection, tweets.store, reversed(range(MANY)))) == list(range(MANY))
