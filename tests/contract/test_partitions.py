"""Over however many partitions the log is laid out, and whenever that changes, every answer is the same."""

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from storage import Tweets, open_storage
from storage.errors import CannotOpen
from storage.export import ExportEnded, export_tweets
from storage.ids import PARTITIONS
from storage.index.keys import keys_of
from storage.records import Place, Rank, Ranking, Tweet
from storage.repartition import partition_of_root, repartition
from storage.sql import log
from storage.transfer import Given, import_tweets
from tests.builders import post, retweet, whole_ranking
from tests.cluster import Cluster
from tests.model import PlainTweets

NOW_MS = 1_700_000_000_000
TWEETS = 150


def forest(rng: random.Random) -> Iterator[Given]:
    """Tweets with chains of any shape, with many equal counts, some deleted; always the same ones for one seed."""
    tweet_id = NOW_MS << 21
    made: list[int] = []
    for line in range(1, TWEETS + 1):
        tweet_id += rng.randrange(1, 4_000)
        parent = rng.choice(made[-8:]) if made and rng.random() < 0.7 else None
        deleted = rng.random() < 0.15
        user, title, body = (None, None, None) if deleted else ("ann", f"title {line}", f"body {line}")
        yield Given(
            line, tweet_id, parent, tweet_id, NOW_MS + line, user, title, body, rng.choice([0, 0, 0, 2, 10**12])
        )
        made.append(tweet_id)


def pages_of(given: list[Given], limit: int) -> list[Ranking]:
    """The pages of the ranking as they must be: of a plain recount, sorted, cut into pieces."""
    model, by_id = PlainTweets(), {each.name: each for each in given}
    for each in given:
        model.post(each.name, each.parent, each.base)
    for each in given:
        if each.body is None:
            model.delete(each.name)
    places = [Place(*row) for row in model.ranking()]
    starts = range(0, len(places), limit)
    return [
        Ranking(
            tuple(tweet_of(by_id[place.id], place.count_retweet) for place in places[start : start + limit]),
            places[start + limit - 1] if start + limit < len(places) else None,
        )
        for start in starts
    ]


def tweet_of(given: Given, count: int) -> Tweet:
    """The tweet that *given* becomes."""
    return Tweet(given.name, given.user_name, given.title, given.body, given.parent, count, given.created_at)


LAYOUTS = [
    *(("server", 1, "all"), ("server", 3, "all"), ("server", 16, "all"), ("cluster", 1, "all"), ("cluster", 16, "all")),
    *(("server", 1, "counted"), ("server", 16, "counted"), ("cluster", 3, "counted")),
]


@pytest.fixture(params=LAYOUTS, ids=str)
def laid_out(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Tweets]:
    """Empty storage over so many partitions, on one server or on a cluster, with an index of all tweets or of some."""
    kind, partitions, ranked = request.param
    url = request.getfixturevalue("cluster").url if kind == "cluster" else ""
    with open_storage(tmp_path / "data", redis_url=url, partitions=partitions, ranked=ranked) as opened:
        yield opened


@pytest.mark.parametrize("seed", range(4))
def test_merged_answers_equal_those_of_one_partition(laid_out: Tweets, seed: int) -> None:
    """Pages, cursors, ranks and totals of the same tweets are the same, and those of a plain recount."""
    rng = random.Random(seed)
    given = list(forest(rng))
    import_tweets(laid_out.database, given, 1000, NOW_MS, lambda _: None)
    limit = rng.choice([1, 7, 100])
    expected = pages_of(given, limit)
    found, after = [], None
    for _ in expected:
        found.append(laid_out.top(limit, after).result())
        after = found[-1].next
    assert found == expected
    ranked = [tweet for page in expected for tweet in page.tweets]
    ranks = [laid_out.rank(tweet.id) for tweet in ranked]
    assert ranks == [Rank(number, tweet.count_retweet or 0, len(ranked)) for number, tweet in enumerate(ranked, 1)]
    used = {partition for partition, head in laid_out.database.get_state().heads.items() if head.seq}
    assert len(used) > laid_out.store.partitions // 2, "this test proves nothing: all is in few partitions"


@pytest.mark.parametrize("seed", range(3))
def test_new_layout_has_every_entry_in_a_place(tweets: Tweets, seed: int) -> None:
    """Laid out anew, each chain is in one partition, places are without a gap, a deletion follows its tweet."""
    given = list(forest(random.Random(seed)))
    import_tweets(tweets.database, given, 1000, NOW_MS, lambda _: None)
    before = tweets.store
    assert repartition(tweets.database, 5) == TWEETS
    with tweets.database.reading() as connection:
        state = log.get_state(connection)
        logs = {partition: log.list_entries(connection, partition, 0, 10**6) for partition in state.heads}
    assert state.store.partitions == len(logs) == 5
    assert state.store.id != before.id
    entries = [entry for each in logs.values() for entry in each]
    assert sorted(entry.id for entry in entries if entry.sign > 0) == [each.name for each in given]
    assert sorted(entry.id for entry in entries if entry.sign < 0) == [each.name for each in given if each.body is None]
    where = {entry.id: partition for partition, each in logs.items() for entry in each}
    for partition, each in logs.items():
        head, posted = state.heads[partition], [entry.id for entry in each if entry.sign > 0]
        assert [entry.seq for entry in each] == list(range(1, head.seq + 1))
        assert (head.nonce, head.live) == (each[-1].nonce, sum(entry.sign for entry in each))
        assert posted == sorted(posted)
        assert all(each[at - 1].id == entry.id for at, entry in enumerate(each) if entry.sign < 0)
        assert all(entry.parent is None or where[entry.parent] == partition for entry in each)
        assert all(partition_of_root(entry.id, 5) == partition for entry in each if entry.parent is None)


def test_new_ids_are_new_whatever_the_partition(tweets: Tweets) -> None:
    """An id given after the log was laid out anew is greater than all before: none is given twice."""
    before = 0
    for partitions in (4, 1, 7):
        made = [post(tweets).id for _ in range(20)]
        assert len(set(made)) == 20
        assert min(made) > before
        before = max(made)
        repartition(tweets.database, partitions)


def write(tweets: Tweets, model: PlainTweets, rng: random.Random) -> None:
    """Post some tweets and retweets and delete one, in the service and in the model."""
    for _ in range(12):
        target = rng.choice([*model.live(), None])
        made = retweet(tweets, target) if target else post(tweets)
        model.post(made.id, target, 0)
    victim = rng.choice(model.live())
    tweets.delete(victim).result()
    model.delete(victim)


@pytest.mark.parametrize("seed", range(2))
def test_who_does_not_know_of_it_is_right_all_the_same(
    tweets: Tweets, data_dir: Path, database_url: str, redis_url: str, seed: int
) -> None:
    """A service beside which the log was laid out anew answers and writes as if nothing had been."""
    model, rng = PlainTweets(), random.Random(seed)
    write(tweets, model, rng)
    url = redis_url or f"unix://{tweets.server.socket if tweets.server else None}"
    with open_storage(data_dir, database_url, url) as beside:
        for partitions in (4, 2, 5):
            asked, ranking = rng.choice(model.live()), model.ranking()
            count = model.counts()[asked]
            expected = {
                "get": count,
                "rank": Rank(ranking.index((count, asked)) + 1, count, len(ranking)),
                "top": ranking,
            }
            repartition(beside.database, partitions)
            for question in rng.sample(sorted(expected), 3):
                assert answer(tweets, question, asked) == expected[question]
            write(tweets, model, rng)
            assert whole_ranking(tweets) == whole_ranking(beside) == model.ranking()
        assert tweets.follower.verify() == []
        assert beside.follower.verify() == []
        assert tweets.store == beside.store


def answer(tweets: Tweets, question: str, tweet_id: int) -> object:
    """What the service says when asked."""
    if question == "get":
        return tweets.get(tweet_id).result().count_retweet
    return tweets.rank(tweet_id) if question == "rank" else whole_ranking(tweets)


def test_partitions_that_are_no_more_leave_nothing(tweets: Tweets) -> None:
    """With fewer partitions than before, the index holds keys of those alone."""
    retweet(tweets, post(tweets))
    for partitions in (6, 2):
        repartition(tweets.database, partitions)
        tweets.follower.catch_up()
    names = {key for partition in range(2) for key in keys_of(partition)[:3]}
    assert {key.decode() for key in tweets.index._client.keys("*")} <= names
    assert tweets.follower.verify() == []


@pytest.mark.parametrize("number", [0, PARTITIONS + 1])
def test_impossible_numbers_change_nothing(tweets: Tweets, number: int) -> None:
    """There are from 1 to 1024 partitions, as ids have 10 bits for them."""
    before = tweets.database.get_state()
    with pytest.raises(CannotOpen, match="from 1 to 1024"):
        repartition(tweets.database, number)
    assert tweets.database.get_state() == before


def test_memory_of_a_cluster_is_that_of_its_primaries(cluster: Cluster, data_dir: Path) -> None:
    """What a cluster uses is added up over its primaries, and it names itself with their number."""
    with open_storage(data_dir, redis_url=cluster.url, partitions=3) as tweets:
        found = [node.client.info() for node in cluster.nodes]
        used = sum(each["used_memory"] for each in found if each["role"] == "master")
        assert used / 1.5 < tweets.index.used_memory() < used * 1.5  # it changes from one moment to the next
        assert tweets.index.server_name().endswith(", 3 primaries")


def test_an_export_has_what_was_there_at_its_beginning(tweets: Tweets) -> None:
    """Whatever is posted and retweeted meanwhile, in whichever partition: each parent is in it, and nothing new."""
    rng = random.Random(1)
    before = [post(tweets)]
    for _ in range(40):
        before.append(retweet(tweets, rng.choice(before)) if rng.random() < 0.5 else post(tweets))
    exported = []
    for kept in export_tweets(tweets.database, at_once=3):
        exported.append(kept.id)
        retweet(tweets, retweet(tweets, rng.choice(before)))
        post(tweets)
    assert exported == sorted(tweet.id for tweet in before)


def test_an_export_ends_with_its_layout(tweets: Tweets) -> None:
    """When the log is laid out anew meanwhile, nobody can say any more what was there: so it ends with a sentence."""
    for _ in range(3):
        post(tweets)
    exported = export_tweets(tweets.database, at_once=1)
    assert next(exported)
    repartition(tweets.database, tweets.store.partitions + 1)
    with pytest.raises(ExportEnded, match="export again"):
        list(exported)
