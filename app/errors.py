"""
Errors as HTTP says them: one shape for all, RFC 9457, and the table from what storage raises to status and code.

Used by the routes and by the server below them. Nothing here repeats what the caller sent, nor what a driver said.
"""

from collections.abc import Sequence
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
"""On every answer; a page has its own content-security-policy, everything else may load nothing at all."""


class FieldError(msgspec.Struct, frozen=True):
    """What is wrong with one field of a body, or with one parameter: `code` for programs, `detail` for people."""

    field: str
    code: str
    detail: str


class Problem(msgspec.Struct, frozen=True, omit_defaults=True):
    """The body of every error (RFC 9457, section 3). `errors` names the faults of fields and parameters."""

    type: str
    title: str
    status: int
    code: str
    detail: str
    errors: Sequence[FieldError] = ()


def problem(status: int, code: str, detail: str, errors: Sequence[FieldError] = ()) -> bytes:
    """
    The body of an error answer, of media type `PROBLEM_TYPE`.

    `{"type":"about:blank","title":"Not Found","status":404,"code":"tweet_not_found","detail":"No tweet has this id."}`
    """
    title = HTTPStatus(status).phrase  # as `about:blank` asks: RFC 9457, section 4.2.1
    return msgspec.json.encode(Problem("about:blank", title, status, code, detail, errors))


class Refusal(NamedTuple):
    """How an error is answered. `logged`: its cause belongs in the log, for the answer does not tell it."""

    status: int
    code: str
    detail: str
    logged: bool = False


INTERNAL = Refusal(500, "internal_error", "The service made a mistake. It has been noted in its log.", logged=True)

_TABLE: dict[type[BaseException], Refusal] = {
    storage.TweetNotFound: Refusal(404, "tweet_not_found", "No tweet has this id."),
    storage.TweetDeleted: Refusal(410, "tweet_deleted", "This tweet was deleted."),
    storage.ChainTooLong: Refusal(409, "chain_too_long", "The chain of this tweet is as long as a chain may be."),
    storage.KeyReused: Refusal(422, "key_reused", "This idempotency key was used before, for another call."),
    storage.Overloaded: Refusal(503, "overloaded", "Too many writes are waiting. Nothing was stored; ask again later."),
    storage.StoreUnavailable: Refusal(
        503, "store_unavailable", "The database did not answer. Ask again later.", logged=True
    ),
    storage.IndexUnavailable: Refusal(
        503, "index_unavailable", "The ranking is not ready. It repairs itself; ask again later."
    ),
    storage.Retryable: Refusal(503, "unavailable", "The service cannot do this now. Ask again later.", logged=True),
    storage.StoreFull: Refusal(507, "store_full", "The disk is full. Nothing was stored.", logged=True),
}


def refusal_for(error: BaseException) -> Refusal:
    """How *error* is answered: by the nearest of its classes that the table knows, else as `INTERNAL`."""
    for kind in type(error).__mro__:
        if kind in _TABLE:
            return _TABLE[kind]
    return INTERNAL


def retry_after_s(error: BaseException) -> int | None:
    """After how many whole seconds the call may be repeated; None when repeating will not help."""
    return error.retry_after_s if isinstance(error, storage.Retryable) else None
