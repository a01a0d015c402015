"""
The curl calls of a page: each is sent to a real service, and its answer compared with the one that the page shows.

A call stands in a `console` block behind `$ curl`, its answer below it: with `-i` a status line and some headers, then
JSON, over as many lines as it likes. Ids, times and ETags are others in every run: one in the page stands for the
one that came in its place, there and in all calls after it.
"""

import argparse
import json
import re
import shlex
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from email.message import Message
from pathlib import Path
from typing import Any, NamedTuple

from tests.e2e.commands import PATIENCE_S

SHOWN_URL = "http://127.0.0.1:5000"
_CHANGING = re.compile(r'\b[0-7][0-9A-HJKMNP-TV-Z]{12}\b|\b\d{4}-\d\d-\d\dT[\d:.]{12}Z|"[0-9a-f]{24}"')
_BLOCK = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)


class Example(NamedTuple):
    """A call as a shell has it, and what the page shows below it."""

    command: str
    shown: str


class Answer(NamedTuple):
    """What came."""

    status: int
    reason: str
    headers: Message
    body: str


def examples_in(page: Path) -> Iterator[Example]:
    """The curl calls of *page*, in its order."""
    for block in _BLOCK.findall(page.read_text().replace("\\\n", " ")):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, shown = part.partition("\n")
            if command.startswith("curl "):
                yield Example(command, shown.strip())


@dataclass
class Reader:
    """Somebody who types the calls of a page, and compares. `came` has what came for each changing text of the page."""

    url: str
    came: dict[str, str] = field(default_factory=dict)

    def try_out(self, example: Example) -> None:
        """Send the call of *example*; an AssertionError says what is not as the page says."""
        answer = self._send(example.command)
        head, body = _parted(example)
        if head:
            self._compare_heads(head, answer)
        shown = json.loads(body) if body else None
        came = json.loads(answer.body) if answer.body else None
        self._compare(shown, came)
        problem = isinstance(shown, dict) and "status" in shown and "code" in shown
        assert problem or head or answer.status in {200, 201, 204}, answer

    def _send(self, command: str) -> Answer:
        typed = _CURL.parse_args(shlex.split(command)[1:])
        headers = dict(header.split(": ", 1) for header in typed.header)
        if typed.json is not None:
            headers["Content-Type"] = "application/json"
        url = self._present(typed.url.replace(SHOWN_URL, self.url))
        body = None if typed.json is None else self._present(typed.json).encode()
        headers = {name: self._present(value) for name, value in headers.items()}
        method = typed.request or ("GET" if body is None else "POST")
        try:
            answer = urllib.request.urlopen(
                urllib.request.Request(url, body, headers, method=method), timeout=PATIENCE_S
            )
        except urllib.error.HTTPError as error:
            answer = error
        with answer:
            return Answer(answer.status, answer.reason, answer.headers, answer.read().decode())

    def _present(self, text: str) -> str:
        """*text* with what came in place of what the page shows."""
        return _CHANGING.sub(lambda found: self.came.get(found[0], found[0]), text)

    def _compare_heads(self, shown: list[str], answer: Answer) -> None:
        assert shown[0] == f"HTTP/1.1 {answer.status} {answer.reason}"
        for line in shown[1:]:
            name, _, value = line.partition(": ")
            self._compare(value, answer.headers[name])

    def _compare(self, shown: Any, came: Any) -> None:
        if isinstance(shown, dict) and isinstance(came, dict):
            assert list(shown) == list(came)
            for key in shown:
                self._compare(shown[key], came[key])
        elif isinstance(shown, list) and isinstance(came, list):
            assert len(shown) == len(came), came
            for one, other in zip(shown, came, strict=True):
                self._compare(one, other)
        elif isinstance(shown, str) and isinstance(came, str):
            assert _CHANGING.split(shown) == _CHANGING.split(came), came
            for one, other in zip(_CHANGING.findall(shown), _CHANGING.findall(came), strict=True):
                self._bind(one, other)
        else:
            assert shown == came

    def _bind(self, shown: str, came: str) -> None:
        assert self.came.setdefault(shown, came) == came, f"{shown} of the page is {self.came[shown]} and {came}"
        if ":" not in shown:  # two tweets may well be of one time
            assert list(self.came.values()).count(came) == 1, f"{came} has two names in the page"


def _parted(example: Example) -> tuple[list[str], str]:
    """The lines of the head, none unless the call has `-i`, and the body."""
    if not example.shown.startswith("HTTP/"):
        return [], example.shown
    head, _, body = example.shown.partition("\n\n")
    return head.split("\n"), body


_CURL = argparse.ArgumentParser("curl", allow_abbrev=False, exit_on_error=False)
_CURL.add_argument("url")
_CURL.add_argument("-i", action="store_true")
_CURL.add_argument("-X", dest="request")
_CURL.add_argument("-H", dest="header", action="append", default=[])
_CURL.add_argument("--json")
