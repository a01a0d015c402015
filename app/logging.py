"""
Log records on stderr: lines for people, or JSON objects for programs; with ACCESS_LOG an object for each request.

A record is one line: control characters are escaped, lengths have bounds. No body, query or header is given to a
logger, so no token is.
"""

import json
import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from app.settings import Settings

LONGEST_MESSAGE = 2_000
LONGEST_TRACE = 8_000
LONGEST_PATH = 200
LONGEST_METHOD = 20

_CONTROLS = {number: f"\\x{number:02x}" for number in (*range(32), *range(127, 160))} | {
    number: f"\\u{number:04x}" for number in (0x2028, 0x2029, *range(0x202A, 0x202F), *range(0x2066, 0x206A))
}
"""Also what other programs take for the end of a line, and what changes the direction of text."""

_access = logging.getLogger("access")


Watch = Callable[[dict[str, Any]], None]
"""Called with what `log_request` takes of each request when it is answered; it must be quick, and must not raise."""


class Formatter(logging.Formatter):
    """A line for people with a traceback indented below it, or *as_json* an object for programs, all of it ASCII."""

    def __init__(self, *, as_json: bool) -> None:
        super().__init__()
        self._as_json = as_json

    def format(self, record: logging.LogRecord) -> str:
        """
        One record.

        `2026-11-22 20:55:01Z WARNING storage.reconciler: the index is away`, or
        `{"time": "2026-11-22T20:55:01.123Z", "level": "info", "logger": "storage", "message": "..."}`.
        """
        message = record.getMessage()[:LONGEST_MESSAGE].translate(_CONTROLS)
        # Of a long traceback its end: there stands what happened.
        trace = self.formatException(record.exc_info)[-LONGEST_TRACE:] if record.exc_info else ""
        if self._as_json:
            fields = {
                "time": _text_of(record.created, "milliseconds"),
                "level": record.levelname.lower(),
                "logger": record.name,
                "message": message,
            }
            return json.dumps(fields | {"trace": trace} if trace else fields)
        time_text = _text_of(record.created, "seconds").replace("T", " ")
        below = "".join(f"\n  {row.translate(_CONTROLS)}" for row in trace.split("\n") if row)
        return f"{time_text} {record.levelname} {record.name}: {message}{below}"


def set_up(settings: Settings, level: int) -> None:
    """Log what is of *level* and above, in the form that the settings name."""
    handler = logging.StreamHandler()
    handler.setFormatter(Formatter(as_json=settings.log == "json"))
    logging.basicConfig(handlers=[handler], level=level)
    if settings.access_log and not _access.handlers:
        _access.addHandler(logging.StreamHandler())
        _access.setLevel(logging.INFO)
        _access.propagate = False


def log_request(answered: dict[str, Any]) -> None:
    """
    Write the line of a request: what *answered* has, after the time.

    `{"time": "...", "method": "GET", "route": "/", "path": "/", "status": 200, "duration_ms": 1.2, "bytes": 9,
    "address": "127.0.0.1", "token": ""}`: `route` is the rule that its path fell under, "" for none; the path is as
    WSGI has it; `address` is the one that connected; `token` is the id of the token that let it in, "" for none.
    """
    path = answered["path"][:LONGEST_PATH].encode("latin-1", "replace").decode(errors="backslashreplace")
    bounded = {"method": answered["method"][:LONGEST_METHOD], "path": path}
    _access.info(json.dumps({"time": _text_of(time.time(), "milliseconds"), **answered, **bounded}))


def _text_of(time_s: float, precision: str) -> str:
    return datetime.fromtimestamp(time_s, UTC).isoformat(timespec=precision)[:-6] + "Z"
