"""
The API as OpenAPI 3.1, made once from the types that check the bodies and from the table of operations.

A test keeps the table and the routes equal.
"""

from typing import Any, NamedTuple

import msgspec
from bottle import Bottle, HTTPResponse

from app import __version__
from app.errors import PROBLEM_TYPE, Problem
from app.http import explore
from app.http.requests import BODY_LIMIT, LARGEST_LIMIT
from app.http.responses import Tagged
from app.http.routes import CHAIN_LIMIT, LIST_LIMIT, RANKING_LIMIT
from app.http.schemas import (
    CascadeShape,
    Chain,
    ChangeList,
    DescendantList,
    Live,
    NewRetweet,
    NewTweet,
    NotReady,
    Rank,
    Ready,
    Top,
    Tweet,
    TweetList,
    WindowTop,
    WindowUsers,
)
from app.settings import Settings

PATH = "/api/v1/openapi.json"

_TYPES = (
    NewTweet,
    NewRetweet,
    Tweet,
    Chain,
    TweetList,
    Top,
    Rank,
    Live,
    Ready,
    NotReady,
    Problem,
    WindowTop,
    WindowUsers,
    CascadeShape,
    DescendantList,
    ChangeList,
)

_ABOUT = """\
Post tweets, retweet them, rank them. A retweet of a retweet counts for every tweet up to the root.

Every error is `application/problem+json` (RFC 9457) with a `code` for programs; 422 names all faults in `errors`.
An unknown path is 404, a wrong method 405 with `Allow`. HEAD works wherever GET does. A chain has at most
{max_ancestors} ancestors. What got 201 is kept.

Every 503 has a `Retry-After`, in seconds. After `store_unavailable` only an `Idempotency-Key` makes it safe to repeat a
post.
"""


CODES = [
    "admin_only", "bad_chunk", "bad_framing", "bad_header", "bad_host",
    "bad_json", "bad_key", "bad_length", "bad_path", "bad_request_line",
    "bad_target", "cascade_too_large", "chain_too_long", "encoded_body", "header_too_large",
    "host_missing", "index_unavailable", "internal_error", "invalid_body", "invalid_query",
    "key_reused", "method_not_allowed", "no_token_exists", "not_an_object", "not_found",
    "not_json", "not_ready", "other_timeline", "overloaded", "precondition_failed",
    "request_too_slow", "store_full", "store_unavailable", "token_missing", "token_unknown",
    "too_large", "too_many_writes", "tweet_deleted", "tweet_not_found", "unavailable",
    "version_not_supported", "window_too_large", "wrong_user",
]  # fmt: skip
"""The codes of errors. Later versions may have more, so clients must take an unknown one as its status."""


class Answer(NamedTuple):
    """A good answer: what it means, the type of its body (None without one), the names of its headers."""

    means: str
    body: type[msgspec.Struct] | None = None
    headers: tuple[str, ...] = ()
    other_body: type[msgspec.Struct] | None = None


class Operation(NamedTuple):
    """One method of one path. `refusals` says when each error is answered; 500 and 503 hold for all of a tag."""

    method: str
    path: str
    name: str
    tag: str
    summary: str
    answers: dict[int, Answer]
    refusals: dict[int, str]
    parameters: tuple[str, ...] = ()
    body: type[msgspec.Struct] | None = None


def _parameter(name: str, place: str, description: str, schema: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"name": name, "in": place, "description": description, "schema": schema, **more}


def _limit(default: int, largest: int = LARGEST_LIMIT) -> dict[str, Any]:
    schema = {"type": "integer", "minimum": 1, "maximum": largest, "default": default}
    return _parameter("limit", "query", "How many at most.", schema)


_NEXT = "The `next` of the page before; left out, the first page."
_WINDOW = "`hour`, `day`, `week`, `month`, `year`, or a number of `h`, `d` or `w`, at most 366 days."
_KEY = {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]([ -~]*[!-~])?$"}

PARAMETERS: dict[str, dict[str, Any]] = {
    "tweet_id": _parameter("tweet_id", "path", "The id of a tweet.", {"type": "string", "minLength": 1}, required=True),
    "user_name": _parameter(
        "user_name",
        "path",
        "The name of a user; an unknown one has no tweets.",
        {"type": "string", "minLength": 1},
        required=True,
    ),
    "list_limit": _limit(LIST_LIMIT),
    "chain_limit": _limit(CHAIN_LIMIT),
    "list_cursor": _parameter("cursor", "query", _NEXT, {"type": "string"}),
    "ranking_limit": _limit(RANKING_LIMIT),
    "ranking_cursor": _parameter("cursor", "query", _NEXT, {"type": "string"}),
    "window": _parameter("window", "query", _WINDOW, {"type": "string", "pattern": explore.WINDOW_PATTERN}),
    "needed_window": _parameter(
        "window", "query", _WINDOW, {"type": "string", "pattern": explore.WINDOW_PATTERN}, required=True
    ),
    "until": _parameter(
        "until",
        "query",
        "The end of the window: a whole hour with its zone, not in the future. Left out, now.",
        {"type": "string", "format": "date-time"},
    ),
    "descendants_limit": _limit(explore.DESCENDANTS_LIMIT, explore.LARGEST_PAGE),
    "changes_limit": _limit(explore.CHANGES_LIMIT, explore.LARGEST_PAGE),
    "changes_cursor": _parameter("cursor", "query", _NEXT, {"type": "string"}),
    "idempotency_key": _parameter(
        "Idempotency-Key", "header", "The same key of the same user_name posts once, however often it is sent.", _KEY
    ),
    "if_match": _parameter(
        "If-Match", "header", "Delete the tweet only in this state: the `ETag` it was read with.", {"type": "string"}
    ),
    "if_none_match": _parameter(
        "If-None-Match", "header", "The `ETag` of an answer that is known; it is not sent again.", {"type": "string"}
    ),
}

HEADERS: dict[str, dict[str, Any]] = {
    "Location": {"description": "The path of the new tweet.", "schema": {"type": "string"}},
    "ETag": {"description": "Names this very answer.", "schema": {"type": "string"}},
    "Idempotency-Replayed": {
        "description": "This tweet was posted by an earlier call with the same key.",
        "schema": {"type": "string", "enum": ["true"]},
    },
    "Stale": {
        "description": "The index cannot be asked; this is the last answer known.",
        "schema": {"type": "string", "enum": ["true"]},
    },
    "Link": {"description": "The next page, as `rel=next`; absent at the end.", "schema": {"type": "string"}},
    "RateLimit-Limit": {"description": "Writes allowed at once, with `RATE_LIMIT`.", "schema": {"type": "string"}},
    "RateLimit-Remaining": {"description": "Writes that are left of them.", "schema": {"type": "string"}},
    "RateLimit-Reset": {"description": "Seconds until all are allowed again.", "schema": {"type": "string"}},
    "Retry-After": {"description": "Seconds after which to ask again.", "schema": {"type": "string"}},
    "WWW-Authenticate": {"description": "`Bearer`, and why the token was refused.", "schema": {"type": "string"}},
}

SECURITY = {
    "token": {
        "type": "http",
        "scheme": "bearer",
        "description": "Once there is a token, each write needs one: `simple-twitter token add USER` makes it.",
    }
}

_NO_TWEET = "There is no tweet of that id, or it is no id."
_DELETED = "The tweet was deleted."
_BAD_PATH = "The path is not UTF-8."
_BAD_QUERY = "A parameter is not as it must be; `errors` names it."
_UNCHANGED = Answer("The answer is the one that If-None-Match names.", headers=("ETag",))
_WRITE = {
    400: "The body is not JSON in UTF-8, or is nested too deeply; or the Idempotency-Key is not 1 to 255 printable "
    "ASCII characters.",
    413: f"The body has more than {BODY_LIMIT // 1024} KiB.",
    415: "The body is not application/json.",
    422: "Fields are not as they must be; `errors` names them all. Or the key was used for another call.",
    507: "The disk is full; nothing was stored.",
}
WRITE_REFUSALS = {
    401: "Writing needs a token, and none was sent, or one that is unknown or was revoked.",
    403: "The token is another user's; or only an admin's may do this: set count_retweet, delete what others posted.",
    429: "More writes than this token or address may make.",
}
"""Of every write, beside its own refusals."""
_RATE = ("RateLimit-Limit", "RateLimit-Remaining", "RateLimit-Reset")
_CREATED = {201: Answer("The new tweet.", Tweet, ("Location", "Idempotency-Replayed", *_RATE))}

OPERATIONS = (
    Operation(
        "post",
        "/api/v1/tweet",
        "post_tweet",
        "tweets",
        "Post a tweet",
        _CREATED,
        {**_WRITE, 410: "The tweet that this key had posted was deleted."},
        ("idempotency_key",),
        NewTweet,
    ),
    Operation(
        "post",
        "/api/v1/retweet",
        "post_retweet",
        "tweets",
        "Retweet a tweet",
        _CREATED,
        {
            **_WRITE,
            404: "There is no tweet to retweet.",
            409: "The chain is as long as a chain may be.",
            410: "The tweet to retweet was deleted, or the one that this key had posted.",
        },
        ("idempotency_key",),
        NewRetweet,
    ),
    Operation(
        "get",
        "/api/v1/tweet/{tweet_id}",
        "get_tweet",
        "tweets",
        "Read a tweet",
        {200: Answer("The tweet with its count.", Tweet, ("ETag",)), 304: _UNCHANGED},
        {400: _BAD_PATH, 404: _NO_TWEET, 410: _DELETED},
        ("tweet_id", "if_none_match"),
    ),
    Operation(
        "delete",
        "/api/v1/tweet/{tweet_id}",
        "delete_tweet",
        "tweets",
        "Delete a tweet",
        {204: Answer("It is deleted; its place in its chain remains.")},
        {400: _BAD_PATH, 404: _NO_TWEET, 410: _DELETED, 412: "It is in another state.", 507: _WRITE[507]},
        ("tweet_id", "if_match"),
    ),
    Operation(
        "get",
        "/api/v1/tweet/{tweet_id}/chain",
        "get_chain",
        "tweets",
        "Read a tweet and its ancestors",
        {200: Answer("The chain: target first, root last.", Chain, ("Link",))},
        {400: _BAD_PATH, 404: _NO_TWEET, 422: _BAD_QUERY},
        ("tweet_id", "chain_limit", "list_cursor"),
    ),
    Operation(
        "get",
        "/api/v1/tweet/{tweet_id}/cascade",
        "get_cascade",
        "tweets",
        "Read the shape of a tweet's cascade",
        {200: Answer("Its numbers, deleted tweets counted.", CascadeShape, ("ETag",)), 304: _UNCHANGED},
        {400: _BAD_PATH, 404: _NO_TWEET, 422: "The cascade has more than 100,000 tweets."},
        ("tweet_id", "if_none_match"),
    ),
    Operation(
        "get",
        "/api/v1/tweet/{tweet_id}/descendants",
        "list_descendants",
        "tweets",
        "List all tweets below a tweet",
        {200: Answer("Each before all below it, deleted ones too.", DescendantList, ("ETag",)), 304: _UNCHANGED},
        {400: _BAD_PATH, 404: _NO_TWEET, 422: _BAD_QUERY},
        ("tweet_id", "descendants_limit", "list_cursor", "if_none_match"),
    ),
    Operation(
        "get",
        "/api/v1/changes",
        "list_changes",
        "tweets",
        "List the entries of the log",
        {200: Answer("In order within a partition, without a gap.", ChangeList, ("ETag",)), 304: _UNCHANGED},
        {410: "The cursor is of another timeline: start again without one.", 422: _BAD_QUERY},
        ("changes_limit", "changes_cursor", "if_none_match"),
    ),
    Operation(
        "get",
        "/api/v1/tweet/{tweet_id}/retweets",
        "list_retweets",
        "tweets",
        "List the direct retweets of a tweet",
        {200: Answer("Those that are not deleted, newest first.", TweetList, ("Link",))},
        {400: _BAD_PATH, 404: _NO_TWEET, 422: _BAD_QUERY},
        ("tweet_id", "list_limit", "list_cursor"),
    ),
    Operation(
        "get",
        "/api/v1/users/{user_name}/tweets",
        "list_by_user",
        "tweets",
        "List the tweets of a user",
        {200: Answer("Those that are not deleted, newest first.", TweetList, ("Link",))},
        {400: _BAD_PATH, 422: _BAD_QUERY},
        ("user_name", "list_limit", "list_cursor"),
    ),
    Operation(
        "get",
        "/api/v1/top",
        "get_top",
        "ranking",
        "Read the ranking",
        {
            200: Answer(
                "Count falling, newer first on ties; with `window`, by what was received in it, on one page.",
                Top,
                ("ETag", "Stale", "Link"),
                WindowTop,
            ),
            304: _UNCHANGED,
        },
        {422: f"{_BAD_QUERY} Or the window is too large."},
        ("window", "until", "ranking_limit", "ranking_cursor", "if_none_match"),
    ),
    Operation(
        "get",
        "/api/v1/top/users",
        "get_top_users",
        "ranking",
        "Read which users received most in a window",
        {200: Answer("Received falling, by name on ties.", WindowUsers, ("ETag",)), 304: _UNCHANGED},
        {422: f"{_BAD_QUERY} Or the window is too large."},
        ("needed_window", "until", "ranking_limit", "if_none_match"),
    ),
    Operation(
        "get",
        "/api/v1/tweet/{tweet_id}/rank",
        "get_rank",
        "ranking",
        "Read the place of a tweet in the ranking",
        {200: Answer("Its place.", Rank)},
        {400: _BAD_PATH, 404: _NO_TWEET, 410: _DELETED},
        ("tweet_id",),
    ),
    Operation(
        "get",
        "/livez",
        "live",
        "health",
        "Ask whether the process lives",
        {200: Answer("It does.", Live)},
        {},
    ),
    Operation(
        "get",
        "/readyz",
        "ready",
        "health",
        "Ask whether SQL and Redis answer",
        {
            200: Answer("Both do.", Ready),
            503: Answer("One of them does not, or Redis is far behind.", NotReady, ("Retry-After",)),
        },
        {},
    ),
    Operation(
        "get",
        "/api/v1/openapi.json",
        "get_openapi",
        "api",
        "Read this description",
        {200: Answer("OpenAPI 3.1.", headers=("ETag",)), 304: _UNCHANGED},
        {},
        ("if_none_match",),
    ),
)


def mount(app: Bottle, settings: Settings) -> None:
    """Add the route of the description to *app*."""
    content = Tagged(build_description(settings))

    @app.get(PATH)
    def get_openapi() -> HTTPResponse:
        """The description, or 304."""
        return content.response()


def build_description(settings: Settings) -> bytes:
    """The description of all operations, in JSON."""
    _, schemas = msgspec.json.schema_components(_TYPES, ref_template="#/components/schemas/{name}")
    paths: dict[str, dict[str, Any]] = {}
    for operation in OPERATIONS:
        paths.setdefault(operation.path, {})[operation.method] = _operation(operation)
    document = {
        "openapi": "3.1.0",
        "info": {
            "title": "simple-twitter",
            "version": __version__,
            "description": _ABOUT.format(max_ancestors=settings.max_ancestors),
        },
        "servers": [{"url": "/"}],
        "tags": [{"name": tag} for tag in dict.fromkeys(operation.tag for operation in OPERATIONS)],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "parameters": PARAMETERS,
            "headers": HEADERS,
            "securitySchemes": SECURITY,
        },
    }
    _drop_defaults(document["components"])
    schemas["Problem"]["properties"]["code"]["x-extensible-enum"] = CODES
    # The end of a text is `\Z` for Python, where `$` lets a newline pass, and `$` for JSON Schema.
    return msgspec.json.encode(document).replace(rb"\\Z", b"$")


def _drop_defaults(schema: Any) -> None:
    """Take the defaults out: a generator would make a field with one required in responses, or send it in requests."""
    for child in schema.values() if isinstance(schema, dict) else schema:
        if isinstance(child, dict):
            child.pop("default", None)
        if isinstance(child, dict | list):
            _drop_defaults(child)


def _operation(operation: Operation) -> dict[str, Any]:
    answers = {status: _answer(answer) for status, answer in operation.answers.items()}
    refusals = {status: _refusal(status, means) for status, means in _refusals(operation).items()}
    described: dict[str, Any] = {
        "operationId": operation.name,
        "tags": [operation.tag],
        "summary": operation.summary,
        "parameters": [{"$ref": f"#/components/parameters/{name}"} for name in operation.parameters],
        "responses": {str(status): answer for status, answer in sorted({**refusals, **answers}.items())},
    }
    if _writes(operation):
        described["security"] = [{}, {"token": []}]
    if operation.body is not None:
        described["requestBody"] = {"required": True, "content": _content("application/json", operation.body)}
    return described


def _refusals(operation: Operation) -> dict[int, str]:
    """The refusals of *operation*, with those that any operation on tweets may meet."""
    refusals = {**operation.refusals, 500: "The service made a mistake, noted in its log."}
    if _writes(operation):
        refusals.update(WRITE_REFUSALS)
    if operation.tag in {"tweets", "ranking"}:
        refusals[503] = "The database, the index or the queue of writes cannot take it now."
    return refusals


def _answer(answer: Answer) -> dict[str, Any]:
    described: dict[str, Any] = {"description": answer.means}
    if answer.body is not None:
        media_type = PROBLEM_TYPE if issubclass(answer.body, Problem) else "application/json"
        described["content"] = _content(media_type, answer.body)
        if answer.other_body is not None:
            other = _content(media_type, answer.other_body)
            schemas = [content[media_type]["schema"] for content in (described["content"], other)]
            described["content"] = {media_type: {"schema": {"oneOf": schemas}}}
    if answer.headers:
        described["headers"] = {name: {"$ref": f"#/components/headers/{name}"} for name in answer.headers}
    return described


def _refusal(status: int, means: str) -> dict[str, Any]:
    headers = {401: ("WWW-Authenticate",), 429: ("Retry-After", *_RATE), 503: ("Retry-After",)}
    return _answer(Answer(means, Problem, headers.get(status, ())))


def _writes(operation: Operation) -> bool:
    return operation.method != "get"


def _content(media_type: str, body: type[msgspec.Struct]) -> dict[str, Any]:
    return {media_type: {"schema": {"$ref": f"#/components/schemas/{body.__name__}"}}}
