"""The top of a window is what counting by hand says, on both database systems, from the log alone."""

import random
from collections import Counter
from typing import Any

import pytest

from storage import Tweets
from storage.errors import StoreBusy, WindowTooLarge
from storage.ids import LARGEST
from storage.records import Place
from storage.sql import windows
from storage.sql.database import Database
from storage.sql.windows import Window, rank_tweets, rank_users, rank_window
from tests.builders import post, retweet
from tests.planted import HOUR_MS, NOW_MS, PlantedLog, plant

pytestmark = pytest.mark.parametrize("partitions", [3], ids=[""])


def never_rest() -> None:
    """Go on."""


def count_by_hand(log: PlantedLog, window: Window) -> tuple[list[Place], list[dict[str, Any]]]:
    """What each tweet and each user received, by walking every chain."""
    received, by_user, tweets_of = Counter[int](), Counter[str](), set[tuple[str, int]]()
    for each in log.values():
        if each.deleted or not window.since_ms < each.id >> 21 <= window.until_ms:
            continue
        for ancestor in log.ancestors(each.id):
            if not ancestor.deleted:
                received[ancestor.id] += 1
                if ancestor.user != each.user:
                    by_user[ancestor.user] += 1
                    tweets_of.add((ancestor.user, ancestor.id))
    tweets = sorted((Place(count, tweet_id) for tweet_id, count in received.items()), reverse=True)
    users = [
        {"user_name": user, "received": count, "tweets": sum(name == user for name, _ in tweets_of)}
        for user, count in sorted(by_user.items(), key=lambda each: (-each[1], each[0]))
    ]
    return tweets, users


@pytest.mark.parametrize("seed", range(4))
def test_equal_to_counting_by_hand(database: Database, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Any window, however it is cut into statements and look-ups, and with tweets of every age and deleted ones."""
    rng = random.Random(seed)
    log = plant(database, rng, 150)
    monkeypatch.setattr(windows, "LOOKED_UP", 2)
    for hours in (1, 3, 24, 366 * 24):
        for until_ms in (NOW_MS, NOW_MS - rng.randrange(20) * HOUR_MS):
            window = Window(until_ms - hours * HOUR_MS, until_ms)
            monkeypatch.setattr(windows, "TWEETS_IN_A_PART", rng.choice([1, 7, 1000]))
            tweets, users = count_by_hand(log, window)
            assert rank_tweets(database, window, never_rest) == tweets
            assert rank_users(database, window, never_rest) == users


def test_deleted_tweets_leave_no_gap(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many of the first are deleted, the answer has as many tweets as there are."""
    log = plant(database, random.Random(5), 200)
    window = Window(0, NOW_MS)
    for kept in (1, 2, 30):
        monkeypatch.setattr(windows, "TWEETS_KEPT", kept)
        assert rank_tweets(database, window, never_rest) == count_by_hand(log, window)[0][:kept]


def test_the_ends_of_a_window(database: Database) -> None:
    """A retweet of the first millisecond is out, one of the last is in."""
    log = plant(database, random.Random(1), 60)
    times = sorted({each.id >> 21 for each in log.values() if each.parent and not each.deleted})
    for time_ms in times[:5]:
        for window in (Window(time_ms - 1, time_ms), Window(time_ms, time_ms + 1)):
            assert rank_tweets(database, window, never_rest) == count_by_hand(log, window)[0]


def test_a_window_has_its_limit(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """As many retweets as may be are counted, and not one more."""
    log = plant(database, random.Random(2), 100)
    retweets = sum(each.parent is not None and not each.deleted for each in log.values())
    monkeypatch.setattr(windows, "MOST_RETWEETS", retweets)
    assert rank_tweets(database, Window(0, NOW_MS), never_rest)
    monkeypatch.setattr(windows, "MOST_RETWEETS", retweets - 1)
    with pytest.raises(WindowTooLarge):
        rank_tweets(database, Window(0, NOW_MS), never_rest)


@pytest.mark.parametrize("database_url", [""])
def test_resting_ends_the_reading(database: Database) -> None:
    """What the rest raises leaves the reading, and the connections are free again."""
    plant(database, random.Random(3), 50)

    def refuse() -> None:
        raise StoreBusy

    for rank in (rank_tweets, rank_users):
        with pytest.raises(StoreBusy):
            rank(database, Window(0, NOW_MS), refuse)
    assert rank_tweets(database, Window(0, NOW_MS), never_rest)


@pytest.mark.parametrize("index_kind", ["server"])
def test_the_service_needs_no_index(tweets: Tweets) -> None:
    """The tweets of a window come with their counts, also while the index is away; one deleted since stays out."""
    root, other = post(tweets, base=10), post(tweets, "cyd")
    middle = retweet(tweets, root, "ada")
    retweet(tweets, middle, "ann")
    retweet(tweets, other)
    window, places = rank_window(tweets.windows, tweets.database, rank_tweets, HOUR_MS).result()
    assert places == [(2, root.id), (1, middle.id), (1, other.id)]
    assert window.until_ms - window.since_ms == HOUR_MS
    _, users = rank_window(tweets.windows, tweets.database, rank_users, HOUR_MS).result()
    assert users == [{"user_name": name, "received": 1, "tweets": 1} for name in ("ada", "ann", "cyd")]
    assert tweets.server
    tweets.server.stop()
    tweets.delete(other.id).result()
    listed = tweets.list_live([tweet_id for _, tweet_id in places], 2)
    assert [(tweet.id, tweet.count_retweet) for tweet in listed] == [(root.id, 12), (middle.id, 1)]
    assert tweets.list_live([other.id, LARGEST, middle.id], 100) == listed[1:]
