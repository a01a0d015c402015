"""Applications as small as can be, so that only the server is tested; and as a program, to be stopped by signals."""

import json
import os
import sys
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from wsgiref.types import StartResponse, WSGIEnvironment

from app.server import serve


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
    application = Gate() if sys.argv[1] == "gate" else Echo()
    serve(application, host="127.0.0.1", port=0, threads=2, on_ready=say)
    say("ended")


if __name__ == "__main__":
    main()
