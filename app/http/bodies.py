"""
A JSON body, read and checked: what it holds, or a refusal that names all its faults at once.

A good body is decoded and checked in one step. Only one that fails there is looked at again, field by field, by the
standard library, which unlike msgspec tells broken JSON from JSON with a lone surrogate.
"""

import json
from collections.abc import Iterable, Iterator
from itertools import islice
from math import isfinite
from typing import Any, NoReturn, TypeVar

import msgspec
from bottle import request
from msgspec import structs

from app.errors import FieldError
from app.http.answers import refusal
from app.http.wire import NewRetweet, NewTweet

LIMIT = 64 * 1024
"""How many bytes a body may have."""
DEEPEST = 100
"""How many arrays and objects may lie in each other; the parsers' own limits differ between versions of Python."""
_MOST_FAULTS = 100  # named in one answer, so that it does not grow far beyond the question
_LONGEST_NAME = 100

Body = TypeVar("Body", NewTweet, NewRetweet)


def read_body(decoder: msgspec.json.Decoder[Body]) -> Body:
    """The body of the request, checked. Raises the refusal: 400, 413, 415 or 422."""
    environ = request.environ
    content_type = environ.get("CONTENT_TYPE", "")
    if content_type != "application/json" and not _is_json(content_type):
        raise refusal(415, "not_json", "Send the body as application/json, in UTF-8.")
    content = _read(environ)
    try:
        return decoder.decode(content)
    except (ValueError, RecursionError):
        return _decode_slowly(content, decoder.type)


def _is_json(content_type: str) -> bool:
    """Whether it is JSON in UTF-8, whatever other parameters it has (RFC 9110, section 8.3.1)."""
    media_type, *parameters = (part.strip() for part in content_type.lower().split(";"))
    charsets = [part.removeprefix("charset=").strip('"') for part in parameters if part.startswith("charset")]
    return media_type == "application/json" and all(charset == "utf-8" for charset in charsets)


def _read(environ: dict[str, Any]) -> bytes:
    """The bytes of the body, at most `LIMIT`, whether it came with its length or in chunks."""
    length = environ.get("CONTENT_LENGTH", "")
    if not length:
        # Without a length there is a body only if the server marks its end, as it must for one in chunks.
        ends = environ.get("wsgi.input_terminated") or "HTTP_TRANSFER_ENCODING" in environ
        length_bytes = LIMIT + 1 if ends else 0
    elif not (length.isascii() and length.isdigit()):
        raise refusal(400, "bad_length", "Content-Length is not a number.")
    else:
        length_bytes = int(length) if len(length) < 10 else LIMIT + 1
    if length_bytes <= LIMIT or not length:
        content: bytes = environ["wsgi.input"].read(length_bytes)
        if len(content) <= LIMIT:
            return content
    raise refusal(413, "too_large", f"A body may have {LIMIT} bytes.")


def _decode_slowly(content: bytes, kind: type[Body]) -> Body:
    """What *content* holds after all, as when a bad value stands under a key given again; else the refusal."""
    values = _parse(content)
    if not isinstance(values, dict):
        raise refusal(422, "not_an_object", "The body must be a JSON object.")
    faults = list(islice(_faults(values, kind), _MOST_FAULTS))
    if faults:
        raise refusal(422, "invalid_body", "Some fields are not as they must be; `errors` names them.", faults)
    return msgspec.convert(values, kind)


def _parse(content: bytes) -> object:
    """Any JSON value of finite numbers; of a key given twice the last counts. Raises the refusal, 400."""
    try:
        value = json.loads(content.decode(), parse_constant=_refuse_number, parse_float=_finite)
        if not _is_deep(value):
            return value
    except (ValueError, RecursionError):
        pass
    raise refusal(400, "bad_json", "The body is not JSON in UTF-8, or is nested too deeply.") from None


def _refuse_number(name: str) -> NoReturn:
    raise ValueError(name)


def _finite(digits: str) -> float:
    number = float(digits)
    return number if isfinite(number) else _refuse_number(digits)


def _is_deep(value: object) -> bool:
    level = [value]
    for _ in range(DEEPEST):
        level = [child for item in level for child in _children(item)]
        if not level:
            return False
    return True


def _children(value: object) -> Iterable[object]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


def _faults(values: dict[str, object], kind: type[Body]) -> Iterator[FieldError]:
    """Every fault of *values*: first the fields, in their order, then the unknown ones."""
    fields = structs.fields(kind)
    for field in fields:
        code = _fault(field, values.get(field.name))
        if code:
            yield FieldError(field.name, code, f"Must be {kind.rules[field.name]}.")
    known = {field.name for field in fields}
    for name in values:
        if name in known:
            continue
        shown = name[:_LONGEST_NAME].encode(errors="replace").decode()  # a name may hold a lone surrogate
        yield FieldError(shown, "unknown", "There is no such field.")


def _fault(field: structs.FieldInfo, value: object) -> str | None:
    """What is wrong with *value*: the code of the fault, None when there is none."""
    if value is None:
        return "missing" if field.required else None
    expected = int if field.name == "count_retweet" else str
    if type(value) is not expected:
        return "wrong_type"
    try:
        msgspec.convert(value, field.type)
        str(value).encode()
    except ValueError:  # of msgspec, or of a lone surrogate
        return "out_of_range" if expected is int else "invalid"
    return None
