"""What is asked: the requests of each workload, in a file for `replay.lua`; and what the bare app answers to them."""

import http.client
import json
import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from bench.servers import CannotMeasure

AT_MOST = 50_000
"""Requests in a file."""

OWN_HEADERS = {"connection", "content-length", "date", "server", "via"}
"""Headers that the server adds."""


@dataclass(frozen=True, slots=True)
class Workload:
    """
    A kind of load: `writes` is the share of its requests that write.

    `at_16` and `at_64` are targets for its rate, of the bare server's at so many clients.
    """

    name: str
    title: str
    writes: float
    at_16: str
    at_64: str


WORKLOADS = {
    workload.name: workload
    for workload in (
        Workload("post", "post", 1, "≥ 0.70", "≥ 0.70"),
        Workload("viral", "retweet of one viral tweet", 1, "≥ 0.70", "≥ 0.70"),
        Workload("random", "retweet of random tweets", 1, "≥ 0.75", "≥ 0.90"),
        Workload("deep", "retweet at depth 1,000", 1, "≥ 0.50", "≥ 0.75"),
        Workload("top", "top 10, JSON", 0, "≥ 0.90", "≥ 0.90"),
        Workload("page", "page", 0, "≥ 0.85", "≥ 0.85"),
        Workload("page304", "page, not modified", 0, "≥ 0.95", "≥ 0.95"),
        Workload("tweet", "one tweet", 0, "≥ 0.75", "≥ 0.75"),
        Workload("mixed", "mixed 90/10", 0.1, "≥ 0.90", "≥ 1.10"),
    )
}


@dataclass(frozen=True, slots=True)
class Planted:
    """The ids of those tweets that requests name."""

    viral: str
    deep: str
    random: list[str]
    popular: list[str]


@dataclass(frozen=True, slots=True)
class Asked:
    """A request; *tag* is for If-None-Match."""

    method: str
    path: str
    body: Mapping[str, object] | None = None
    tag: str = ""


AUTHORS = [f"user{number}" for number in random.Random(1).sample(range(10_000), 10_000)]
"""Not in the order of their names: then those who post one after another would be neighbours in the index of users."""

TEXTS = {"title": "Fog over the harbour", "body": "The ferries are running late, as on most days. You hear them."}
TOP, PAGE = Asked("GET", "/api/v1/top"), Asked("GET", "/")


def post(number: int) -> Asked:
    """A tweet of its own."""
    return Asked("POST", "/api/v1/tweet", {"user_name": AUTHORS[number % len(AUTHORS)], **TEXTS})


def retweet(number: int, target: str) -> Asked:
    """A retweet with words of its own."""
    return Asked("POST", "/api/v1/retweet", {"user_name": AUTHORS[number % len(AUTHORS)], "retweet": target, **TEXTS})


def read(target: str) -> Asked:
    """A question for one tweet."""
    return Asked("GET", f"/api/v1/tweet/{target}")


def mixed(planted: Planted) -> Iterable[Asked]:
    """Of 100 requests 40 ask for the top, 10 for the page and 40 for a tweet; 5 post and 5 retweet a popular one."""
    rng = random.Random(1)
    for number, (anyone, popular) in enumerate(zip(planted.random, planted.popular, strict=True)):
        choices = (TOP, PAGE, read(anyone), post(number), retweet(number, popular))
        yield rng.choices(choices, (40, 10, 40, 5, 5))[0]


def write_requests(workload: Workload, folder: Path, planted: Planted, tag: str) -> Path:
    """Write the requests of *workload* to a file; *tag* is the page's."""
    numbers = range(AT_MOST)
    requests: dict[str, Iterable[Asked]] = {
        "post": map(post, numbers),
        "viral": (retweet(number, planted.viral) for number in numbers),
        "random": map(retweet, numbers, planted.popular),
        "deep": (retweet(number, planted.deep) for number in numbers),
        "top": [TOP],
        "page": [PAGE],
        "page304": [Asked("GET", "/", tag=tag)],
        "tweet": map(read, planted.random),
        "mixed": mixed(planted),
    }
    file = folder / f"{workload.name}.tsv"
    with file.open("w") as lines:
        for asked in requests[workload.name]:
            lines.write(f"{asked.method}\t{asked.path}\t{asked.tag}\t{json.dumps(asked.body) if asked.body else ''}\n")
    return file


def capture(url: str, planted: Planted, file: Path) -> str:
    """Write to *file* what the service answers to one request of each kind, for `bench.bare`; the page's tag."""
    answers = {
        "post": ask(url, post(0)),
        "retweet": ask(url, retweet(0, planted.viral)),
        "tweet": ask(url, read(planted.random[0])),
        "top": ask(url, TOP),
        "page": ask(url, PAGE),
    }
    tag = answers["page"][1]["Etag"]
    answers["page304"] = ask(url, Asked("GET", "/", tag=tag))
    if (statuses := [status for status, *_ in answers.values()]) != [201, 201, 200, 200, 200, 304]:
        raise CannotMeasure(f"The service does not answer as it should: {dict(zip(answers, statuses, strict=True))}")
    file.write_text(json.dumps(answers))
    return tag


def ask(url: str, asked: Asked) -> tuple[int, dict[str, str], str]:
    """Status, headers and body of the answer to one request."""
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=60)
    content = None if asked.body is None else json.dumps(asked.body)
    headers = {"Content-Type": "application/json"} if content else {}
    if asked.tag:
        headers["If-None-Match"] = asked.tag
    try:
        connection.request(asked.method, asked.path, content, headers)
        answer = connection.getresponse()
        own = {name.title(): value for name, value in answer.getheaders() if name.lower() not in OWN_HEADERS}
        return answer.status, own, answer.read().decode()
    finally:
        connection.close()
