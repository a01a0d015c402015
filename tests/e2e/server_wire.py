"""A client that sends exactly the bytes it is given, and reads what comes back, over a real socket."""

import json
import os
import select
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit
from wsgiref.types import WSGIApplication

from app.errors import PROBLEM_TYPE
from app.server import Limits, Server, open_socket

PATIENCE_S = 30
"""Longer than any answer takes: a test that waits so long has failed."""

CALM = Limits(turn_s=60)
"""On a busy machine any turn of the loop may take long; tests look at what is logged."""

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


@dataclass(frozen=True)
class Answer:
    """An answer as it came: header names in small letters."""

    version: str
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body, read as JSON."""
        return json.loads(self.body)


class Wire:
    """One connection to a server."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self.socket = socket.create_connection((parts.hostname, parts.port or 80), timeout=PATIENCE_S)
        self._file = self.socket.makefile("rb")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close both sides."""
        self._file.close()
        self.socket.close()

    def send(self, *pieces: bytes) -> Self:
        """Send these bytes; a server that has closed already is no fault."""
        with suppress(BrokenPipeError, ConnectionResetError):
            for piece in pieces:
                self.socket.sendall(piece)
        return self

    def end(self) -> Self:
        """Say that nothing more will be sent."""
        with suppress(OSError):  # the server has closed already
            self.socket.shutdown(socket.SHUT_WR)
        return self

    def ask(self, raw: bytes, method: str = "GET") -> Answer:
        """Send *raw* and read the answer, which has no body when *method* is HEAD."""
        answer = self.send(raw).find_answer(method)
        assert answer is not None, "closed without an answer"
        return answer

    def find_answer(self, method: str = "GET") -> Answer | None:
        """The next answer, None when the server has closed instead. A half answer fails the test."""
        line = self._file.readline()
        if not line:
            return None
        version, status, _ = line.decode("latin-1").split(" ", 2)
        headers = self._headers()
        body = b""
        if method != "HEAD" and int(status) not in (204, 304) and not 100 <= int(status) < 200:
            body = self._body(headers)
        return Answer(version, int(status), headers, body)

    def read_answers(self, *, may_be_head: bool) -> list[Answer]:
        """All answers until the server closes. *may_be_head*: then one with a length may all the same have no body."""
        answers = []
        while self._file.peek(1):
            answer = self.find_answer("HEAD")
            assert answer is not None
            if answer.status not in (100, 204, 304) and not (may_be_head and self._file.peek(1)[:5] in (b"", b"HTTP/")):
                answer = replace(answer, body=self._body(answer.headers))
            answers.append(answer)
        return answers

    def _headers(self) -> dict[str, str]:
        headers: dict[str, str] = {}
        while (line := self._file.readline()) != b"\r\n":
            assert line.endswith(b"\r\n"), f"half an answer: {line!r}"
            name, _, value = line.decode("latin-1").partition(":")
            headers[name.lower()] = value.strip()
        return headers

    def _body(self, headers: dict[str, str]) -> bytes:
        assert "transfer-encoding" not in headers, "the service knows how long its answers are"
        length = int(headers["content-length"])
        body = self._file.read(length)
        assert len(body) == length, "half an answer"
        return body

    def has_answer(self) -> bool:
        """Whether something has come that was not read; does not wait."""
        return bool(select.select([self.socket], [], [], 0)[0])

    def is_closed(self) -> bool:
        """Whether the server has ended the connection; waits for that. A reset, and one answer more, fail the test."""
        return self._file.read(1) == b""


def check_problem(answer: Answer, *, head: bool = False) -> None:
    """*answer* is an error in the one shape that all errors have, for HEAD without the body."""
    assert answer.headers["content-type"] == PROBLEM_TYPE
    assert "server" not in answer.headers
    if head:
        assert answer.body == b""
        return
    problem = answer.json
    assert list(problem)[:5] == ["type", "title", "status", "code", "detail"]
    assert problem["status"] == answer.status
    assert all(isinstance(problem[key], str) and problem[key] for key in ("type", "title", "code", "detail"))
    for fault in problem.get("errors", []):
        assert list(fault) == ["field", "code", "detail"]


@contextmanager
def serving(application: WSGIApplication, limits: Limits = CALM, **hooks: Callable[..., None]) -> Iterator[Server]:
    """Serve *application* on a free port in a thread; at the end it is stopped, and has come to its end."""
    server = Server(application, open_socket("127.0.0.1", 0), limits=limits, **hooks)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        yield server
    finally:
        server.stop()
        thread.join(PATIENCE_S)
        server.close()
        assert not thread.is_alive(), "the server did not stop"


@contextmanager
def child_server(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A Python process that serves, with the address it has said first; killed at the end if it runs still."""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment) as child:
        try:
            assert child.stdout is not None
            yield child, child.stdout.readline().strip()
        finally:
            child.kill()
