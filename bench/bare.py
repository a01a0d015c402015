"""
The limit: a Bottle app that parses the same bodies and answers the same bytes, without storage.

    python -m bench.bare ANSWERS

waitress serves it as it comes, with the settings that ours has. ANSWERS is a file that `bench.workloads` wrote: what
the service answered to one request of each kind, headers and all.
"""

import json
import logging
import sys
from pathlib import Path
from typing import Any

import msgspec
from bottle import Bottle, HTTPResponse, request
from waitress.server import create_server

from app.http.schemas import NewRetweet, NewTweet
from app.server import Limits, open_socket, url_of
from app.settings import Settings


def application(answers: dict[str, Any]) -> Bottle:
    """The app that gives *answers*: status, headers and body by the name of the kind."""
    app = Bottle()
    app.config["catchall"] = False
    app.uninstall(True)  # as in the service: no plugin is needed
    new_tweet, new_retweet = msgspec.json.Decoder(NewTweet), msgspec.json.Decoder(NewRetweet)
    ready = {name: (body.encode(), status, list(headers.items())) for name, (status, headers, body) in answers.items()}
    tag = dict(ready["page"][2])["Etag"]

    def body() -> bytes:
        content: bytes = request.environ["wsgi.input"].read(int(request.environ["CONTENT_LENGTH"]))
        return content

    @app.post("/api/v1/tweet")
    def post_tweet() -> HTTPResponse:
        new_tweet.decode(body())
        return HTTPResponse(*ready["post"])

    @app.post("/api/v1/retweet")
    def post_retweet() -> HTTPResponse:
        new_retweet.decode(body())
        return HTTPResponse(*ready["retweet"])

    app.get("/api/v1/top")(lambda: HTTPResponse(*ready["top"]))
    app.get("/api/v1/tweet/<_tweet_id>")(lambda _tweet_id: HTTPResponse(*ready["tweet"]))

    @app.get("/")
    def get_page() -> HTTPResponse:
        known = request.environ.get("HTTP_IF_NONE_MATCH") == tag
        return HTTPResponse(*ready["page304" if known else "page"])

    return app


if __name__ == "__main__":
    settings = Settings.from_environment()
    listening = open_socket(settings.host, settings.port)
    logging.getLogger("waitress.queue").setLevel(logging.ERROR)
    server = create_server(
        application(json.loads(Path(sys.argv[1]).read_text())),
        sockets=[listening],
        threads=settings.threads,
        asyncore_use_poll=True,
        connection_limit=Limits().connections,  # as many clients as ours takes
    )
    print(f"Serving on {url_of(listening)}", flush=True)
    server.run()
