"""However many partitions there are, every answer is the same."""

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from storage import Tweets, open_storage
from storage.records import Place, Rank, Ranking, Tweet
from storage.tools.import_export import ImportRow, export_tweets
from tests.builders import import_tweets, post, retweet
from tests.cluster import Cluster
from tests.model import PlainTweets

NOW_MS = 1_700_000_000_000
TWEETS = 150


def forest(rng: random.Random) -> Iterator[ImportRow]:
    """Tweets with chains of any shape, with many equal counts, some deleted; always the same ones for one seed."""
    tweet_id = NOW_MS << 21
    made: list[int] = []
    for line in range(1, TWEETS + 1):
        tweet_id += rng.randrange(1, 4_000)
        parent = rng.choice(made[-8:]) if made and rng.random() < 0.7 else None
        deleted = rng.random() < 0.15
        user, title, body = (None, None, None) if deleted else ("ann", f"title {line}", f"body {line}")
        yield ImportRow(line, tweet_id, parent, NOW_MS + line, user, title, body, rng.choice([0, 0, 0, 2, 10**12]))
        made.append(tweet_id)


def id_of(row: ImportRow) -> int:
    """The id of a tweet that has one."""
    assert isinstance(row.name, int)
    return row.name


def parent_of(row: ImportRow) -> int | None:
    """The id of the tweet that it retweets."""
    assert not isinstance(row.parent, str)
    return row.parent


def pages_of(given: list[ImportRow], limit: int) -> list[Ranking]:
    """The pages of the ranking as they must be: of a plain recount, sorted, cut into pieces."""
    model, by_id = PlainTweets(), {id_of(each): each for each in given}
    for each in given:
        model.post(id_of(each), parent_of(each), each.base)
    for each in given:
        if each.body is None:
            model.delete(id_of(each))
    places = [Place(*row) for row in model.ranking()]
    starts = range(0, len(places), limit)
    return [
        Ranking(
            tuple(tweet_of(by_id[place.id], place.count_retweet) for place in places[start : start + limit]),
            places[start + limit - 1] if start + limit < len(places) else None,
            above=start,
        )
        for start in starts
    ]


def tweet_of(given: ImportRow, count: int) -> Tweet:
    """The tweet that *given* becomes."""
    texts = (given.user_name, given.title, given.body)
    return Tweet(id_of(given), *texts, parent_of(given), count, given.created_at)


LAYOUTS = [("server", 1), ("server", 3), ("server", 16), ("cluster", 1), ("cluster", 16)]


@pytest.fixture(params=LAYOUTS, ids=str)
def laid_out(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Tweets]:
    """Empty storage of so many partitions, on one server or on a cluster."""
    kind, partitions = request.param
    url = request.getfixturevalue("cluster").url if kind == "cluster" else ""
    with open_storage(tmp_path / "data", redis_url=url, partitions=partitions) as opened:
        yield opened


@pytest.mark.parametrize("seed", range(4))
def test_merged_answers_equal_those_of_one_partition(laid_out: Tweets, tmp_path: Path, seed: int) -> None:
    """Pages, cursors, ranks and totals of the same tweets are the same, and those of a plain recount."""
    rng = random.Random(seed)
    given = list(forest(rng))
    import_tweets(laid_out.database, given, tmp_path, 1000, NOW_MS)
    laid_out.reconciler.catch_up()
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
    assert len(used) > laid_out.store.partitions // 2, "an import leaves most partitions empty"


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
