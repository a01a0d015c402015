"""What is written to the log: one line for each event, whatever is in it, and never a secret."""

import io
import json
import logging
import string
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from app import logging as app_logging
from app.http.application import Application
from app.logging import Formatter, log_request, set_up
from app.settings import Settings
from storage import Tweets
from storage.tokens import Tokens
from tests.http.client import Client

HOSTILE = 'a\r\n2026-01-01 00:00:00Z ERROR forged: b\x1b[2J\x85\u2028\u202e\x7f"}\n{"level": "error"'

LINES, OBJECTS = Formatter(as_json=False), Formatter(as_json=True)


def record(message: str, *arguments: object, error: BaseException | None = None) -> logging.LogRecord:
    """A warning, as a logger would hand it on."""
    about = (type(error), error, error.__traceback__) if error else None
    return logging.LogRecord("storage.reconciler", logging.WARNING, "file", 1, message, arguments, about)


def failed(message: str) -> BaseException:
    """An error that was raised."""
    with pytest.raises(RuntimeError) as raised:
        fail(message)
    return raised.value


def fail(message: str) -> None:
    """Raise it."""
    raise RuntimeError(message)


ANSWERED = {
    "method": "GET", "route": "/tweet/<text>", "path": "/", "status": 404, "duration_ms": 12.346, "bytes": 99,
    "address": "192.0.2.1", "token": "0123456789ab",
}  # fmt: skip


def accessed(**changed: str) -> dict[str, Any]:
    """What the line of a request says that is ANSWERED but for *changed*."""
    said = io.StringIO()
    handler = logging.StreamHandler(said)
    access = logging.getLogger("access")
    access.addHandler(handler)
    access.setLevel(logging.INFO)
    try:
        log_request(ANSWERED | changed)
    finally:
        access.removeHandler(handler)
    line = said.getvalue()
    assert line.endswith("\n")
    assert set(line[:-1]) <= set(string.printable) - set("\r\n\t\x0b\x0c")
    fields: dict[str, Any] = json.loads(line)
    return fields


def test_a_line_for_people() -> None:
    """Time in UTC, level, logger, message; a traceback stands indented below."""
    assert LINES.format(record("gone: %s", 1))[19:] == "Z WARNING storage.reconciler: gone: 1"
    first, *trace = LINES.format(record("gone", error=failed("why"))).split("\n")
    assert first.endswith("gone")
    assert trace[-1] == "  RuntimeError: why"
    assert all(row.startswith("  ") for row in trace)


def test_an_object_for_programs() -> None:
    """The same as JSON, in ASCII, with the traceback as one more value."""
    fields = json.loads(OBJECTS.format(record("gone: %s", 1)))
    assert fields.pop("time")[19:][0] == "."
    assert fields == {"level": "warning", "logger": "storage.reconciler", "message": "gone: 1"}
    traced = json.loads(OBJECTS.format(record("gone", error=failed("why"))))
    assert traced["trace"].splitlines()[-1] == "RuntimeError: why"


@given(st.text(alphabet=st.characters(codec="utf-8")))
@example(HOSTILE)
def test_nothing_begins_a_line_of_its_own(text: str) -> None:
    """Whatever a message or an error says, its event stays one line, or lines that are plainly its own."""
    controls = {*map(chr, range(32)), *map(chr, range(127, 160)), "\u2028", "\u2029", "\u202e"}
    line = LINES.format(record("%s", text))
    assert not controls & set(line)
    _, *below = LINES.format(record("gone", error=failed(text))).split("\n")
    assert all(row.startswith("  ") and not controls & set(row) for row in below)
    for written in (
        OBJECTS.format(record("%s", text)),
        OBJECTS.format(record("gone", error=failed(text))),
    ):
        assert set(written) <= set(string.printable) - set("\r\n\t\x0b\x0c")
        assert set(json.loads(written)) <= {"time", "level", "logger", "message", "trace"}


def test_what_is_written_has_bounds() -> None:
    """A message, a traceback, a path and a method of any length are cut."""
    long = "x" * 100_000
    assert len(LINES.format(record(long))) < app_logging.LONGEST_MESSAGE + 100
    assert len(OBJECTS.format(record("gone", error=failed(long)))) < app_logging.LONGEST_TRACE + 300
    fields = accessed(method=long, path=f"/{long}")
    assert (len(fields["path"]), len(fields["method"])) == (app_logging.LONGEST_PATH, app_logging.LONGEST_METHOD)


def test_a_request() -> None:
    """The line of a request: time, method, route, path, status, milliseconds, bytes, address and token."""
    fields = accessed(path="/tweet/\xc3\xa9")
    assert fields.pop("time").endswith("Z")
    assert fields == ANSWERED | {"path": "/tweet/é"}


@given(st.text(alphabet=st.characters(max_codepoint=255)))
@example("/\x00\n\r\x1b\x7f\x85\xe2\x80\xa8\xff")
def test_a_hostile_path(path: str) -> None:
    """A path of any bytes, UTF-8 or not, is one line of JSON."""
    assert accessed(path=path)["status"] == 404


@contextmanager
def logged(settings: Settings, level: int) -> Iterator[io.StringIO]:
    """What this process writes to stderr when its logs are set up; its loggers are put back in the end."""
    root, access = logging.getLogger(), logging.getLogger("access")
    before, root_level, stderr = root.handlers[:], root.level, sys.stderr
    root.handlers[:] = []
    sys.stderr = said = io.StringIO()
    try:
        set_up(settings, level)
        yield said
    finally:
        sys.stderr = stderr
        root.handlers[:] = before
        root.setLevel(root_level)
        access.handlers[:] = []
        access.propagate = True


def test_no_secret_is_logged(tweets: Tweets) -> None:
    """Neither a token nor a body nor a query is written, by an answer, a refusal or a mistake of ours."""
    settings = Settings.from_environment({"ACCESS_LOG": "1", "LOG": "json"})
    app = Application(tweets, settings)
    token = Tokens(tweets.database).add("ada")

    @app.post("/broken")
    def broken() -> None:
        fail("a mistake")

    client, body = Client(app), {"user_name": "ada", "title": "Secret-title", "body": "Secret-body"}
    key = "Secret-key"
    with logged(settings, logging.DEBUG) as said:
        for header in (f"Bearer {token}", f"Bearer {token}x", f"Basic {token}"):
            for path in ("/api/v1/tweet", "/api/v1/retweet", "/broken"):
                client.post(f"{path}?q=Secret-query", body, HTTP_AUTHORIZATION=header, HTTP_IDEMPOTENCY_KEY=key)
    lines = said.getvalue().splitlines()
    assert len([line for line in lines if "duration_ms" in line]) == 9
    assert len([line for line in lines if "a mistake" in line]) == 3
    assert all(json.loads(line) for line in lines)
    assert "secret" not in said.getvalue().lower()
    assert token[16:] not in said.getvalue()


def test_off_by_default(tweets: Tweets) -> None:
    """Without the settings there is no line for a request, and what is said is text."""
    settings = Settings.from_environment({})
    with logged(settings, logging.WARNING) as said:
        Client(Application(tweets, settings)).get("/nothing")
        assert said.getvalue() == ""
        logging.getLogger("x").warning("gone")
    assert said.getvalue().endswith("Z WARNING x: gone\n")
