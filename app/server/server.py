"""
The event loop: one thread that runs the application and owns every connection. It never waits.

Whatever may wait is a future. The thread that completes one only says so, by `Server.call_soon`.
"""

import errno
import logging
import math
import resource
import select
import socket
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from wsgiref.types import WSGIApplication

from waitress import wasyncore
from waitress.server import TcpWSGIServer

from app.errors import BODY_LIMIT
from app.server.connection import Connection, State
from app.server.task import environ_base

_HEADER_LIMIT = 32 * 1024
_NEVER = 2**62
"""A size that nothing reaches: what waitress would do from there on is not wanted."""

_TICK_S = 1.0
_NO_FILES_S = 1.0
"""How long no connection is accepted after the system had no file for one."""

_SLOW_LOG_S = 10.0
"""A slow turn is logged at most so often."""

_STALLED_S = 3.0
"""While the server stops, a client that took nothing of its response for so long is closed."""

_FEW = 64
"""Fewer connections are hardly meant: the log says so."""

_ACCEPTED_LAST = 1024
"""Connections that the kernel may have made before the stop: its backlog at most."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Limits:
    """How much clients may take. Times are in seconds, checked once a second."""

    request_s: float = 10
    """From the first byte of a request to its last."""
    idle_s: float = 60
    """Between two requests, or without taking a byte of a response."""
    drain_s: float = 10
    """For all that was received before the server stops."""
    grace_s: float = 0.5
    """What a silent client gets of that, to send a request that it may just be sending."""
    connections: int = 8192
    """Fewer when the process may not open that many files."""
    files: int = 256
    """Open files that are left for all that is not a connection."""
    received_bytes: int = 256 * 1024 * 1024
    """Of all connections together, in requests without a response; then one that is incomplete is answered 503."""
    unsent_bytes: int = 256 * 1024 * 1024
    """Of all connections together, that the kernel has not taken; a connection that adds more is reset."""
    turn_s: float = 0.05
    """A turn of the loop that takes longer is logged: something in it has waited."""


def _ignore(*_: object) -> None:
    """Do nothing."""


class Server(TcpWSGIServer):
    """
    Serves *application* on *listening*, a socket that is bound.

    `run` in one thread, which calls *application* and the other functions, so that none may wait; `stop` from any; then
    `close`. The other functions may not raise either: *refused* hears of a response that the application did not make,
    by method ("" if unknown), status and address; *on_idle* that a turn of the loop ends, in which everything that
    there was to do is done or begun; *tick* is called about once a second.
    """

    active_channels: dict[int, Connection]

    def __init__(
        self,
        application: WSGIApplication,
        listening: socket.socket,
        *,
        limits: Limits | None = None,
        refused: Callable[[str, int, str], None] = _ignore,
        on_idle: Callable[[], None] = _ignore,
        tick: Callable[[], None] = _ignore,
    ) -> None:
        self.limits = limits or Limits()
        self.refused, self._on_idle, self._tick = refused, on_idle, tick
        self.files: dict[int, wasyncore.dispatcher] = {}  # waitress' map: who handles what happens to a file
        # select(2), which waitress takes by default, ends at 1,024 files; and it asks every connection in every turn.
        self._poll = select.poll()
        self._registered: dict[int, int] = {}
        self._changed: dict[int, int] = {}
        self.received_bytes = self.unsent_bytes = 0
        self.is_stopping = False
        self.wsgi = application
        self._ready: deque[Connection] = deque()  # those whose turn it is
        self._is_awake = True
        self._connection_limit = _allow_connections(self.limits)
        if self._connection_limit < _FEW:
            _log.warning(
                "this process may open so few files that it has %d connections at most: raise the limit (`ulimit -n`, "
                "LimitNOFILE) to %d or more",
                self._connection_limit,
                self.limits.files + 1024,
            )
        self._accepts_at = self._tick_at = self._slow_logged_at = 0.0
        self._listening = listening.fileno()
        self.environ_base = environ_base(*listening.getsockname()[:2])
        super().__init__(
            application,
            self.files,
            True,
            listening,
            dispatcher=self,  # in place of waitress' threads
            bind_socket=False,
            sockinfo=(listening.family, listening.type, listening.proto, listening.getsockname()),
            max_request_header_size=_HEADER_LIMIT,
            max_request_body_size=8 * BODY_LIMIT,  # with the size lines of the smallest chunks; see `StrictRequest`
            outbuf_overflow=_NEVER,
            outbuf_high_watermark=_NEVER,
            log_socket_errors=False,
            clear_untrusted_proxy_headers=False,  # nothing here reads them
        )
        for number in self.files:
            self.wait_for(number, select.POLLIN)
        self.url = url_of(listening)

    def run(self) -> None:
        """Serve until `stop`; then answer what was received, and return."""
        while not self.is_stopping:
            self._run_once(_TICK_S)
        self._drain(time.monotonic() + self.limits.drain_s)
        self._is_awake = True  # for good: nothing waits for what is completed from now on
        for connection in list(self.active_channels.values()):
            connection.handle_close()

    def stop(self) -> None:
        """Let `run` come to its end. May be called by a signal handler, by any thread, and more than once."""
        if not self.is_stopping:
            self.is_stopping = True
            self.pull_trigger()

    def add_task(self, task: Connection) -> None:
        """Let a connection have a turn, after those that have one already."""
        self._ready.append(task)

    def call_soon(self, connection: Connection) -> None:
        """Let *connection* have a turn. May be called by any thread."""
        self._ready.append(connection)
        # The loop says that it will sleep before it looks at the queue for the last time: one of the two sees this.
        if not self._is_awake:
            self._is_awake = True
            self.pull_trigger()

    def wait_for(self, number: int, events: int) -> None:
        """
        From the next turn on wait for these events of poll(2) on this file; for 0 of a file that may be closed by then.

        Without urgent data, which would be there again in every turn.
        """
        self._changed[number] = events

    def handle_accept(self) -> None:
        """Take in a connection, if there is one."""
        try:
            sock, address = self.socket.accept()
        except OSError as error:  # also when there is none
            if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                # The connection still waits, so that poll(2) would report it again at once.
                if not self._accepts_at:
                    _log.error("no connection can be accepted until others end: %s", error.strerror)
                self._accepts_at = time.monotonic() + _NO_FILES_S
            return
        self._accepts_at = 0.0
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        Connection(self, sock, address)

    def _run_once(self, timeout_s: float) -> None:
        """A turn of the loop: wait until something happens, at most *timeout_s*, and go on with all it concerns."""
        if not self.is_stopping:
            is_full = len(self.active_channels) >= self._connection_limit
            is_resting = time.monotonic() < self._accepts_at
            self.wait_for(self._listening, 0 if is_full or is_resting else select.POLLIN)
        self._is_awake = False
        timeout_s = 0 if self._ready else max(0.0, min(timeout_s, self._tick_at - time.monotonic()))
        happened = self._wait(timeout_s)
        self._is_awake = True
        began = time.monotonic()
        for number, events, one in happened:
            if self.files.get(number) is one:
                wasyncore.readwrite(one, events)
        for _ in range(len(self._ready)):  # one turn each: what these add waits for the next
            self._ready.popleft().service()
        if began >= self._tick_at:
            self._tick_at = began + _TICK_S
            patience = 0.1 if len(self.active_channels) >= self._connection_limit else 1
            for connection in list(self.active_channels.values()):
                connection.check_deadlines(began, self.limits.request_s * patience, self.limits.idle_s * patience)
            self._tick()
        self._on_idle()
        took_s = time.monotonic() - began
        if took_s > self.limits.turn_s and began >= self._slow_logged_at + _SLOW_LOG_S:
            self._slow_logged_at = began
            _log.warning("a turn of the event loop took %d ms: all connections waited for it", took_s * 1000)

    def _wait(self, timeout_s: float) -> list[tuple[int, int, wasyncore.dispatcher]]:
        """Wait until something happens, at most *timeout_s*: the number of each file, its events, who handles them."""
        for number, events in self._changed.items():
            if events == self._registered.get(number, 0):
                continue
            self._registered[number] = events
            if events:
                self._poll.register(number, events)
            else:  # not with 0: that still tells of a client who has gone, again and again
                self._poll.unregister(number)
        self._changed.clear()
        # Looked up before any is handled: a connection accepted now may have the number of one closed now.
        return [(*found, self.files[found[0]]) for found in self._poll.poll(math.ceil(timeout_s * 1000))]

    def _drain(self, until: float) -> None:
        """Accept no more, and go on until everything received was answered, or it is *until*."""
        for _ in range(_ACCEPTED_LAST):  # closing the socket would reset those who have connected, request and all
            inside = len(self.active_channels)
            self.handle_accept()
            if len(self.active_channels) == inside:
                break
        self.wait_for(self._listening, 0)
        self.socket.close()
        silent_until = time.monotonic() + self.limits.grace_s
        while self.active_channels and (now := time.monotonic()) < until:
            self._run_once(0.05)
            if now > silent_until:
                for connection in list(self.active_channels.values()):
                    idle_s = _STALLED_S if connection.state is State.SENDING else self.limits.grace_s
                    connection.check_deadlines(now, self.limits.request_s, idle_s)


def url_of(listening: socket.socket) -> str:
    """The address of *listening*, as in "http://127.0.0.1:5000/"."""
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"


def _allow_connections(limits: Limits) -> int:
    """Allow the process as many open files as *limits* want; how many connections it can have."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    files = limits.connections + limits.files
    if soft != resource.RLIM_INFINITY and soft < files:
        soft = files if hard == resource.RLIM_INFINITY else min(files, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    if soft == resource.RLIM_INFINITY:
        return limits.connections
    return max(1, min(limits.connections, soft - limits.files))
