"""One request: its environ, the call of the application, and the bytes of the response."""

import sys
from io import BytesIO
from typing import Any
from wsgiref.types import WSGIApplication, WSGIEnvironment

from app.deferred import DEFERRED, Deferred
from app.errors import INTERNAL, PROBLEM_TYPE, SECURITY, ProblemSpec, encode_problem, title_of
from app.server.parser import BODY_TOO_LARGE, StrictRequest

HEADER_TOO_LARGE = ProblemSpec(431, "header_too_large", "The request line and the headers are too long.")
TOO_SLOW = ProblemSpec(408, "request_too_slow", "The request did not arrive in time.")
TOO_MANY_BYTES = ProblemSpec(503, "overloaded", "Too many requests arrive at once. Nothing was done; ask again later.")

_OF_WAITRESS = {431: HEADER_TOO_LARGE, 413: BODY_TOO_LARGE}
"""What waitress itself refuses, by its status."""


Response = tuple[bytes, bytes, bool]
"""A response as it is sent: head, body, and whether the connection is closed after it."""


def environ_of(request: StrictRequest, peer: tuple[Any, ...], base: WSGIEnvironment) -> WSGIEnvironment:
    """What *request* from *peer* means to an application (PEP 3333); *base* is what `environ_base` gave."""
    environ = base | {
        "REMOTE_ADDR": peer[0],
        "REMOTE_PORT": str(peer[1]),
        "REQUEST_METHOD": request.command,
        "SERVER_PROTOCOL": f"HTTP/{request.version}",
        "PATH_INFO": request.path,
        "REQUEST_URI": request.request_uri,
        "QUERY_STRING": request.query,
        "wsgi.input": request.body_rcv.getfile() if request.body_rcv is not None else BytesIO(),
        DEFERRED: None,
    }
    for name, value in request.headers.items():
        environ[name if name in ("CONTENT_LENGTH", "CONTENT_TYPE") else f"HTTP_{name}"] = value
    return environ


def run(
    application: WSGIApplication, request: StrictRequest, environ: WSGIEnvironment, date: str, *, ends: bool
) -> Response | Deferred:
    """
    Call *application*: the response, or what it waits for. Then call it again once the future of that is done.

    *date* is for the Date header. *ends*: the connection is to end, whatever the client wishes. Raises what the
    application raises.
    """
    started: list[Any] = []
    written: list[bytes] = []

    def start_response(status: str, headers: list[tuple[str, str]], error: Any = None) -> Any:
        if started and not error:
            raise AssertionError("start_response was called a second time")
        started[:] = [status, headers]
        return written.append

    given = application(environ, start_response)
    if isinstance(given, Deferred):
        environ[DEFERRED] = given
        return given
    try:
        body = given[0] if isinstance(given, list) and len(given) == 1 else b"".join(given)
    finally:
        if hasattr(given, "close"):
            given.close()
    if written:
        body = b"".join(written) + body
    status, headers = started
    return respond(request, status, headers, body, date, ends=ends)


def respond(
    request: StrictRequest, status: str, headers: list[tuple[str, str]], body: bytes, date: str, *, ends: bool
) -> Response:
    """The response to *request*: its head, and its body unless the method or the status has none."""
    has_body = not status.startswith(("204", "304"))
    is_head = request.command == "HEAD"
    lines = [f"HTTP/{request.version} {status}"]
    for name, value in headers:
        if is_head or name not in ("Content-Length", "content-length"):
            lines.append(f"{name}: {value}")
    if has_body and not is_head:
        lines.append(f"Content-Length: {len(body)}")
    ends = ends or not request.keeps_alive
    if ends:
        lines.append("Connection: close")
    elif request.version == "1.0":
        lines.append("Connection: Keep-Alive")
    lines.append(date)
    head = "\n".join(lines)
    if "\r" in head or head.count("\n") >= len(lines):
        raise ValueError("a header of the response has a line break")
    return head.replace("\n", "\r\n").encode("latin-1") + b"\r\n\r\n", b"" if is_head else body, ends


def respond_error(request: StrictRequest, date: str) -> Response:
    """
    The response to *request*, which has an `error`, or for which the application has failed.

    It ends the connection: where the next request starts is not known.
    """
    error = request.error
    spec = error if isinstance(error, ProblemSpec) else _OF_WAITRESS[error.code] if error else INTERNAL
    body = encode_problem(spec.status, spec.code, spec.detail)
    headers = [("Content-Type", PROBLEM_TYPE), ("Cache-Control", "no-store"), *SECURITY]
    if request.command == "HEAD":
        headers.append(("Content-Length", str(len(body))))
    if spec.status == TOO_MANY_BYTES.status:
        headers.append(("Retry-After", "1"))
    return respond(request, f"{spec.status} {title_of(spec.status)}", headers, body, date, ends=True)


def environ_base(host: str, port: int) -> WSGIEnvironment:
    """What the environ of every request has (PEP 3333)."""
    return {
        "SCRIPT_NAME": "",
        "SERVER_NAME": host,
        "SERVER_PORT": str(port),
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.errors": sys.stderr,
        "wsgi.input_terminated": True,
        "wsgi.multithread": False,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
    }
