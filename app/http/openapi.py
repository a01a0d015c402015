"""
The API as OpenAPI 3.1, made once from the types that check the bodies and from the table of operations.

A test keeps the table and the routes equal.
"""

import re
from typing import Any, NamedTuple

import msgspec
from bottle import Bottle, HTTPResponse

from app import __version__
from app.errors import PROBLEM_TYPE, Problem
from app.http import explore, schemas
from app.http.requests import BODY_LIMIT, LARGEST_LIMIT
from app.http.responses import Tagged
from app.http.routes import CHAIN_LIMIT, LIST_LIMIT, RANKING_LIMIT
from app.settings import Settings

PATH = "/api/v1/openapi.json"

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


Body = type[msgspec.Struct]


class Operation(NamedTuple):
    """
    One method of one path, and its good answer: what that means, and the types that its body may have.

    `refusals` says when each error is answered, but for what `_describe` adds: a path that is not UTF-8, what any write
    may meet, 500 and 503. `parameters` are those beside the ones of the path, `sent` is the type of the request's body,
    `headers` are those of the answer. An answer that is `tagged` has an ETag, and is 304 for a client that has it.
    """

    method: str
    path: str
    name: str
    tag: str
    summary: str
    means: str
    bodies: tuple[Body, ...]
    refusals: dict[int, str]
    parameters: tuple[str, ...] = ()
    headers: tuple[str, ...] = ()
    tagged: bool = False
    sent: type[schemas.NewTweet | schemas.NewRetweet] | None = None


def _parameter(name: str, place: str, description: str, schema: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"name": name, "in": place, "description": description, "schema": schema, **more}


def _limit(default: int, largest: int = LARGEST_LIMIT) -> dict[str, Any]:
    schema = {"type": "integer", "minimum": 1, "maximum": largest}
    return _parameter("limit", "query", f"How many at most; {default} unless given.", schema)


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
    "ranking_limit": _limit(RANKING_LIMIT),
    "cursor": _parameter(
        "cursor", "query", "The `next` of the page before; left out, the first page.", {"type": "string"}
    ),
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
    "page_limit": _limit(explore.PAGE_LIMIT, explore.LARGEST_PAGE),
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
_BAD_QUERY = "A parameter is not as it must be; `errors` names it."
_BAD_WINDOW = f"{_BAD_QUERY} Or the window is too large."
_FULL = "The disk is full; nothing was stored."
_POST = {
    400: "The body is not JSON in UTF-8, or is nested too deeply; or the Idempotency-Key is not 1 to 255 printable "
    "ASCII characters.",
    413: f"The body has more than {BODY_LIMIT // 1024} KiB.",
    415: "The body is not application/json.",
    422: "Fields are not as they must be; `errors` names them all. Or the key was used for another call.",
    507: _FULL,
}
WRITE_REFUSALS = {
    401: "Writing needs a token, and none was sent, or one that is unknown or was revoked.",
    403: "The token is another user's; or only an admin's may do this: set count_retweet, delete what others posted.",
    429: "More writes than this token or address may make.",
}
"""Of every write, beside its own refusals."""
_RATE = ("RateLimit-Limit", "RateLimit-Remaining", "RateLimit-Reset")
_CREATED = ("Location", "Idempotency-Replayed", *_RATE)
_REFUSAL_HEADERS = {401: ("WWW-Authenticate",), 429: ("Retry-After", *_RATE), 503: ("Retry-After",)}

OPERATIONS = (
    Operation(
        "post",
        "/api/v1/tweet",
        "post_tweet",
        "tweets",
        "Post a tweet",
        "The new tweet.",
        (schemas.Tweet,),
        {**_POST, 410: "The tweet that this key had posted was deleted."},
        ("idempotency_key",),
        _CREATED,
        sent=schemas.NewTweet,
    ),
    Operation(
        "post",
        "/api/v1/retweet",
        "post_retweet",
        "tweets",
        "Retweet a tweet",
        "The new tweet.",
        (schemas.Tweet,),
        {
            **_POST,
            404: "There is no tweet to retweet.",
            409: "The chain is as long as a chain may be.",
            410: "The tweet to retweet was deleted, or the one that this key had posted.",
        },
        ("idempotency_key",),
        _CREATED,
        sent=schemas.NewRetweet,
    ),
    Operation(
        "get",
        "/api/v1/tweet/{tweet_id}",
        "get_tweet",
        "tweets",
        "Read a tweet",
        "The tweet with its count.",
        (schemas.Tweet,),
        {404: _NO_TWEET, 410: _DELETED},
        tagged=True,
    ),
    Operation(
        "delete",
        "/api/v1/tweet/{tweet_id}",
        "delete_tweet",
        "tweets",
        "Delete a tweet",
        "It is deleted; its place in its chain remains.",
        (),
        {404: _NO_TWEET, 410: _DELETED, 412: "It is in another state.", 507: _FULL},
        ("if_match",),
        _RATE,
    ),
    Operation(
        "get",
        "/api/v1/tweet/{tweet_id}/chain",
        "get_chain",
        "tweets",
        "Read a tweet and its ancestors",
        "The chain: target first, root last.",
        (schemas.Chain,),
        {404: _NO_TWEET, 422: _BAD_QUERY},
        ("chain_limit", "cursor"),
        ("Link",),
    ),
    Operation(
        "get",
        "/api/v1/tweet/{tweet_id}/cascade",
        "get_cascade",
        "tweets",
        "Read the shape of a tweet's cascade",
        "Its numbers, deleted tweets counted.",
        (schemas.CascadeShape,),
        {404: _NO_TWEET, 422: "The cascade has more than 100,000 tweets."},
        tagged=True,
    ),
    Operation(
        "get",
        "/api/v1/tweet/{tweet_id}/descendants",
        "list_descendants",
        "tweets",
        "List all tweets below a tweet",
        "Each before all below it, deleted ones too.",
        (schemas.DescendantList,),
        {404: _NO_TWEET, 422: _BAD_QUERY},
        ("page_limit", "cursor"),
        ("Link",),
        tagged=True,
    ),
    Operation(
        "get",
        "/api/v1/changes",
        "list_changes",
        "tweets",
        "List the entries of the log",
        "In order within a partition, without a gap.",
        (schemas.ChangeList,),
        {410: "The cursor is of another timeline: start again without one.", 422: _BAD_QUERY},
        ("page_limit", "cursor"),
        ("Link",),
        tagged=True,
    ),
    Operation(
        "get",
        "/api/v1/tweet/{tweet_id}/retweets",
        "list_retweets",
        "tweets",
        "List the direct retweets of a tweet",
        "Those that are not deleted, newest first.",
        (schemas.TweetList,),
        {404: _NO_TWEET, 422: _BAD_QUERY},
        ("list_limit", "cursor"),
        ("Link",),
    ),
    Operation(
        "get",
        "/api/v1/tweets",
        "list_newest",
        "tweets",
        "List the newest tweets",
        "Those that are not deleted, newest first.",
        (schemas.TweetList,),
        {422: _BAD_QUERY},
        ("list_limit", "cursor"),
        ("Link",),
    ),
    Operation(
        "get",
        "/api/v1/users/{user_name}/tweets",
        "list_by_user",
        "tweets",
        "List the tweets of a user",
        "Those that are not deleted, newest first.",
        (schemas.TweetList,),
        {422: _BAD_QUERY},
        ("list_limit", "cursor"),
        ("Link",),
    ),
    Operation(
        "get",
        "/api/v1/top",
        "get_top",
        "ranking",
        "Read the ranking",
        "Count falling, newer first on ties; with `window`, by what was received in it, on one page.",
        (schemas.WindowTop, schemas.Top),  # a client takes the first that fits, and the first is a Top, too
        {422: _BAD_WINDOW},
        ("window", "until", "ranking_limit", "cursor"),
        ("Stale", "Link"),
        tagged=True,
    ),
    Operation(
        "get",
        "/api/v1/top/users",
        "get_top_users",
        "ranking",
        "Read which users received most in a window",
        "Received falling, by name on ties.",
        (schemas.WindowUsers,),
        {422: _BAD_WINDOW},
        ("needed_window", "until", "ranking_limit"),
        tagged=True,
    ),
    Operation(
        "get",
        "/api/v1/tweet/{tweet_id}/rank",
        "get_rank",
        "ranking",
        "Read the place of a tweet in the ranking",
        "Its place.",
        (schemas.Rank,),
        {404: _NO_TWEET, 410: _DELETED},
    ),
    Operation("get", "/livez", "live", "health", "Ask whether the process lives", "It does.", (schemas.Live,), {}),
    Operation(
        "get",
        "/readyz",
        "ready",
        "health",
        "Ask whether SQL and Redis answer",
        "Both do.",
        (schemas.Ready,),
        {503: "One of them does not, or Redis is far behind."},
    ),
    Operation("get", PATH, "get_openapi", "api", "Read this description", "OpenAPI 3.1.", (), {}, tagged=True),
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
    types = {body for each in OPERATIONS for body in (*each.bodies, each.sent) if body} | {Problem, schemas.NotReady}
    _, components = msgspec.json.schema_components(types, ref_template="#/components/schemas/{name}")
    paths: dict[str, dict[str, Any]] = {}
    for operation in OPERATIONS:
        paths.setdefault(operation.path, {})[operation.method] = _describe(operation)
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
            "schemas": components,
            "parameters": PARAMETERS,
            "headers": HEADERS,
            "securitySchemes": SECURITY,
        },
    }
    _drop_defaults(document["components"])
    components["Problem"]["properties"]["code"]["x-extensible-enum"] = CODES
    # The end of a text is `\Z` for Python, where `$` lets a newline pass, and `$` for JSON Schema.
    return msgspec.json.encode(document).replace(rb"\\Z", b"$")


def _drop_defaults(schema: Any) -> None:
    """Take the defaults out: a generator would make a field with one required in responses, or send it in requests."""
    for child in schema.values() if isinstance(schema, dict) else schema:
        if isinstance(child, dict):
            child.pop("default", None)
        if isinstance(child, dict | list):
            _drop_defaults(child)


def _describe(operation: Operation) -> dict[str, Any]:
    """*operation* as OpenAPI has it, with what holds for all of its kind."""
    in_path = re.findall(r"{(\w+)}", operation.path)
    writes = operation.method != "get"
    refusals = {**operation.refusals, 500: "The service made a mistake, noted in its log."}
    if in_path:
        refusals[400] = "The path is not UTF-8."
    if writes:
        refusals |= WRITE_REFUSALS
    if operation.tag in {"tweets", "ranking"}:
        refusals[503] = "The database, the index or the queue of writes cannot take it now."
    responses = {
        status: _answer(means, (Problem,), _REFUSAL_HEADERS.get(status, ())) for status, means in refusals.items()
    }
    if operation.name == "ready":
        responses[503]["content"] = _content((schemas.NotReady,))
    good = 201 if operation.sent else 200 if operation.bodies or not writes else 204
    responses[good] = _answer(operation.means, operation.bodies, operation.headers + ("ETag",) * operation.tagged)
    if operation.tagged:
        responses[304] = _answer("The answer is the one that If-None-Match names.", (), ("ETag",))
    names = (*in_path, *operation.parameters, *("if_none_match",) * operation.tagged)
    described: dict[str, Any] = {
        "operationId": operation.name,
        "tags": [operation.tag],
        "summary": operation.summary,
        "parameters": [{"$ref": f"#/components/parameters/{name}"} for name in names],
        "responses": {str(status): responses[status] for status in sorted(responses)},
    }
    if writes:
        described["security"] = [{}, {"token": []}]
    if operation.sent:
        content = _content((operation.sent,))
        content["application/json"]["example"] = operation.sent.example
        described["requestBody"] = {"required": True, "content": content}
    return described


def _answer(means: str, bodies: tuple[Body, ...], headers: tuple[str, ...]) -> dict[str, Any]:
    described: dict[str, Any] = {"description": means}
    if bodies:
        described["content"] = _content(bodies)
    if headers:
        described["headers"] = {name: {"$ref": f"#/components/headers/{name}"} for name in headers}
    return described


def _content(bodies: tuple[Body, ...]) -> dict[str, Any]:
    found = [{"$ref": f"#/components/schemas/{body.__name__}"} for body in bodies]
    media_type = PROBLEM_TYPE if issubclass(bodies[0], Problem) else "application/json"
    return {media_type: {"schema": found[0] if len(found) == 1 else {"anyOf": found}}}
