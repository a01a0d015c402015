"""Ancestors: whatever is in memory, no live tweet is absent, no depth is wrong, and each batch is bounded in work."""

import pytest

from storage import Tweets
from storage.ancestry import load_ancestries
from storage.errors import ChainTooLong, TweetNotFound
from storage.fold import Ancestry, change
from storage.ids import LARGEST
from storage.records import NewTweet
from storage.sql import log
from storage.tools.verify import verify
from tests.builders import Batches, post, retweet

ONE = (1, 1)


def post_chain(tweets: Tweets, length: int) -> list[int]:
    """The ids of a root and *length* retweets, each of the one before."""
    chain = [post(tweets).id]
    for _ in range(length):
        chain.append(retweet(tweets, chain[-1]).id)
    return chain


@pytest.mark.parametrize("cache_sizes", [ONE])
def test_what_was_evicted_exists(tweets: Tweets) -> None:
    """A batch that names more tweets than the cache has room for finds each of them, with its right depth."""
    chains = [post_chain(tweets, 3) for _ in range(4)]
    hot = chains[0][0]
    for _ in range(3):
        futures = [tweets.post(NewTweet("v", None, None, target)) for chain in chains for target in (*chain, hot)]
        made = [future.result().tweet for future in futures]
        with tweets.database.reading() as connection:
            depths = log.list_ancestries(connection, [tweet.id for tweet in made])
        for tweet in made:
            assert depths[tweet.id].depth == len(tweets.list_chain(tweet.id, 100).tweets) - 1
    assert tweets.get(hot).result().count_retweet == 3 + 3 * (4 + 4)
    assert verify(tweets) == []


@pytest.mark.parametrize("cache_sizes", [ONE])
def test_a_full_chain_is_full_whatever_was_evicted(tweets: Tweets, monkeypatch: pytest.MonkeyPatch) -> None:
    """Siblings posted together have one depth, so that none of them can be retweeted where the chain is full."""
    monkeypatch.setattr(tweets._writer, "_max_ancestors", 3)
    parent = post_chain(tweets, 2)[-1]
    siblings = [tweets.post(NewTweet("k", None, None, parent)) for _ in range(20)]
    for sibling in siblings:
        with pytest.raises(ChainTooLong):
            retweet(tweets, sibling.result().tweet)


@pytest.mark.parametrize("cache_sizes", [ONE])
def test_a_catch_up_counts_whatever_was_evicted(tweets: Tweets, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the writer does not fold is folded by the reconciler, with room for one ancestry, exactly."""

    def fail(*_given: object) -> None:
        raise MemoryError

    monkeypatch.setattr("storage.writer.change", fail)
    chains = [post_chain(tweets, 3) for _ in range(3)]
    for chain in chains:
        for future in [tweets.post(NewTweet("v", None, None, target)) for target in chain]:
            future.result()
    assert [tweets.get(chain[0]).result().count_retweet for chain in chains] == [3 + 4] * 3
    assert verify(tweets) == []


def test_loaded_as_one_by_one(tweets: Tweets) -> None:
    """In whatever order and with whatever room, what is loaded is what the log says; it has all ancestors."""
    chains = [post_chain(tweets, length) for length in (0, 1, 5, 12)]
    ids = [tweet_id for chain in chains for tweet_id in chain]
    with tweets.database.reading() as connection:
        expected = log.list_ancestries(connection, ids)
        assert [expected[chains[-1][-1]].depth, expected[chains[-1][1]].parent] == [12, chains[-1][0]]
        for is_kept in (False, True):
            loaded: dict[int, Ancestry] = {}
            for some in ([chains[3][-1]], [chains[2][3], LARGEST], ids[::-3], ids, []):
                loaded = loaded if is_kept else {}
                assert not load_ancestries(connection, loaded, some)
                assert loaded.items() <= expected.items()
                for tweet_id in some:
                    at = tweet_id if tweet_id != LARGEST else None
                    while at is not None:
                        at = loaded[at].parent


def test_a_load_is_bounded_by_ancestors(tweets: Tweets) -> None:
    """What is more than the limit is left out, but the first; ancestors that several share count for each."""
    one, other, third = (post_chain(tweets, 9) for _ in range(3))
    fork = [retweet(tweets, one[-1]).id for _ in range(3)]
    with tweets.database.reading() as connection:
        loaded: dict[int, Ancestry] = {}
        assert load_ancestries(connection, loaded, [other[-1]], 3) == set()
        assert load_ancestries(connection, loaded, [*fork, LARGEST], 30) == set()
        for known in (loaded, {}):
            left_out = load_ancestries(connection, known, [*fork, other[-1], third[2], third[-1]], 32)
            assert left_out == {other[-1], third[-1]}
            assert {*fork, *one, *third[:3]} <= known.keys()


def test_a_batch_is_bounded_by_ancestors(tweets: Tweets, monkeypatch: pytest.MonkeyPatch) -> None:
    """Deep retweets are stored over several batches; one of a root is not kept waiting by them."""
    limit = 25
    monkeypatch.setattr("storage.writer.ANCESTORS_LIMIT", limit)
    chains = [post_chain(tweets, 9) for _ in range(6)]
    batches = Batches()
    tweets.observe(batches.wrote, int)
    deep = [tweets.post(NewTweet("v", None, None, chain[-1])) for chain in chains]
    cheap = tweets.post(NewTweet("w", None, None, chains[0][0]))
    done: list[object] = []
    for future in (*deep, cheap):
        future.add_done_callback(done.append)
    assert [future.result().tweet.retweet for future in deep] == [chain[-1] for chain in chains]
    assert cheap in done[:3]
    assert batches.sizes == [3, 2, 2]
    assert verify(tweets) == []


def test_a_batch_is_bounded_by_text(tweets: Tweets, monkeypatch: pytest.MonkeyPatch) -> None:
    """Long texts are stored over several batches, also those that a retweet takes from its target."""
    monkeypatch.setattr("storage.batch.TEXT_LIMIT", 1000)
    root = post(tweets, body="x" * 900)
    batches = Batches()
    tweets.observe(batches.wrote, int)
    futures = [tweets.post(NewTweet("v", None, None, root.id)) for _ in range(3)]
    futures += [tweets.post(NewTweet("v", "t", "b")) for _ in range(3)]
    assert [future.result().tweet.body for future in futures] == ["x" * 900] * 3 + ["b"] * 3
    assert batches.sizes == [4, 1, 1]


def test_nothing_is_stored_twice(tweets: Tweets, monkeypatch: pytest.MonkeyPatch) -> None:
    """When something fails between commit and answer, the answer is that it is stored, and it is stored once."""
    root = post(tweets)

    def fail(*_given: object) -> None:
        monkeypatch.setattr("storage.writer.change", change)
        raise MemoryError

    monkeypatch.setattr("storage.writer.change", fail)
    made = retweet(tweets, root)
    assert tweets.get(root.id).result().count_retweet == 1
    assert [tweet.id for tweet in tweets.list_retweets(root.id, 10).tweets] == [made.id]
    assert verify(tweets) == []


def test_an_unknown_target_is_not_found(tweets: Tweets) -> None:
    """Also beside others that are found, and again once it was asked for."""
    root = post(tweets)
    for _ in range(2):
        futures = [tweets.post(NewTweet("v", None, None, target)) for target in (LARGEST, root.id)]
        assert isinstance(futures[0].exception(), TweetNotFound)
        assert futures[1].result().tweet.retweet == root.id
