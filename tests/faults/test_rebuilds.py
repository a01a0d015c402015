"""Rebuilds of one index by many processes: one works, the others wait, and Redis needs no more memory than it must."""

import threading
import time
from collections.abc import Collection
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from storage import Tweets, open_storage
from storage.errors import IndexUnavailable
from storage.index.keys import keys_of
from storage.index.ranking import RankingIndex
from storage.tools.health import get_health
from storage.tools.repair import rebuild_all
from tests.builders import post, retweet, whole_ranking


def staged_and_leased(tweets: Tweets) -> list[bytes]:
    """The keys of a rebuild that are there."""
    return [key for key in tweets.index._client.keys("*") if key.endswith((b":staging", b":lease"))]


def test_a_herd_rebuilds_once(data_dir: Path, tweets: Tweets, monkeypatch: pytest.MonkeyPatch) -> None:
    """Six processes see an emptied index at once: one rebuilds it, at no time are two rankings staged."""
    root = post(tweets).id
    for _ in range(5):
        retweet(tweets, root)
    working, most, lock = 0, 0, threading.Lock()
    stage = RankingIndex.stage

    def stage_slowly(index: RankingIndex, partition: int, token: str, counts: Collection[Any] = ()) -> int:
        nonlocal working, most
        with lock:
            working += 1
            most = max(most, working)
        time.sleep(0.2)  # in which the others come
        try:
            return stage(index, partition, token, counts)
        finally:
            with lock:
                working -= 1

    with ExitStack() as opened:
        herd = [tweets, *(opened.enter_context(open_storage(data_dir, attach=True)) for _ in range(5))]
        for each in herd:
            each.reconciler.catch_up()
        before = sum(each.reconciler.rebuilds for each in herd)
        monkeypatch.setattr(RankingIndex, "stage", stage_slowly)
        tweets.index._client.flushall()
        for each in herd:
            each.reconciler.catch_up()
            assert whole_ranking(each)[0] == (5, root)
        assert sum(each.reconciler.rebuilds for each in herd) == before + 1
        assert most == 1
        assert staged_and_leased(tweets) == []


def test_a_failed_rebuild_leaves_nothing(tweets: Tweets) -> None:
    """What was staged goes when a rebuild ends in an error, and with it the lease."""
    post(tweets)

    def fail(_counted: int) -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        rebuild_all(tweets, fail)
    assert staged_and_leased(tweets) == []


def test_a_lost_lease_ends_a_rebuild(tweets: Tweets) -> None:
    """A process that lost the lease can neither stage nor swap any more, and removes nothing of the new holder's."""
    post(tweets)
    tweets.reconciler.stop()
    index, keys = tweets.index, keys_of(tweets.store.id, 0)
    first = index.acquire(0)
    assert first
    assert index.acquire(0) is None
    index.stage(0, first, [(1, 1)])
    index._client.delete(keys.lease)  # it has expired
    second = index.acquire(0)
    assert second
    assert index._client.exists(keys.staging) == 0
    index.stage(0, second, [(1, 1)])
    state, head = index.counts(0).state, tweets.database.get_state().heads[0]
    with pytest.raises(Exception, match="evicted it, or another process has taken over"):
        index.stage(0, first, [(2, 2)])
    with pytest.raises(Exception, match="evicted it, or another process has taken over"):
        index.swap(0, first, state, head)
    index.release(0, first)
    assert index._client.zcard(keys.staging) == 1
    assert index.swap(0, second, state, head)


def test_a_lease_without_an_end_is_not_held(tweets: Tweets) -> None:
    """A lease that a tool copied without its time to live keeps no rebuild waiting."""
    post(tweets)
    tweets.reconciler.stop()
    tweets.index._client.set(keys_of(tweets.store.id, 0).lease, "copied")

    assert tweets.index.acquire(0)
    assert tweets.index.acquire(0) is None


def test_a_lease_of_a_process_that_died_is_broken(data_dir: Path) -> None:
    """With its embedded server the process that held it is gone: a start does not wait until the lease runs out."""
    with open_storage(data_dir) as tweets:
        tweets.reconciler.catch_up()  # until then a start may hold it itself
        assert tweets.index.acquire(0)
        assert tweets.index.acquire(0) is None
    with open_storage(data_dir) as tweets:
        tweets.reconciler.catch_up()
        assert tweets.index.acquire(0)


def test_a_rebuild_whose_lease_is_lost_says_so(tweets: Tweets) -> None:
    """A rebuild that was asked for ends when its lease ran out; the next one is done."""
    post(tweets)
    with pytest.raises(IndexUnavailable, match="ran out"):
        rebuild_all(tweets, lambda _: tweets.index._client.delete(keys_of(tweets.store.id, 0).lease))
    rebuild_all(tweets)
    assert get_health(tweets).lag == 0
    assert staged_and_leased(tweets) == []


def test_a_long_rebuild_keeps_what_it_staged(tweets: Tweets, monkeypatch: pytest.MonkeyPatch) -> None:
    """The lease and the staged ranking outlive their time for as long as the rebuild works."""
    post(tweets)
    monkeypatch.setattr("storage.rebuild.LEASE_S", 1.5)
    monkeypatch.setattr("storage.index.ranking.LEASE_S", 1.5)
    monkeypatch.setattr("storage.index.ranking.STAGING_TTL_S", 1.5)
    monkeypatch.setattr("storage.rebuild.STAGE_AT_ONCE", 1)
    post(tweets)
    rebuild_all(tweets, lambda _counted: time.sleep(2))
    assert len(whole_ranking(tweets)) == 2
