"""axe-core finds nothing wrong, on any of the pages, in any of their states."""

from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from storage import ids
from storage.records import NewTweet
from tests.browser.conftest import OpenPage, Site

LOOKS: dict[str, dict[str, Any]] = {
    "light": {},
    "dark": {"color_scheme": "dark"},
    "phone": {"viewport": {"width": 320, "height": 640}},
    "dark phone": {"viewport": {"width": 320, "height": 640}, "color_scheme": "dark"},
}


LISTS = (
    "/newest",
    "/users/ada",
    "/?cursor=1.0000000000000",
    "/newest?cursor=0000000000000",
    "/?window=day",
    "/?window=hour",
    "/users/no-one",
)


def assert_accessible(page: Page) -> None:
    """No rule of axe-core is broken."""
    results = Axe().run(page)
    assert results.violations_count == 0, results.generate_report()


@pytest.fixture
def full(site: Site) -> Site:
    """Eleven tweets, in two chains, one of them deleted, in several scripts."""
    root = site.post("Root", 1000, body="A long text. " * 100)
    middle = site.post("Middle", 50, root.id, user_name="grace")
    for number, title in enumerate(("Leaf", "שלום עולם", "قصيدة", "<b>bold</b>", "e", "f", "g", "h", "i")):
        site.post(title, number, middle.id)
    site.tweets.post(NewTweet("alan", None, None, middle.id)).result()
    gone = site.post("Gone")
    site.post("Orphan", 70, gone.id)
    site.tweets.delete(gone.id).result()
    return site


@pytest.mark.parametrize("look", LOOKS.values(), ids=LOOKS)
def test_empty(open_page: OpenPage, look: dict[str, Any]) -> None:
    """The page without tweets."""
    assert_accessible(open_page(**look))


@pytest.mark.usefixtures("full")
@pytest.mark.parametrize("look", LOOKS.values(), ids=LOOKS)
def test_full(open_page: OpenPage, look: dict[str, Any]) -> None:
    """The page with ten tweets."""
    page = open_page(**look)
    expect(page.locator(".ranking > li")).to_have_count(10)
    assert_accessible(page)


@pytest.mark.parametrize("look", LOOKS.values(), ids=LOOKS)
def test_chains_and_lists(open_page: OpenPage, full: Site, look: dict[str, Any]) -> None:
    """The pages of a root, of a tweet in a chain and above a deleted one, with cascades; the lists, and one of 404."""
    page = open_page(**look)
    paths = [f"/tweet/{ids.encode(tweet.id)}" for tweet in full.tweets.top(3).result().tweets]
    for path in (*paths, f"{paths[0]}?chain=all", *LISTS):
        page.goto(full.url + path)
        page.locator("details").evaluate_all("all => all.forEach((each) => { each.open = true; })")
        assert_accessible(page)


@pytest.mark.usefixtures("full")
@pytest.mark.parametrize("look", LOOKS.values(), ids=LOOKS)
def test_forms(open_page: OpenPage, look: dict[str, Any]) -> None:
    """A form with faults in it, the retweet form, and what is announced afterwards."""
    page = open_page(**look)
    page.get_by_role("button", name="Write a tweet").click()
    page.get_by_role("button", name="Post").click()
    expect(page.locator("[aria-invalid]")).to_have_count(3)
    assert_accessible(page)

    page.get_by_role("dialog").get_by_label("Title").fill("t" * 250)
    page.keyboard.press("Escape")
    assert_accessible(page)
    page.get_by_role("button", name="Write a tweet").click()
    expect(page.get_by_role("dialog").get_by_text("This is your draft")).to_be_visible()
    assert_accessible(page)

    page.keyboard.press("Escape")
    page.get_by_role("button", name="Retweet").first.click()
    page.get_by_role("dialog").get_by_label("Your name").fill("alan")
    assert_accessible(page)
    page.get_by_role("dialog").get_by_role("button", name="Retweet").click()
    expect(page.locator("#notice")).to_contain_text("Retweeted.")
    assert_accessible(page)


@pytest.mark.parametrize("look", LOOKS.values(), ids=LOOKS)
def test_the_question_before_a_deletion(open_page: OpenPage, full: Site, look: dict[str, Any]) -> None:
    """What is asked before a tweet is deleted, and the page of the deleted one."""
    tweet = full.tweets.top(1).result().tweets[0]
    page = open_page(f"/tweet/{ids.encode(tweet.id)}", **look)
    page.get_by_role("button", name="Delete").click()
    expect(page.get_by_role("dialog", name="Delete this tweet?")).to_be_visible()
    assert_accessible(page)
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    expect(page.locator(".target h3")).to_have_text("This tweet was deleted.")
    assert_accessible(page)


def test_not_found(open_page: OpenPage) -> None:
    """The page that says that there is no such tweet."""
    assert_accessible(open_page("/tweet/nothing"))
