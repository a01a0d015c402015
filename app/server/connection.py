"""One connection: waitress' channel with a named state, deadlines, and an end that does not lose a response."""

import logging
import select
import socket
import struct
import time
from enum import Enum
from typing import TYPE_CHECKING, Any
from wsgiref.types import WSGIEnvironment

from waitress.channel import HTTPChannel

from app.deferred import DEFERRED, Deferred
from app.errors import ProblemSpec
from app.server.parser import StrictRequest
from app.server.task import TOO_MANY_BYTES, TOO_SLOW, Response, environ_of, respond, respond_error

if TYPE_CHECKING:
    from app.server.server import Server

LEAST_RATE = 16 * 1024
"""Bytes a second that a client takes at least, over a whole response."""

_LINGER_S = 1.0
"""How long a client may go on sending after its last response."""

_RESET = struct.pack("ii", 1, 0)

_log = logging.getLogger(__name__)


class State(Enum):
    """What a connection waits for."""

    READING = "for the next request, or the rest of one"
    RUNNING = "for the response to its first request, or for that one's turn"
    SENDING = "for the client to take the rest of a response"
    LINGERING = "for the client to close, after the last response"
    CLOSED = "for nothing"


_EVENTS = {State.READING: select.POLLIN, State.LINGERING: select.POLLIN, State.SENDING: select.POLLOUT}
"""The events that a connection waits for, by its state; in the others none."""


class Connection(HTTPChannel):
    """
    A client's connection. All its methods are called by the event loop, and none waits.

    At most one response is in flight: the next request is begun when the one before it was handed to the kernel.
    Nothing is ever put into waitress' output buffers, so that its wait for them to empty cannot be reached.
    """

    parser_class = StrictRequest
    server: "Server"
    request: StrictRequest | None
    requests: list[StrictRequest]

    def __init__(self, server: "Server", sock: socket.socket, addr: tuple[Any, ...]) -> None:
        super().__init__(server, sock, addr, server.adj, map=server.files)
        self._number, self._peer = sock.fileno(), addr
        self._environ: WSGIEnvironment | None = None  # of the request that waits for a future
        self._unsent = memoryview(b"")
        self._ends = False  # after what is being sent
        self._received = 0  # bytes since it last had no request
        self._active_at = time.monotonic()
        self._sent_by = 0.0
        self._enter(State.READING)

    def received(self, data: bytes) -> bool:
        """Take in *data*; after the last response it is thrown away."""
        if self.state is State.LINGERING:
            return False
        self._active_at = time.monotonic()
        self._received += len(data)
        self.server.received_bytes += len(data)
        super().received(data)
        if self.state is not State.READING:
            return True
        if self.requests:
            self._enter(State.RUNNING)
        elif self.request is None:
            self._forget_received()
        elif self.server.received_bytes > self.server.limits.received_bytes:
            self._refuse(self.request, TOO_MANY_BYTES)
        return True

    def send_continue(self) -> None:
        """Ask for the body of the request that is being received."""
        if self.request is not None:
            self.sent_continue = True
            self.request.expect_continue = self.request.completed = False
            self._send(b"HTTP/1.1 100 Continue\r\n\r\n")

    def service(self) -> None:
        """Begin the first request, or go on with it when its future is done. Called when it is this one's turn."""
        if self.state is State.CLOSED:
            return
        server, request = self.server, self.requests[0]
        started: list[Any] = []
        environ, self._environ = self._environ, None

        def start_response(status: str, headers: list[tuple[str, str]], _error: object = None, /) -> Any:
            started[:] = [status, headers]

        try:
            if request.error:
                response = self._error_response(request)
            else:
                environ = environ or environ_of(request, self._peer, server.environ_base)
                ends = server.is_stopping and not self._has_more()
                given = server.wsgi(environ, start_response)
                if isinstance(given, Deferred):
                    self._environ = environ
                    environ[DEFERRED] = given
                    # In the thread that completes the future, which must not touch this connection.
                    given.future.add_done_callback(lambda _: server.call_soon(self))
                    return
                status, headers = started
                response = respond(request, status, headers, b"".join(given), ends=ends)
        except Exception:  # noqa: BLE001  # the client gets a 500
            _log.exception("the application failed")
            response = self._error_response(request)
        self.requests.pop(0)
        data, self._ends = response
        self._send(data)

    def _error_response(self, request: StrictRequest) -> Response:
        response = respond_error(request)
        self.server.refused(request.command, int(response[0][9:12]), self._peer[0])
        return response

    def _send(self, data: bytes) -> None:
        self._unsent = memoryview(data)
        self.server.unsent_bytes += len(data)
        self._active_at = time.monotonic()
        self._sent_by = self._active_at + self.server.limits.idle_s + len(data) / LEAST_RATE
        self.handle_write()
        if not self._unsent:
            return
        if self.server.unsent_bytes > self.server.limits.unsent_bytes:
            self.reset()
        else:
            self._enter(State.SENDING)

    def handle_write(self) -> None:
        """Send what the kernel takes of the response."""
        try:
            sent = self.socket.send(self._unsent)
        except BlockingIOError:
            return
        except OSError:
            self.handle_close()
            return
        self._unsent = self._unsent[sent:]
        self.server.unsent_bytes -= sent
        if self._unsent:
            self._active_at = time.monotonic()
        else:
            self._sent()

    def _sent(self) -> None:
        """Go on after a response was handed to the kernel."""
        self._active_at = time.monotonic()
        if self._ends:
            self._linger()
        elif self.requests:
            self._enter(State.RUNNING)
            self.server.add_task(self)
        else:
            self._enter(State.READING)
            if self.request is None:
                self._forget_received()
            elif self.request.expect_continue and self.request.headers_finished and not self.sent_continue:
                self.send_continue()

    def _linger(self) -> None:
        """
        End our side and read on until the client ends its own, or time is up.

        A socket closed with bytes unread resets the connection, and the client may lose the response (RFC 9112, 9.6).
        """
        self.requests = []
        self._enter(State.LINGERING)
        try:
            self.socket.shutdown(socket.SHUT_WR)
        except OSError:
            self.handle_close()

    def _enter(self, state: State) -> None:
        self.state = state
        self.server.wait_for(self._number, _EVENTS.get(state, 0))

    def _forget_received(self) -> None:
        self.server.received_bytes -= self._received
        self._received = 0

    def check_deadlines(self, now: float, request_s: float, idle_s: float) -> None:
        """Refuse a request that takes longer than *request_s*; close when nothing happened for *idle_s*."""
        if self.state is State.READING:
            if self.request is None:
                if now - self._active_at > idle_s:
                    self.handle_close()
            elif now - self.request.started > request_s:
                self._refuse(self.request, TOO_SLOW)
        elif self.state is State.LINGERING:
            if now - self._active_at > _LINGER_S:
                self.handle_close()
        elif self.request is not None:  # waits behind a response, which is not the client's delay
            self.request.started = now
        if self.state is State.SENDING and (now - self._active_at > idle_s or now > self._sent_by):
            self.reset()

    def _refuse(self, request: StrictRequest, spec: ProblemSpec) -> None:
        """Let *request*, which is incomplete, be answered by an error in its turn."""
        request.error = spec
        self.requests.append(request)
        self.request = None
        self._enter(State.RUNNING)
        self.server.add_task(self)

    def reset(self) -> None:
        """Close at once, and take back what the kernel has not sent: it would keep that for minutes."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self.handle_close()

    def handle_close(self) -> None:
        """Close, in whatever state it is."""
        if self.state is State.CLOSED:
            return
        self._enter(State.CLOSED)
        self.server.unsent_bytes -= len(self._unsent)
        self._unsent = memoryview(b"")
        self._environ = None
        self._forget_received()
        super().handle_close()

    def _has_more(self) -> bool:
        """Whether something was received after the request that is being answered."""
        if self.request is not None or len(self.requests) > 1:
            return True
        try:
            return bool(self.socket.recv(1, socket.MSG_PEEK))
        except OSError:  # nothing there
            return False
