"""What `Tweets` promises, call by call."""

from collections.abc import Callable
from pathlib import Path

import pytest

from storage import Tweets, open_storage
from storage.errors import ChainTooLong, KeyReused, Overloaded, TweetDeleted, TweetNotFound
from storage.ids import LARGEST
from storage.records import NewTweet, Place, Rank
from storage.tools.repair import rebuild_all
from tests.builders import at_once, post, retweet


def test_retweet_takes_what_is_left_out_from_its_target(tweets: Tweets) -> None:
    """Title and body, each by itself, are the target's when they are left out."""
    root = post(tweets, title="A", body="B")
    assert retweet(tweets, root).title == "A"
    other = tweets.post(NewTweet("bob", "C", None, root.id)).result().tweet
    assert (other.title, other.body) == ("C", "B")


def test_the_first_page_is_the_same_object_until_it_may_look_different(tweets: Tweets) -> None:
    """A post below it changes nothing; a count in it does, and a deletion: a page names whom its tweets retweet."""
    root = post(tweets, base=10)
    below = post(tweets)
    seen = tweets.top(1).result()
    post(tweets)
    assert tweets.top(1).result() is seen
    retweet(tweets, root)
    counted = tweets.top(1).result()
    assert counted is not seen
    tweets.delete(below.id).result()
    assert tweets.top(1).result() == counted
    assert tweets.top(1).result() is not counted


def test_base_is_kept_for_ever(tweets: Tweets) -> None:
    """The count a tweet was posted with is part of its count, through a rebuild too."""
    root = post(tweets, base=10**12)
    retweet(tweets, root)
    rebuild_all(tweets)
    assert tweets.get(root.id).result().count_retweet == 10**12 + 1


def test_unknown_and_deleted_targets(tweets: Tweets) -> None:
    """A tweet that never was is not found; one that was deleted is deleted, for each call that needs it."""
    gone = post(tweets)
    tweets.delete(gone.id).result()
    for call in (
        lambda tweet_id: tweets.get(tweet_id).result(),
        lambda tweet_id: tweets.delete(tweet_id).result(),
        tweets.rank,
        lambda tweet_id: retweet(tweets, tweet_id),
    ):
        with pytest.raises(TweetNotFound):
            call(LARGEST)
        with pytest.raises(TweetDeleted):
            call(gone.id)
    listings: list[Callable[[int], object]] = [
        lambda tweet_id: tweets.list_chain(tweet_id, 10),
        lambda tweet_id: tweets.list_retweets(tweet_id, 10),
    ]
    for listing in listings:
        with pytest.raises(TweetNotFound):
            listing(LARGEST)
        listing(gone.id)


def test_deleted_link_stays_in_the_chain(tweets: Tweets) -> None:
    """A deleted link is a tombstone: id, parent and time as they were, the rest null; the counts above stay right."""
    root = post(tweets)
    middle = retweet(tweets, root)
    leaf = retweet(tweets, middle)
    tweets.delete(middle.id).result()
    target, tombstone, last = tweets.list_chain(leaf.id, 10).tweets
    assert (target, last.count_retweet) == (leaf, 1)
    assert (tombstone.id, tombstone.retweet, tombstone.created_at) == (middle.id, root.id, middle.created_at)
    assert (tombstone.user_name, tombstone.title, tombstone.body, tombstone.count_retweet) == (None,) * 4
    retweet(tweets, leaf)
    assert tweets.get(root.id).result().count_retweet == 2
    assert [tweet.id for tweet in tweets.top(10).result().tweets][:2] == [root.id, leaf.id]


def test_deleted_retweet_leaves_the_lists(tweets: Tweets) -> None:
    """Deleted tweets are in no list; lists are newest first and page without doubles."""
    root = post(tweets)
    made = [retweet(tweets, root).id for _ in range(5)]
    tweets.delete(made[2]).result()
    expected = [made[4], made[3], made[1], made[0]]
    first = tweets.list_retweets(root.id, 3)
    rest = tweets.list_retweets(root.id, 3, first.next)
    assert [tweet.id for tweet in first.tweets + rest.tweets] == expected
    assert rest.next is None
    assert [tweet.id for tweet in tweets.list_by_user("bob", 10).tweets] == expected
    assert tweets.list_by_user("unknown", 10).tweets == ()


def test_exact_page_ends_the_list(tweets: Tweets) -> None:
    """A page that holds the last row says that there is no next one."""
    for _ in range(4):
        post(tweets)
    assert tweets.top(4).result().next is None
    assert tweets.top(3).result().next is not None
    assert tweets.list_by_user("ann", 4).next is None


def test_place_that_nobody_holds_any_more(tweets: Tweets) -> None:
    """A page goes on after a place although its tweet has been deleted or has risen since."""
    made = sorted((post(tweets) for _ in range(9)), key=lambda tweet: tweet.id)
    page = tweets.top(4).result()
    assert page.next == Place(0, made[5].id)
    tweets.delete(made[5].id).result()
    assert [tweet.id for tweet in tweets.top(4, page.next).result().tweets] == [tweet.id for tweet in made[4:0:-1]]
    riser = tweets.top(4, page.next).result().next
    assert riser == Place(0, made[1].id)
    retweet(tweets, made[1])
    assert [tweet.id for tweet in tweets.top(4, riser).result().tweets] == [made[0].id]


def test_rank_counts_from_one(tweets: Tweets) -> None:
    """The first of the ranking has rank 1; of equal counts the newer one ranks higher."""
    old, new = post(tweets), post(tweets)
    assert tweets.rank(new.id) == Rank(1, 0, 2)
    assert tweets.rank(old.id) == Rank(2, 0, 2)
    retweet(tweets, old)
    assert tweets.rank(old.id) == Rank(1, 1, 3)


def test_chain_has_its_limit(data_dir: Path, database_url: str) -> None:
    """A tweet may have as many ancestors as the setting says, and not one more."""
    with open_storage(data_dir, database_url, max_ancestors=3) as tweets:
        last = post(tweets)
        for _ in range(3):
            last = retweet(tweets, last)
        with pytest.raises(ChainTooLong):
            retweet(tweets, last)
        assert tweets.get(last.id).result().count_retweet == 0


def test_idempotency_key(data_dir: Path, database_url: str) -> None:
    """One key of one user names one call for good: again the same tweet, with other values refused, deleted gone."""
    with open_storage(data_dir, database_url) as tweets:
        draft = NewTweet("ann", "t", "b", key="k")
        first = tweets.post(draft).result().tweet
    with open_storage(data_dir, database_url) as tweets:
        retweet(tweets, first)
        again = tweets.post(draft).result()
        assert again.replayed
        assert (again.tweet.id, again.tweet.count_retweet) == (first.id, 1)
        for other in (NewTweet("ann", "t", "x", key="k"), NewTweet("ann", "t", "b", first.id, key="k")):
            with pytest.raises(KeyReused):
                tweets.post(other).result()
        assert not tweets.post(NewTweet("bob", "t", "b", key="k")).result().replayed
        tweets.delete(first.id).result()
        with pytest.raises(TweetDeleted):
            tweets.post(draft).result()
        assert len(tweets.list_by_user("ann", 10).tweets) == 0


def test_full_queue_refuses_at_once_and_keeps_what_it_took(data_dir: Path, database_url: str) -> None:
    """With its queue full a write is refused; whatever was not refused is stored."""
    with open_storage(data_dir, database_url, queue_limit=1) as tweets:
        kept: list[int] = []
        refused: list[int] = []

        def write(number: int) -> None:
            for _ in range(30):
                try:
                    kept.append(post(tweets, user_name="ann").id)
                except Overloaded:
                    refused.append(number)

        at_once(16, write)
        assert refused, "sixteen writers never met"
        with tweets.database.reading() as connection:
            stored = connection.exec_driver_sql("SELECT id FROM tweets ORDER BY id").scalars().all()
        assert list(stored) == sorted(kept)


def test_closed_storage_takes_no_write(data_dir: Path, database_url: str) -> None:
    """After close a write is refused rather than left waiting."""
    tweets = open_storage(data_dir, database_url)
    tweets.close()
    with pytest.raises(Overloaded):
        post(tweets)
