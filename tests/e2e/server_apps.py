"""Applications as small as can be, so that only the server is tested; and as a program, to be stopped by signals."""

import json
import os
import sys
import threading
import time
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import Any
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from bottle import HTTPResponse

from app.deferred import DEFERRED, Deferred, Pool
from app.server import Limits, Server, open_socket
from app.signals import handle_signals, stopping_with


def _unused(_result: object) -> HTTPResponse:
    raise AssertionError("the server looks at the future alone")


class Pooled:
    """Calls *application*, which may wait, in a pool of so many threads."""

    def __init__(self, application: WSGIApplication, threads: int = 4) -> None:
        self._application = application
        self._pool = Pool(threads, 1024)

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer in two steps."""
        deferred: Deferred | None = environ[DEFERRED]
        if deferred is None:
            return Deferred(self._pool.submit(self._call, environ), _unused)
        status, headers, body = deferred.future.result()
        start_response(status, headers)
        return [body]

    def _call(self, environ: WSGIEnvironment) -> tuple[str, list[tuple[str, str]], bytes]:
        started: list[Any] = []

        def start_response(*given: Any) -> Any:
            started.extend(given)

        body = b"".join(self._application(environ, start_response))
        return started[0], started[1], body


class Echo:
    """Answers with what it was asked, HEAD without a body. /raise fails, /open opens a file, /sleep takes 20 ms."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer 200 with method, path, query and body as JSON."""
        self.calls += 1
        if environ["PATH_INFO"] == "/raise":
            raise ValueError("a secret of the application")
        if environ["PATH_INFO"] == "/open":
            Path(os.devnull).read_bytes()
        if environ["PATH_INFO"] == "/sleep":
            time.sleep(0.02)
        asked = {
            "method": environ["REQUEST_METHOD"],
            "path": environ["PATH_INFO"],
            "query": environ["QUERY_STRING"],
            "body": environ["wsgi.input"].read().decode("latin-1"),
        }
        body = json.dumps(asked).encode()
        start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
        return [] if environ["REQUEST_METHOD"] == "HEAD" else [body]


class Gate:
    """Answers 200 to everything, but only once `open` is set. `entered` is released for each request that comes in."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.entered = threading.Semaphore(0)

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer with the path."""
        self.entered.release()
        self.open.wait()
        body = environ["PATH_INFO"].encode("latin-1")
        start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
        return [body]


def say(line: str) -> None:
    """Tell the test at the other end of the pipe."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main() -> None:
    """Serve `echo` or `gate` until a signal comes; say the address first, and "ended" last."""
    application = Pooled(Gate() if sys.argv[1] == "gate" else Echo(), threads=2)
    # On a busy machine any turn may take long, and the test looks at what is logged.
    handle_signals(0)
    server = Server(application, open_socket("127.0.0.1", 0), limits=Limits(turn_s=60))
    with closing(server), stopping_with(server.stop):
        say(server.url)
        server.run()
    say("ended")


if __name__ == "__main__":
    main()
