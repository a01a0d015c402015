"""
Answers that come later: a route begins what takes a while, and the server goes on with others in the meantime.

A server that can do so offers a function in the environ of a request, under `LATER`: whoever has the answer calls it,
from any thread. Under any other server the route waits, as is usual in WSGI.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar
from wsgiref.types import WSGIApplication

from bottle import HTTPResponse, request

from storage.errors import StorageError
from storage.pending import Pending, Tell

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
    act: Callable[[Tell | None], Pending[Result]],
    answer: Callable[[Result], HTTPResponse],
    *,
    is_quick: Callable[[Result], bool] | None = None,
) -> HTTPResponse:
    """
    What *answer* makes of what *act* begins: now, if that means to wait, or by raising Later.

    *is_quick* says of a result whether *answer* is a matter of microseconds; without it, it always is.
    """
    tell: Tell | None = request.environ.get(LATER)
    pending = act(tell)
    if tell is None:
        return answer(pending.get())

    def is_ready() -> bool:
        try:
            return pending.is_ready() and (is_quick is None or is_quick(pending.get()))
        except StorageError:
            return True

    raise Later(lambda: answer(pending.get()), is_ready)
