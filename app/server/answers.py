"""What the server itself answers: every refusal as application/problem+json, and an answer in two steps."""

from functools import partial
from http import HTTPStatus
from typing import Any, Protocol

from waitress.task import ErrorTask, WSGITask
from waitress.utilities import build_http_date

from app.errors import INTERNAL, PROBLEM_TYPE, SECURITY, Refusal, problem
from app.later import LATER, Begun

HEADER_TOO_LARGE = Refusal(431, "header_too_large", "The request line and the headers are too long.")
BODY_TOO_LARGE = Refusal(413, "too_large", "A body may have 65536 bytes.")
TOO_SLOW = Refusal(408, "request_too_slow", "The request did not arrive in time.")
OVERLOADED = Refusal(503, "overloaded", "More requests wait than may wait. Nothing was done; ask again later.")

ANSWER = "simple_twitter.answer"
"""In the environ: the Answer that is under way."""

_OF_WAITRESS = {431: HEADER_TOO_LARGE, 413: BODY_TOO_LARGE, 500: INTERNAL}
"""What waitress itself still refuses, by its status."""


class WaitressError(Protocol):
    """An error as waitress makes it (its `waitress.utilities.Error`)."""

    code: int


class ErrorAnswer(ErrorTask):
    """Answers a request that was refused, and closes its connection: where the next one starts is not known."""

    def execute(self) -> None:
        """Write the answer; waitress' own is plain text."""
        error = self.request.error
        refusal = error if isinstance(error, Refusal) else _OF_WAITRESS[error.code]
        body = problem(refusal.status, refusal.code, refusal.detail)
        self.status = f"{refusal.status} {HTTPStatus(refusal.status).phrase}"
        self.response_headers += [
            ("Content-Type", PROBLEM_TYPE),
            ("Cache-Control", "no-store"),
            *SECURITY,
        ]
        if refusal.status == OVERLOADED.status:
            self.response_headers.append(("Retry-After", "1"))
        self.set_close_on_finish()
        self.content_length = len(body)
        # Not of `self.request`: after an exception, waitress puts an empty one in its place.
        method = self.channel.requests[0].command
        self.channel.server.hooks.refused(method, refusal.status)  # first: the client may have it a moment later
        self.write(b"" if method == "HEAD" else body)


class NotYet(BaseException):
    """Ends the work on a request whose answer comes later. No Exception, so that waitress lets it pass."""


class Answer(WSGITask):
    """Answers a request by the application: at once, or in two steps with any time between them."""

    begun: Begun | None = None
    """What the application has begun, when it was called and the answer is not complete."""

    def service(self) -> None:
        """Go as far as it can be done now. Raises NotYet when that is not the end."""
        self.channel.under_way = None  # from the end of it on, another thread may work on the next request
        try:
            super().service()
        except NotYet:
            self.channel.under_way = self
            raise
        self.environ = None  # which names this answer: a circle, left to the garbage collector

    def is_ready(self) -> bool:
        """Whether the next step will not wait."""
        return self.begun is None or self.begun.is_ready()

    def start(self) -> None:
        """While the server stops, say `Connection: close` unless another request was received after this one."""
        super().start()
        if self.channel.server.is_stopping and not self.channel.has_more():
            self.set_close_on_finish()

    def write(self, data: bytes) -> None:
        """Send *data*, the header before it if it is the first."""
        if self.wrote_header:
            super().write(data)
        else:
            self.channel.write_together(super().write, data)

    def build_response_header(self) -> bytes:
        """
        Its first bytes, up to the body. An answer that can have none ends with them, so the connection may go on.

        waitress ends it, as after an answer whose length nobody knows (RFC 9112, section 6.3); and it spells and sorts
        each header anew. It is asked only where the connection ends.
        """
        ends = self.close_on_finish or self.version == "1.0" or self.request.headers.get("CONNECTION") == "close"
        has_body = self.has_body
        if ends or (has_body and self.content_length is None):
            return super().build_response_header()
        lines = [f"{name}: {value}" for name, value in self.response_headers if has_body or name != "Content-Length"]
        date = build_http_date(self.start_time)
        return "\r\n".join((f"HTTP/1.1 {self.status}", *lines, f"Date: {date}", "", "")).encode("latin-1")

    def get_environment(self) -> dict[str, Any]:
        """That of WSGI, with what `Server.answer` must know."""
        if self.environ is not None:  # made for the first step
            return self.environ
        environ = super().get_environment()
        environ["REQUEST_METHOD"] = self.request.command  # waitress writes it in capitals, which would be another one
        environ[ANSWER] = self
        if self.request.at_once:
            environ[LATER] = partial(self.channel.server.go_on, self.channel)
        return environ
