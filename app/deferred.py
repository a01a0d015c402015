"""
Deferred responses: a route starts slow work and returns; the server sends the response when its future completes.

Our server sets `DEFERRED` in the environ of a request: None at first, then the Deferred that the application has
returned in place of a response, with which it calls the application again. Under any other WSGI server the application
waits for the future itself.
"""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, ParamSpec, TypeVar

from bottle import HTTPResponse

from storage.errors import Overloaded

DEFERRED = "simple_twitter.deferred"

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


class Deferred:
    """
    The response that *render* makes of the result of *future*, once it is done; an error is as if the route raised it.

    *render* runs where the routes run, on the event loop, and must not wait; it may return another Deferred. Iterating
    gives nothing: it is a WSGI response by its type alone.
    """

    __slots__ = ("_render", "future")

    def __init__(self, future: Future[Result], render: Callable[[Result], "Response"]) -> None:
        self.future: Future[Any] = future
        self._render: Callable[[Any], Response] = render

    def __iter__(self) -> Iterator[bytes]:
        return iter(())

    def response(self) -> "Response | BaseException":
        """The response, or the error in its place; waits for the future. Raises what rendering raises."""
        # Not raised here: the future keeps its error, and the error would keep this frame.
        error = self.future.exception()
        return self._render(self.future.result()) if error is None else error


Response = HTTPResponse | Deferred
"""What a route returns."""


class Pool:
    """A thread pool for calls that may wait: so many *threads*, for which *queue_limit* more calls may wait."""

    def __init__(self, threads: int, queue_limit: int) -> None:
        self._room = threading.Semaphore(threads + queue_limit)
        self._executor = ThreadPoolExecutor(threads, "pool")

    def submit(
        self, function: Callable[Parameters, Result], *args: Parameters.args, **kwargs: Parameters.kwargs
    ) -> Future[Result]:
        """Call *function* in a thread. Raises Overloaded when too many calls wait; then it is not called."""
        if not self._room.acquire(blocking=False):
            raise Overloaded("too many calls wait")
        future = self._executor.submit(function, *args, **kwargs)
        future.add_done_callback(lambda _: self._room.release())
        return future
