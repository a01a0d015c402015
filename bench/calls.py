"""
One call of the app after another, in one thread without a server: `python -m bench.calls DATA_DIR PLANTED ANSWERS`.

Prints JSON: for each workload the microseconds of a call of the bare app, of the service with its storage taken out
(it remembers one answer), and of the service: processor time of the calling thread, and time elapsed.
"""

import io
import json
import sys
import time
from collections.abc import Iterable, Sequence
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any, cast
from wsgiref.types import WSGIApplication

import msgspec

from app.http.application import create_app
from app.http.schemas import NewRetweet, NewTweet
from app.settings import Settings
from bench.bare import application, read_answers
from bench.planting import Planted
from bench.workloads import WORKLOADS, Asked
from storage import Tweets, open_storage

CALLED = ("post", "viral", "deep", "top", "page", "tweet")
CALLS = 400
ROUNDS = 5


class Remembered:
    """Tweets that are asked once for each kind of thing, and from then on give the same again at no cost."""

    def __init__(self, tweets: Tweets) -> None:
        self._tweets = tweets

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._tweets, name)
        if not callable(found):
            return found
        known: list[Any] = []

        def answer(*arguments: Any, **named: Any) -> Any:
            if not known:
                known.append(found(*arguments, **named))
            return known[0]

        setattr(self, name, answer)
        return answer


def measure(data_dir: Path, planted: Planted, answers: Path) -> dict[str, dict[str, float]]:
    """The figures of each workload."""
    settings = Settings.from_environment()
    with open_storage(data_dir) as tweets:
        apps = {
            "bare": application(read_answers(answers)),
            "without storage": create_app(cast("Tweets", Remembered(tweets)), settings),
            "service": create_app(tweets, settings),
        }
        return {name: _figures(list(islice(WORKLOADS[name].requests(planted, ""), CALLS)), apps) for name in CALLED}


def _figures(asked: list[Asked], apps: dict[str, Any]) -> dict[str, float]:
    figures = {"decode": _decode_us(asked)}
    rounds: dict[str, list[tuple[float, float]]] = {name: [] for name in apps}
    for _ in range(ROUNDS):
        for name, app in apps.items():
            rounds[name].append(_call_us(app, asked))
    for name, each in rounds.items():
        figures[name] = median(used for used, _ in each)
    figures["elapsed"] = median(elapsed for _, elapsed in rounds["service"])
    return figures


def _decode_us(asked: Sequence[Asked]) -> float:
    """To parse and check a body; 0 when there is none."""
    bodies = [json.dumps(each.body).encode() for each in asked if each.body is not None]
    if not bodies:
        return 0
    decoder = msgspec.json.Decoder(NewTweet if asked[0].path.endswith("/tweet") else NewRetweet)
    began = time.thread_time()
    for body in bodies:
        decoder.decode(body)
    return (time.thread_time() - began) * 1e6 / len(asked)


def _call_us(app: WSGIApplication, asked: list[Asked]) -> tuple[float, float]:
    """Processor time and elapsed time of a call."""
    environs = [environ_of(each) for each in asked * (CALLS // len(asked))]
    began, began_at = time.thread_time(), time.perf_counter()
    for environ in environs:
        _drain(app(environ, _start))
    used, elapsed = time.thread_time() - began, time.perf_counter() - began_at
    return used * 1e6 / len(environs), elapsed * 1e6 / len(environs)


def environ_of(asked: Asked) -> dict[str, Any]:
    """What the server makes of a request."""
    content = b"" if asked.body is None else json.dumps(asked.body).encode()
    environ = {
        "REQUEST_METHOD": asked.method,
        "PATH_INFO": asked.path,
        "QUERY_STRING": "",
        "SCRIPT_NAME": "",
        "SERVER_NAME": "127.0.0.1",
        "SERVER_PORT": "5000",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": "127.0.0.1",
        "HTTP_HOST": "127.0.0.1:5000",
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(content),
        "wsgi.errors": sys.stderr,
    }
    if content:
        environ |= {"CONTENT_TYPE": "application/json", "CONTENT_LENGTH": str(len(content))}
    return environ


def _start(status: str, headers: list[tuple[str, str]], error: object = None) -> Any:
    if not status.startswith("2"):
        raise AssertionError(f"{status}: {headers} {error}")


def _drain(chunks: Iterable[bytes]) -> None:
    for _ in chunks:
        pass


if __name__ == "__main__":
    known = Planted(**json.loads(Path(sys.argv[2]).read_text()))
    print(json.dumps(measure(Path(sys.argv[1]), known, Path(sys.argv[3]))))
