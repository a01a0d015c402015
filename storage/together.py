"""Questions that arrive while others are being answered are asked together, in one call."""

import threading
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

Question = TypeVar("Question")
Answer = TypeVar("Answer")


class _Asked(Generic[Question, Answer]):
    """A question that waits: for its answer, or for its turn to ask for all who wait."""

    __slots__ = ("answer", "error", "leads", "question", "woken")

    def __init__(self, question: Question) -> None:
        self.question = question
        self.answer: Answer | None = None
        self.error: Exception | None = None
        self.leads = False
        self.woken = threading.Lock()
        self.woken.acquire()


class Together(Generic[Question, Answer]):
    """
    Answers questions by *ask_all*, as many at once as have gathered; each call starts after its last question arrived.

    So nobody gets an answer from before he asked. There is no thread: one of those who ask does it for the others.
    """

    def __init__(self, ask_all: Callable[[Sequence[Question]], Sequence[Answer]]) -> None:
        self._ask_all = ask_all
        self._waiting: list[_Asked[Question, Answer]] = []
        self._busy = False
        self._lock = threading.Lock()

    def ask(self, question: Question) -> Answer:
        """The answer to *question*. Raises what *ask_all* raised for the call that it was in."""
        mine = _Asked[Question, Answer](question)
        with self._lock:
            self._waiting.append(mine)
            mine.leads = not self._busy
            self._busy = True
        if not mine.leads:
            mine.woken.acquire()
        if mine.leads:
            self._lead()
        if mine.error is not None:
            raise mine.error
        return mine.answer  # type: ignore[return-value]  # set by whoever led

    def _lead(self) -> None:
        """Ask for all who wait now, then let the first of those who came meanwhile lead."""
        with self._lock:
            gathered, self._waiting = self._waiting, []
        try:
            answers = self._ask_all([each.question for each in gathered])
            for each, answer in zip(gathered, answers, strict=True):
                each.answer = answer
        except Exception as error:  # noqa: BLE001  # it belongs to everyone who asked
            for each in gathered:
                each.error = error
        with self._lock:
            following = self._waiting[0] if self._waiting else None
            self._busy = following is not None
        for each in gathered:
            each.woken.release()
        if following is not None:
            following.leads = True
            following.woken.release()
