"""A WSGI client of a few lines; every call goes through wsgiref's validator, so a breach of PEP 3333 fails the test."""

import io
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote_to_bytes
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment
from wsgiref.util import setup_testing_defaults
from wsgiref.validate import validator

from app.deferred import DEFERRED, Deferred

Row = dict[str, Any]

PATIENCE_S = 30
"""Longer than any answer takes."""


class OnLoop:
    """Calls *app* as our server does: again, when what it has deferred is done."""

    def __init__(self, app: WSGIApplication) -> None:
        self._app = app

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer."""
        environ[DEFERRED] = None
        while isinstance(given := self._app(environ, start_response), Deferred):
            given.future.exception(PATIENCE_S)
            environ[DEFERRED] = given
        return given


@dataclass(frozen=True)
class Reply:
    """An answer: `headers` by their names in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """The body, which is JSON or a problem in JSON."""
        assert self.headers["content-type"] in {"application/json", "application/problem+json"}
        return json.loads(self.body)

    def faults(self) -> dict[str, str]:
        """The code of each fault of this refusal, by the name of the field or parameter."""
        return {fault["field"]: fault["code"] for fault in self.json()["errors"]}


class Client:
    """Calls *app* as a server would."""

    def __init__(self, app: WSGIApplication) -> None:
        self.app = app
        self._validated = validator(app)

    def call(self, method: str, target: str, body: bytes = b"", **environ: Any) -> Reply:
        """The answer to *method* at *target*, percent-encoded as on the wire; *environ* is laid over the usual one."""
        path, _, query = target.partition("?")
        full = {
            "REQUEST_METHOD": method,
            "SCRIPT_NAME": "",
            "PATH_INFO": unquote_to_bytes(path).decode("latin-1"),
            "QUERY_STRING": query,
            "wsgi.input": io.BytesIO(body),
            "CONTENT_LENGTH": str(len(body)),
            "CONTENT_TYPE": "application/json",
            **environ,
        }
        setup_testing_defaults(full)
        known = self._validated if method.isupper() and method != "FOO" else self.app  # the validator knows no FOO
        return _run(known, {name: value for name, value in full.items() if value is not None})

    def raw(self, method: str, target: str, body: bytes = b"", **environ: Any) -> Reply:
        """The same without the validator, for requests that themselves breach PEP 3333."""
        return Client(self.app)._unvalidated().call(method, target, body, **environ)

    def get(self, target: str, **environ: Any) -> Reply:
        """The answer to a GET."""
        return self.call("GET", target, **environ)

    def post(self, target: str, value: object, **environ: Any) -> Reply:
        """The answer to a POST of *value* as JSON, or of the very bytes."""
        body = value if isinstance(value, bytes) else json.dumps(value).encode()
        return self.call("POST", target, body, **environ)

    def tweet(self, user_name: str = "ada", title: str = "Title", body: str = "Body", **more: object) -> Row:
        """A new tweet."""
        return self._new("/api/v1/tweet", user_name=user_name, title=title, body=body, **more)

    def retweet(self, target: Row, user_name: str = "bob", **more: object) -> Row:
        """A new retweet of *target*."""
        return self._new("/api/v1/retweet", user_name=user_name, retweet=target["id"], **more)

    def pages(self, path: str, limit: int) -> list[list[str]]:
        """The ids on every page of a list, page by page, as `next` leads on."""
        page = self.get(f"{path}?limit={limit}").json()
        pages = [page]
        while page["next"] is not None:
            page = self.get(f"{path}?limit={limit}&cursor={page['next']}").json()
            pages.append(page)
        return [[row["id"] for row in page["tweets"]] for page in pages]

    def _new(self, path: str, **fields: object) -> Row:
        reply = self.post(path, fields)
        assert reply.status == 201, reply
        row: Row = reply.json()
        return row

    def _unvalidated(self) -> "Client":
        self._validated = self.app
        return self


def _run(app: WSGIApplication, environ: dict[str, Any]) -> Reply:
    started: list[tuple[str, list[tuple[str, str]]]] = []

    def start(status: str, headers: list[tuple[str, str]], _error: object = None, /) -> Any:
        started.append((status, headers))
        return started.append

    answer: StartResponse = start
    parts = app(environ, answer)
    try:
        body = b"".join(parts)
    finally:
        close = getattr(parts, "close", None)
        if close:
            close()
    ((status, headers),) = started
    named = {name.lower(): value for name, value in headers}
    assert len(named) == len(headers), f"a header stands twice: {headers}"
    return Reply(int(status[:3]), named, body)
