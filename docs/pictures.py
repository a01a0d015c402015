# ruff: noqa: INP001  # a script, no package
"""
Make the pictures in docs/images: the ranking, and a tweet in its chain with the cascade below it.

Run it as `python -m docs.pictures` in the root of the project. It needs chromium, and what the tests need. The cascade
is a real one of tests/data, with names and words made up.
"""

import json
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from playwright.sync_api import sync_playwright

from bench.convert import convert
from tests.browser.conftest import CHROMIUM, QUIET
from tests.e2e.commands import CASCADES, done, serving

IMAGES = Path(__file__).parent / "images"
HOUR_S = 3600

FIRST, SHOWN = "52737", "53284"
"""The root of the cascade, and the tweet whose page is shown: it has few retweets and many tweets below."""

TEXTS = (
    ("grace", "Ships", "A ship in port is safe, but that is not what ships are built for.", 1280),
    ("edsger", "Simplicity", "Simplicity is prerequisite for reliability.\n\nIt is also hard to sell.", 803),
    ("leila", "قصيدة", "الخيل والليل والبيداء تعرفني", 511),
    ("barbara", "Two rules", "Abstract what changes.\nName what stays.", 246),
    ("kristen", "For the evening", "Reading a proof aloud finds the step that was never written down.", 97),
)
WORDS = {
    FIRST: ("On counting", "We count them all: each retweet counts for the whole chain, back to the first."),
    "52742": ("So true", "What my teacher meant, in one sentence."),
    SHOWN: ("Read this twice", "And then count who passed it on."),
}
NAMES = (
    "farid",
    "mei",
    "tomas",
    "olu",
    "ines",
    "kofi",
    "sara",
    "yuki",
    "noor",
    "pavel",
    "rosa",
    "amir",
    "lena",
    "juan",
)


def examples() -> Iterator[bytes]:
    """The tweets as JSON lines: the cascade, which has ended by now, and five others."""
    rows, words = [], dict(WORDS)
    for line in map(json.loads, convert(CASCADES)):
        key, above = line["key"], line["retweet"]
        if key == FIRST or above in words:
            words.setdefault(key, words.get(above, ("", "")))
            rows.append((key, above, datetime.fromisoformat(line["created_at"]).timestamp()))
    later_s = time.time() - 60 - max(row[2] for row in rows)
    for key, above, began_s in rows:
        user = "ada" if key == FIRST else NAMES[int(key) % len(NAMES)]
        yield _line(key, above, began_s + later_s, user, *words[key], 0)
    for place, (author, title, body, count) in enumerate(TEXTS):
        yield _line(title, None, time.time() - (7 * place + 1) * HOUR_S, author, title, body, count)


def _line(key: str, parent: str | None, at_s: float, user: str, title: str, body: str, count: int) -> bytes:
    values = {"key": key, "retweet": parent, "created_at": datetime.fromtimestamp(at_s, UTC).isoformat()}
    return json.dumps({**values, "user_name": user, "title": title, "body": body, "base": count}).encode() + b"\n"


def main() -> None:
    """Write the pictures."""
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        data, lines, made = Path(folder, "data"), Path(folder, "tweets.jsonl"), Path(folder, "map")
        lines.write_bytes(b"".join(examples()))
        done(data, "import", lines, "--map", made)
        ids = {line["key"]: line["id"] for line in map(json.loads, made.read_text().splitlines())}
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        with serving(data) as service:
            page = browser.new_page(
                viewport={"width": 1000, "height": 900}, device_scale_factor=1.5, reduced_motion="reduce"
            )
            for name, path in (("top", "/"), ("cascade", f"/tweet/{ids[SHOWN]}#target")):
                page.goto(service.url + path)
                page.screenshot(path=IMAGES / f"{name}.png")
        browser.close()


if __name__ == "__main__":
    main()
