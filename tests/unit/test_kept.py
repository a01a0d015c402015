"""Costly answers are computed once, kept for a while, and never take more than their share of the time."""

import threading
from collections.abc import Iterator

import pytest

from storage.errors import Overloaded, StoreBusy, WindowTooLarge
from storage.kept import BURST_S, KEPT_TIMES, MOST_WAITING, KeptAnswers


class Clock:
    """A clock that only a test moves."""

    now_s = 100.0

    def __call__(self) -> float:
        """The time."""
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    """It stands still."""
    return Clock()


@pytest.fixture
def kept(clock: Clock) -> Iterator[KeptAnswers]:
    """Answers of numbers."""
    answers = KeptAnswers("test", clock)
    yield answers
    answers.close()


def test_an_answer_is_kept_for_fifty_times_as_long(kept: KeptAnswers, clock: Clock) -> None:
    """Until then it is the same one; afterwards it is computed again."""
    computed = []

    def compute() -> int:
        clock.now_s += 2
        computed.append(clock.now_s)
        return len(computed)

    assert kept.get("a", compute).result() == 1
    clock.now_s += 2 * KEPT_TIMES - 0.1
    assert kept.get("a", compute).result() == 1
    assert kept.get("b", compute).result() == 2
    clock.now_s += 0.2
    assert kept.get("a", compute).result() == 3


def test_all_who_ask_meanwhile_share_one_answer(kept: KeptAnswers) -> None:
    """It is computed once; so many other ones may wait, and no more."""
    go, computed = threading.Event(), []

    def compute() -> int:
        assert go.wait(60)
        computed.append(1)
        return len(computed)

    futures = [kept.get("a", compute) for _ in range(40)]
    assert not futures[0].cancel()
    futures += [kept.get(number, compute) for number in range(MOST_WAITING - 1)]
    with pytest.raises(Overloaded):
        kept.get("one more", compute)
    go.set()
    assert [future.result() for future in futures] == [1] * 40 + list(range(2, MOST_WAITING + 1))


def test_many_different_answers_share_the_time(kept: KeptAnswers, clock: Clock) -> None:
    """After a burst they are refused, until a fiftieth of the time makes room again."""

    def compute() -> int:
        clock.now_s += BURST_S / 2
        return 0

    for number in range(3):
        kept.get(number, compute).result()
    with pytest.raises(Overloaded):
        kept.get(3, compute)
    clock.now_s += KEPT_TIMES * BURST_S
    assert kept.get(3, compute).result() == 0


def test_which_errors_are_kept(kept: KeptAnswers, clock: Clock) -> None:
    """One that stays true is; one after which asking again may help is not."""
    errors = [WindowTooLarge(), WindowTooLarge(), StoreBusy(), StoreBusy()]
    left = list(errors)

    def compute() -> int:
        clock.now_s += 1
        raise left.pop()

    for error in (StoreBusy, StoreBusy, WindowTooLarge, WindowTooLarge):
        with pytest.raises(error):
            kept.get("a", compute).result()
    assert len(left) == 1


def test_closing_ends_what_is_computed() -> None:
    """At its next rest."""
    kept = KeptAnswers("test")
    begun = threading.Event()

    def compute() -> int:
        while True:
            begun.set()
            kept.rest()

    future = kept.get("a", compute)
    assert begun.wait(60)
    kept.close()
    with pytest.raises(StoreBusy):
        future.result()
    with pytest.raises(Overloaded):
        kept.get("b", compute)
