"""What the ranking and the chain look like to a reader."""

import re

import pytest
from playwright.sync_api import Page, expect

from app import __version__
from storage import ids
from storage.records import NewTweet, Tweet
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
    """The name of a deleted tweet's author is not shown."""
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
    """It reads downwards: the root, the tweet itself last and largest, its retweets; a deleted one is 410."""
    root = site.post("Root")
    middle = site.post("Middle", 0, root.id)
    leaf = site.post("Leaf", 0, middle.id)
    site.post("Tip", 0, leaf.id)
    site.tweets.delete(middle.id).result()
    page = open_page()

    page.get_by_role("article", name="Leaf").get_by_role("link", name="Leaf").click()

    expect(page.locator(".chain h3")).to_have_text(["Root", "A deleted tweet", "Leaf"])
    expect(page.locator(".retweets h3")).to_have_text(["Tip"])
    sizes = page.locator(".chain h3").evaluate_all(
        "all => all.map((each) => parseFloat(getComputedStyle(each).fontSize))"
    )
    assert sizes[-1] > max(sizes[:-1])
    page.get_by_role("link", name="A deleted tweet").click()
    expect(page.locator(".target h3")).to_have_text("This tweet was deleted.")
    assert (f"/tweet/{ids.encode(middle.id)}", 410) in site.answers


def post_chain(site: Site, length: int) -> Tweet:
    """Post a chain of *length* tweets, "link 0" its root; its last one."""
    tweet = site.post("link 0")
    for number in range(1, length):
        tweet = site.post(f"link {number}", 0, tweet.id)
    return tweet


@pytest.mark.parametrize("length", [8, 60, 230])
def test_a_long_chain_is_folded(open_page: OpenPage, site: Site, length: int) -> None:
    """Of more than eight tweets one sees three from the root, five to the target, and a link to those in between."""
    tweet = post_chain(site, length)
    page = open_page(f"/tweet/{ids.encode(tweet.id)}")
    ends = [*range(3), *range(length - 5, length)]

    expect(page.locator(".chain h3")).to_have_text([f"link {number}" for number in ends])
    if length > 8:
        page.get_by_role("link", name=f"{length - 8} more in between").click()
        first = max(3, length - 100)
        expect(page.locator(".chain h3")).to_have_text(
            [f"link {number}" for number in (0, 1, 2, *range(first, length))]
        )
    if length > 103:
        page.get_by_role("link", name=f"{length - 103} more in between").click()
        expect(page.locator(".target h3")).to_have_text(f"link {length - 100}")


def test_lists_are_paged_by_plain_links(open_page: OpenPage, site: Site) -> None:
    """Without JavaScript one reads on to the end of each list, and back to its first page."""
    root = site.post("tweet 24", 100)
    for number in range(24):
        site.post(f"tweet {number}", number, root.id)
    page = open_page(java_script_enabled=False)

    for says in ("1 to 10 of 25", "11 to 20 of 25", "21 to 25 of 25"):
        expect(page.locator(".pager")).to_contain_text(says)
        expect(page.locator(".rank").first).to_have_text(f"Rank {says.split()[0]}")
        if page.get_by_role("link", name="Next page").count():
            page.get_by_role("link", name="Next page").click()
    page.get_by_role("link", name="First page").click()
    assert page.url == f"{site.url}/"
    for path, last in (
        ("/newest", "tweet 24"),
        ("/users/ada", "tweet 24"),
        (f"/tweet/{ids.encode(root.id)}", "tweet 0"),
    ):
        page.goto(site.url + path)
        expect(page.locator(".list h3")).to_have_text([f"tweet {number}" for number in range(23, 3, -1)])
        page.get_by_role("link", name="Next page").click()
        expect(page.locator(".list h3").last).to_have_text(last)
        expect(page.get_by_role("link", name="Next page")).to_have_count(0)
        expect(page.get_by_role("link", name="First page")).to_be_visible()


def test_newest_and_users(open_page: OpenPage, site: Site) -> None:
    """The tabs lead from one list to the other, names lead to users, and a retweet without words is one line."""
    root = site.post("Root", 5, user_name="grace", body="The words of the root")
    site.tweets.post(NewTweet("alan", None, None, root.id)).result()
    page = open_page()
    compact = page.locator(".compact")
    expect(compact).to_have_text(
        re.compile(r"^\s*@alan\s+retweeted @grace\u2019s\s+Root\s+(just now|\d min ago)\s+0 retweets\s*$")
    )
    expect(page.get_by_text("The words of the root")).to_have_count(1)

    page.get_by_role("navigation", name="Lists").get_by_role("link", name="Newest").click()
    expect(page.get_by_role("link", name="Newest")).to_have_attribute("aria-current", "page")
    expect(page.locator(".list h3")).to_have_text(["Root", "Root"])
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d UTC", page.locator("time").first.get_attribute("title") or "")
    page.get_by_role("link", name="@alan").click()
    expect(page.get_by_role("heading", name="@alan")).to_be_visible()
    expect(compact).to_have_count(1)
    page.goto(f"{site.url}/users/no-one")
    expect(page.get_by_text("No user of this name has tweets here.")).to_be_visible()
    page.get_by_role("link", name="Back to Most retweeted").click()
    expect(page.get_by_text(f"Simple Twitter {__version__}")).to_be_visible()


def test_the_tabs_of_time(open_page: OpenPage, site: Site) -> None:
    """Each leads to the ranking of its window, where a row says what was received in it, and what in all."""
    page = open_page("/?window=day")
    expect(page.get_by_role("heading", name="Nothing was retweeted today")).to_be_visible()
    root = site.post("Root", 2578)
    for future in [site.tweets.post(NewTweet("alan", "Own", "Words", root.id)) for _ in range(412)]:
        future.result()
    tabs = page.get_by_role("navigation", name="Time").get_by_role("link")
    expect(tabs).to_have_text(["All time", "Year", "Month", "Week", "Day"])
    page.goto(site.url)
    expect(page.get_by_role("article", name="Root").locator(".count")).to_have_text("2,990 retweets")

    for tab, during in (("Year", "this year"), ("Month", "this month"), ("Week", "this week"), ("Day", "today")):
        tabs.filter(has_text=tab).click()
        expect(page.locator("[aria-label=Time] [aria-current=page]")).to_have_text(tab)
        expect(page.get_by_role("article", name="Root").locator(".count")).to_have_text(f"412 {during}, 2,990 in all")
        assert titles(page) == ["Root"]
    places = tabs.evaluate_all("all => all.map((each) => each.getBoundingClientRect().top)")
    page.set_viewport_size({"width": 320, "height": 640})
    assert len(set(places)) == len({link.bounding_box()["y"] for link in tabs.all()}) == 1  # type: ignore[index]


@pytest.mark.parametrize("path", ["/", "/newest", "/users/ada", "/tweet/{id}"])
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
