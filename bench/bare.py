"""
The limit: a Bottle app that parses the same bodies and answers the same bytes, without storage.

    python -m bench.bare ANSWERS

waitress serves it as it comes, with the settings that ours has.

ANSWERS is a file that `bench.workloads` wrote: what the service answered to one request of each kind, headers and all.
"""

import argparse
import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import msgspec
from bottle import Bottle, HTTPResponse, request
from waitress.server import create_server

from app.http.schemas import NewRetweet, NewTweet
from app.server import Limits, open_socket, url_of
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
    given = parser.parse_args()
    settings = Settings.from_environment()
    listening = open_socket(settings.host, settings.port)
    app = application(read_answers(given.answers))
    logging.getLogger("waitress.queue").setLevel(logging.ERROR)
    server = create_server(
        app,
        sockets=[listening],
        threads=settings.threads,
        asyncore_use_poll=True,
        connection_limit=Limits().connections,
    )
    print(f"Serving on {url_of(listening)}", flush=True)
    server.run()


if __name__ == "__main__":
    main()
