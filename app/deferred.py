"""
Deferred responses: a route starts slow work and returns; the server sends the response when its future completes.

Our server sets `DEFERRED` in the environ of a request: None at first, then the Deferred that the application has
returned in place of a response, with which it calls the application again. Under any other WSGI server the application
waits for the future itself.
"""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from queue import Empty, SimpleQueue
from typing import Any, ParamSpec, TypeVar

from bottle import HTTPResponse

from storage.errors import Overloaded

DEFERRED = "simple_twitter.deferred"

QUEUE_LIMIT = 1024
"""Calls that may wait for a thread of a pool, unless it says otherwise."""

_IDLE_S = 30.0
"""After so long without work a thread of the pool ends."""

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


class Deferred:
    """A response to come. Iterating gives nothing: it is a WSGI response by its type alone."""

    __slots__ = ("_render", "future")

    def __init__(self, future: Future[Any], render: Callable[[Any], "Response"]) -> None:
        self.future = future
        self._render = render

    def __iter__(self) -> Iterator[bytes]:
        return iter(())

    def response(self) -> "Response | BaseException":
        """The response, or the error in its place; waits for the future. Raises what rendering raises."""
        # Not raised here: the future keeps its error, and the error would keep this frame.
        error = self.future.exception()
        return self._render(self.future.result()) if error is None else error


Response = HTTPResponse | Deferred
"""What a route returns."""


def defer(future: Future[Result], render: Callable[[Result], Response]) -> Deferred:
    """
    The response that *render* makes of the result of *future*, once it is done; an error is as if the route raised it.

    *render* runs where the routes run, on the event loop, and must not wait; it may return another Deferred.
    """
    return Deferred(future, render)


class Pool:
    """
    A bounded thread pool for calls that may wait.

    Unlike that of the standard library its queue has a limit, and its threads are daemons: a call that hangs does not
    keep the process from ending.
    """

    def __init__(self, threads: int, queue_limit: int | None = None) -> None:
        self._threads_limit = threads
        self._queue_limit = QUEUE_LIMIT if queue_limit is None else queue_limit
        self._lock = threading.Lock()
        self._calls: SimpleQueue[tuple[Future[Any], Callable[[], Any]]] = SimpleQueue()
        self._threads = 0
        self._unfinished = 0

    def submit(
        self, function: Callable[Parameters, Result], *args: Parameters.args, **kwargs: Parameters.kwargs
    ) -> Future[Result]:
        """Call *function* in a thread. Raises Overloaded when too many calls wait; then it is not called."""
        future: Future[Result] = Future()
        with self._lock:
            if self._unfinished >= self._threads_limit + self._queue_limit:
                raise Overloaded("too many calls wait")
            self._unfinished += 1
            starts = self._unfinished > self._threads < self._threads_limit
            self._threads += starts
        self._calls.put((future, lambda: function(*args, **kwargs)))
        if starts:
            threading.Thread(target=self._run, name="pool", daemon=True).start()
        return future

    def _run(self) -> None:
        while True:
            try:
                future, call = self._calls.get(timeout=_IDLE_S)
            except Empty:
                with self._lock:
                    if self._unfinished < self._threads:
                        self._threads -= 1
                        return
                continue
            outcome, error = _outcome(call)
            with self._lock:
                self._unfinished -= 1
            if error is None:
                future.set_result(outcome)
            else:
                future.set_exception(error)
            del future, call, outcome, error  # or an idle thread would keep them


def _outcome(call: Callable[[], Result]) -> tuple[Result | None, BaseException | None]:
    # The traceback of the error has this frame and those it called, none of which knows the future: no circle.
    try:
        return call(), None
    except BaseException as error:  # noqa: BLE001  # a future must have an outcome
        return None, error
