"""Swagger UI at /api/v1/: vendored, within the policy, and able to call the API."""

import json
import re
from base64 import b64encode
from hashlib import sha384
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Locator, Page, expect

from tests.browser.conftest import OpenPage, Site

APP = Path(__file__).parent.parent.parent / "app"
VENDORED = APP / "static" / "vendor" / "swagger-ui"


def open_operation(page: Page, method: str, path: str) -> Locator:
    """The operation, unfolded."""
    operation = (
        page.locator(".opblock")
        .filter(has=page.locator(f"[data-path='{path}']"))
        .and_(page.locator(f".opblock-{method}"))
    )
    operation.locator(".opblock-summary-control").click()
    return operation


@pytest.mark.parametrize("name", ["swagger-ui-bundle.js", "swagger-ui.css"])
def test_the_vendored_files_are_those_that_are_named(name: str) -> None:
    """The hash of each file stands in the page, which makes the browser check it, and in the note beside it."""
    hashed = "sha384-" + b64encode(sha384((VENDORED / name).read_bytes()).digest()).decode()

    page = (APP / "templates" / "swagger.tpl").read_text()

    assert re.search(rf'{re.escape(name)}\'\)}}}}" integrity="{re.escape(hashed)}"', page)
    assert f"| {name} | {hashed} |" in (VENDORED / "README.md").read_text()


def test_execute_reads_the_top(open_page: OpenPage, site: Site) -> None:
    """Execute on GET /top shows the answer of the service."""
    site.post("Seen by Swagger")
    page = open_page("/api/v1/")
    operation = open_operation(page, "get", "/api/v1/top")

    operation.get_by_role("button", name="Execute").click()

    expect(operation.locator(".live-responses-table .response-col_status").last).to_contain_text("200")
    expect(operation.locator(".live-responses-table")).to_contain_text("Seen by Swagger")


def test_execute_posts_a_tweet(open_page: OpenPage, site: Site) -> None:
    """Execute on POST /tweet posts what the editor says."""
    page = open_page("/api/v1/")
    operation = open_operation(page, "post", "/api/v1/tweet")
    operation.locator("textarea.body-param__text").fill('{"user_name": "ada", "title": "By Swagger", "body": "Hello"}')

    operation.get_by_role("button", name="Execute").click()

    expect(operation.locator(".live-responses-table .response-col_status").last).to_contain_text("201")
    assert [tweet.title for tweet in site.tweets.list_by_user("ada", 10).tweets] == ["By Swagger"]


def test_execute_posts_the_example(open_page: OpenPage, site: Site) -> None:
    """Who changes nothing of the example posts a tweet that reads like one."""
    operation = open_operation(open_page("/api/v1/"), "post", "/api/v1/tweet")

    operation.get_by_role("button", name="Execute").click()

    expect(operation.locator(".live-responses-table .response-col_status").last).to_contain_text("201")
    (tweet,) = site.tweets.list_by_user("ada", 10).tweets
    assert (tweet.title, tweet.body, tweet.count_retweet) == ("On counting", "We count them all.", 0)


def test_the_example_of_a_retweet(open_page: OpenPage) -> None:
    """Of a retweet it names a target, and leaves to that what may be left out."""
    operation = open_operation(open_page("/api/v1/"), "post", "/api/v1/retweet")

    example = json.loads(operation.locator("textarea.body-param__text").input_value())

    assert example == {"user_name": "ada", "retweet": "0CZ3K8M4T0R00"}


def test_the_address_without_slash_leads_there(open_page: OpenPage, site: Site) -> None:
    """/api/v1 is the same page."""
    assert open_page("/api/v1").url == f"{site.url}/api/v1/"


def test_our_part_of_the_page_is_accessible(open_page: OpenPage) -> None:
    """axe-core finds nothing wrong outside of what the vendored code draws; inside, buttons hold links, for one."""
    page = open_page("/api/v1/")
    expect(page.locator(".opblock").first).to_be_visible()

    results = Axe().run(page, context={"exclude": ["#swagger-ui"]})

    assert results.violations_count == 0, results.generate_report()
