"""Rebuilds of one index by many processes: one works, the others wait, and Redis needs no more memory than it must."""

import threading
import time
from collections.abc import Collection
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from storage import Tweets, open_storage
from storage.errors import LeaseLost
from storage.index.keys import keys_of
from storage.index.ranking import RankingIndex
from storage.reconciler import LOSSES
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
        tweets.reconciler.rebuild(fail)
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
        index.swap(0, first, state, head, "")
    index.release(0, first)
    assert index._client.zcard(keys.staging) == 1
    assert index.swap(0, second, state, head, "")


def test_a_lease_without_an_end_is_not_held(tweets: Tweets) -> None:
    """A lease that a tool copied without its time to live keeps no rebuild waiting."""
    post(tweets)
    tweets.reconciler.stop()
    tweets.index._client.set(keys_of(tweets.store.id, 0).lease, "copied")

    assert tweets.index.acquire(0)
    assert tweets.index.acquire(0) is None


def test_a_process_does_not_break_its_own_lease(tweets: Tweets) -> None:
    """A reconciler that looks for leases of dead processes, late, leaves alone the one of a rebuild beside it."""
    post(tweets)
    looked: list[set[str]] = []

    def look(_counted: int) -> None:
        if not looked:
            tweets.reconciler._run_ids = set()  # as at the start of the command
            tweets.reconciler.catch_up(5)
            looked.append(tweets.reconciler._run_ids)

    tweets.reconciler.rebuild(look)
    assert looked == [tweets.index.run_ids()]
    assert tweets.reconciler.rebuilds == 2


def test_a_lease_of_a_process_that_died_is_broken(data_dir: Path) -> None:
    """With its embedded server the process that held it is gone: a start does not wait until the lease runs out."""
    with open_storage(data_dir) as tweets:
        post(tweets)
        tweets.reconciler.catch_up()
        assert tweets.index.acquire(0, tweets.index.run_id(0))
    with open_storage(data_dir) as tweets:
        tweets.reconciler.catch_up()
        assert staged_and_leased(tweets) == []


@pytest.mark.parametrize("losses", [1, LOSSES])
def test_a_lost_lease_is_taken_again(tweets: Tweets, losses: int) -> None:
    """A rebuild that was asked for begins again when its lease ran out; a limited number of times."""
    post(tweets)
    left = losses

    def lose(_counted: int) -> None:
        nonlocal left
        if left:
            left -= 1
            tweets.index._client.delete(keys_of(tweets.store.id, 0).lease)

    if losses < LOSSES:
        tweets.reconciler.rebuild(lose)
    else:
        with pytest.raises(LeaseLost, match="ran out"):
            tweets.reconciler.rebuild(lose)
    assert left == 0
    assert tweets.health().lag == 0
    assert staged_and_leased(tweets) == []


def test_a_long_rebuild_keeps_what_it_staged(tweets: Tweets, monkeypatch: pytest.MonkeyPatch) -> None:
    """The lease and the staged ranking outlive their time for as long as the rebuild works."""
    post(tweets)
    monkeypatch.setattr("storage.rebuild.LEASE_S", 0.4)
    monkeypatch.setattr("storage.index.ranking.LEASE_S", 0.4)
    monkeypatch.setattr("storage.index.ranking.STAGING_TTL_S", 0.4)
    monkeypatch.setattr("storage.rebuild.STAGE_AT_ONCE", 1)
    for _ in range(3):
        post(tweets)
    monkeypatch.setattr("storage.recount.PROGRESS_EVERY", 1)
    tweets.reconciler.rebuild(lambda _counted: time.sleep(0.5))
    assert len(whole_ranking(tweets)) == 4
