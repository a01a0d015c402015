"""A real browser on the real service: chromium from the system, storage of its own, a free port, nothing mocked."""

import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import pytest
from playwright.sync_api import Browser, BrowserContext, Dialog, Page, expect, sync_playwright

from app.http.application import Application
from app.settings import Settings
from storage import Tweets
from storage.records import NewTweet, Tweet
from tests.e2e.server_wire import serving

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

PATIENCE_MS = 60_000
"""How long a browser may take on a busy machine; a passing test never waits for it."""

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
QUIET = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@dataclass
class Site:
    """A served instance: its address, its tweets, a way to stop it early, and each path and status it has answered."""

    url: str
    tweets: Tweets
    stop: Callable[[], None]
    answers: list[tuple[str, int]]

    def post(self, title: str, base: int = 0, retweet: int | None = None, **fields: str) -> Tweet:
        """Post a tweet past the page."""
        draft = NewTweet(fields.get("user_name", "ada"), title, fields.get("body", f"About {title}."), retweet, base)
        return self.tweets.post(draft).result().tweet


@dataclass
class Watch:
    """What a page did that no page may do."""

    origin: str
    requests: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    def follow(self, context: BrowserContext) -> None:
        """Write down what every page of *context* asks for, and what goes wrong in it."""
        context.on("request", lambda request: self.requests.append(request.url))
        context.on("dialog", self.refuse)
        context.on("weberror", lambda error: self.faults.append(f"error {error.error}"))
        context.on("console", lambda message: self.hear(message.text))

    def refuse(self, dialog: Dialog) -> None:
        """Close a dialog that no page should have opened."""
        self.faults.append(f"dialog {dialog.message}")
        dialog.dismiss()

    def hear(self, text: str) -> None:
        """Note a violation of the content-security-policy or of a file's integrity."""
        if "Content Security Policy" in text or "integrity" in text:
            self.faults.append(text)

    def strangers(self) -> list[str]:
        """The requests that left the site."""
        return [url for url in self.requests if not url.startswith((f"{self.origin}/", "data:", "blob:"))]


class OpenPage(Protocol):
    """Opens a path of the site in a context of its own; options are those of a browser context."""

    def __call__(self, path: str = "/", *, frozen: bool = False, **options: Any) -> Page:
        """The page, loaded; *frozen* stops its clock, which only the test then moves."""


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """The system's chromium; without one the tests are skipped, but in CI they fail."""
    if CHROMIUM is None:
        reason = "there is no chromium; install it with: apt-get install chromium"
        pytest.fail(reason) if os.environ.get("CI") == "true" else pytest.skip(reason)
    with sync_playwright() as playwright:
        expect.set_options(timeout=PATIENCE_MS)
        launched = playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET, timeout=PATIENCE_MS)
        yield launched
        launched.close()


def noting(app: "WSGIApplication", answers: list[tuple[str, int]]) -> "WSGIApplication":
    """As *app*, and *answers* gets path and status of each; a browser tells no page of a 304 that it has asked for."""

    def application(environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        def start(status: str, headers: list[tuple[str, str]], error: Any = None) -> Any:
            answers.append((environ["PATH_INFO"], int(status[:3])))
            return start_response(status, headers, error)

        return app(environ, start)

    return application


@pytest.fixture
def site(tweets: Tweets) -> Iterator[Site]:
    """The service, empty, on a free port."""
    answers: list[tuple[str, int]] = []
    app = Application(tweets, Settings.from_environment({}))
    with ExitStack() as running:
        server = running.enter_context(serving(noting(app, answers), **app.hooks()))
        yield Site(server.url.rstrip("/"), tweets, running.close, answers)


@pytest.fixture
def watch(site: Site) -> Watch:
    """What the pages of this test did."""
    return Watch(site.url)


@pytest.fixture
def open_page(browser: Browser, site: Site, watch: Watch) -> Iterator[OpenPage]:
    """Open pages; afterwards none may have left the site, broken its policy, raised an error or shown a dialog."""
    contexts: list[BrowserContext] = []

    def open_one(path: str = "/", *, frozen: bool = False, **options: Any) -> Page:
        context = browser.new_context(**{"reduced_motion": "reduce", **options})
        contexts.append(context)
        watch.follow(context)
        page = context.new_page()
        page.set_default_timeout(PATIENCE_MS)
        if frozen:
            page.clock.install(time=0)
            page.clock.pause_at(1000)
        page.goto(site.url + path)
        return page

    yield open_one
    for context in contexts:
        context.close()
    assert watch.faults == []
    assert watch.strangers() == []
