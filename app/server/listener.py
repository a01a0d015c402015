"""The server as a whole: connections in, a bounded queue to the threads, and a stop that loses nothing."""

import logging
import resource
import socket
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from wsgiref.types import WSGIApplication

from waitress import wasyncore
from waitress.server import TcpWSGIServer

from app.server.answers import OVERLOADED, LastAnswer
from app.server.channel import Channel
from app.server.framing import LARGEST_BODY

_LONGEST_HEADER = 32 * 1024
_FILES_KEPT = 256
"""Open files that are left for all that is not a client."""


OnRefusal = Callable[[str, int], None]


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

    *on_refusal* is told of each answer that the application did not make: the method, "" if unknown, and the status.

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
        on_refusal: OnRefusal | None = None,
    ) -> None:
        self._limits = limits or Limits()
        self.on_refusal = on_refusal or _tell_nobody
        self._refused: deque[Channel] = deque()
        self._stopping = False
        logging.getLogger("waitress.queue").setLevel(logging.ERROR)  # it warns for every request that waits
        super().__init__(
            application,
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
        )
        self.url = url_of(listening)

    def run(self) -> None:
        """Serve until `stop`; then answer what was received, and return."""
        while not self._stopping:
            self._turn(1.0)
        until = time.time() + self._limits.drain_s
        self._drain(until)
        for channel in list(self.active_channels.values()):
            channel.handle_close()
        self.task_dispatcher.shutdown(timeout=max(until - time.time(), 0.1))

    def stop(self) -> None:
        """Let `run` come to its end. May be called by a signal handler, and more than once."""
        if not self._stopping:
            self._stopping = True
            self.pull_trigger()

    def close(self) -> None:
        """Close what is open still; when a thread runs on after all, some of it only in a later call."""
        if self.task_dispatcher.threads:
            # A thread that never ends would wake us through a file number that may be another file's by then.
            wasyncore.dispatcher.close(self)
        else:
            super().close()

    def add_task(self, task: Channel) -> None:
        """Hand the next request of *task* to a thread, or refuse it when too many wait."""
        if len(self.task_dispatcher.queue) < self._limits.waiting:
            self.task_dispatcher.add_task(task)
        else:
            task.requests[0].error = OVERLOADED
            self.refuse(task)

    def refuse(self, channel: Channel) -> None:
        """Answer the next request of *channel*, which has an error, without waiting for a thread."""
        self._refused.append(channel)  # not now: the caller holds the channel's lock
        self.pull_trigger()

    def maintenance(self, now: float) -> None:
        """Keep the deadlines; called once a second. A full house is ten times less patient."""
        share = 0.1 if self.in_connection_overflow else 1
        for channel in list(self.active_channels.values()):
            channel.check_deadlines(now, self._limits.request_s * share, self._limits.idle_s * share)

    def _turn(self, timeout_s: float) -> None:
        wasyncore.poll2(timeout_s, self._map)  # select(2), which waitress takes by default, ends at 1,024 files
        while self._refused:
            self._refused.popleft().service()

    def _drain(self, until: float) -> None:
        """Let nobody else in, and go on until everybody inside was answered, or it is *until*."""
        self._accept_waiting()
        wasyncore.dispatcher.close(self)
        silent_until = time.time() + self._limits.grace_s
        for channel in self.active_channels.values():
            channel.task_class = LastAnswer
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


def _tell_nobody(_method: str, _status: int) -> None:
    pass
