"""What the ranking and the chain look like to a reader."""

import re

import pytest
from playwright.sync_api import Page, expect

from storage import ids
from tests.browser.conftest import OpenPage, Site


def titles(page: Page) -> list[str]:
    """The titles in the list, as they come."""
    return page.locator(".ranking h3").all_text_contents()


def test_an_empty_ranking_is_a_friendly_page(open_page: OpenPage) -> None:
    """With no tweet at all the page says so and offers to write the first."""
    page = open_page()

    expect(page.get_by_role("heading", name="Nothing has been said yet")).to_be_visible()
    expect(page.get_by_role("button", name="Write the first tweet")).to_be_visible()
    assert titles(page) == []


def test_the_page_has_the_top_ten_in_order(open_page: OpenPage, site: Site) -> None:
    """Of twelve tweets the ten with the greatest counts stand there, by count, ranked 1 to 10."""
    for base in (3, 11, 7, 1, 12, 5, 9, 2, 10, 4, 8, 6):
        site.post(f"tweet {base}", base)

    page = open_page()

    assert titles(page) == [f"tweet {base}" for base in range(12, 2, -1)]
    assert page.locator(".rank").all_text_contents() == [f"Rank {rank}" for rank in range(1, 11)]


def test_fewer_than_ten_and_equal_counts(open_page: OpenPage, site: Site) -> None:
    """With three tweets there are three rows, and of equal counts the newer one comes first."""
    for title in ("first", "second", "third"):
        site.post(title, 5)

    assert titles(open_page()) == ["third", "second", "first"]


def test_a_row_says_all_of_its_tweet(open_page: OpenPage, site: Site) -> None:
    """A row has author, title, body, count, age, and the author of the tweet that it retweets."""
    root = site.post("Root", user_name="grace")
    site.post("Leaf", 1203, root.id, user_name="alan", body="Two\nlines")
    site.post("Last", 0, root.id)

    row = open_page().get_by_role("article", name="Leaf")

    expect(row.locator(".by")).to_have_text(re.compile("^@alan (just now|1 min ago)$"))
    expect(row.locator(".body")).to_have_text("Two\nlines")
    expect(row.locator(".count")).to_have_text("1,203 retweets")
    expect(row.locator(".onto")).to_have_text("retweets @grace")


def test_a_deleted_target_is_named_as_such(open_page: OpenPage, site: Site) -> None:
    """The name of a deleted tweet's author is not told."""
    root = site.post("Root", user_name="grace")
    site.post("Leaf", 3, root.id)
    site.tweets.delete(root.id).result()

    page = open_page()

    expect(page.locator(".onto")).to_have_text("retweets a deleted tweet")
    assert "grace" not in page.content()


def test_a_long_body_ends_in_a_way_to_the_rest(open_page: OpenPage, site: Site) -> None:
    """The list shows the beginning of a long body; the tweet's page has all of it."""
    body = "Show me the code. " * 500
    site.post("Long", body=body)
    page = open_page()

    shown = page.locator(".body").text_content() or ""
    page.get_by_role("link", name="Read on").click()

    assert len(shown) < 500
    assert page.locator(".target .body").text_content() == body


def test_the_chain_of_a_tweet(open_page: OpenPage, site: Site) -> None:
    """From its row one sees the chain of a tweet: itself first, the root last, a deleted one as such."""
    root = site.post("Root")
    middle = site.post("Middle", 0, root.id)
    leaf = site.post("Leaf", 0, middle.id)
    site.post("Tip", 0, leaf.id)
    site.tweets.delete(middle.id).result()
    page = open_page()

    page.get_by_role("article", name="Leaf").get_by_role("link", name="Chain").click()

    expect(page.locator(".chain h3")).to_have_text(["Leaf", "A deleted tweet", "Root"])
    expect(page.locator(".retweets h3")).to_have_text(["Tip"])


def test_a_long_chain_goes_on_at_its_end(open_page: OpenPage, site: Site) -> None:
    """Of a chain of 120 one sees 50, and the last of them leads on to the root."""
    tweet = site.post("link 0")
    for number in range(1, 120):
        tweet = site.post(f"link {number}", 0, tweet.id)
    page = open_page(f"/tweet/{ids.encode(tweet.id)}")

    for further in ("70 more", "21 more"):
        page.get_by_role("link", name=further).click()

    expect(page.locator(".chain h3").last).to_have_text("link 0")


@pytest.mark.parametrize("path", ["/", "/tweet/{id}"])
def test_reading_needs_no_javascript(open_page: OpenPage, site: Site, path: str) -> None:
    """Without JavaScript the texts are all there, and no button that would do nothing."""
    tweet = site.post("Root", body="The whole of it")

    page = open_page(path.format(id=ids.encode(tweet.id)), java_script_enabled=False)

    expect(page.get_by_role("heading", name="Root")).to_be_visible()
    expect(page.get_by_text("The whole of it")).to_be_visible()
    expect(page.get_by_text("Reading works without JavaScript")).to_be_visible()
    expect(page.get_by_role("button")).to_have_count(0)


def edges(page: Page, selector: str) -> dict[str, float]:
    """Where the text of *selector* lies on the page, in pixels."""
    found: dict[str, float] = page.locator(selector).evaluate(
        """(element) => {
            const range = document.createRange();
            range.selectNode(element.lastChild);
            return range.getBoundingClientRect().toJSON();
        }"""
    )
    return found


@pytest.mark.parametrize("width", [320, 390, 1200])
@pytest.mark.parametrize("base", [1, 10_000_000, 1_000_000_000_000])
def test_what_one_can_do_stays_together(open_page: OpenPage, site: Site, base: int, width: int) -> None:
    """However long the count is, the ways on from a tweet stand side by side, at the end of a line."""
    site.post("Counted", base)
    page = open_page(viewport={"width": width, "height": 800})

    link, button = (edges(page, f"[data-control={control}]") for control in ("chain", "retweet"))

    assert link["top"] < button["bottom"]
    assert button["top"] < link["bottom"]
    assert page.locator(".tweet").evaluate("row => row.getBoundingClientRect().right") - button["right"] < 24


@pytest.mark.parametrize("width", [320, 390, 1200])
def test_the_tenth_rank_has_its_place(open_page: OpenPage, site: Site, width: int) -> None:
    """A rank of two digits keeps its distance from the title beside it."""
    for base in range(10):
        site.post("Counted", base)
    page = open_page(viewport={"width": width, "height": 800})

    rank, title = (edges(page, f".ranking > li:last-child {part}") for part in (".rank", "h3"))

    assert title["left"] - rank["right"] > 8


def test_dark_mode(open_page: OpenPage) -> None:
    """Who prefers dark gets light letters on a dark page, and the other way round."""
    brightness = "([at, of]) => Number(getComputedStyle(document.body)[of].match(/[0-9]+/g)[at])"
    for scheme, darker, lighter in (("dark", "backgroundColor", "color"), ("light", "color", "backgroundColor")):
        page = open_page(color_scheme=scheme)
        assert page.evaluate(brightness, [0, darker]) + 100 < page.evaluate(brightness, [0, lighter])
