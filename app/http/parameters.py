"""What a request says beside its body: the parameters of its query, its idempotency key, the ids in its path."""

import re
from collections.abc import Callable
from typing import TypeVar
from urllib.parse import parse_qsl

from bottle import request

from app.errors import FieldError
from app.http.answers import refusal
from storage import ids
from storage.errors import TweetNotFound
from storage.records import LARGEST_COUNT, Place

Cursor = TypeVar("Cursor")

LARGEST_LIMIT = 100
_LIMIT = re.compile(r"[1-9][0-9]{0,2}")
_INTEGER = re.compile(r"0|-?[1-9][0-9]*")
PLACE_PATTERN = r"^(0|[1-9][0-9]{0,15})\." + ids.PATTERN.removeprefix("^")
"""What the cursor of the ranking looks like, for documentation; `place_of` is what checks."""
_PLACE = re.compile(r"(0|[1-9][0-9]{0,15})\.(.*)")

_CURSOR_FAULT = FieldError("cursor", "invalid", "Must be the `next` of the page before.")
_QUERY_FAULT = FieldError("query", "invalid", "Must be `name=value` pairs joined by `&`, percent-encoded in UTF-8.")


def read_query(default_limit: int, parse: Callable[[str], Cursor | None]) -> tuple[int, Cursor | None]:
    """
    How many tweets are asked for, and after what: `limit`, and `cursor` as *parse* reads it, None for the first page.

    Parameters of other names mean nothing. Raises the refusal, 422, that names all faults.
    """
    if not request.environ.get("QUERY_STRING"):
        return default_limit, None
    values, faults = _read_pairs()
    limit, after = values.get("limit"), None
    if limit is not None and not (_LIMIT.fullmatch(limit) and int(limit) <= LARGEST_LIMIT):
        faults.append(_limit_fault(limit))
    if "cursor" in values:
        after = parse(values["cursor"])
        if after is None:
            faults.append(_CURSOR_FAULT)
    if faults:
        raise refusal(422, "invalid_query", "Some parameters are not as they must be; `errors` names them.", faults)
    return default_limit if limit is None else int(limit), after


def _limit_fault(limit: str) -> FieldError:
    code = "out_of_range" if _INTEGER.fullmatch(limit) else "invalid"
    return FieldError("limit", code, f"Must be an integer from 1 to {LARGEST_LIMIT}.")


def cursor_of(place: Place) -> str:
    """`12.0CZ3K8M4T0R00`: the count and the id of *place*."""
    return f"{place.count_retweet}.{ids.encode(place.id)}"


def place_of(cursor: str) -> Place | None:
    """The place that *cursor* spells, or None when it spells none: only the one spelling of `cursor_of` is taken."""
    spelled = _PLACE.fullmatch(cursor)
    if spelled is None or int(spelled[1]) > LARGEST_COUNT:
        return None
    tweet_id = ids.decode(spelled[2])
    return None if tweet_id is None else Place(int(spelled[1]), tweet_id)


def id_of(text: str) -> int:
    """The id that *text* spells. Raises TweetNotFound when it spells none: then it is no tweet's."""
    tweet_id = ids.decode(text)
    if tweet_id is None:
        raise TweetNotFound
    return tweet_id


def read_key() -> str | None:
    """The Idempotency-Key, None without one. Raises the refusal, 400."""
    key: str | None = request.environ.get("HTTP_IDEMPOTENCY_KEY")
    if key is None or (0 < len(key) <= 255 and key.isascii() and key.isprintable()):
        return key
    raise refusal(400, "bad_key", "An Idempotency-Key must be 1 to 255 printable ASCII characters.")


def _read_pairs() -> tuple[dict[str, str], list[FieldError]]:
    """The parameters of the query, and the faults found on the way: a name given twice, or text that is not UTF-8."""
    try:
        pairs = parse_qsl(request.environ["QUERY_STRING"], keep_blank_values=True, errors="strict")
    except ValueError:
        return {}, [_QUERY_FAULT]
    names = [name for name, _ in pairs]
    twice = [name for name in ("limit", "cursor") if names.count(name) > 1]
    return dict(pairs), [FieldError(name, "repeated", "Must be given once.") for name in twice]
