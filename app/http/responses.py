"""
Responses: JSON with its headers, errors in their one shape, and conditional requests.

Each is a complete HTTPResponse; a route returns one, or raises one when it refuses.
"""

import logging
import re
from collections.abc import Sequence
from hashlib import blake2b
from urllib.parse import quote

import msgspec
from bottle import HTTPResponse, request

from app.errors import PROBLEM_TYPE, FieldError, encode_problem, problem_for, title_of
from storage.errors import Retryable, StorageError

Headers = Sequence[tuple[str, str]]

JSON = ("Content-Type", "application/json")
UNSTORED = ("Cache-Control", "no-store")
REVALIDATED = ("Cache-Control", "no-cache")

_TAG = re.compile(r'(?:W/)?"[^"]*"')

_log = logging.getLogger(__name__)

encode = msgspec.json.Encoder().encode
"""The JSON of a struct or dict, its keys in their order."""


def respond_json(body: object, status: int = 200, headers: Headers = ()) -> HTTPResponse:
    """A response of JSON that no cache keeps."""
    return HTTPResponse(encode(body), status, [JSON, UNSTORED, *headers])


def link_to_next(limit: int, cursor: str | None) -> Headers:
    """The header that names the next page of the list that was asked for (RFC 8288); none at its end."""
    if cursor is None:
        return ()
    path = quote(request.environ["PATH_INFO"].encode("latin-1"))
    return [("Link", f'<{path}?limit={limit}&cursor={cursor}>; rel="next"')]


def respond_problem(
    status: int, code: str, detail: str, errors: Sequence[FieldError] = (), headers: Headers = (), **members: object
) -> HTTPResponse:
    """An error response, to be returned or raised; *errors* are the faults of fields and parameters."""
    content = encode_problem(status, code, detail, **({"errors": errors} if errors else {}), **members)
    return HTTPResponse(content, f"{status} {title_of(status)}", [("Content-Type", PROBLEM_TYPE), UNSTORED, *headers])


def respond_error(error: BaseException) -> HTTPResponse:
    """The response to *error*, with Retry-After where that may help; its cause is logged if that does not name it."""
    spec = problem_for(error)
    if spec.logged:
        # The traceback of a fault of ours helps to find it; a full disk is no fault, and thousands may meet it.
        cause = error.__cause__ if isinstance(error, StorageError) else None
        while cause is not None and cause.__cause__:
            cause = cause.__cause__
        said = f"{spec.status} {spec.code}" + (f": {' '.join(str(cause).split())}" if cause else "")
        _log.error("%s", said, exc_info=None if cause else error)
    headers = [("Retry-After", str(error.retry_after_s))] if isinstance(error, Retryable) else ()
    return respond_problem(spec.status, spec.code, spec.detail, headers=headers)


class Tagged:
    """Content with its ETag, for a response that may be given again and again, with the same headers each time."""

    __slots__ = ("_content", "_headers", "_media_type", "_tag", "version")

    def __init__(self, content: bytes, media_type: str = JSON[1], headers: Headers = (REVALIDATED,)) -> None:
        self._content = content
        self.version = blake2b(content, digest_size=12).hexdigest()
        self._tag = f'"{self.version}"'
        self._media_type = ("Content-Type", media_type)
        self._headers = [("Etag", self._tag), *headers]

    def response(self, headers: Headers = ()) -> HTTPResponse:
        """200 with the content, 304 when the caller has it already, 412 when If-Match names another."""
        if self._is_named("HTTP_IF_MATCH") is False:
            return _precondition_failed()
        # All headers also with 304: a browser lays them over those that it keeps with the content.
        if self._is_named("HTTP_IF_NONE_MATCH"):
            return HTTPResponse(b"", 304, [*self._headers, *headers])
        return HTTPResponse(self._content, 200, [self._media_type, *self._headers, *headers])

    def check_write(self) -> None:
        """Raise 412 where a header of the request forbids to change what has this content (RFC 9110, 13.2.2)."""
        if self._is_named("HTTP_IF_MATCH") is False or self._is_named("HTTP_IF_NONE_MATCH"):
            raise _precondition_failed()

    def _is_named(self, header: str) -> bool | None:
        """Whether that header has this tag, or is `*`; None without it. `W/` counts in one alone (RFC 9110, 8.8.3)."""
        names = request.environ.get(header)
        if names is None:
            return None
        tags = _TAG.findall(names)
        is_weak = header == "HTTP_IF_NONE_MATCH" and f"W/{self._tag}" in tags
        return is_weak or names.strip() == "*" or self._tag in tags


def _precondition_failed() -> HTTPResponse:
    return respond_problem(412, "precondition_failed", "If-Match or If-None-Match forbids it. Nothing was done.")
