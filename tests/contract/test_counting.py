"""Whatever happens, the service says what a plain recount says."""

import random
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from storage import Tweets
from storage.errors import IndexUnavailable, TweetDeleted
from storage.fold import Change, change
from storage.index.keys import Keys, keys_of
from storage.index.ranking import FoldRequest, IndexState, fold_call
from storage.records import NewTweet
from storage.sql import log
from storage.sql.log import Head
from storage.tools.verify import verify
from tests.builders import at_once, post, retweet, whole_ranking
from tests.model import PlainTweets


def raw(tweets: Tweets) -> Any:
    """Our own way into the server, past the index."""
    return tweets.index._client


def keys_of_one(tweets: Tweets, rng: random.Random) -> Keys:
    """The keys of some partition."""
    return keys_of(tweets.store.id, rng.randrange(tweets.store.partitions))


def deliver_again(tweets: Tweets, rng: random.Random) -> None:
    """Send a batch to Redis that it has had already, as a client does that never saw the reply."""
    partition = rng.randrange(tweets.store.partitions)
    with tweets.database.reading() as connection:
        head = log.get_state(connection).heads[partition]
        if head.seq == 0:
            return
        start = rng.randrange(head.seq)
        nonce = log.find_nonce(connection, partition, start)
        entries = log.list_entries(connection, partition, start, head.seq)
        ancestries = log.list_chains(connection, [each.parent for each in entries if each.parent is not None])
    assert nonce is not None
    before = tweets.index.counts(partition).state
    whole = change(entries, lambda tweet_id: ancestries[tweet_id].parent)
    request = FoldRequest(partition, Head(start, nonce, 0, before.live), head, whole)
    applied, *_ = tweets.index._run(*fold_call(tweets.store.id, request))
    # Unless it went back to there just now.
    assert not applied or (before.seq, before.nonce) == (start, nonce), "it has had that batch"


def lose_everything(tweets: Tweets, _rng: random.Random) -> None:
    """Redis restarts empty."""
    raw(tweets).flushall()


def lose_a_member(tweets: Tweets, rng: random.Random) -> None:
    """A tweet is removed from the ranking by hand."""
    keys = keys_of_one(tweets, rng)
    pop = raw(tweets).zpopmax if rng.random() < 0.5 else raw(tweets).zpopmin
    pop(keys.ranking)


def lose_keys(tweets: Tweets, rng: random.Random) -> None:
    """Redis evicts a position, the ranking beside it, or both."""
    keys = keys_of_one(tweets, rng)[:2]
    for key in rng.sample(keys, rng.randint(1, 2)):
        raw(tweets).delete(key)


def go_back(tweets: Tweets, rng: random.Random) -> None:
    """
    A partition comes back as it was some writes ago: here, as it was remembered first, else remembered now.

    All of its keys at once, as they are lost and found in a server's file: the reconciler may be at work at any time.
    """
    client, keys = raw(tweets), keys_of_one(tweets, rng)
    past = Keys(*(f"past:{key}" for key in keys))  # in the same slot
    source, goal = (past, keys) if client.exists(past.position) else (keys, past)
    with client.pipeline(transaction=True) as together:
        for copied, replaced in zip(source[:2], goal[:2], strict=True):
            together.delete(replaced)
            together.copy(copied, replaced)
        together.execute()


FAULTS: list[Callable[[Tweets, random.Random], None]] = [
    deliver_again,
    lose_everything,
    lose_a_member,
    lose_keys,
    go_back,
]


def act(tweets: Tweets, model: PlainTweets, rng: random.Random) -> None:
    """Post, retweet or delete, in the service and in the model."""
    live = model.live()
    dice = rng.random()
    if live and dice < 0.15:
        victim = rng.choice(live)
        tweets.delete(victim).result()
        model.delete(victim)
        return
    target = rng.choice(live[-6:]) if live and dice < 0.85 else None
    base = rng.choice([0, 0, 0, 1, 7, 10**12])
    made = retweet(tweets, target, base=base) if target else post(tweets, base=base)
    model.post(made.id, target, base)


def catch_up(tweets: Tweets) -> None:
    """Bring the index up to date; a fault may have hit a rebuild that was under way, and its lease."""
    with suppress(IndexUnavailable):
        tweets.reconciler.catch_up()
    tweets.reconciler.catch_up()


@pytest.mark.parametrize("seed", range(6))
def test_equal_to_a_plain_recount(tweets: Tweets, seed: int) -> None:
    """Whatever is posted, retweeted or deleted, and whatever befalls Redis, all is as a recount says."""
    rng, model = random.Random(seed), PlainTweets()
    for step in range(80):
        act(tweets, model, rng)
        if rng.random() < 0.15:
            rng.choice(FAULTS)(tweets, rng)
        if step % 8 == 0:
            catch_up(tweets)
            assert whole_ranking(tweets, limit=rng.choice([1, 3, 100])) == model.ranking()
    catch_up(tweets)
    ranking = model.ranking()
    assert whole_ranking(tweets) == ranking
    assert verify(tweets) == []
    for rank, (count, tweet_id) in enumerate(ranking, 1):
        found = tweets.rank(tweet_id)
        assert (found.rank, found.count_retweet, found.total) == (rank, count, len(ranking))
        assert tweets.get(tweet_id).result().count_retweet == count


def test_eight_writers_lose_nothing_where_the_naive_way_does(tweets: Tweets) -> None:
    """Eight writers retweet one tweet 250 times each: ours counts 2,000; reading, adding, writing back does not."""
    viral = post(tweets)
    client = raw(tweets)
    client.zadd("naive", {"viral": 0})

    def write(_number: int) -> None:
        for _ in range(250):
            retweet(tweets, viral)
            client.zadd("naive", {"viral": float(client.zscore("naive", "viral") or 0) + 1})

    at_once(8, write)
    assert tweets.get(viral.id).result().count_retweet == 2000
    assert verify(tweets) == []
    naive: float = client.zscore("naive", "viral")
    assert naive < 2000, "the control lost nothing: this test does not race"


def test_deleting_at_once_counts_once(tweets: Tweets) -> None:
    """Of eight who delete one tweet at the same time one succeeds, and its ancestors lose one."""
    root = post(tweets)
    middle = retweet(tweets, root)
    refused: list[int] = []

    def delete(number: int) -> None:
        try:
            tweets.delete(middle.id).result()
        except TweetDeleted:
            refused.append(number)

    at_once(8, delete)
    assert len(refused) == 7
    assert tweets.get(root.id).result().count_retweet == 0


def test_the_same_key_at_once_posts_once(tweets: Tweets) -> None:
    """Sixteen equal calls with one idempotency key post one tweet, which counts once."""
    root = post(tweets)
    ids: list[int] = []
    at_once(16, lambda _n: ids.append(tweets.post(NewTweet("bob", None, None, root.id, key="k")).result().tweet.id))
    assert len(set(ids)) == 1
    assert tweets.get(root.id).result().count_retweet == 1


def test_long_chain_credits_every_ancestor(tweets: Tweets) -> None:
    """A retweet at the end of a chain of 300 adds one to each of them, and none to itself."""
    chain = [post(tweets)]
    for _ in range(300):
        chain.append(retweet(tweets, chain[-1]))
    counts = [tweet.count_retweet for tweet in tweets.list_chain(chain[-1].id, 2000).tweets]
    assert counts == list(range(301))


def test_a_batch_that_credits_thousands(tweets: Tweets) -> None:
    """However many tweets gain or lose by one batch, each does by its own amount; one that is not ranked stays out."""
    ids = list(range(1, 5_002, 2))
    index, at, to = tweets.index, Head(10**9, 1, 0, len(ids)), Head(10**9 + 1, 2, 0, 0)
    tweets.reconciler.stop()
    token = index.acquire(0)
    assert token
    index.stage(0, token, [(tweet_id, 10**12) for tweet_id in ids])
    assert index.swap(0, token, index.counts(0).state, at)

    gains = {tweet_id: tweet_id if tweet_id % 3 else -tweet_id for tweet_id in range(1, 5_002)}
    (folded,) = index.fold_all([FoldRequest(0, at, to, Change({}, gains, []))])
    assert isinstance(folded, IndexState)
    assert folded.matches(to._replace(live=len(ids)))
    counts = index.counts(0, gains).counts
    assert counts == [10**12 + gain if tweet_id % 2 else None for tweet_id, gain in gains.items()]
