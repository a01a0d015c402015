"""Whatever a user writes is shown as text, stays in its place, and runs nothing."""

import time

import pytest
from playwright.sync_api import Page, expect

from storage import ids
from tests.browser.conftest import PATIENCE_MS, OpenPage, Site, Watch

HOSTILE = {
    "script": "</h3></script><script>alert(1)</script>",
    "attribute": '" onmouseover="alert(1)" x=\'',
    "image": "<img src=//evil.invalid/x onerror=alert(1)><svg onload=alert(2)>",
    "template": "{{!1+1}} % import os ${alert(1)} <%= 1 %>",
    "entity": "&lt;b&gt; &amp;amp; &#x3c;",
    "bidi": "\u202edlrow olleh\u202d \u2066isolated \u2067open",
    "arabic": "الخيل والليل والبيداء تعرفني 1,234",
    "long word": "Donaudampfschifffahrtsgesellschaft" * 8,
    "combining": "Z" + "\u0335\u0321\u0322\u031b\u034d" * 40,
    "emoji": "👩‍👩‍👧‍👦🏳️‍🌈🇪🇺" * 12,
    "link": "javascript:alert(1) https://evil.invalid/",
}
PHONE = {"width": 320, "height": 640}


def is_too_wide(page: Page) -> bool:
    """Whether one would have to scroll sideways, or a text is cut off at its side."""
    return bool(
        page.evaluate(
            """() => [document.documentElement, ...document.querySelectorAll('article, h3, .body')]
                .some((element) => element.scrollWidth > element.clientWidth)"""
        )
    )


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_a_text_is_only_text(open_page: OpenPage, site: Site, text: str) -> None:
    """It stands on the page letter by letter, in list, form and chain, also on the narrowest phone."""
    tweet = site.post(text, body=text)
    page = open_page(viewport=PHONE)

    assert page.locator(".ranking h3").text_content() == text
    assert page.locator(".body").text_content() == text
    assert not is_too_wide(page)
    page.get_by_role("button", name="Retweet").click()
    assert page.locator("[data-target=title]").text_content() == text
    assert not is_too_wide(page)
    page.goto(f"{site.url}/tweet/{ids.encode(tweet.id)}")
    assert page.locator(".chain .body").text_content() == text
    assert text in page.title()
    assert not is_too_wide(page)


def test_a_text_that_comes_by_refresh_is_only_text(open_page: OpenPage, site: Site) -> None:
    """A text that the page fetches later is treated no better."""
    page = open_page(frozen=True)
    site.post(HOSTILE["script"], body=HOSTILE["image"])

    page.clock.fast_forward(6000)

    expect(page.locator(".ranking h3")).to_have_text(HOSTILE["script"])
    assert page.locator(".body").text_content() == HOSTILE["image"]


@pytest.mark.parametrize("title", ["\u200b", "\u2800\u00ad"], ids=["zero width", "blank"])
def test_a_title_that_nobody_sees_leads_on(open_page: OpenPage, site: Site, title: str) -> None:
    """A row whose title has nothing to see can be read and clicked all the same."""
    tweet = site.post(title, body="Seen")
    page = open_page()

    page.get_by_role("heading", name="Untitled").get_by_role("link").click()

    assert page.url == f"{site.url}/tweet/{ids.encode(tweet.id)}"
    expect(page.get_by_role("article", name="Untitled").locator(".body")).to_have_text("Seen")


def test_an_override_ends_with_its_text(open_page: OpenPage, site: Site) -> None:
    """A right-to-left override in a title does not turn the name below it."""
    site.post("\u202eolleh", user_name="abc")
    page = open_page()
    start = page.evaluate(
        """() => {
            const letters = document.querySelector('[data-name]').firstChild;
            const left = (at) => { const r = new Range(); r.setStart(letters, at); r.setEnd(letters, at + 1);
                                   return r.getBoundingClientRect().left; };
            return [left(1), left(3)];
        }"""
    )

    assert start[0] < start[1]


def test_the_watch_sees_a_violation(open_page: OpenPage, watch: Watch) -> None:
    """Inline script is refused, and these tests would notice it; so would a request to another site."""
    page = open_page()

    page.evaluate(
        """() => {
            document.body.append(Object.assign(document.createElement('script'), { textContent: 'window.ran = 1' }));
            new Image().src = 'http://127.0.0.1:9/';
        }"""
    )

    deadline = time.monotonic() + PATIENCE_MS / 1000
    while (len(watch.faults) < 2 or not watch.strangers()) and time.monotonic() < deadline:
        page.wait_for_timeout(20)
    assert page.evaluate("window.ran") is None
    assert len(watch.faults) == 2
    assert watch.strangers() == ["http://127.0.0.1:9/"]
    watch.faults.clear()
    watch.requests.clear()
