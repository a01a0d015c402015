"""What the server itself answers: every refusal as application/problem+json, and the last answer before it stops."""

from http import HTTPStatus
from typing import Protocol

from waitress.task import ErrorTask, WSGITask

from app.errors import INTERNAL, PROBLEM_TYPE, SECURITY, Refusal, problem

HEADER_TOO_LARGE = Refusal(431, "header_too_large", "The request line and the headers are too long.")
BODY_TOO_LARGE = Refusal(413, "too_large", "A body may have 65536 bytes.")
TOO_SLOW = Refusal(408, "request_too_slow", "The request did not arrive in time.")
OVERLOADED = Refusal(503, "overloaded", "More requests wait than may wait. Nothing was done; ask again later.")

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
        self.write(b"" if method == "HEAD" else body)
        self.channel.server.on_refusal(method, refusal.status)


class LastAnswer(WSGITask):
    """Answers while the server stops: tells the client to send no more, once nothing more of it waits."""

    def start(self) -> None:
        """Say `Connection: close` unless another request was received after this one."""
        super().start()
        if not self.channel.has_more():
            self.set_close_on_finish()
