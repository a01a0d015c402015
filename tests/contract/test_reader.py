"""Reads: none is older than what was acknowledged, none is of a timeline that is gone, whatever is kept in memory."""

import logging
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import text

from storage import Tweets
from storage.errors import IndexUnavailable, TweetDeleted
from storage.records import Rank
from storage.sql import log
from storage.sql.log import LogState
from storage.tools.import_export import COLUMNS as IMPORTED
from storage.tools.repair import rebuild_all
from storage.tools.verify import verify
from tests.builders import post, retweet, whole_ranking
from tests.cluster import eventually


def go_back(tweets: Tweets, state: LogState) -> None:
    """Let the log lose all that came after *state*, as by a failover to a standby that was behind."""
    gone = text("DELETE FROM tweets WHERE partition = :partition AND seq > :seq")
    with tweets.database.writing() as connection:
        for partition, head in state.heads.items():
            connection.execute(gone, {"partition": partition, "seq": head.seq})
        log.move_heads(connection, state.heads)


def shown(tweets: Tweets) -> list[tuple[int, int]] | None:
    """The ranking as (count, id); None while it is stale or not known."""
    try:
        ranking = tweets.top(10).result()
    except IndexUnavailable:
        return None
    return None if ranking.stale else [(tweet.count_retweet or 0, tweet.id) for tweet in ranking.tweets]


@pytest.mark.parametrize("is_read_first", [True, False])
def test_what_the_log_lost_is_not_shown(tweets: Tweets, is_read_first: bool) -> None:
    """When the log goes back, neither page nor count has what it lost, from the first read or write on."""
    root = post(tweets)
    early = tweets.database.get_state()
    for _ in range(3):
        retweet(tweets, root)
    assert shown(tweets)
    assert tweets.get(root.id).result().count_retweet == 3
    go_back(tweets, early)
    expected = [(0, root.id)]
    if is_read_first:
        assert shown(tweets) in (None, expected)
        assert tweets.get(root.id).result().count_retweet == 0
    new = post(tweets)
    expected.insert(0, (0, new.id))
    assert tweets.get(root.id).result().count_retweet == 0
    assert shown(tweets) in (None, expected)
    eventually(lambda: shown(tweets) == expected)
    assert verify(tweets) == []


def test_what_the_log_lost_is_not_built_upon(tweets: Tweets) -> None:
    """A host that has not seen the log go back does not take an index beyond its batch for one that holds it."""
    root = post(tweets)
    early = tweets.database.get_state()
    for _ in range(3):
        retweet(tweets, root)
    go_back(tweets, early)
    tweets._writer._heads.clear()
    tweets._reader._state = None
    made = retweet(tweets, root)
    assert tweets.get(root.id).result().count_retweet == 1
    assert shown(tweets) in (None, [(1, root.id), (0, made.id)])


@pytest.mark.parametrize("is_folded", [True, False])
def test_an_id_that_another_timeline_gives_again(
    tweets: Tweets, is_folded: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What hangs below it is counted by its parent of now, also when more entries came than were lost: no mistake."""
    lost, other = post(tweets), post(tweets)
    early = tweets.database.get_state()
    again = retweet(tweets, lost)
    tweets.reconciler.catch_up()
    if not is_folded:  # by the writer: then the reconciler has to know the ancestors
        monkeypatch.setattr(tweets.reconciler, "is_current", lambda _partition: False)
        retweet(tweets, again)
        tweets.reconciler.catch_up()
    go_back(tweets, early)
    for tweet_id in (again.id, again.id + 1024, again.id + 2048, again.id + 3072):
        write_beside(tweets, tweet_id, other.id)
    tweets.reconciler.catch_up()
    for _ in range(2):
        retweet(tweets, again)
        tweets.reconciler.catch_up()
    assert verify(tweets) == []
    assert [tweets.get(each.id).result().count_retweet for each in (lost, other, again)] == [0, 6, 2]
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


def write_beside(tweets: Tweets, tweet_id: int, parent: int) -> None:
    """Store a retweet of *parent* as another process would, under that id."""
    with tweets.database.writing() as connection:
        above = log.list_ancestries(connection, [parent])[parent]
        head = log.lock_heads(connection, tweets.store, [above.partition])[above.partition]
        after = log.Head(head.seq + 1, log.new_nonces(1)[0], tweet_id, head.live + 1)
        values = (tweet_id, parent, above.partition, above.depth + 1, *after[:2], 0, 0, "eve", "t", "b")
        log.insert_tweets(connection, IMPORTED[: len(values)], [values])
        log.move_heads(connection, {above.partition: after})


def test_a_page_is_kept_for_the_state_that_it_is_of(tweets: Tweets, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page that holds more than the state that was read before it is not the page of that state."""
    root = post(tweets)
    early = tweets.database.get_state()
    made = post(tweets)
    with monkeypatch.context() as patch:
        patch.setattr(tweets.database, "get_state", lambda: early)
        assert shown(tweets) == sorted([(0, made.id), (0, root.id)], reverse=True)
    go_back(tweets, early)
    rebuild_all(tweets)
    assert shown(tweets) == [(0, root.id)]


def between(monkeypatch: pytest.MonkeyPatch, tweets: Tweets, act: Callable[[], Any]) -> None:
    """Run *act* once, after a count was read and before its place is looked up."""
    pages = tweets.index.pages

    def later(*given: Any) -> Any:
        monkeypatch.setattr(tweets.index, "pages", pages)
        act()
        return pages(*given)

    monkeypatch.setattr(tweets.index, "pages", later)


def test_rank_beside_its_deletion(tweets: Tweets, monkeypatch: pytest.MonkeyPatch) -> None:
    """A tweet that is deleted while its rank is looked up has none, and no rank is below 1."""
    post(tweets)
    victim = post(tweets, base=5)
    between(monkeypatch, tweets, lambda: tweets.delete(victim.id).result())
    with pytest.raises(TweetDeleted):
        tweets.rank(victim.id)


def test_rank_beside_a_change_of_its_count(tweets: Tweets, monkeypatch: pytest.MonkeyPatch) -> None:
    """A rank belongs to the count beside it, also when that changes meanwhile."""
    first, second = post(tweets, base=2), post(tweets, base=1)
    below = [retweet(tweets, second) for _ in range(2)]
    assert tweets.rank(second.id) == Rank(1, 3, 4)
    between(monkeypatch, tweets, lambda: tweets.delete(below[0].id).result())
    assert tweets.rank(second.id) == Rank(1, 2, 3)
    between(monkeypatch, tweets, lambda: tweets.delete(below[1].id).result())
    assert tweets.rank(second.id) == Rank(2, 1, 2)
    assert tweets.rank(first.id) == Rank(1, 2, 2)


@pytest.mark.parametrize("cache_sizes", [(1, 1)])
def test_pages_do_not_depend_on_what_is_kept(tweets: Tweets) -> None:
    """With room for one text every page of the ranking has all of its tweets, again and again."""
    made = sorted((post(tweets, title=f"tweet {number}") for number in range(12)), key=lambda each: -each.id)
    for limit in (1, 5, 100, 5):
        assert [tweet_id for _, tweet_id in whole_ranking(tweets, limit)] == [tweet.id for tweet in made]
        top = tweets.top(limit).result().tweets
        assert [tweet.title for tweet in top] == [tweet.title for tweet in made[:limit]]
