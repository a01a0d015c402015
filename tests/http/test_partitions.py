"""Answers do not depend on how many partitions the log has, nor on how many nodes the index is."""

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.http.application import Application
from storage import open_storage
from storage.ids import encode
from tests.builders import import_tweets
from tests.cluster import Cluster
from tests.contract.test_partitions import NOW_MS, forest, id_of
from tests.http.client import Client, Reply
from tests.http.conftest import SETTINGS

PARTITIONS = 16


@pytest.mark.parametrize("seed", range(2))
def test_answers_are_equal_to_the_byte(cluster: Cluster, tmp_path: Path, seed: int) -> None:
    """All that can be read about the same tweets is the same from one partition as from sixteen on a cluster."""
    given = list(forest(random.Random(seed)))
    limit = random.Random(seed).choice([3, 7, 30])
    with (
        open_storage(tmp_path / "one") as one,
        open_storage(tmp_path / "many", redis_url=cluster.url, partitions=PARTITIONS) as many,
    ):
        for tweets in (one, many):
            import_tweets(tweets.database, given, tmp_path, 1000, NOW_MS)
            tweets.reconciler.catch_up()
        alone, merged = (Client(Application(tweets, SETTINGS)) for tweets in (one, many))
        compared = 0
        for path in paths(limit, [encode(id_of(each)) for each in given[::4]]):
            for _ in pages(path, alone, merged):
                compared += 1
        used = {partition for partition, head in many.database.get_state().heads.items() if head.seq}
        assert len(used) > PARTITIONS // 2, "this test proves nothing: all is in few partitions"
        assert compared > len(given)


def paths(limit: int, ids: list[str]) -> Iterator[str]:
    """All there is to ask."""
    yield f"/api/v1/top?limit={limit}"
    yield "/"
    yield f"/api/v1/users/ann/tweets?limit={limit}"
    for tweet_id in ids:
        for more in ("", "/rank", "/chain", f"/retweets?limit={limit}"):
            yield f"/api/v1/tweet/{tweet_id}{more}"


def pages(path: str, alone: Client, merged: Client) -> Iterator[Reply]:
    """The answer at *path*, and the pages that follow it; each is the same from both."""
    answer, other = alone.call("GET", path), merged.call("GET", path)
    assert (answer.status, answer.body) == (other.status, other.body), path
    assert answer.headers.get("etag") == other.headers.get("etag")
    assert "stale" not in answer.headers
    yield answer
    following = answer.json().get("next") if path != "/" else None
    if following is not None:
        yield from pages(f"{path.partition('&')[0]}&cursor={following}", alone, merged)
