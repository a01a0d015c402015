"""An index of counted tweets alone says the same as one of all tweets, and misses whatever it has lost."""

import random
from collections.abc import Collection, Iterator
from itertools import combinations

import pytest

from app.factory import create_app
from app.settings import Settings
from storage import Tweets, follow
from storage.ids import LARGEST, encode
from storage.index.keys import keys_of
from storage.records import Place, Rank
from storage.repartition import rank_only, repartition
from storage.sql import counted
from storage.transfer import Given, import_tweets
from tests.builders import at_once, post, retweet, whole_ranking
from tests.contract.test_counting import FAULTS, act, raw
from tests.contract.test_partitions import NOW_MS, forest
from tests.http.client import Client
from tests.model import PlainTweets


@pytest.fixture(params=["counted"])
def index_kind(request: pytest.FixtureRequest) -> str:
    """Only the kind that this file is about."""
    kind: str = request.param
    return kind


def import_forest(tweets: Tweets, model: PlainTweets, rng: random.Random) -> None:
    """Import tweets of years ago, whose ids are smaller than those that are there; some retweet a deleted one."""
    given = [each for each in forest(rng) if each.id not in model.tweets][:60]
    known = {each.name for each in given}
    given = [each for each in given if each.parent is None or each.parent in known]
    import_tweets(tweets.database, given, 1000, NOW_MS, lambda _: None)
    for each in given:
        model.post(each.name, each.parent, each.base)
    for each in given:
        if each.body is None:
            model.delete(each.name)


def said(tweets: Tweets, ids: Collection[int]) -> list[bytes]:
    """All that the service says of its ranking: pages of several sizes with their ETags, ranks, counts, chains."""
    client = Client(create_app(tweets, Settings.from_environment({})))
    replies = []
    for limit in (1, 7, 100):
        cursor = ""
        while cursor is not None:
            replies.append(client.get(f"/api/v1/top?limit={limit}{cursor and f'&cursor={cursor}'}"))
            cursor = replies[-1].json()["next"]
    for tweet in map(encode, ids):
        replies += [client.get(f"/api/v1/tweet/{tweet}{what}") for what in ("", "/rank", "/chain")]
    return [reply.headers.get("etag", "").encode() + reply.body for reply in replies]


@pytest.mark.parametrize("seed", range(3))
def test_every_answer_is_the_same_to_the_byte(tweets: Tweets, seed: int) -> None:
    """Whatever is written, imported, delivered twice, lost or evicted: bytes as from an index of all tweets."""
    rng, model = random.Random(seed), PlainTweets()
    for turn in range(3):
        for _ in range(15):
            act(tweets, model, rng)
            if rng.random() < 0.3:
                rng.choice(FAULTS)(tweets, rng)
        if turn == 1:
            import_forest(tweets, model, rng)
        asked = rng.sample(model.live(), min(10, len(model.live())))
        of_counted = said(tweets, asked)
        assert rank_only(tweets.database, "all")
        assert said(tweets, asked) == of_counted
        assert rank_only(tweets.database, "counted")
        assert said(tweets, asked) == of_counted
    assert whole_ranking(tweets) == model.ranking()
    assert 0 < sum(count == 0 for count, _ in model.ranking()) < len(model.ranking())


def test_only_counted_tweets_are_in_redis(tweets: Tweets) -> None:
    """A tweet comes into both orders when it is retweeted first, and goes when its last retweet does."""
    root = post(tweets)
    keys = keys_of(partition_of(tweets, root.id))[:3]
    assert [raw(tweets).exists(key) for key in keys] == [0, 1, 0]
    middle = retweet(tweets, root)
    leaf = retweet(tweets, middle)
    based = post(tweets, base=3)
    held = {tweet for partition in range(tweets.store.partitions) for tweet in held_by(tweets, partition)}
    assert held == {(encode(root.id), 2), (encode(middle.id), 1), (encode(based.id), 3)}
    tweets.delete(leaf.id).result()
    tweets.delete(middle.id).result()
    assert (encode(root.id), 2) not in held_by(tweets, partition_of(tweets, root.id))
    assert whole_ranking(tweets) == [(3, based.id), (0, root.id)]
    assert tweets.follower.verify() == []


def partition_of(tweets: Tweets, tweet_id: int) -> int:
    """Where the chain of a tweet is."""
    row = tweets.database.find_row(tweet_id)
    assert row
    return row.partition


def held_by(tweets: Tweets, partition: int) -> set[tuple[str, int]]:
    """Ids and counts in a partition of the index, which has the same ids in both orders."""
    keys = keys_of(partition)
    ranking = {(name.decode(), int(score)) for name, score in raw(tweets).zrange(keys.ranking, 0, -1, withscores=True)}
    assert {name.decode() for name in raw(tweets).zrange(keys.by_id, 0, -1)} == {name for name, _ in ranking}
    return ranking


def test_whichever_keys_are_evicted(tweets: Tweets) -> None:
    """Every combination of lost keys is missed at once, by a reader as by a writer, and all is as it was."""
    root, other = post(tweets), post(tweets, base=1)
    retweet(tweets, root)
    for lost in [some for size in (1, 2, 3) for some in combinations(("ranking", "position", "by_id"), size)]:
        for write in (False, True):
            for partition in range(tweets.store.partitions):
                raw(tweets).delete(*(getattr(keys_of(partition), key) for key in lost))
            if write:
                retweet(tweets, root)
            live = sum(head.live for head in tweets.database.get_state().heads.values())
            count = tweets.get(root.id).result().count_retweet
            assert count == live - 2, lost
            assert tweets.rank(other.id) == Rank(2 if count > 1 else 1, 1, live), lost
            assert len(whole_ranking(tweets)) == live, lost
    assert tweets.follower.verify() == []


@pytest.mark.parametrize("key", ["ranking", "by_id"])
def test_a_lost_member_is_missed_for_ever(tweets: Tweets, key: str) -> None:
    """A member that is gone from one order is missed by a reader, and also after a batch that was folded meanwhile."""
    root, other = post(tweets), post(tweets)
    leaf = retweet(tweets, root)
    retweet(tweets, other)
    for write in (False, True):
        raw(tweets).zrem(getattr(keys_of(partition_of(tweets, root.id)), key), encode(root.id))
        if write:
            retweet(tweets, root)
        assert tweets.get(root.id).result().count_retweet == 1 + write
        assert tweets.rank(leaf.id).total == 4 + write
        assert tweets.follower.verify() == []


def test_orders_that_contradict_each_other_are_found(tweets: Tweets) -> None:
    """As many members as there must be, but other ones, or a score that is wrong: `verify` names each tweet."""
    root, other = post(tweets), post(tweets)
    leaf = retweet(tweets, root)
    keys = keys_of(partition_of(tweets, root.id))
    raw(tweets).zrem(keys.by_id, encode(root.id))
    raw(tweets).zadd(keys.by_id, {encode(leaf.id): 0})
    assert tweets.follower.verify() == [(root.id, 1, -1), (leaf.id, 0, -1)]
    tweets.follower.rebuild()
    assert tweets.follower.verify() == []
    raw(tweets).zadd(keys.ranking, {encode(root.id): 5})
    assert tweets.follower.verify() == [(root.id, 1, 5)]
    tweets.follower.rebuild()
    raw(tweets).zrem(keys.ranking, encode(root.id))
    raw(tweets).zadd(keys.ranking, {encode(other.id): 1})
    assert {difference.tweet_id for difference in tweets.follower.verify()} >= {root.id}


@pytest.mark.parametrize("portion", [1, 2, 3, 100])
def test_an_import_with_deleted_parents_is_folded(
    tweets: Tweets, monkeypatch: pytest.MonkeyPatch, portion: int
) -> None:
    """Whoever is retweeted below a tweet that is deleted already gains; the deleted one does not come back."""
    monkeypatch.setattr(follow, "FOLD_AT_ONCE", portion)
    seen = post(tweets)
    rebuilt = tweets.follower.rebuilds
    ids = [(NOW_MS << 21) + 1024 * number for number in range(5)]
    root, gone, below, gone_leaf, last = ids
    parents = dict(zip(ids, [None, root, gone, below, gone_leaf], strict=True))
    given = [
        Given(line, tweet, parents[tweet], tweet, NOW_MS, *((None,) * 3 if tweet in {gone, gone_leaf} else "utb"))
        for line, tweet in enumerate(ids, 1)
    ]
    import_tweets(tweets.database, given, 1000, NOW_MS, lambda _: None)
    assert whole_ranking(tweets) == [(2, root), (1, below), (0, seen.id), (0, last)]
    assert tweets.follower.rebuilds == rebuilt, "this test proves nothing: it was not folded"
    assert tweets.follower.verify() == []


def test_uncounted_tweets_far_below_newer_counted_ones(tweets: Tweets) -> None:
    """Tweets that count 0 are found however many newer ones count."""
    old = [post(tweets).id for _ in range(3)]
    made = [post(tweets, base=1).id for _ in range(30)]
    # By id: those posted in one millisecond have ids in the order of their partitions.
    expected = [(1, tweet) for tweet in sorted(made, reverse=True)]
    expected += [(0, tweet) for tweet in sorted(old, reverse=True)]
    for limit in (1, 2, 40):
        assert whole_ranking(tweets, limit) == expected
    retweet(tweets, sorted(old)[1])
    assert tweets.rank(min(old)) == Rank(34, 0, 34)


def test_pages_and_ranks_while_others_write(tweets: Tweets) -> None:
    """Whoever was told that his tweet is stored finds it on the next page and by its rank; no tweet is there twice."""
    post(tweets)

    def write(number: int) -> None:
        rng, mine = random.Random(number), list[int]()
        for _ in range(12):
            made = retweet(tweets, rng.choice(mine)) if mine and rng.random() < 0.5 else post(tweets)
            mine.append(made.id)
            shown = [tweet.id for tweet in tweets.top(100).result().tweets]
            assert set(mine) <= set(shown)
            assert len(set(shown)) == len(shown)
            rank = tweets.rank(rng.choice(mine))
            assert 1 <= rank.rank <= rank.total
            if rng.random() < 0.2:
                tweets.delete(mine.pop()).result()

    at_once(4, write)
    assert tweets.follower.verify() == []


def newer_by_hand(rows: list[tuple[int, int, int, int | None]], partition: int, at: int, tweet_id: int) -> int:
    """What `count_newer` must say of (id, partition, seq, deleted_seq)."""
    return sum(
        of == partition and tweet > tweet_id and seq <= at and (gone is None or gone > at)
        for tweet, of, seq, gone in rows
    )


@pytest.mark.parametrize("seed", range(2))
def test_newer_tweets_are_counted_as_of_any_place(tweets: Tweets, seed: int) -> None:
    """For each place of the log and each tweet, in the order of ids or not, as many as one by one."""
    rng, model = random.Random(seed), PlainTweets()
    for turn in range(3):
        for _ in range(12):
            act(tweets, model, rng)
        if turn == 1:
            import_forest(tweets, model, rng)
            with tweets.database.reading() as connection:
                assert connection.exec_driver_sql("SELECT count(*) FROM unordered").scalar()
        check_newer(tweets, rng)
    repartition(tweets.database, 3)
    with tweets.database.reading() as connection:
        assert not connection.exec_driver_sql("SELECT count(*) FROM unordered").scalar()
    check_newer(tweets, rng)


def check_newer(tweets: Tweets, rng: random.Random) -> None:
    """Compare some places and tweets of each partition."""
    with tweets.database.reading() as connection:
        rows = [
            (row[0], row[1], row[2], row[3])
            for row in connection.exec_driver_sql("SELECT id, partition, seq, deleted_seq FROM tweets")
        ]
        for partition, head in tweets.database.get_state().heads.items():
            for at in {0, head.seq, *(rng.randint(0, head.seq) for _ in range(4))}:
                for tweet_id in (0, LARGEST, *(rng.choice(rows)[0] for _ in range(6))):
                    found = counted.count_newer(connection, partition, at, tweet_id)
                    assert found == newer_by_hand(rows, partition, at, tweet_id)


def test_each_way_back(tweets: Tweets) -> None:
    """An index of all tweets again leaves no second order behind; what holds already changes nothing."""
    root = post(tweets)
    retweet(tweets, root)
    assert not rank_only(tweets.database, "counted")
    before = tweets.store
    assert rank_only(tweets.database, "all")
    assert whole_ranking(tweets)[0] == (1, root.id)
    assert tweets.store.id != before.id
    assert not [key for key in all_keys(tweets) if key.endswith("by_id")]
    assert tweets.top(1, Place(1, root.id)).result().tweets[0].count_retweet == 0
    assert tweets.follower.verify() == []


def all_keys(tweets: Tweets) -> Iterator[str]:
    """The keys of all partitions that there are."""
    return (key.decode() for key in raw(tweets).keys("*"))
