"""Futures: what is submitted is done when it is flushed, all that came until then as one batch."""

import gc
import threading
import time
import weakref

import pytest

from storage import Tweets
from storage.batch_worker import POSTPONED, BatchWorker
from storage.errors import Overloaded, StorageError, TweetDeleted, TweetNotFound
from storage.records import NewTweet
from tests.builders import Batches, post, retweet

MANY = 20

PATIENCE_S = 60


def test_writes_submitted_together_are_one_batch(tweets: Tweets) -> None:
    """The first one does not set out alone: none is begun before the flush."""
    batches, done = Batches(), threading.Semaphore(0)
    first = post(tweets)
    tweets.observe(batches.wrote, int)
    futures = []
    for number in range(MANY):
        futures.append(tweets.post(NewTweet("ada", str(number), "b")))
        futures[-1].add_done_callback(lambda _: done.release())
        tweets.get(first.id).result()  # time enough to set out
    assert not any(future.done() for future in futures)
    tweets.flush()
    for _ in futures:
        assert done.acquire(timeout=PATIENCE_S)
    assert [future.result().tweet.title for future in futures] == [str(number) for number in range(MANY)]
    assert batches.sizes[0] == MANY


def test_a_batch_is_told_of_before_it_is_answered(tweets: Tweets) -> None:
    """A write is counted when its future is done, however long that takes."""

    class Slow(Batches):
        def wrote(self, writes: int, *_: float) -> None:
            time.sleep(0.05)
            super().wrote(writes)

    batches = Slow()
    tweets.observe(batches.wrote, int)
    post(tweets)
    assert batches.sizes == [1]


def test_a_batch_that_cannot_be_counted_is_stored(tweets: Tweets) -> None:
    """What an observer raises is not the outcome of a write that is on disk."""

    def fail(*_: float) -> None:
        raise OSError

    tweets.observe(fail, int)
    posted = post(tweets)
    assert tweets.top(10).result().tweets == (posted,)


def test_a_query_is_answered_as_of_its_batch(tweets: Tweets) -> None:
    """What was written between submitting it and the flush is in its answer."""
    root = post(tweets)
    future = tweets.get(root.id)
    retweet(tweets, root)
    assert future.result(PATIENCE_S).count_retweet == 1


def test_waiting_flushes(tweets: Tweets) -> None:
    """`result` and `exception` need no flush before them."""
    posted = tweets.post(NewTweet("ada", "t", "b")).result().tweet
    assert tweets.get(posted.id).exception() is None
    assert tweets.get(posted.id).result() == posted
    assert tweets.top(1).result().tweets == (posted,)


def test_a_repeated_call_is_a_future_like_any(tweets: Tweets) -> None:
    """Its tweet is found without anybody who waits; of a deleted tweet the error is TweetDeleted."""
    new, done = NewTweet("ada", "t", "b", key="k"), threading.Semaphore(0)
    first = tweets.post(new).result().tweet
    again = tweets.post(new)
    again.add_done_callback(lambda _: done.release())
    tweets.flush()
    assert done.acquire(timeout=PATIENCE_S)
    assert (again.result().tweet, again.result().replayed) == (first, True)
    tweets.delete(first.id).result()
    assert isinstance(tweets.post(new).exception(PATIENCE_S), TweetDeleted)


def test_a_future_is_not_cancelled(tweets: Tweets) -> None:
    """It may be in a transaction already."""
    future = tweets.post(NewTweet("ada", "t", "b"))
    assert not future.cancel()
    assert tweets.get(future.result().tweet.id).result() == future.result().tweet


def test_an_error_leaves_no_circle(tweets: Tweets) -> None:
    """A future that failed, and whose result was asked for, goes without the garbage collector."""
    gc.disable()
    try:
        future = tweets.get(1)
        for _ in range(2):
            with pytest.raises(TweetNotFound):
                future.result()
        gone = weakref.ref(future)
        del future
        assert gone() is None
    finally:
        gc.enable()


def test_a_full_queue_refuses() -> None:
    """What is over the limit is refused at once; what waits is handled, also when the worker is closed."""
    worker = BatchWorker[int, int]("test", lambda items: [-item for item in items], batch_limit=2, queue_limit=3)
    futures = [worker.submit(number) for number in range(3)]
    with pytest.raises(Overloaded):
        worker.submit(3)
    worker.start()
    worker.close()
    assert [future.result() for future in futures] == [0, -1, -2]
    with pytest.raises(Overloaded):
        worker.submit(4)


def test_what_waited_too_long_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not what was begun: that has its outcome, however long it takes."""
    monkeypatch.setattr("storage.batch_worker.WAIT_AT_MOST_S", 0.05)
    begun, go_on = threading.Event(), threading.Event()

    def handle(items: list[int]) -> list[int]:
        begun.set()
        go_on.wait(PATIENCE_S)
        return items

    worker = BatchWorker[int, int]("test", handle, batch_limit=1, queue_limit=3)
    worker.start()
    first, second = worker.submit(1), worker.submit(2)
    worker.flush()
    assert begun.wait(PATIENCE_S)
    with pytest.raises(Overloaded):
        second.result()
    go_on.set()
    assert first.result() == 1
    worker.close()


def test_a_mistake_in_a_batch_is_an_error_of_each() -> None:
    """Whatever handling a batch raises, no future is left without an outcome, and the next batch is handled."""

    def handle(items: list[int]) -> list[int]:
        return [1 // item for item in items]

    worker = BatchWorker[int, int]("test", handle, batch_limit=9, queue_limit=9)
    failed = [worker.submit(0), worker.submit(1)]
    worker.start()
    assert [type(future.exception(PATIENCE_S)) for future in failed] == [StorageError, StorageError]
    assert worker.submit(1).result(PATIENCE_S) == 1
    worker.close()


def test_what_is_postponed_comes_first_in_the_next_batch() -> None:
    """Nothing is lost, and what could be done at once was done at once."""
    batches: list[list[int]] = []

    def handle(items: list[int]) -> list[int | StorageError]:
        batches.append(items)
        first_great = next((item for item in items if item > 9), None)
        return [item if item <= 9 or item == first_great else POSTPONED for item in items]

    worker = BatchWorker[int, int]("test", handle, batch_limit=4, queue_limit=9)
    futures = [worker.submit(number) for number in (10, 11, 1, 12, 2, 3)]
    worker.start()
    worker.close()
    assert [future.result() for future in futures] == [10, 11, 1, 12, 2, 3]
    assert batches == [[10, 11, 1, 12], [11, 12, 2, 3], [12]]
