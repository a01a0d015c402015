"""The page keeps itself new, costs little, and says when it cannot."""

from playwright.sync_api import Page, Route, expect

from tests.browser.conftest import OpenPage, Site, Watch

A_TURN_MS = 6000
"""A little more than the page waits between two looks."""


def look(page: Page, site: Site, wait_ms: int = A_TURN_MS) -> int:
    """Let the page's clock run until it asks again: the status of the answer."""
    with page.expect_response(f"{site.url}/") as response:
        while not response.is_done():  # more than once: it may still be at work on the answer before
            page.clock.fast_forward(wait_ms)
            page.wait_for_timeout(20)
    return response.value.status


def set_hidden(page: Page, *, hidden: bool) -> None:
    """Put the page into the background, or show it again, and let it know."""
    page.evaluate(
        "(hidden) => { Object.defineProperty(document, 'hidden', { configurable: true, value: hidden });"
        " document.dispatchEvent(new Event('visibilitychange')); }",
        hidden,
    )


def test_new_tweets_appear_by_themselves(open_page: OpenPage, site: Site) -> None:
    """What others post and retweet stands on the page without a reload."""
    first = site.post("First")
    page = open_page(frozen=True)
    site.post("Second", 0, first.id)

    assert look(page, site) == 200

    expect(page.locator(".ranking h3")).to_have_text(["First", "Second"])
    expect(page.locator(".count").first).to_have_text("1 retweet")


def test_an_unchanged_ranking_is_not_sent_again(open_page: OpenPage, site: Site) -> None:
    """While nothing changes the answer is 304; and the row stays the very same element."""
    site.post("First")
    page = open_page(frozen=True)
    row = page.locator(".ranking > li").element_handle()

    assert 304 in [look(page, site) for _ in range(3)]
    assert row.evaluate("row => row.isConnected")


def test_a_hidden_page_asks_nothing(open_page: OpenPage, site: Site, watch: Watch) -> None:
    """In the background nothing is asked; shown again, it asks at once."""
    page = open_page(frozen=True)
    set_hidden(page, hidden=True)
    before = watch.requests.count(f"{site.url}/")

    for _ in range(20):
        page.clock.fast_forward(A_TURN_MS)
    with page.expect_response(f"{site.url}/"):
        set_hidden(page, hidden=False)

    assert watch.requests.count(f"{site.url}/") == before + 1


def test_the_keyboard_stays_where_it_was(open_page: OpenPage, site: Site) -> None:
    """A row that moves takes the focus with it; a form that is open keeps what was written."""
    site.post("Mine", 5)
    page = open_page(frozen=True)
    page.get_by_role("article", name="Mine").get_by_role("button").focus()
    site.post("Greater", 9)

    look(page, site)
    expect(page.locator(".ranking h3")).to_have_text(["Greater", "Mine"])
    expect(page.get_by_role("article", name="Mine").get_by_role("button")).to_be_focused()

    page.keyboard.press("Enter")
    page.get_by_role("dialog").get_by_label("Text").fill("Half a sent")
    site.post("Greatest", 10)
    look(page, site)
    expect(page.locator(".ranking h3")).to_have_text(["Greatest", "Greater", "Mine"])
    expect(page.get_by_role("dialog").get_by_label("Text")).to_have_value("Half a sent")
    expect(page.get_by_role("dialog").get_by_label("Text")).to_be_focused()


def test_a_service_that_is_away_is_said_and_asked_less(open_page: OpenPage, site: Site, watch: Watch) -> None:
    """When the service does not answer the page keeps its rows, says how old they are, and waits longer."""
    site.post("Kept")
    page = open_page(frozen=True)
    site.stop()

    page.clock.fast_forward(A_TURN_MS)
    expect(page.locator("#state")).to_contain_text("The service does not answer. This is what was known at")
    expect(page.locator(".ranking h3")).to_have_text(["Kept"])
    asked = watch.requests.count(f"{site.url}/")
    page.clock.fast_forward(8000)
    page.evaluate("1")
    assert watch.requests.count(f"{site.url}/") == asked
    with page.expect_request(f"{site.url}/"):
        page.clock.fast_forward(4000)


def test_offline_and_back(open_page: OpenPage, site: Site) -> None:
    """Without a network the page says so at once; when it is back, it looks at once and is content."""
    page, cut = open_page(frozen=True), True

    def pass_on(route: Route) -> None:
        # The page may learn of the network a moment before that is cut, or joined again.
        if cut:
            route.abort("internetdisconnected")
        else:
            route.fulfill(response=route.fetch())

    page.route(f"{site.url}/", pass_on)
    page.context.set_offline(offline=True)
    expect(page.locator("#state")).to_contain_text("You are offline.")
    site.post("Meanwhile")

    cut = False
    page.context.set_offline(offline=False)

    expect(page.locator(".ranking h3")).to_have_text(["Meanwhile"])
    expect(page.locator("#state")).to_have_text("")
