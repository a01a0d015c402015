"""One request: its environ, and the bytes of the response."""

import sys
import time
from email.utils import formatdate
from functools import lru_cache
from io import BytesIO
from typing import Any
from wsgiref.types import WSGIEnvironment

from app.deferred import DEFERRED
from app.errors import BODY_TOO_LARGE, INTERNAL, PROBLEM_TYPE, SECURITY, ProblemSpec, encode_problem, title_of
from app.server.parser import StrictRequest

HEADER_TOO_LARGE = ProblemSpec(431, "header_too_large", "The request line and the headers are too long.")
TOO_SLOW = ProblemSpec(408, "request_too_slow", "The request did not arrive in time.")
TOO_MANY_BYTES = ProblemSpec(503, "overloaded", "Too many requests arrive at once. Nothing was done; ask again later.")

_OF_WAITRESS = {431: HEADER_TOO_LARGE, 413: BODY_TOO_LARGE}
"""What waitress itself refuses, by its status."""


Response = tuple[bytes, bool]
"""A response as it is sent, and whether the connection is closed after it."""


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


def respond(
    request: StrictRequest, status: str, headers: list[tuple[str, str]], body: bytes, *, ends: bool
) -> Response:
    """The response to *request*, whose length, where it has one, is among *headers*. Raises ValueError."""
    lines = [f"HTTP/{request.version} {status}", *[f"{name}: {value}" for name, value in headers]]
    ends = ends or not request.keeps_alive
    if ends:
        lines.append("Connection: close")
    elif request.version == "1.0":
        lines.append("Connection: Keep-Alive")
    lines.append(_date_at(int(time.time())))
    head = "\n".join(lines)
    if "\r" in head or head.count("\n") >= len(lines):
        raise ValueError("a header of the response has a line break")
    return head.replace("\n", "\r\n").encode("latin-1") + b"\r\n\r\n" + body, ends


@lru_cache(maxsize=1)
def _date_at(second: int) -> str:
    return f"Date: {formatdate(second, usegmt=True)}"


def respond_error(request: StrictRequest) -> Response:
    """
    The response to *request*, which has an `error`, or for which the application has failed.

    It ends the connection: where the next request starts is not known.
    """
    error = request.error
    spec = error if isinstance(error, ProblemSpec) else _OF_WAITRESS[error.code] if error else INTERNAL
    body = encode_problem(spec.status, spec.code, spec.detail)
    length = ("Content-Length", str(len(body)))
    headers = [("Content-Type", PROBLEM_TYPE), length, ("Cache-Control", "no-store"), *SECURITY]
    if request.command == "HEAD":
        body = b""
    if spec.status == TOO_MANY_BYTES.status:
        headers.append(("Retry-After", "1"))
    return respond(request, f"{spec.status} {title_of(spec.status)}", headers, body, ends=True)


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
