"""
Answers that come later: a route begins what takes a while, and the server goes on with others in the meantime.

A server that can do so offers a function in the environ of a request, under `LATER`: whoever has the answer calls it,
from any thread. Under any other server the route waits, as is usual in WSGI.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TypeVar
from wsgiref.types import WSGIApplication

from bottle import HTTPResponse, request

from storage.errors import StorageError

LATER = "simple_twitter.later"

Result = TypeVar("Result")


class Later(Exception):
    """Raised by a route that has begun its answer: the server, which has offered it, will come back for it."""

    def __init__(self, finish: Callable[[], HTTPResponse], is_ready: Callable[[], bool]) -> None:
        super().__init__()
        self.finish = finish
        self.is_ready = is_ready


@dataclass(frozen=True, slots=True)
class Begun:
    """
    What the application returns to such a server in the place of an answer.

    Then `rest`, called like any application, gives the answer; it may wait only if not `is_ready`. Not the exception
    itself: that holds all the frames it went through, and whatever holds it in turn makes a circle of them.
    """

    rest: WSGIApplication
    is_ready: Callable[[], bool]

    def __iter__(self) -> Iterator[bytes]:
        """Nothing: it is an answer of WSGI by its type alone."""
        return iter(())


def begin(
    future: Future[Result],
    answer: Callable[[Result], HTTPResponse],
    *,
    is_quick: Callable[[Result], bool] | None = None,
) -> HTTPResponse:
    """
    What *answer* makes of the result of *future*: now, if that means to wait, or by raising Later.

    *is_quick* says of a result whether *answer* is a matter of microseconds; without it, it always is.
    """
    resume: Callable[[], None] | None = request.environ.get(LATER)
    if resume is None:
        return answer(future.result())
    future.add_done_callback(lambda _: resume())

    def is_ready() -> bool:
        try:
            return is_quick is None or is_quick(future.result())
        except StorageError:
            return True

    raise Later(lambda: answer(future.result()), is_ready)
