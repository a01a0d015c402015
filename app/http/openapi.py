"""The API as OpenAPI 3.1, made once from the types that check the bodies and from the table of operations."""

from typing import Any

import msgspec
from bottle import Bottle, HTTPResponse

from app import __version__
from app.errors import PROBLEM_TYPE, Problem
from app.http.answers import Tagged
from app.http.health import NotReady
from app.http.operations import HEADERS, OPERATIONS, PARAMETERS, SECURITY, WRITE_REFUSALS, Answer, Operation
from app.http.wire import Chain, Live, NewRetweet, NewTweet, Rank, Ready, Top, Tweet, TweetList
from app.settings import Settings

PATH = "/api/v1/openapi.json"

_TYPES = (NewTweet, NewRetweet, Tweet, Chain, TweetList, Top, Rank, Live, Ready, NotReady, Problem)

_ABOUT = """\
Post tweets, retweet them, rank them. A retweet of a retweet counts for every tweet up to the root.

Every error is `application/problem+json` (RFC 9457) with a `code` for programs; 422 names all faults in `errors`.
An unknown path is 404, a wrong method 405 with `Allow`. HEAD works wherever GET does. A chain has at most
{max_ancestors} ancestors. What got 201 is kept.

Every 503 has a `Retry-After`, in seconds. After `store_unavailable` only an `Idempotency-Key` makes it safe to repeat a
post.
"""


def mount(app: Bottle, settings: Settings) -> None:
    """Add the route of the description to *app*."""
    content = Tagged(build_description(settings))

    @app.get(PATH)
    def get_openapi() -> HTTPResponse:
        """The description, or 304."""
        return content.answer()


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
    # The end of a text is `\Z` for Python, where `$` lets a newline pass, and `$` for JSON Schema.
    return msgspec.json.encode(document).replace(rb"\\Z", b"$")


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
    if answer.headers:
        described["headers"] = {name: {"$ref": f"#/components/headers/{name}"} for name in answer.headers}
    return described


def _refusal(status: int, means: str) -> dict[str, Any]:
    headers = {401: ("WWW-Authenticate",), 429: ("Retry-After",), 503: ("Retry-After",)}
    return _answer(Answer(means, Problem, headers.get(status, ())))


def _writes(operation: Operation) -> bool:
    return operation.method != "get"


def _content(media_type: str, body: type[msgspec.Struct]) -> dict[str, Any]:
    return {media_type: {"schema": {"$ref": f"#/components/schemas/{body.__name__}"}}}
