"""
The limit: a Bottle app that parses the same bodies and answers the same bytes, without storage.

    python -m bench.bare ANSWERS [--workers N] [--ours]

waitress serves it as it comes, with the settings that ours has; with --ours, `app.server` does: waitress made strict.

ANSWERS is a file that `bench.workloads` wrote: what the service answered to one request of each kind, headers and all.
With several workers they share the listening socket as those of the service do.
"""

import argparse
import json
import logging
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from types import FrameType
from typing import NamedTuple, NoReturn

import msgspec
from bottle import Bottle, HTTPResponse, request
from waitress.server import create_server

from app.http.schemas import NewRetweet, NewTweet
from app.server import Limits, open_socket, serve, url_of
from app.settings import Settings


class Answer(NamedTuple):
    """An answer as it is sent."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes

    def response(self) -> HTTPResponse:
        """The answer once more."""
        return HTTPResponse(self.body, self.status, self.headers)


def read_answers(file: Path) -> dict[str, Answer]:
    """The answers of *file* by the names of their kinds."""
    read = json.loads(file.read_text())
    return {
        name: Answer(status, [(header, value) for header, value in headers], body.encode())
        for name, (status, headers, body) in read.items()
    }


def application(answers: Mapping[str, Answer]) -> Bottle:
    """The app that gives *answers*."""
    app = Bottle()
    app.config["catchall"] = False
    app.uninstall(True)  # as in the service: no plugin is needed
    new_tweet, new_retweet = msgspec.json.Decoder(NewTweet), msgspec.json.Decoder(NewRetweet)
    tag = dict(answers["page"].headers)["Etag"]

    @app.post("/api/v1/tweet")
    def post_tweet() -> HTTPResponse:
        new_tweet.decode(_body())
        return answers["post"].response()

    @app.post("/api/v1/retweet")
    def post_retweet() -> HTTPResponse:
        new_retweet.decode(_body())
        return answers["retweet"].response()

    @app.get("/api/v1/top")
    def get_top() -> HTTPResponse:
        return answers["top"].response()

    @app.get("/api/v1/tweet/<_tweet_id>")
    def get_tweet(_tweet_id: str) -> HTTPResponse:
        return answers["tweet"].response()

    @app.get("/")
    def get_page() -> HTTPResponse:
        known = request.environ.get("HTTP_IF_NONE_MATCH") == tag
        return answers["page304" if known else "page"].response()

    return app


def _body() -> bytes:
    content: bytes = request.environ["wsgi.input"].read(int(request.environ["CONTENT_LENGTH"]))
    return content


def main() -> None:
    """Serve until SIGTERM."""
    parser = argparse.ArgumentParser(description="The limit: an app without storage.", allow_abbrev=False)
    parser.add_argument("answers", type=Path)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--ours", action="store_true", help="serve by app.server")
    parser.add_argument("--listening", type=int, help="the number of a socket that is bound: be a worker")
    given = parser.parse_args()
    settings = Settings.from_environment()
    if given.listening is not None:
        listening = socket.socket(fileno=given.listening)
    else:
        listening = open_socket(settings.host, settings.port)
    if given.workers > 1:
        lead(listening, given.answers, given.workers, ours=given.ours)
    app = application(read_answers(given.answers))
    if given.ours:
        serve(app, host="", port=0, on_ready=announce, listening=listening)
    else:
        serve_by_waitress(app, listening, settings.threads)


def announce(url: str) -> None:
    """Say where it serves."""
    print(f"Serving on {url}", flush=True)


def serve_by_waitress(app: Bottle, listening: socket.socket, threads: int) -> None:
    """Serve *app* by waitress as it comes, but for what it must be told to take as many clients as ours."""
    logging.getLogger("waitress.queue").setLevel(logging.ERROR)
    server = create_server(
        app, sockets=[listening], threads=threads, asyncore_use_poll=True, connection_limit=Limits().connections
    )
    announce(url_of(listening))
    server.run()


def lead(listening: socket.socket, answers: Path, workers: int, *, ours: bool) -> NoReturn:
    """Keep so many workers on the socket until SIGTERM."""
    command = [sys.executable, "-m", "bench.bare", str(answers), "--listening", str(listening.fileno())]
    command += ["--ours"] * ours
    with ExitStack() as stack:
        signal.signal(signal.SIGTERM, _stop)
        for _ in range(workers):
            worker = subprocess.Popen(command, pass_fds=[listening.fileno()], stdout=subprocess.PIPE, text=True)
            stack.callback(worker.wait)
            stack.callback(worker.terminate)
            if worker.stdout is not None:
                worker.stdout.readline()
        print(f"Serving on {url_of(listening)}", flush=True)
        signal.pause()
    raise AssertionError("only a signal ends the pause")


def _stop(_number: int, _frame: FrameType | None) -> NoReturn:
    sys.exit(0)


if __name__ == "__main__":
    main()
