"""Whichever call to SQL or Redis fails: each request that waits gets its own answer, and all is exact in the end."""

import random
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from storage import Tweets, open_storage
from storage.batch import Command
from storage.errors import KeyReused, Retryable, StorageError, StoreUnavailable, TweetDeleted, TweetNotFound
from storage.ids import LARGEST
from storage.records import NewTweet
from storage.tools.verify import verify
from storage.writer import Writer
from tests.builders import at_once, post, whole_ranking
from tests.e2e.commands import PATIENCE_S
from tests.faults.faulty import Faults, put_into_drivers
from tests.faults.services import eventually
from tests.model import PlainTweets

CALLS_AT_MOST = 80
"""Two batches make fewer calls than that."""

FAILURES = {StoreUnavailable}
"""What a write may be told beside what it would be told if all were well."""

Outcome = int | type[StorageError] | None


class Round:
    """Writes of every kind, and what each of them was told."""

    def __init__(self, tweets: Tweets, taken: threading.Event, number: int, root: int, victim: int) -> None:
        self._tweets = tweets
        self._taken = taken
        self.victim = victim
        self.drafts = [
            NewTweet("ann", f"Alone {number}", "b", key=f"alone {number}"),
            *[NewTweet("ann", f"Title {number}", "b", base=3, key=f"post {number} {each}") for each in range(3)],
            *[NewTweet("bob", None, None, root, key=f"retweet {number} {each}") for each in range(3)],
            NewTweet("bob", None, None, LARGEST, key=f"nothing {number}"),
            NewTweet("ann", "Another title", "b", key="used"),
        ]
        self.outcomes: list[Outcome] = [None] * len(self.drafts)
        self.deletion: Outcome = None

    def run(self) -> None:
        """Make the first write alone, and all others in one batch behind it."""
        threads = [threading.Thread(target=self._post, args=(each,)) for each in range(len(self.drafts))]
        threads.append(threading.Thread(target=self._delete))
        with self._tweets.database._backend.write_lock(60):
            self._taken.clear()
            threads[0].start()
            assert self._taken.wait(PATIENCE_S)
            for thread in threads[1:]:
                thread.start()
            eventually(lambda: self._tweets.waiting() == len(threads) - 1)
        for thread in threads:
            thread.join()

    def _post(self, each: int) -> None:
        try:
            self.outcomes[each] = self._tweets.post(self.drafts[each]).result().tweet.id
        except StorageError as error:
            self.outcomes[each] = type(error)

    def _delete(self) -> None:
        try:
            self._tweets.delete(self.victim).result()
        except StorageError as error:
            self.deletion = type(error)

    def check(self, model: PlainTweets) -> None:
        """With all well again, ask what became of each: what was told holds. Then *model* knows it, too."""
        for draft, told in zip(self.drafts, self.outcomes, strict=True):
            if draft.key == "used":
                assert told in {KeyReused, *FAILURES}, told
            elif draft.retweet == LARGEST:
                assert told in {TweetNotFound, *FAILURES}, told
            else:
                assert isinstance(told, int) or told in FAILURES, told
                posted = self._tweets.post(draft).result()
                assert not isinstance(told, int) or (posted.replayed and posted.tweet.id == told)
                model.post(posted.tweet.id, draft.retweet, draft.base)
        assert self.deletion is None or self.deletion in FAILURES
        try:
            self._tweets.delete(self.victim).result()
            assert self.deletion is not None
        except TweetDeleted:
            pass
        model.delete(self.victim)


def tell_when_taken(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Is set by the writer each time that it has taken a batch."""
    taken, outcomes = threading.Event(), Writer._outcomes

    def noted(writer: Writer, commands: list[Command]) -> list[Any]:
        taken.set()
        return outcomes(writer, commands)

    monkeypatch.setattr(Writer, "_outcomes", noted)
    return taken


@pytest.mark.parametrize("made", [False, True], ids=["not made", "answer lost"])
@pytest.mark.parametrize("part", ["sql", "redis"])
def test_the_nth_call_of_a_batch_fails(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch, part: str, *, made: bool
) -> None:
    """For N = 1, 2, 3 and so on, until two batches pass without a failure."""
    faults, model, taken = Faults(part, made=made), PlainTweets(), tell_when_taken(monkeypatch)
    put_into_drivers(faults, monkeypatch)
    with open_storage(data_dir) as tweets:
        root = post(tweets).id
        model.post(root, None, 0)
        model.post(tweets.post(NewTweet("ann", "A title", "b", key="used")).result().tweet.id, None, 0)
        for number in range(1, CALLS_AT_MOST):
            victim = post(tweets).id
            model.post(victim, None, 0)
            eventually(lambda: tweets.health().lag == 0)  # so that the writer folds by itself
            this = Round(tweets, taken, number, root, victim)
            faults.let_fail(number)
            this.run()
            fired = faults.fired
            faults.let_none_fail()
            if part == "redis":
                assert not FAILURES & set(this.outcomes)  # SQL alone decides the answer
            this.check(model)
            if not fired:
                break
        assert number > 4
        assert not fired, "the last call was never reached"
        assert whole_ranking(tweets) == model.ranking()
        assert verify(tweets) == []


@pytest.mark.parametrize("made", [False, True], ids=["not made", "answer lost"])
@pytest.mark.parametrize("part", ["sql", "redis"])
def test_one_call_in_fifteen_fails(data_dir: Path, monkeypatch: pytest.MonkeyPatch, part: str, *, made: bool) -> None:
    """Whoever makes it: writers, readers or the reconciler. Nobody is told anything that does not hold in the end."""
    faults = Faults(part, made=made)
    put_into_drivers(faults, monkeypatch)
    told: dict[str, int] = {}
    with open_storage(data_dir) as tweets:
        root = post(tweets).id

        def write(thread: int) -> None:
            rng = random.Random(thread)
            for number in range(25):
                try:
                    draft = NewTweet("bob", None, None, root, key=f"{thread} {number}")
                    told[f"{thread} {number}"] = tweets.post(draft).result().tweet.id
                    if rng.random() < 0.3:
                        tweets.top(10).result()
                except Retryable:
                    time.sleep(0.001)

        faults.let_some_fail(seed=1, share=1 / 15)
        at_once(8, write)
        assert faults.fired
        faults.let_none_fail()
        for thread in range(8):
            for number in range(25):
                key = f"{thread} {number}"
                posted = tweets.post(NewTweet("bob", None, None, root, key=key)).result().tweet.id
                assert told.get(key, posted) == posted
        tweets.reconciler.catch_up()
        assert whole_ranking(tweets)[0] == (200, root)
        assert verify(tweets) == []
