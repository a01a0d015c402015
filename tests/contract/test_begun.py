"""What is begun, and done when it is handed over: all that came until then together."""

import threading
import time

from storage import Tweets
from storage.observer import Observer
from storage.records import Draft
from tests.builders import post, retweet

MANY = 20

PATIENCE_S = 60


class Batches(Observer):
    """Remembers how many writes each batch had."""

    def __init__(self) -> None:
        self.sizes: list[int] = []

    def wrote(self, writes: int, waiting: int, took_s: float) -> None:  # noqa: ARG002  # that is what is told
        """Hear of a batch."""
        self.sizes.append(writes)


def test_writes_begun_together_are_one_batch(tweets: Tweets) -> None:
    """The first one does not set out alone: none is begun before all are handed over."""
    batches, told = Batches(), threading.Semaphore(0)
    first = post(tweets)
    tweets.observe(batches)
    begun = []
    for number in range(MANY):
        begun.append(tweets.begin_post(Draft("ada", str(number), "b"), told.release))
        tweets.get(first.id)  # time enough to set out
    tweets.hand_over()
    for _ in begun:
        assert told.acquire(timeout=PATIENCE_S)
    assert [each.get().tweet.title for each in begun] == [str(number) for number in range(MANY)]
    assert batches.sizes[0] == MANY


def test_a_batch_is_told_of_before_it_is_answered(tweets: Tweets) -> None:
    """Whoever has the answer finds his write counted, however long that takes."""

    class Slow(Batches):
        def wrote(self, writes: int, waiting: int, took_s: float) -> None:
            time.sleep(0.05)
            super().wrote(writes, waiting, took_s)

    batches = Slow()
    tweets.observe(batches)
    post(tweets)
    assert batches.sizes == [1]


def test_a_question_is_answered_as_of_when_it_is_handed_over(tweets: Tweets) -> None:
    """What was written between the question and that is in its answer."""
    told = threading.Semaphore(0)
    root = post(tweets)
    begun = tweets.begin_get(root.id, told.release)
    retweet(tweets, root)
    tweets.hand_over()
    assert told.acquire(timeout=PATIENCE_S)
    assert begun.get().count_retweet == 1


def test_who_waits_need_not_hand_over(tweets: Tweets) -> None:
    """Without somebody to tell, what is begun is done."""
    posted = tweets.begin_post(Draft("ada", "t", "b")).get().tweet
    assert tweets.begin_get(posted.id).get() == posted
    assert tweets.begin_top(1).get().tweets == (posted,)
