"""
The commands of a page, typed into a shell in their order, and their output compared with what the page shows.

A block of commands is fenced as `sh`; a block below it, fenced as `json` or `http`, is its output: with `curl -i` a
status line and some headers, then JSON, wrapped as the page likes. Ids, times and ETags are others in every run: one in
the page stands for the one that came in its place, there and in all commands after it.
"""

import json
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Self

SHOWN_URL = "http://127.0.0.1:5000"
_CHANGING = re.compile(r'\b[0-7][0-9A-HJKMNP-TV-Z]{12}\b|\b\d{4}-\d\d-\d\dT[\d:.]{12}Z|"[0-9a-f]{24}"')
_BLOCK = re.compile(
    r"^```sh\n(.*?)^```\n(?:[^`\n]*\n){0,3}(?:^```(?:json|http)\n(.*?)^```$)?", re.MULTILINE | re.DOTALL
)
_END = "--end of this block--"


class Example(NamedTuple):
    """A block of commands, and what the page shows below it."""

    commands: str
    shown: str


def examples_in(page: Path) -> Iterator[Example]:
    """The blocks of *page* that call the service by curl, in order."""
    for commands, shown in _BLOCK.findall(page.read_text()):
        if "curl" in commands:
            yield Example(commands, shown.strip())


@dataclass
class Reader:
    """Types the commands of a page, and compares. `came` has what came for each changing text of the page."""

    url: str
    came: dict[str, str] = field(default_factory=dict)

    def __enter__(self) -> Self:
        self._shell = subprocess.Popen(
            ["sh"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, bufsize=1
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._shell.communicate()

    def try_out(self, example: Example) -> None:
        """Type the commands of *example*; an AssertionError says what is not as the page says."""
        commands = example.commands.replace(SHOWN_URL, self.url)
        output = self._type(_CHANGING.sub(lambda found: self.came.get(found[0], found[0]), commands))
        head, body = _parted(example.shown)
        if " -i " in commands:
            came_head, _, output = output.replace("\r", "").partition("\n\n")
            self._compare_heads(head, came_head.strip().split("\n"))
        shown = json.loads(body) if body else None
        came = json.loads(output) if output.strip() else None
        self._compare(shown, came)

    def _type(self, commands: str) -> str:
        assert self._shell.stdin is not None
        assert self._shell.stdout is not None
        self._shell.stdin.write(f"{commands}\nprintf '\\n%s\\n' '{_END}'\n")
        lines = list(iter(self._read_line, _END))
        return "\n".join(lines).removesuffix("\n")

    def _read_line(self) -> str:
        assert self._shell.stdout is not None
        line = self._shell.stdout.readline()
        assert line, "the shell has ended"
        return line.removesuffix("\n")

    def _compare_heads(self, shown: list[str], came: list[str]) -> None:
        assert shown[0] == came[0].strip()
        headers = dict(line.split(": ", 1) for line in came[1:])
        for line in shown[1:]:
            name, _, value = line.partition(": ")
            self._compare(value, headers.get(name))

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


def _parted(shown: str) -> tuple[list[str], str]:
    """The lines of the head, none unless the commands have `-i`, and the body."""
    if not shown.startswith("HTTP/"):
        return [], shown
    head, _, body = shown.partition("\n\n")
    return head.split("\n"), body
