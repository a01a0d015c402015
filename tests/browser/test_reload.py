"""A page that the browser already has, and asks for again."""

import pytest
from playwright.sync_api import Page, expect

from storage import ids
from tests.browser.conftest import OpenPage, Site


def load_again(page: Page, site: Site) -> None:
    """Load the page as a reader does who presses reload, so that it is answered 304."""
    path = page.url.removeprefix(site.url)
    for _ in range(2):  # of another minute it may be another page
        seen = len(site.answers)
        page.reload()
        if (path, 304) in site.answers[seen:]:
            return
    pytest.fail(f"{path} was sent again: {site.answers[seen:]}")


@pytest.mark.parametrize("path", ["/", "/tweet/{id}"])
def test_a_page_that_is_loaded_again_works(open_page: OpenPage, site: Site, path: str) -> None:
    """After a 304 the page still has its style and its script, and nothing of it breaks its policy."""
    tweet = site.post("Root")
    page = open_page(path.format(id=ids.encode(tweet.id)))

    for _ in range(2):
        load_again(page, site)

        assert page.evaluate("getComputedStyle(document.body).display") == "flex"
        page.get_by_role("button", name="Write a tweet").click()
        expect(page.get_by_role("dialog")).to_be_visible()


def test_swagger_that_is_loaded_again_works(open_page: OpenPage, site: Site) -> None:
    """So it is with Swagger UI."""
    page = open_page("/api/v1/")

    for _ in range(2):
        load_again(page, site)

        assert page.evaluate("getComputedStyle(document.querySelector('.bar')).display") == "flex"
        expect(page.locator(".opblock").first).to_be_visible()
