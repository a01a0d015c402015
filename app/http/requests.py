"""
What a request says: its JSON body, the parameters of its query, its idempotency key, the ids in its path.

A good body is decoded and checked in one step. Only one that fails there is looked at again, field by field, so that
the response names all its faults at once.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, TypeVar
from urllib.parse import parse_qsl

import msgspec
from bottle import HTTPResponse, request
from msgspec import structs

from app.errors import BODY_LIMIT, BODY_TOO_LARGE, FieldError, field_error
from app.http.responses import respond_problem
from app.http.schemas import NewRetweet, NewTweet, is_visible
from storage import ids
from storage.errors import TweetNotFound
from storage.records import LARGEST_COUNT, Place

DEEPEST = 100
"""How many arrays and objects may lie in each other; the parser's own limit differs between versions of Python."""
_MOST_FAULTS = 100  # named in one response, so that it does not grow far beyond the question
_LONGEST_NAME = 100

LARGEST_LIMIT = 100
LARGEST_PAGE = 1000
"""Of rows that are small, or for programs alone."""

_LIMIT = re.compile(r"[1-9][0-9]{0,3}")
_INTEGER = re.compile(r"0|-?[1-9][0-9]*")
_PLACE = re.compile(r"(0|[1-9][0-9]{0,15})\.(.*)")

CURSOR_FAULT = field_error("cursor", "invalid", "Must be the `next` of the page before.")
_QUERY_FAULT = field_error("query", "invalid", "Must be `name=value` pairs joined by `&`, percent-encoded in UTF-8.")

Body = TypeVar("Body", NewTweet, NewRetweet)
Cursor = TypeVar("Cursor")


def read_body(decoder: msgspec.json.Decoder[Body]) -> Body:
    """The body of the request, checked. Raises the refusal: 400, 413, 415 or 422."""
    environ = request.environ
    content_type = environ.get("CONTENT_TYPE", "")
    if content_type != "application/json" and not _is_json(content_type):
        detail = "Send the body as application/json, in UTF-8."
        raise respond_problem(415, "not_json", detail, headers=[("Accept-Post", "application/json")])
    if environ.get("HTTP_CONTENT_ENCODING", "identity").lower() != "identity":
        detail = "Send the body without a Content-Encoding."
        raise respond_problem(415, "encoded_body", detail, headers=[("Accept-Encoding", "identity")])
    # Without a length there is a body only if the server marks its end, as ours does.
    length_bytes = BODY_LIMIT + 1 if environ.get("wsgi.input_terminated") else int(environ.get("CONTENT_LENGTH") or 0)
    content = environ["wsgi.input"].read(min(length_bytes, BODY_LIMIT + 1))
    if len(content) > BODY_LIMIT:
        raise respond_problem(*BODY_TOO_LARGE[:3])
    try:
        body = decoder.decode(content)
        if (body.title is None or is_visible(body.title)) and (body.body is None or is_visible(body.body)):
            return body
    except (ValueError, RecursionError):
        pass
    return explain_body(content, decoder.type)


def _is_json(content_type: str) -> bool:
    """Whether it is JSON in UTF-8, whatever other parameters it has (RFC 9110, section 8.3.1)."""
    media_type, *parameters = (part.strip() for part in content_type.lower().split(";"))
    charsets = [part.removeprefix("charset=").strip('"') for part in parameters if part.startswith("charset")]
    return media_type == "application/json" and all(charset in ("utf-8", "utf8") for charset in charsets)


def explain_body(content: bytes, kind: type[Body]) -> Body:
    """
    What *content* holds after all: a bad value may stand under a key given again, and CRLF in a text becomes LF.

    Else raises the refusal that names its faults.
    """
    try:
        values = msgspec.json.decode(content)
        is_bad = _is_deep(values)
    except (ValueError, RecursionError):
        is_bad = True
    if is_bad:
        detail = "The body is not JSON in UTF-8, or is nested too deeply."
        raise respond_problem(400, "bad_json", detail) from None
    if not isinstance(values, dict):
        raise respond_problem(422, "not_an_object", "The body must be a JSON object.")
    if isinstance(values.get("body"), str):
        values["body"] = values["body"].replace("\r\n", "\n")
    faults = list(islice(_faults(values, kind), _MOST_FAULTS))
    if faults:
        detail = "Some fields are not as they must be; `errors` names them."
        raise respond_problem(422, "invalid_body", detail, faults)
    return msgspec.convert(values, kind)


def _is_deep(value: object) -> bool:
    level = [value]
    for _ in range(DEEPEST):
        nested = (item.values() if isinstance(item, dict) else item for item in level if isinstance(item, dict | list))
        level = [child for children in nested for child in children]
        if not level:
            return False
    return True


def _faults(values: dict[str, object], kind: type[Body]) -> Iterator[FieldError]:
    """Every fault of *values*: first the fields, in their order, then the unknown ones."""
    fields = structs.fields(kind)
    for field in fields:
        code = _fault(field, values.get(field.name))
        if code:
            yield field_error(field.name, code, f"Must be {kind.rules[field.name]}.")
    known = {field.name for field in fields}
    for name in values:
        if name not in known:
            yield field_error(name[:_LONGEST_NAME], "unknown", "There is no such field.")


def _fault(field: structs.FieldInfo, value: object) -> str | None:
    """What is wrong with *value*: the code of the fault, None when there is none."""
    if value is None:
        return "missing" if field.required else None
    expected = int if field.name == "count_retweet" else str
    if type(value) is not expected:
        return "wrong_type"
    try:
        msgspec.convert(value, field.type)
    except ValueError:
        return "out_of_range" if expected is int else "invalid"
    if field.name in ("title", "body") and not is_visible(str(value)):
        return "invalid"
    return None


Rule = tuple[Callable[[str], Any], str]
"""How a parameter is read: a function gives its value, None for a bad text; the sentence says what it must be."""


def limit_rule(largest: int) -> Rule:
    """A number of rows, 1 to *largest*, which is at most 1000."""

    def parse(text: str) -> int | None:
        return int(text) if _LIMIT.fullmatch(text) and int(text) <= largest else None

    return parse, f"Must be an integer from 1 to {largest}."


def read_page(
    default_limit: int, parse: Callable[[str], Cursor | None], largest: int = LARGEST_LIMIT
) -> tuple[int, Cursor | None]:
    """
    How many rows are asked for, and after what: `limit`, and `cursor` as *parse* reads it, None for the first page.

    Raises the refusal, 422, that names all faults.
    """
    asked = read_parameters({"limit": limit_rule(largest), "cursor": (parse, CURSOR_FAULT["detail"])})
    return asked.get("limit", default_limit), asked.get("cursor")


def read_parameters(rules: Mapping[str, Rule], needed: str = "") -> dict[str, Any]:
    """
    The values of those parameters of the query that *rules* name; those of other names mean nothing.

    Raises the refusal, 422, that names all faults, which one without *needed* has as well.
    """
    query = request.environ.get("QUERY_STRING")
    if not query and not needed:
        return {}
    faults: list[FieldError] = []
    try:
        pairs = parse_qsl(query or "", keep_blank_values=True, errors="strict")
    except ValueError:
        pairs, faults = [], [_QUERY_FAULT]
    values: dict[str, Any] = {}
    for name, (parse, means) in rules.items():
        texts = [text for given, text in pairs if given == name]
        if len(texts) > 1:
            faults.append(field_error(name, "repeated", "Must be given once."))
        elif texts:
            values[name] = parse(texts[0])
            if values[name] is None:
                code = "out_of_range" if name == "limit" and _INTEGER.fullmatch(texts[0]) else "invalid"
                faults.append(field_error(name, code, means))
        elif name == needed:
            faults.append(field_error(name, "missing", means))
    if faults:
        raise refuse_query(faults)
    return values


def refuse_query(faults: Sequence[FieldError]) -> HTTPResponse:
    """The refusal of parameters, 422."""
    detail = "Some parameters are not as they must be; `errors` names them."
    return respond_problem(422, "invalid_query", detail, faults)


def cursor_of(place: Place) -> str:
    """`12.0CZ3K8M4T0R00`: the count and the id of *place*."""
    return f"{place.count_retweet}.{ids.encode(place.id)}"


def parse_place(cursor: str) -> Place | None:
    """The place that *cursor* spells, or None when it spells none."""
    spelled = _PLACE.fullmatch(cursor)
    if spelled is None or int(spelled[1]) > LARGEST_COUNT:
        return None
    tweet_id = find_id(spelled[2])
    return None if tweet_id is None else Place(int(spelled[1]), tweet_id)


def find_id(text: str) -> int | None:
    """The id that *text* spells, in letters of either case; None when it spells none."""
    return ids.decode(text.upper()) if text.isascii() else None


def parse_id(text: str) -> int:
    """The same. Raises TweetNotFound when it spells none: then it is no tweet's."""
    tweet_id = find_id(text)
    if tweet_id is None:
        raise TweetNotFound
    return tweet_id


def read_key() -> str | None:
    """The Idempotency-Key, None without one. Raises the refusal, 400."""
    key: str | None = request.environ.get("HTTP_IDEMPOTENCY_KEY")
    if key is None or (0 < len(key) <= 255 and key.isascii() and key.isprintable()):
        return key
    raise respond_problem(400, "bad_key", "An Idempotency-Key must be 1 to 255 printable ASCII characters.")
