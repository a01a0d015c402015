"""The server as a whole: connections in, a bounded queue to the threads, and a stop that loses nothing."""

import logging
import resource
import socket
import threading
import time
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from wsgiref.types import StartResponse, WSGIApplication

from waitress import wasyncore
from waitress.server import TcpWSGIServer

from app.later import Begun
from app.server.answers import ANSWER, OVERLOADED, Answer, NotYet
from app.server.channel import Channel
from app.server.framing import LARGEST_BODY
from app.server.hooks import Hooks
from app.server.polling import PollSet

_LONGEST_HEADER = 32 * 1024
_FILES_KEPT = 256
"""Open files that are left for all that is not a client."""


class _InHand(threading.local):
    """What a thread has in hand: the file number of a connection, None for nothing."""

    number: int | None = None


@dataclass(frozen=True, slots=True)
class Limits:
    """How much a client may take. Times are in seconds, checked once a second."""

    request_s: float = 10
    """From the first byte of a request to its last."""
    idle_s: float = 60
    """Between two requests, or without taking a byte of an answer."""
    drain_s: float = 15
    """For all that was received before the server stops."""
    grace_s: float = 0.5
    """What a silent client gets of that, to send a request that it may just be sending."""
    waiting: int = 1024
    """Requests that wait for a thread; the next one is answered 503."""
    connections: int = 8192
    """Fewer when the process may not open that many files."""


class Server(TcpWSGIServer):
    """
    Serves *application* on *listening*, a socket that is bound, with so many *threads*.

    What the application answers at once, by *hooks*, the thread that runs the server takes in hand itself: to pass a
    request on to a thread costs more than to answer it.

    `run` in one thread; `stop` from any; then `close`.
    """

    channel_class = Channel
    active_channels: dict[int, Channel]

    def __init__(
        self,
        application: WSGIApplication,
        listening: socket.socket,
        *,
        threads: int,
        limits: Limits | None = None,
        hooks: Hooks | None = None,
    ) -> None:
        self._application = application
        self._limits = limits or Limits()
        self.hooks = hooks or Hooks()
        self.polled = PollSet()
        self.in_hand = _InHand()
        self._ours: deque[Channel] = deque()  # those whose next step is for the thread that runs the server
        self._waking = threading.Lock()
        self._woken = False
        self._serves: int | None = None  # the thread that is taking next steps, and then polls
        self.is_stopping = False
        logging.getLogger("waitress.queue").setLevel(logging.ERROR)  # it warns for every request that waits
        super().__init__(
            self._answer,
            map=self.polled,
            _sock=listening,
            bind_socket=False,
            sockinfo=(listening.family, listening.type, listening.proto, listening.getsockname()),
            threads=threads,
            ident=None,
            connection_limit=_allow_connections(self._limits.connections),
            cleanup_interval=1,
            max_request_header_size=_LONGEST_HEADER,
            max_request_body_size=8 * LARGEST_BODY,  # with the size lines of the smallest chunks; see `StrictRequest`
            log_socket_errors=False,
            clear_untrusted_proxy_headers=False,  # nobody here looks at them
        )
        self.url = url_of(listening)

    def run(self) -> None:
        """Serve until `stop`; then answer what was received, and return."""
        while not self.is_stopping:
            self._turn(1.0)
        until = time.time() + self._limits.drain_s
        self._drain(until)
        for channel in list(self.active_channels.values()):
            channel.handle_close()
        with self._waking:
            self._woken = True  # for ever: what is answered from now on, nobody waits for
        self.task_dispatcher.shutdown(timeout=max(until - time.time(), 0.1))

    def stop(self) -> None:
        """Let `run` come to its end. May be called by a signal handler, and more than once."""
        if not self.is_stopping:
            self.is_stopping = True
            self.pull_trigger()

    def close(self) -> None:
        """Close what is open still; when a thread runs on after all, some of it only in a later call."""
        if self.task_dispatcher.threads:
            # A thread that never ends would wake us through a file number that may be another file's by then.
            wasyncore.dispatcher.close(self)
        else:
            super().close()

    def add_task(self, task: Channel) -> None:
        """Take the next request of *task* in hand, give it to a thread, or refuse it when too many wait."""
        request = task.requests[0]
        # What waits to be sent may be much, and to add to it may mean to wait for the client.
        if not (request.error or task.total_outbufs_len) and self.hooks.is_quick(request.command, request.path):
            request.at_once = True
            self._ours.append(task)
        elif len(self.task_dispatcher.queue) < self._limits.waiting:
            self.task_dispatcher.add_task(task)
        else:
            request.error = OVERLOADED
            self.refuse(task)

    def refuse(self, channel: Channel) -> None:
        """Answer the next request of *channel*, which has an error, without waiting for a thread."""
        self.go_on(channel)  # not now: the caller holds the channel's lock

    def go_on(self, channel: Channel) -> None:
        """Take the next step of *channel* soon. May be called by any thread."""
        self._ours.append(channel)
        with self._waking:
            if not self._woken:
                self._woken = True  # until the next poll has seen it: so the trigger must be pulled in any case
                super().pull_trigger()

    def pull_trigger(self) -> None:
        """Wake the thread that runs the server, to look at what the caller has in hand; itself it need not wake."""
        if threading.get_ident() != self._serves:
            self.polled.mark(self.in_hand.number)  # first: it may be awake before the next line ends
            super().pull_trigger()

    def maintenance(self, now: float) -> None:
        """Keep the deadlines; called once a second. A full house is ten times less patient."""
        share = 0.1 if self.in_connection_overflow else 1
        for channel in list(self.active_channels.values()):
            channel.check_deadlines(now, self._limits.request_s * share, self._limits.idle_s * share)
        self.hooks.tick()

    def _turn(self, timeout_s: float) -> None:
        self.polled.mark(self._fileno)  # whether it takes connections depends on the clock and on how many there are
        self.polled.poll(timeout_s)
        self._woken = False
        self._serves = threading.get_ident()
        while self._ours:
            channel = self._ours.popleft()
            if channel.under_way is None or channel.under_way.is_ready():
                channel.service()
            else:
                self.task_dispatcher.add_task(channel)
        self._serves = None
        self.hooks.pause()

    def _answer(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        """What waitress takes for the application: the first step of an answer or the second. Raises NotYet."""
        answer: Answer = environ[ANSWER]
        if answer.begun:
            return answer.begun.rest(environ, start_response)
        given = self._application(environ, start_response)
        if isinstance(given, Begun):
            answer.begun = given
            raise NotYet
        return given

    def _drain(self, until: float) -> None:
        """Let nobody else in, and go on until everybody inside was answered, or it is *until*."""
        self._accept_waiting()
        wasyncore.dispatcher.close(self)
        silent_until = time.time() + self._limits.grace_s
        while self.active_channels and time.time() < until:
            self._turn(0.05)
            self.maintenance(time.time())
            if time.time() > silent_until:
                self._close_silent(time.time())

    def _close_silent(self, now: float) -> None:
        for channel in list(self.active_channels.values()):
            if not channel.total_outbufs_len:  # a slow reader has the time that is left
                channel.check_deadlines(now, self._limits.request_s, self._limits.grace_s)

    def _accept_waiting(self) -> None:
        """Take those in who connected before the stop: closing the socket would reset them, request and all."""
        for _ in range(self.adj.backlog):
            inside = len(self.active_channels)
            self.handle_accept()
            if len(self.active_channels) == inside:
                break


def url_of(listening: socket.socket) -> str:
    """The address of *listening*, as in "http://127.0.0.1:5000/"."""
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"


def _allow_connections(wanted: int) -> int:
    """Allow the process as many open files as *wanted* connections need; how many connections it can have."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    files = wanted + _FILES_KEPT
    if soft != resource.RLIM_INFINITY and soft < files:
        soft = files if hard == resource.RLIM_INFINITY else min(files, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return wanted if soft == resource.RLIM_INFINITY else max(1, min(wanted, soft - _FILES_KEPT))
