"""The cascade below a tweet: its numbers, its picture, and the table that says the same."""

from typing import Any

import pytest
from playwright.sync_api import Page, expect

from storage import ids
from storage.records import NewTweet, Tweet
from tests.browser.conftest import OpenPage, Site
from tests.browser.test_accessibility import LOOKS, assert_accessible
from tests.browser.test_hostile_texts import is_too_wide


@pytest.fixture
def root(site: Site) -> Tweet:
    """A tweet with 832 in its cascade: 800 retweets, one with 30 below it, and a deleted one."""
    root = site.post("Root", user_name="ada")
    middle = site.post("Middle", 0, root.id, user_name="grace")
    gone = site.post("Gone", 0, middle.id, user_name="eve")
    below = [root.id] * 800 + [middle.id] * 20 + [gone.id] * 9
    for future in [site.tweets.post(NewTweet("alan", "Own", "Words", each)) for each in below]:
        future.result()
    site.tweets.delete(gone.id).result()
    return root


WIDTHS = "all => all.map((each) => each.getAttribute('width'))"


def titles(page: Page) -> list[str]:
    """The titles of the parts of the picture, as a pointer shows them."""
    return page.locator(".icicle title").all_text_contents()


@pytest.mark.parametrize("look", [LOOKS["light"], LOOKS["dark phone"]], ids=["light", "dark phone"])
def test_the_picture_and_its_table(open_page: OpenPage, root: Tweet, look: dict[str, Any]) -> None:
    """It is drawn in the colours of the page, as high on a phone, each level in its row; the table has the same."""
    page = open_page(f"/tweet/{ids.encode(root.id)}", **look)

    expect(page.locator(".cascade dd")).to_have_text(["832, 1 deleted", "3", "801", "2.09"])
    assert titles(page)[:3] == ["@ada: 831 below", "@grace: 30 below", "A deleted tweet: 9 below"]
    assert titles(page)[3:] == ["800 more", "20 more", "9 more"]
    boxes = [box for each in page.locator(".icicle rect").all() if (box := each.bounding_box())]
    widths = [round(float(width) / 720 * 832) for width in page.locator(".icicle rect").evaluate_all(WIDTHS)]
    assert widths == [832, 31, 10, 800, 20, 9]
    tops = [round((box["y"] - boxes[0]["y"]) / boxes[0]["height"]) for box in boxes]
    assert tops == [0, 1, 2, 1, 2, 3]
    assert all(16 <= box["height"] <= 20 for box in boxes)
    fills = [each.evaluate("each => getComputedStyle(each).fill") for each in page.locator(".icicle a rect").all()]
    accent = page.locator(".brand .full").evaluate("each => getComputedStyle(each).fill")
    assert fills[0] == fills[1] == accent != fills[2]

    page.get_by_text("The same as a table").click()
    rows = [
        [cell.strip() for cell in row.locator("th, td").all_text_contents()] for row in page.get_by_role("row").all()
    ]
    assert rows[0] == ["Depth", "Tweets", "Most below"]
    assert [[" ".join(cell.split()) for cell in row] for row in rows[1:]] == [
        ["0", "1", "@ada: 831"],
        ["1", "801", "@grace: 30"],
        ["2", "21", "a deleted tweet: 9"],
        ["3", "9", "@alan: 0"],
    ]
    assert not is_too_wide(page)
    assert_accessible(page)


def test_each_rectangle_is_a_link(open_page: OpenPage, site: Site, root: Tweet) -> None:
    """Without JavaScript as well; a tweet with nothing below it has no picture."""
    page = open_page(f"/tweet/{ids.encode(root.id)}", java_script_enabled=False)

    page.locator(".icicle a").nth(1).click()

    expect(page.locator(".target h3")).to_have_text("Middle")
    assert titles(page)[0] == "@grace: 30 below"
    page.goto(f"{site.url}/tweet/{ids.encode(site.post('Alone').id)}")
    expect(page.locator(".target h3")).to_have_text("Alone")
    expect(page.locator(".cascade")).to_have_count(0)
