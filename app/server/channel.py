"""One connection: waitress' channel with deadlines, and an end that does not lose the answer."""

import socket
import time
from collections.abc import Callable
from contextlib import suppress

from waitress.channel import HTTPChannel

from app.errors import Refusal
from app.server.answers import TOO_SLOW, Answer, ErrorAnswer, NotYet
from app.server.framing import StrictRequest

_LINGER_S = 1.0
"""How long a client may go on sending after its last answer."""


class Channel(HTTPChannel):
    """A client's connection. All but `service` and `has_more` is called by the thread that runs the server."""

    parser_class = StrictRequest
    error_task_class = ErrorAnswer
    request: StrictRequest | None
    requests: list[StrictRequest]

    lingers_since = 0.0
    _held: list[bytes] | None = None
    under_way: Answer | None = None
    """What is being answered; it may wait for its second step, while no thread is concerned with it."""

    @staticmethod
    def task_class(channel: "Channel", request: StrictRequest) -> Answer:
        """What waitress calls the task of a request: the one under way, or a new one."""
        if channel.under_way is None:
            channel.under_way = Answer(channel, request)
        return channel.under_way

    def service(self) -> None:
        """Answer the next request, or go as far as it can be done now."""
        in_hand = self.server.in_hand
        in_hand.number = self._fileno
        try:
            super().service()
        except NotYet:
            pass
        finally:
            in_hand.number = None
            self.server.polled.mark(self._fileno)

    def write_together(self, write: Callable[[bytes], None], data: bytes) -> None:
        """
        Send what *write* makes of *data*, header and all, by one call of the system.

        waitress sends a header by itself, before its body: a second call, a second packet, and a client woken twice.
        """
        held: list[bytes] = []
        self._held = held
        try:
            write(data)
        finally:
            self._held = None
        self._send_now(b"".join(held))

    def _send_now(self, data: bytes) -> None:
        """Send *data* past waitress' buffers, which are for what the client does not take at once."""
        sent = 0
        with self.outbuf_lock, suppress(OSError):  # waitress will see it again, and knows what to do
            if self.connected and not self.total_outbufs_len:
                sent = self.send(data, do_close=False)
                self.last_activity = time.time()
        super().write_soon(data[sent:])

    def write_soon(self, data: bytes) -> int:
        """Send *data*, or hold it back for `write_together`."""
        if self._held is None:
            return super().write_soon(data)
        self._held.append(data)
        return len(data)

    def handle_expt(self) -> None:
        """Close on urgent data: waitress would find it again in every turn, and log it."""
        self.handle_close()

    def received(self, data: bytes) -> bool:
        """Take in *data*; after the last answer it is thrown away."""
        return not self.lingers_since and super().received(data)

    def handle_write(self) -> None:
        """Send what waits; after the last answer, end this side only, where waitress closes both."""
        self._flush_exception(self._flush_some_if_lockable if self.requests else self._flush_some)
        if self.will_close:
            self.handle_close()
        elif self.close_when_flushed and not self.total_outbufs_len and self.connected:
            self.close_when_flushed = False
            self._linger()

    def _linger(self) -> None:
        """
        End our side and read on until the client ends its own, or time is up.

        A socket closed with bytes unread resets the connection, and the client may lose the answer (RFC 9112, 9.6).
        """
        self.lingers_since = time.time()
        try:
            self.socket.shutdown(socket.SHUT_WR)
        except OSError:
            self.handle_close()

    def check_deadlines(self, now: float, request_s: float, idle_s: float) -> None:
        """Refuse a request that takes longer than *request_s*; close when nothing happened for *idle_s*."""
        self.server.polled.mark(self._fileno)
        if self.requests:
            if self.request is not None:  # waits behind them: not the client's delay
                self.request.started = now
        elif self.lingers_since:
            self.will_close = now - self.lingers_since > _LINGER_S
        elif self.request is not None and not self.close_when_flushed:
            if now - self.request.started > request_s:
                self._refuse(self.request, TOO_SLOW)
        elif now - self.last_activity > idle_s:
            self.will_close = True

    def _refuse(self, request: StrictRequest, refusal: Refusal) -> None:
        with self.requests_lock:  # a thread that has just answered may be looking at it
            request.error = refusal
            self.requests.append(request)
            self.request = None
        self.server.refuse(self)

    def has_more(self) -> bool:
        """Whether something was received after the request that is being answered."""
        if self.request is not None or len(self.requests) > 1:
            return True
        try:
            return bool(self.socket.recv(1, socket.MSG_PEEK))
        except (OSError, AttributeError):  # nothing there; closed just now
            return False
