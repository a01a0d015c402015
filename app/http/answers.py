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


def tagged(body: msgspec.Struct, headers: Sequence[tuple[str, str]] = ()) -> HTTPResponse:
    """200 with *body* and its ETag, or 304 when the caller has it already (RFC 9110, section 13.1.2)."""
    return tagged_bytes(_encoder.encode(body), headers)


def tagged_bytes(content: bytes, headers: Sequence[tuple[str, str]] = ()) -> HTTPResponse:
    """The same of JSON already encoded."""
    tag = f'"{blake2b(content, digest_size=12).hexdigest()}"'
    if _is_known(tag):
        return HTTPResponse(b"", 304, [("Etag", tag), REVALIDATED, *headers])
    return HTTPResponse(content, 200, [JSON, ("Etag", tag), REVALIDATED, *headers])


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


def _is_known(tag: str) -> bool:
    """Whether If-None-Match names *tag*; the comparison is weak, so a `W/` before it means nothing."""
    known = request.environ.get("HTTP_IF_NONE_MATCH")
    return known is not None and (known.strip() == "*" or tag in _TAG.findall(known))
