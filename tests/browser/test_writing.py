"""Posting and retweeting from the page."""

from playwright.sync_api import Locator, Page, Route, expect

from storage.records import Tweet
from tests.browser.conftest import OpenPage, Site


def fill(page: Page, **fields: str) -> Locator:
    """Write into the fields of the open form, and give the form."""
    form = page.get_by_role("dialog")
    for label, text in fields.items():
        form.get_by_label(label.replace("_", " ")).fill(text)
    return form


def posted_by(site: Site, user_name: str) -> tuple[Tweet, ...]:
    """What that user has posted, newest first."""
    return site.tweets.list_by_user(user_name, 10).tweets


def test_post_a_tweet(open_page: OpenPage, site: Site) -> None:
    """A tweet written in the form is stored, stands in the list, and is announced."""
    page = open_page()
    page.get_by_role("button", name="Write a tweet").click()
    form = fill(page, Your_name="grace", Title="Ships", Text="In port\nor at sea")

    form.get_by_role("button", name="Post").click()

    expect(page.get_by_role("status").filter(has_text="Posted.")).to_be_visible()
    expect(page.locator(".ranking h3")).to_have_text(["Ships"])
    expect(page.locator(".body")).to_have_text("In port\nor at sea")
    expect(page.get_by_role("dialog")).to_have_count(0)
    assert [tweet.body for tweet in posted_by(site, "grace")] == ["In port\nor at sea"]


def test_retweet_with_and_without_own_words(open_page: OpenPage, site: Site) -> None:
    """Fields left empty are the target's; the counts of the whole chain rise on the page."""
    root = site.post("Root", user_name="grace")
    page = open_page()

    for words in ({}, {"Title": "My title"}):
        page.get_by_role("article", name="Root").first.get_by_role("button").click()
        fill(page, Your_name="alan", **words).get_by_role("button", name="Retweet").click()
        expect(page.get_by_role("dialog")).to_have_count(0)

    expect(page.locator(".count").first).to_have_text("2 retweets")
    assert [(t.title, t.body, t.retweet) for t in posted_by(site, "alan")] == [
        ("My title", root.body, root.id),
        ("Root", root.body, root.id),
    ]


def test_a_double_click_posts_once(open_page: OpenPage, site: Site) -> None:
    """Two clicks on Post are one tweet."""
    page = open_page()
    page.get_by_role("button", name="Write a tweet").click()
    form = fill(page, Your_name="grace", Title="Once", Text="Only once")

    form.get_by_role("button", name="Post").dblclick()

    expect(page.get_by_role("status").filter(has_text="Posted.")).to_be_visible()
    assert len(posted_by(site, "grace")) == 1


def test_a_fault_is_told_to_people(open_page: OpenPage) -> None:
    """What the API sets between backticks is shown as code, and the rest as it is."""
    page = open_page()
    page.get_by_role("button", name="Write a tweet").click()
    form = fill(page, Your_name="a b", Title="Ships", Text="In port")

    form.get_by_role("button", name="Post").click()

    fault = form.locator("[data-fault=user_name]")
    expect(fault).to_have_text("Must be 1 to 64 ASCII letters, digits, _, . or -, not dots alone.")
    assert fault.locator("code").all_text_contents() == ["_", ".", "-"]
    assert form.locator("[data-fault=title]").text_content() == ""


def test_a_lost_answer_may_be_asked_again(open_page: OpenPage, site: Site) -> None:
    """When the answer is lost the form says so and keeps its text; sending it again counts once."""
    page = open_page()
    page.route("**/api/v1/tweet", lose_answer, times=1)
    page.get_by_role("button", name="Write a tweet").click()
    form = fill(page, Your_name="grace", Title="Once", Text="Only once")

    form.get_by_role("button", name="Post").click()
    expect(form.get_by_role("alert").first).to_contain_text("No answer")
    assert len(posted_by(site, "grace")) == 1
    form.get_by_role("button", name="Post").click()

    expect(page.get_by_role("status").filter(has_text="Posted.")).to_be_visible()
    assert len(posted_by(site, "grace")) == 1


def lose_answer(route: Route) -> None:
    """Let the service do its work, and the browser hear nothing of it."""
    route.fetch()
    route.abort()


def test_the_same_words_again_are_a_new_tweet(open_page: OpenPage, site: Site) -> None:
    """Who has posted and writes the same once more, means it."""
    page = open_page()
    for _ in range(2):
        page.get_by_role("button", name="Write a tweet").click()
        fill(page, Your_name="grace", Title="Twice", Text="So be it").get_by_role("button", name="Post").click()
        expect(page.get_by_role("dialog")).to_have_count(0)

    assert len(posted_by(site, "grace")) == 2


def test_faults_stand_beside_their_fields(open_page: OpenPage) -> None:
    """Each refused field says why, the first one has the keyboard, and mended they go through."""
    page = open_page()
    page.get_by_role("button", name="Write a tweet").click()
    form = fill(page, Your_name="not a name!", Title="  ", Text="Fine")

    form.get_by_role("button", name="Post").click()

    expect(form.get_by_label("Your name")).to_be_focused()
    for label in ("Your name", "Title"):
        expect(form.get_by_label(label)).to_have_attribute("aria-invalid", "true")
        expect(form.get_by_label(label)).not_to_have_accessible_description("")
    expect(form.get_by_label("Text")).not_to_have_attribute("aria-invalid", "true")
    fill(page, Your_name="grace", Title="Mended").get_by_role("button", name="Post").click()
    expect(page.locator(".ranking h3")).to_have_text(["Mended"])


def test_a_fault_of_no_field_stands_above_them(open_page: OpenPage, site: Site) -> None:
    """Retweeting a tweet that was deleted meanwhile is refused with a sentence."""
    root = site.post("Root")
    page = open_page()
    page.get_by_role("button", name="Retweet").click()
    form = fill(page, Your_name="alan")
    site.tweets.delete(root.id).result()

    form.get_by_role("button", name="Retweet").click()

    expect(form.get_by_role("alert").first).to_have_text("This tweet was deleted.")


def test_the_name_is_remembered(open_page: OpenPage, site: Site) -> None:
    """The next form knows who wrote the last one."""
    site.post("Root")
    page = open_page()
    page.get_by_role("button", name="Retweet").click()
    fill(page, Your_name="alan").get_by_role("button", name="Retweet").click()
    expect(page.get_by_role("dialog")).to_have_count(0)
    page.reload()

    page.get_by_role("button", name="Write a tweet").click()

    expect(page.get_by_role("dialog").get_by_label("Your name")).to_have_value("alan")
    expect(page.get_by_role("dialog").get_by_label("Title")).to_be_focused()


def test_by_keyboard_alone(open_page: OpenPage, site: Site) -> None:
    """Without a pointer one posts, retweets, leaves a form, and sees a chain."""
    page = open_page()
    press(page, "Tab", "Tab", "Tab", "Enter")
    press(page, *"grace", "Tab", *"Ships", "Tab", *"Sail", "Tab", "Tab", "Enter")
    expect(page.locator(".ranking h3")).to_have_text(["Ships"])
    expect(page.get_by_role("button", name="Write a tweet")).to_be_focused()

    press(page, *["Tab"] * 8, "Enter")  # five tabs of times, the title, the chain, and the button
    expect(page.get_by_role("dialog", name="Retweet")).to_be_visible()
    press(page, "Escape")
    expect(page.get_by_role("button", name="Retweet")).to_be_focused()
    press(page, "Enter", "Enter")
    expect(page.locator(".ranking h3")).to_have_text(["Ships", "Ships"])

    page.locator("[data-control=chain]").last.focus()
    press(page, "Enter")
    expect(page.get_by_role("heading", name="A tweet and its chain")).to_be_visible()
    assert len(posted_by(site, "grace")) == 2


def press(page: Page, *keys: str) -> None:
    """Press one key after the other."""
    for key in keys:
        page.keyboard.press(key)
