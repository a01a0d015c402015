"""Posting from the page when writing needs a token."""

from playwright.sync_api import Page, expect

from tests.browser.conftest import OpenPage, Site
from tests.browser.test_writing import add_token, fill, posted_by


def write(page: Page, user_name: str, title: str) -> None:
    """Open the form and send a tweet."""
    page.get_by_role("button", name="Write a tweet").click()
    form = fill(page, Your_name=user_name, Title=title, Text="Text")
    form.get_by_role("button", name="Post").click()


def test_the_form_asks_for_a_token(open_page: OpenPage, site: Site) -> None:
    """Refused, the form says so and shows a field for a token; one that was right is kept for the next tweet."""
    page = open_page()
    token = add_token(page, site, "grace")
    form = page.get_by_role("dialog")

    write(page, "grace", "First")
    expect(form.get_by_role("alert").first).to_contain_text("needs a token")
    expect(form.get_by_label("Token")).to_be_focused()
    form.get_by_label("Token").fill("wrong \u2028")
    form.get_by_role("button", name="Post").click()
    expect(form.get_by_role("alert").first).to_contain_text("unknown")
    assert posted_by(site, "grace") == ()

    form.get_by_label("Token").fill(f" {token}")
    form.get_by_role("button", name="Post").click()
    page.wait_for_url("**/tweet/*")
    page.reload()
    write(page, "grace", "Second")
    expect(form).to_have_count(0)
    assert [tweet.title for tweet in posted_by(site, "grace")] == ["Second", "First"]


def test_a_token_of_somebody_else(open_page: OpenPage, site: Site) -> None:
    """With a token of another user the form names that user, and lets another token be given."""
    page = open_page()
    token = add_token(page, site, "ada")
    page.evaluate("token => sessionStorage.setItem('token', token)", token)
    form = page.get_by_role("dialog")

    write(page, "grace", "Not mine")

    expect(form.get_by_role("alert").first).to_contain_text("posts as ada only")
    expect(form.get_by_label("Token")).to_be_visible()
    assert posted_by(site, "grace") == ()


def test_without_tokens_there_is_no_field(open_page: OpenPage) -> None:
    """While no write needs a token, no form has a field for one."""
    page = open_page()
    page.get_by_role("button", name="Write a tweet").click()
    expect(page.get_by_role("dialog").get_by_label("Title")).to_be_visible()
    expect(page.get_by_role("dialog").get_by_label("Token")).to_be_hidden()
