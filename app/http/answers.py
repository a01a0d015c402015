"""
Answers: JSON with its headers, errors in their one shape, and what need not be sent again.

Each is a complete HTTPResponse; a route returns one, or raises one when it refuses.
"""

import re
from collections.abc import Sequence
from hashlib import blake2b

import msgspec
from bottle import HTTPResponse, request

from app.errors import PROBLEM_TYPE, FieldError, problem

Headers = list[tuple[str, str]]

JSON = ("Content-Type", "application/json")
UNSTORED = ("Cache-Control", "no-store")
REVALIDATED = ("Cache-Control", "no-cache")

_encoder = msgspec.json.Encoder()
_TAG = re.compile(r'"[^"]*"')


def encode(body: msgspec.Struct) -> bytes:
    """The JSON of *body*, its keys in the order of its fields."""
    return _encoder.encode(body)


def answer(body: msgspec.Struct, status: int = 200, headers: Sequence[tuple[str, str]] = ()) -> HTTPResponse:
    """An answer of JSON that no cache keeps."""
    return HTTPResponse(_encoder.encode(body), status, [JSON, UNSTORED, *headers])


class Tagged:
    """Content with its ETag, which may be answered again and again."""

    __slots__ = ("_content", "_headers", "_tag")

    def __init__(self, content: bytes) -> None:
        self._content = content
        self._tag = f'"{blake2b(content, digest_size=12).hexdigest()}"'
        self._headers = [("Etag", self._tag), REVALIDATED]

    def answer(self, headers: Sequence[tuple[str, str]] = ()) -> HTTPResponse:
        """200 with the content, or 304 when the caller has it already."""
        if is_known(self._tag):
            return HTTPResponse(b"", 304, [*self._headers, *headers])
        return HTTPResponse(self._content, 200, [JSON, *self._headers, *headers])


def refusal(
    status: int,
    code: str,
    detail: str,
    errors: Sequence[FieldError] = (),
    headers: Sequence[tuple[str, str]] = (),
) -> HTTPResponse:
    """An error answer, to be returned or raised."""
    content = problem(status, code, detail, errors)
    return HTTPResponse(content, status, [("Content-Type", PROBLEM_TYPE), UNSTORED, *headers])


def is_known(tag: str) -> bool:
    """
    Whether If-None-Match names *tag*, or is `*`, which names whatever is there (RFC 9110, section 13.1.2).

    The comparison is weak, so a `W/` before a tag means nothing.
    """
    known = request.environ.get("HTTP_IF_NONE_MATCH")
    return known is not None and (known.strip() == "*" or tag in _TAG.findall(known))
