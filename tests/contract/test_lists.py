"""Lists that are read in pages: the chain above a tweet, both of its ends, and the newest tweets."""

from collections.abc import Callable

import pytest

from storage import Tweets
from storage.errors import TweetNotFound
from storage.ids import LARGEST
from storage.records import Page
from tests.builders import post, retweet

LENGTH = 12


@pytest.fixture
def chain(tweets: Tweets) -> list[int]:
    """The ids of a chain of twelve tweets, the root last; the fourth and the root are deleted."""
    made = [post(tweets).id]
    while len(made) < LENGTH:
        made.insert(0, retweet(tweets, made[0]).id)
    for deleted in (made[3], made[-1]):
        tweets.delete(deleted).result()
    return made


def all_pages(read: Callable[[int | None], Page], limit: int) -> list[int]:
    """The ids of all pages, of which each but the last has *limit*."""
    found: list[int] = []
    after: int | None = None
    while True:
        page = read(after)
        found += [tweet.id for tweet in page.tweets]
        after = page.next
        if after is None:
            return found
        assert len(page.tweets) == limit


def test_a_chain_in_pages(tweets: Tweets, chain: list[int]) -> None:
    """Whatever the limit, the pages have each tweet of the chain once, parents after children, tombstones too."""
    for start in (0, 3, LENGTH - 1):
        for limit in (1, 5, 9, LENGTH, 100):

            def read(after: int | None, start: int = start, limit: int = limit) -> Page:
                return tweets.list_chain(chain[start], limit, after)

            assert all_pages(read, limit) == chain[start:]
    page = tweets.list_chain(chain[0], LENGTH)
    assert [tweet.count_retweet for tweet in page.tweets] == [0, 1, 2, None, 3, 4, 5, 6, 7, 8, 9, None]


def test_a_cursor_that_is_no_tweet_of_the_chain(tweets: Tweets, chain: list[int]) -> None:
    """It means those below it, as in every list."""
    other = post(tweets).id
    assert [tweet.id for tweet in tweets.list_chain(chain[0], 3, other).tweets] == chain[:3]
    assert [tweet.id for tweet in tweets.list_chain(chain[0], 3, chain[5] - 1).tweets] == chain[6:9]
    assert tweets.list_chain(chain[0], 3, 0) == Page((), None)
    for after in (None, other):
        with pytest.raises(TweetNotFound):
            tweets.list_chain(LARGEST, 3, after)


def test_both_ends_of_a_chain(tweets: Tweets, chain: list[int]) -> None:
    """No tweet is in both, none is left out that there is room for, and it says how many are between them."""
    for near in (1, 2, 11, 12, 13):
        for far in (0, 1, 5, 100):
            nearest, farthest, hidden = tweets.list_chain_ends(chain[0], near, far)
            assert [tweet.id for tweet in nearest] == chain[:near]
            rest = chain[near:][::-1]
            assert [tweet.id for tweet in farthest] == rest[:far]
            assert hidden == len(rest[far:])
    assert tweets.list_chain_ends(chain[-1], 3, 3)[0][0].id == chain[-1]
    with pytest.raises(TweetNotFound):
        tweets.list_chain_ends(LARGEST, 1, 1)


def test_the_newest(tweets: Tweets, chain: list[int]) -> None:
    """All tweets that are not deleted, of all chains, each once."""
    live = [tweet_id for tweet_id in chain if tweet_id not in (chain[3], chain[-1])]
    live = sorted([*live, *(post(tweets).id for _ in range(5))], reverse=True)
    for limit in (1, 4, 15, 16, 100):

        def read(after: int | None, limit: int = limit) -> Page:
            return tweets.list_newest(limit, after)

        assert all_pages(read, limit) == live
    assert tweets.list_newest(10, 0) == Page((), None)
    assert tweets.list_by_user("ann", 10, 0) == Page((), None)
    assert tweets.list_retweets(chain[-1], 10, 0) == Page((), None)
