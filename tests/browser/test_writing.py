"""Posting and retweeting from the page."""

import re

from playwright.sync_api import Locator, Page, Route, expect

from storage import ids
from storage.records import Tweet
from storage.tokens import Tokens
from tests.browser.conftest import OpenPage, Site


def fill(page: Page, **fields: str) -> Locator:
    """Write into the fields of the open form, and give the form."""
    form = page.get_by_role("dialog")
    for label, text in fields.items():
        form.get_by_label(label.replace("_", " ")).fill(text)
    return form


def add_token(page: Page, site: Site, user_name: str) -> str:
    """A new token, once the service knows of it: it reads the list once a second."""
    token = Tokens(site.tweets.database).add(user_name)
    while page.request.delete(f"{site.url}/api/v1/tweet/0000000000000").status != 401:
        page.wait_for_timeout(50)
    return token


def posted_by(site: Site, user_name: str) -> tuple[Tweet, ...]:
    """What that user has posted, newest first."""
    return site.tweets.list_by_user(user_name, 10).tweets


def test_post_a_tweet(open_page: OpenPage, site: Site) -> None:
    """A tweet written in the form is stored, and its writer is taken to it."""
    page = open_page()
    page.get_by_role("button", name="Write a tweet").click()
    form = fill(page, Your_name="grace", Title="Ships", Text="In port\nor at sea")

    form.get_by_role("button", name="Post").click()

    expect(page.get_by_role("status").filter(has_text="Posted.")).to_be_visible()
    expect(page.locator(".target h3")).to_have_text("Ships")
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


def test_a_retweet_says_what_it_did(open_page: OpenPage, site: Site) -> None:
    """It names how many tweets gained 1, deleted ones not counted, and links both ends of the chain."""
    tweet = root = site.post("Root")
    for number in range(1, 7):
        tweet = site.post(f"link {number}", 0, tweet.id)
    site.tweets.delete(site.tweets.list_by_user("ada", 3).tweets[-1].id).result()
    page = open_page("/newest")

    page.get_by_role("article", name="link 6").get_by_role("button").click()
    fill(page, Your_name="alan").get_by_role("button", name="Retweet").click()

    expect(page.locator("#notice")).to_contain_text("Retweeted. 6 tweets gained 1.")
    own = posted_by(site, "alan")[0]
    links = [link.get_attribute("href") for link in page.locator("#notice a").all()]
    assert links == [f"/tweet/{ids.encode(own.id)}", f"/tweet/{ids.encode(root.id)}"]


def test_faults_speak_to_people(open_page: OpenPage) -> None:
    """The rule of names stands there before the fault; each fault says what to do, and long texts are counted."""
    page = open_page()
    page.keyboard.press("n")
    form = fill(page, Your_name="Ada Lovelace", Title="t" * 239)
    expect(form.get_by_label("Your name")).to_have_accessible_description(re.compile("^Letters A to Z.*no spaces"))
    counter = form.locator("[data-counter=title]")
    expect(counter).to_have_text("")
    fill(page, Title="t" * 240)
    expect(counter).to_have_text("240 of 280 characters")
    fill(page, Title="\U0001f600" * 300)

    page.keyboard.press("Control+Enter")

    expect(form.locator("[data-fault=user_name]")).to_contain_text("Only A to Z, digits")
    expect(form.locator("[data-fault=title]")).to_have_text("300 of 280 characters")
    expect(form.locator("[data-fault=body]")).to_have_text("Enter a text")
    fill(page, Your_name="", Title=" ").get_by_role("button", name="Post").click()
    expect(form.locator("[data-fault=user_name]")).to_have_text("Enter your name")
    expect(form.locator("[data-fault=title]")).to_have_text("Enter a title")


def test_a_draft_is_kept(open_page: OpenPage, site: Site) -> None:
    """What was written is there again after Escape and on another page, which says so; once posted, it is not."""
    page = open_page()
    page.keyboard.press("n")
    form = fill(page, Your_name="grace", Title="Half", Text="Half a sent")
    expect(form.locator("[data-draft]")).to_be_hidden()
    page.keyboard.press("Escape")
    expect(page.get_by_role("status").filter(has_text="Your draft is kept in this tab.")).to_be_visible()
    page.goto(f"{site.url}/newest")
    page.keyboard.press("n")
    expect(form.get_by_text("This is your draft")).to_be_visible()
    expect(form.get_by_label("Text")).to_have_value("Half a sent")
    fill(page, Your_name="grace", Text="Half a sentence")

    page.keyboard.press("Control+Enter")
    expect(page.locator(".target .body")).to_have_text("Half a sentence")
    page.keyboard.press("n")
    expect(form.get_by_label("Title")).to_have_value("")
    expect(form.locator("[data-draft]")).to_be_hidden()


def test_the_shortcut_can_be_switched_off(open_page: OpenPage) -> None:
    """A single key acts only on the page itself, and not at all for those who switch it off (WCAG 2.1.4)."""
    page = open_page()
    switch, dialog = page.get_by_label("The key N opens the form"), page.get_by_role("dialog")
    page.get_by_role("link", name="Newest").focus()
    page.keyboard.press("n")
    expect(dialog).to_have_count(0)
    for is_on in (True, False, True):
        switch.set_checked(is_on)
        page.reload()
        assert switch.is_checked() is is_on
        page.keyboard.press("n")
        expect(dialog).to_have_count(int(is_on))
        page.keyboard.press("Escape")


def test_delete_from_the_page(open_page: OpenPage, site: Site) -> None:
    """Without tokens, after a question that says what stays; with them, only with the author's in this tab."""
    root = site.post("Root", user_name="grace")
    leaf = site.post("Leaf", 0, root.id, user_name="grace")
    page = open_page(f"/tweet/{ids.encode(leaf.id)}")
    delete = page.get_by_role("button", name="Delete")
    delete.click()
    expect(page.get_by_role("dialog")).to_contain_text("Its place in the chain stays")
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    expect(page.locator(".target h3")).to_have_text("This tweet was deleted.")

    token = add_token(page, site, "grace")
    page.goto(f"{site.url}/tweet/{ids.encode(root.id)}")
    expect(page.locator(".deletes")).to_have_attribute("data-tokens", "needed")
    expect(delete).to_have_count(0)
    for author, is_shown in (("ada", False), ("grace", True)):
        page.evaluate("user => { sessionStorage.token_user = user; }", author)
        page.evaluate("token => { sessionStorage.token = token; }", token)
        page.reload()
        expect(delete).to_have_count(int(is_shown))
    delete.click()
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    expect(page.locator(".target h3")).to_have_text("This tweet was deleted.")
    assert posted_by(site, "grace") == ()


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
        page.wait_for_url("**/tweet/*")
        page.goto(site.url)

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
    expect(page.locator(".target h3")).to_have_text("Mended")


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
    expect(page.locator(".target h3")).to_have_text("Ships")

    page.goto(site.url)
    press(page, "Tab", "Tab", "Tab")
    expect(page.get_by_role("button", name="Write a tweet")).to_be_focused()

    press(page, *["Tab"] * 11, "Enter")  # two lists, five times, title, name, count, and the button
    expect(page.get_by_role("dialog", name="Retweet")).to_be_visible()
    press(page, "Escape")
    expect(page.get_by_role("button", name="Retweet")).to_be_focused()
    press(page, "Enter", "Enter")
    expect(page.locator(".ranking h3")).to_have_text(["Ships", "Ships"])

    page.locator("[data-control=open]").last.focus()
    press(page, "Enter")
    expect(page.get_by_role("heading", name="A tweet and its chain")).to_be_visible()
    assert len(posted_by(site, "grace")) == 2


def press(page: Page, *keys: str) -> None:
    """Press one key after the other."""
    for key in keys:
        page.keyboard.press(key)
