"""
Errors as HTTP says them: one shape for all, RFC 9457, and the table from what storage raises to status and code.

Used by the routes and by the server below them. Nothing here repeats what the caller sent, nor what a driver said.
"""

from http import HTTPStatus
from typing import NamedTuple

import msgspec

from storage import errors as storage

PROBLEM_TYPE = "application/problem+json"

SECURITY = (
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
    ("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'"),
)
"""On every response; a page has its own content-security-policy, everything else may load nothing at all."""

_TITLES = {413: "Content Too Large", 414: "URI Too Long", 422: "Unprocessable Content"}
"""The names of RFC 9110, section 15.5, where Python before 3.13 has older ones."""


FieldError = dict[str, str]
"""What is wrong with one field of a body, or with one parameter: `field`, a `code` for programs, a `detail`."""


class ProblemSpec(NamedTuple):
    """How an error is answered. `logged`: its cause belongs in the log, as the response does not name it."""

    status: int
    code: str
    detail: str
    logged: bool = False


BODY_LIMIT = 128 * 1024
"""Bytes of a body: 10,000 characters of 12 bytes each, as JSON escapes those beyond the BMP, fit with a title."""

BODY_TOO_LARGE = ProblemSpec(413, "too_large", f"A body may have {BODY_LIMIT} bytes.")

INTERNAL = ProblemSpec(500, "internal_error", "The service made a mistake. It has been noted in its log.", logged=True)

_TABLE: dict[type[BaseException], ProblemSpec] = {
    storage.TweetNotFound: ProblemSpec(404, "tweet_not_found", "No tweet has this id."),
    storage.TweetDeleted: ProblemSpec(410, "tweet_deleted", "This tweet was deleted."),
    storage.ChainTooLong: ProblemSpec(409, "chain_too_long", "The chain of this tweet is as long as a chain may be."),
    storage.KeyReused: ProblemSpec(422, "key_reused", "This idempotency key was used before, for another call."),
    storage.WindowTooLarge: ProblemSpec(
        422, "window_too_large", "The window holds more than 4,000,000 retweets; name a shorter one."
    ),
    storage.CascadeTooLarge: ProblemSpec(422, "cascade_too_large", "The cascade has more than 100,000 tweets."),
    storage.OtherTimeline: ProblemSpec(
        410, "other_timeline", "The cursor is from another database, or from before a backup was restored: start again."
    ),
    storage.Overloaded: ProblemSpec(503, "overloaded", "Too many calls wait. Nothing was done; ask again later."),
    storage.StoreUnavailable: ProblemSpec(
        503, "store_unavailable", "The database did not answer. Ask again later.", logged=True
    ),
    storage.IndexUnavailable: ProblemSpec(
        503, "index_unavailable", "The ranking is not ready. It repairs itself; ask again later."
    ),
    storage.Retryable: ProblemSpec(503, "unavailable", "The service cannot do this now. Ask again later.", logged=True),
    storage.StoreFull: ProblemSpec(507, "store_full", "The disk is full. Nothing was stored.", logged=True),
}


def problem_for(error: BaseException) -> ProblemSpec:
    """How *error* is answered: by the nearest of its classes that the table knows, else as `INTERNAL`."""
    for kind in type(error).__mro__:
        if kind in _TABLE:
            return _TABLE[kind]
    return INTERNAL


def title_of(status: int) -> str:
    """The name of a status, as `about:blank` asks for it as title (RFC 9457, section 4.2.1)."""
    return _TITLES.get(status) or HTTPStatus(status).phrase


def field_error(field: str, code: str, detail: str) -> FieldError:
    """An entry of the `errors` of a problem."""
    return {"field": field, "code": code, "detail": detail}


def encode_problem(status: int, code: str, detail: str, **members: object) -> bytes:
    """
    The body of an error response, of media type `PROBLEM_TYPE`; *members* are added (RFC 9457, section 3.2).

    `{"type":"about:blank","title":"Not Found","status":404,"code":"tweet_not_found","detail":"No tweet has this id."}`
    """
    problem = {"type": "about:blank", "title": title_of(status), "status": status, "code": code, "detail": detail}
    return msgspec.json.encode(problem | members)
