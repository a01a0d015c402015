"""The application: all routes on one Bottle, deferred responses, and what holds for every response."""

import time
from collections.abc import Iterable
from contextlib import suppress
from typing import Any
from wsgiref.types import StartResponse, WSGIEnvironment

from bottle import Bottle, HTTPError, HTTPResponse, request

from app.deferred import DEFERRED, Deferred, Pool, Response
from app.errors import PROBLEM_TYPE, SECURITY
from app.http import pages, ranking, routes
from app.http.auth import RATE_HEADERS, TOKEN_ID, Guard
from app.http.responses import JSON, UNSTORED, Headers, respond_error, respond_problem
from app.logging import Watch, log_request
from app.settings import Settings
from storage import Tweets
from storage.errors import StorageError
from storage.tokens import Tokens

_BEGAN = "simple_twitter.began"

CALLS_WAITING = 1024
"""Calls that may wait for a thread of the pool."""

_FOR_PROGRAMS = ("/api/", "/readyz")
"""Paths whose errors are never a page."""


class Application(Bottle):
    """
    What serves *tweets*, pages and API, over WSGI.

    A Bottle whose every response is safe to show, and whose every error is problem+json or a page.
    """

    def __init__(self, tweets: Tweets, settings: Settings) -> None:
        super().__init__()
        self._tweets = tweets
        self._pool = Pool(settings.threads, CALLS_WAITING)
        self._origins = settings.cors_origins.replace(",", " ").split()
        self._observers: list[Watch] = [log_request] if settings.access_log else []
        metrics = None
        if settings.metrics:
            from app.metrics import Metrics  # noqa: PLC0415  # a package that a service without numbers need not load

            metrics = Metrics(settings.data_dir, tweets)
            self._observers.append(metrics.watch)
        self._guard = Guard(Tokens(tweets.database), settings.rate_limit, anonymous=settings.allow_anonymous_writes)
        with suppress(StorageError):  # later they are read once a second, and until then no write is let in
            self._guard.tokens.refresh()
        self.uninstall(True)  # Bottle's plugins serve routes that return a dict or name a template: here none does
        routes.mount(self, tweets, self._guard, self._pool, settings)
        ranking.mount(self, tweets, self._pool)
        routes.mount_health(self, tweets, self._pool, metrics)
        pages.mount(self, tweets, self._guard, self._pool)

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """
        Answer a request; whatever a route raises becomes a response here, and only here.

        What is returned may be a Deferred where the server takes one (see `app.deferred`), else it waits for that.
        """
        deferred: Deferred | None = environ.get(DEFERRED)
        request.bind(environ)  # other requests had it in the meantime
        try:
            if deferred is None:
                environ[_BEGAN] = time.perf_counter()
                response: Response | BaseException = self._call_route(environ)
            else:
                environ[DEFERRED] = None  # it leads to the server, which leads here: no circle
                response = deferred.response()
            while isinstance(response, Deferred):
                if DEFERRED in environ and not response.future.done():
                    return response
                response = response.response()
        except HTTPResponse as raised:
            response = raised.with_traceback(None)  # which has this frame: no circle
        except Exception as error:  # noqa: BLE001  # the table has a response for every error
            response = respond_error(error)
        if isinstance(response, HTTPError):
            response = _respond_bottle(response)
        elif not isinstance(response, HTTPResponse):
            response = respond_error(response)
        if response.status_code >= 400 and not environ["PATH_INFO"].startswith(_FOR_PROGRAMS):
            response = _for_people(response)
        return self._send(response, environ, start_response)

    def _call_route(self, environ: WSGIEnvironment) -> Response:
        method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
        if path == "*":
            return HTTPResponse(status=204, headers=[("Allow", "DELETE, GET, HEAD, OPTIONS, POST"), UNSTORED])
        is_preflight = environ.get("HTTP_ACCESS_CONTROL_REQUEST_METHOD") in ("GET", "HEAD")
        if method == "OPTIONS" and is_preflight and self._origins:
            return HTTPResponse(status=204, headers=[UNSTORED])
        if path.endswith("\n"):  # `$`, by which Bottle ends its rules, lets it pass
            raise HTTPError(404)
        if path.startswith("/api/v1/") and path != "/api/v1/":
            path = path.removesuffix("/")
        if method != method.upper():  # is another one, which Bottle would not see (RFC 9110, section 9.1)
            method = "-"
        if not path.isascii():  # our server has refused what is not UTF-8
            path = path.encode("latin-1").decode(errors="replace")
        route, parts = self.match({"REQUEST_METHOD": method, "PATH_INFO": path})
        environ["bottle.route"] = route
        response: Response = route.call(**parts)
        return response

    def _send(self, response: HTTPResponse, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        body: bytes = response.body or b""
        response.set_header("Content-Length", str(len(body)))
        headers = response.headerlist
        if JSON in headers:
            headers.extend(SECURITY)
        else:
            named = dict(headers)  # a page has its own policy
            headers.extend(header for header in SECURITY if header[0] not in named)
        headers.extend(environ.get(RATE_HEADERS, ()))
        if self._origins:
            varies = [value for name, value in headers if name == "Vary"]
            headers = [header for header in headers if header[0] != "Vary"]
            headers += [("Vary", ", ".join([*varies, "Origin"])), *self._cross_origin(environ)]
        if self._observers:
            route, is_head = environ.get("bottle.route"), environ["REQUEST_METHOD"] == "HEAD"
            answered = {
                "method": environ["REQUEST_METHOD"],
                "route": route.rule if route else "",
                "path": environ["PATH_INFO"],
                "status": response.status_code,
                "duration_ms": round((time.perf_counter() - environ[_BEGAN]) * 1000, 3),
                "bytes": 0 if is_head else len(body),
                "address": environ.get("REMOTE_ADDR", ""),
                "token": environ.get(TOKEN_ID, ""),
            }
            for observer in self._observers:
                observer(answered)
        start_response(response.status_line, headers)
        return [] if environ["REQUEST_METHOD"] == "HEAD" else [body]

    def _cross_origin(self, environ: WSGIEnvironment) -> Headers:
        """The headers by which a page of one of the origins of CORS_ORIGINS may read a response, and never write."""
        origin = environ.get("HTTP_ORIGIN")
        if origin is None or environ["REQUEST_METHOD"] not in ("GET", "HEAD", "OPTIONS"):
            return ()
        if not {origin, "*"} & set(self._origins):
            return ()
        return [
            ("Access-Control-Allow-Origin", "*" if "*" in self._origins else origin),
            ("Access-Control-Allow-Methods", "GET, HEAD"),
            ("Access-Control-Allow-Headers", "If-None-Match"),
            ("Access-Control-Expose-Headers", "ETag, Link, Stale, Retry-After"),
        ]

    def hooks(self) -> dict[str, Any]:
        """What our server calls beside the application itself: see `app.server.Server`."""
        return {"refused": self._refused, "on_idle": self._tweets.flush, "tick": self.tick}

    def _refused(self, method: str, status: int, address: str) -> None:
        answered = {"method": method, "route": "", "path": "", "status": status, "duration_ms": 0.0, "bytes": 0}
        for observer in self._observers:
            observer({**answered, "address": address, "token": ""})

    def tick(self) -> None:
        """End what has waited for too long, and read the tokens again. Once a second."""
        self._tweets.tick()
        self._guard.refresh(self._pool)


def _respond_bottle(error: HTTPError) -> HTTPResponse:
    """The response to what Bottle itself refuses: no such path, no such method there."""
    if error.status_code == 405:
        allow = (error.get_header("Allow") or "").replace("GET", "GET,HEAD").replace(",", ", ")
        return respond_problem(405, "method_not_allowed", f"This path has: {allow}.", headers=[("Allow", allow)])
    return respond_problem(404, "not_found", "There is nothing at this path.")


def _for_people(response: HTTPResponse) -> HTTPResponse:
    """An error as a page where the client prefers one, else as it is."""
    if response.get_header("Content-Type") != PROBLEM_TYPE:
        return response
    response.add_header("Vary", "Accept")
    is_page = pages.prefers_html(request.environ.get("HTTP_ACCEPT", ""))
    return pages.error_page(response) if is_page else response
