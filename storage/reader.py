"""
The reader: one thread that answers the questions asked most, for one tweet and for the ranking.

It takes whatever was asked as one: one read of the log, one round trip to Redis. While these are on their way the next
questions gather; each reading begins after the last of its questions came, so nobody is told an older state.
"""

import logging
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple

from storage.errors import IndexUnavailable, StorageError, TweetDeleted, TweetNotFound
from storage.fresh import FreshIndex
from storage.pending import Asked, Outcome, Tell, Ticket
from storage.records import Place, Ranking, Tweet
from storage.sql.engine import Database
from storage.sql.log import LogState
from storage.sql.reads import tweet_of
from storage.tops import Tops

_log = logging.getLogger(__name__)


class TopAsked(NamedTuple):
    """A question for the first *limit* tweets of the ranking below *after*."""

    limit: int
    after: Place | None


Answer = Tweet | Ranking | StorageError


class Reader:
    """Answers questions. Start it with `start`, end it with `stop`."""

    def __init__(self, database: Database, index: FreshIndex, tops: Tops) -> None:
        self._database = database
        self._index = index
        self._tops = tops
        self._asked: list[Ticket[Any, Any]] = []
        self._arrival = threading.Condition(threading.Lock())
        self._stopping = False
        self._state: LogState | None = None
        self._thread = threading.Thread(target=self._run, name="reader", daemon=True)

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def stop(self) -> None:
        """Answer those who have asked, and end."""
        with self._arrival:
            self._stopping = True
            self._arrival.notify()
        if self._thread.is_alive():
            self._thread.join()

    def begin_tweet(self, tweet_id: int, tell: Tell | None) -> Ticket[int, Tweet]:
        """
        Let a tweet be found; *tell* is called when it is.

        The outcome may be TweetNotFound, TweetDeleted, or IndexUnavailable when only its count is not known.
        """
        ticket: Ticket[int, Tweet] = Ticket(tweet_id, tell)
        return self._begin(ticket, tell)

    def begin_top(self, limit: int, after: Place | None, tell: Tell | None) -> Ticket[TopAsked, Ranking]:
        """Let a page of the ranking be read; *tell* is called when it is. The outcome may be IndexUnavailable."""
        ticket: Ticket[TopAsked, Ranking] = Ticket(TopAsked(limit, after), tell)
        return self._begin(ticket, tell)

    def _begin(self, ticket: Ticket[Asked, Outcome], tell: Tell | None) -> Ticket[Asked, Outcome]:
        with self._arrival:
            self._asked.append(ticket)
            if tell is None:
                self._arrival.notify()
        return ticket

    def hand_over(self) -> None:
        """See that what was asked is taken in hand."""
        if self._asked:
            with self._arrival:
                self._arrival.notify()

    def _run(self) -> None:
        while tickets := self._next():
            self._state = None
            self._answer([ticket for ticket in tickets if isinstance(ticket.asked, int)], self._tweets)
            self._answer([ticket for ticket in tickets if isinstance(ticket.asked, TopAsked)], self._pages)

    def _next(self) -> list[Ticket[Any, Any]]:
        with self._arrival:
            while not self._asked and not self._stopping:
                self._arrival.wait()
            asked, self._asked = self._asked, []
        return asked

    def _answer(
        self, tickets: Sequence[Ticket[Asked, Any]], find: Callable[[Collection[Asked]], Mapping[Asked, Answer]]
    ) -> None:
        questions = {ticket.asked for ticket in tickets}
        answers: Mapping[Asked, Answer] = {}
        try:
            answers = find(questions) if questions else {}
        except Exception as error:  # noqa: BLE001  # each one who asked must get an answer
            answers = dict.fromkeys(questions, _failure(error))
        for ticket in tickets:
            ticket.answer(answers[ticket.asked])

    def _pages(self, questions: Collection[TopAsked]) -> dict[TopAsked, Answer]:
        # When one has waited for the index in vain, the others would as well, one after the other: they are left to
        # those who have asked.
        answers: dict[TopAsked, Answer] = dict.fromkeys(questions, IndexUnavailable("not asked for"))
        for question in questions:
            try:
                ranking = answers[question] = self._tops.page(*question, self._state_of_log())
            except IndexUnavailable:
                break
            if ranking.stale:
                break
        return answers

    def _state_of_log(self) -> LogState:
        """Where the log stands: read once for all that is answered together."""
        if self._state is None:
            self._state = self._database.get_state()
        return self._state

    def _tweets(self, ids: Collection[int]) -> dict[int, Answer]:
        rows = self._database.find_rows(ids)
        live = [row for row in rows.values() if not row.deleted]
        asked = [(row.partition, row.id) for row in live]
        counts = self._index.counts(asked, self._state_of_log()) if asked else []
        answers: dict[int, Answer] = {tweet_id: TweetDeleted() for tweet_id in rows}
        for row, count in zip(live, counts, strict=True):
            # None: deleted since it was read, or on its way to another partition.
            answers[row.id] = tweet_of(row, count) if isinstance(count, int) else IndexUnavailable("cannot say")
        return {tweet_id: answers.get(tweet_id, TweetNotFound()) for tweet_id in ids}


def _failure(error: Exception) -> StorageError:
    if isinstance(error, StorageError):
        return error
    _log.error("a question was not answered", exc_info=error)
    return StorageError("a question was not answered")
