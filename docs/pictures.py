# ruff: noqa: INP001  # a script, no package
"""
Make the pictures in docs/images: the ranking, and a tweet in its chain.

Run it as `python -m docs.pictures` in the root of the project. It needs chromium, and what the tests need.
"""

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import sync_playwright

from app.http.application import create_app
from app.settings import Settings
from storage import Tweets, ids, open_storage
from storage.tools.import_export import ImportRow, import_tweets
from tests.browser.conftest import CHROMIUM, QUIET
from tests.e2e.server_wire import serving

IMAGES = Path(__file__).parent / "images"

MINUTE_MS = 60_000
"""Between a tweet of an example and the next one, at least."""

TEXTS = (
    ("ada", "On counting", "We count them all: each retweet counts for the whole chain, back to the first."),
    ("grace", "Ships", "A ship in port is safe, but that is not what ships are built for."),
    ("edsger", "Simplicity", "Simplicity is prerequisite for reliability.\n\nIt is also hard to sell."),
    ("leila", "قصيدة", "الخيل والليل والبيداء تعرفني"),
    ("barbara", "Two rules", "Abstract what changes.\nName what stays."),
    ("kristen", "For the evening", "Reading a proof aloud finds the step that was never written down."),
)
WORDS = ("So true", "Read this twice", "What my teacher meant", "Once more, slowly", "For the archive")
NAMES = ("farid", "mei", "tomas", "olu", "ines", "kofi", "sara", "yuki")


def examples(now_ms: int) -> Iterator[ImportRow]:
    """Six originals, each with a cascade, and below the first one a chain of 60."""
    step, name = 7 * MINUTE_MS, 0
    for number, (author, *first) in enumerate(TEXTS):
        began = now_ms - (5 - number) * 600 * MINUTE_MS - 500 * MINUTE_MS
        words, parent = first, str(name)
        yield ImportRow(0, parent, None, began, author, words[0], words[1], (1480, 803, 511, 246, 97, 12)[number])
        name += 1
        for below in range(59 if number == 0 else 9):
            if below % 4 == 3:
                words = [WORDS[below % len(WORDS)], f"{WORDS[(below + 1) % len(WORDS)]}, and pass it on."]
            user = NAMES[(number + below) % len(NAMES)]
            yield ImportRow(0, str(name), parent, began + (below + 1) * step, user, words[0], words[1])
            if number == 0 or below % 3:
                parent = str(name)
            name += 1


@contextmanager
def example_site() -> Iterator[tuple[str, Tweets]]:
    """A service with the examples, and its address."""
    now_ms = time.time_ns() // 1_000_000
    with tempfile.TemporaryDirectory() as folder, open_storage(Path(folder), "") as tweets:
        import_tweets(tweets.database, examples(now_ms), Path(folder), 1000, now_ms)
        tweets.reconciler.catch_up()
        app = create_app(tweets, Settings.from_environment({}))
        with serving(app, hooks=app) as server:
            yield server.url.rstrip("/"), tweets


def main() -> None:
    """Write the pictures."""
    with example_site() as (url, tweets), sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        page = browser.new_page(viewport={"width": 1000, "height": 900}, device_scale_factor=1.5)
        chain = ids.encode(tweets.list_newest(100).tweets[-60 + 24].id)
        for name, path in (("top", "/"), ("chain", f"/tweet/{chain}")):
            page.goto(url + path)
            page.screenshot(path=IMAGES / f"{name}.png")
        browser.close()


if __name__ == "__main__":
    main()
