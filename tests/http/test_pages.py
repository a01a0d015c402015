"""The pages as HTTP sees them: types, tags, caches, policy, and what they answer when a part is away."""

import re
from concurrent.futures import Future
from dataclasses import replace

import pytest

from storage import Tweets
from storage.errors import IndexUnavailable, StoreUnavailable
from storage.records import Ranking
from tests.http.client import Client

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HTML = "text/html; charset=utf-8"
BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"
INLINE = re.compile(r"<style|<script(?![^>]* src=)|<[^>]*\s(style|on\w+)=|javascript:", re.IGNORECASE)


def addresses(page: bytes) -> list[str]:
    """The static files that a page names."""
    return re.findall(r'(?:href|src)="(/static/[^"]+)"', page.decode())


@pytest.mark.parametrize(
    "path", ["/", "/tweet/{id}", "/tweet/nothing", "/newest", "/users/ada", "/users/no-one", "/api/v1/"]
)
def test_a_page_is_html_under_a_strict_policy(client: Client, path: str) -> None:
    """Every page, those of errors too, allows only its own files, and holds no inline style or script."""
    reply = client.get(path.format(id=client.tweet()["id"]), HTTP_ACCEPT=BROWSER)

    assert reply.headers["content-type"] == HTML
    assert reply.headers["content-security-policy"] == POLICY
    assert reply.headers["x-content-type-options"] == "nosniff"
    assert INLINE.search(reply.body.decode()) is None


@pytest.mark.parametrize("markup", ["<p style='x'>", "<script>", "<a onclick=x>", "<style>"])
def test_the_search_for_inline_code_finds_it(markup: str) -> None:
    """What the test above looks for, it would see."""
    assert INLINE.search(markup)


@pytest.mark.parametrize("path", ["/", "/tweet/{id}", "/newest", "/users/ada", "/api/v1/"])
def test_a_known_page_is_not_sent_again(fresh: Client, path: str) -> None:
    """With its ETag the answer is 304 without a body; the tag of another page is no match."""
    path = path.format(id=fresh.tweet()["id"])
    tag = fresh.get(path).headers["etag"]

    again = fresh.get(path, HTTP_IF_NONE_MATCH=f'"other", W/{tag}')

    assert (again.status, again.body, again.headers["etag"]) == (304, b"", tag)
    assert fresh.get(path, HTTP_IF_NONE_MATCH='"other"').status == 200


@pytest.mark.parametrize("path", ["/", "/tweet/{id}", "/api/v1/", "/static/page.css", "/static/icon.svg?v=old"])
def test_what_is_known_keeps_its_headers(fresh: Client, path: str) -> None:
    """A browser lays the headers of a 304 over those it keeps, so each is there that the 200 has, with its value."""
    path = path.format(id=fresh.tweet()["id"])
    first = fresh.get(path)
    of_content = {"content-type", "content-length"}

    again = fresh.get(path, HTTP_IF_NONE_MATCH=first.headers["etag"])

    assert again.status == 304
    assert again.headers == {name: value for name, value in first.headers.items() if name not in of_content}
    assert again.headers["content-security-policy"] == POLICY


@pytest.mark.parametrize("path", ["/", "/api/v1/", "/api/v1/top", "/static/page.css"])
def test_whatever_is_there_may_be_known(client: Client, path: str) -> None:
    """`If-None-Match: *` is 304 on pages, files and API alike; a tag that only begins so is another's."""
    tag = client.get(path).headers["etag"]

    assert client.get(path, HTTP_IF_NONE_MATCH="*").status == 304
    assert client.get(path, HTTP_IF_NONE_MATCH=f'{tag[:-1]}x"').status == 200


def test_the_tag_follows_the_content(fresh: Client) -> None:
    """A new count, and the deletion of a tweet that only stands as a target, each give another page."""
    root = fresh.tweet(count_retweet=5)
    tags = [fresh.get("/").headers["etag"]]
    fresh.retweet(root)
    tags.append(fresh.get("/").headers["etag"])
    fresh.call("DELETE", f"/api/v1/tweet/{root['id']}")
    tags.append(fresh.get("/").headers["etag"])

    assert len(set(tags)) == 3


def test_the_name_of_a_deleted_author_goes_at_once(fresh: Client) -> None:
    """Also when the deleted tweet is itself not in the top, and the top is the same before and after."""
    root = fresh.tweet("gracehopper")
    for _ in range(10):
        fresh.retweet(root, count_retweet=1000)
    fresh.call("DELETE", f"/api/v1/tweet/{root['id']}")
    root = fresh.tweet("gracehopper")
    fresh.retweet(root, count_retweet=2000)
    assert b"@gracehopper" in fresh.get("/").body

    fresh.call("DELETE", f"/api/v1/tweet/{root['id']}")

    assert b"gracehopper" not in fresh.get("/").body


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_no_such_tweet(client: Client, method: str) -> None:
    """An unknown id and a malformed one are answered 404."""
    assert client.call(method, "/tweet/0000000000001").status == 404
    assert client.call(method, "/tweet/nothing").status == 404


def test_a_deleted_tweet_is_gone(fresh: Client) -> None:
    """Its page is 410 and says so in a sentence; its text and author cannot be seen."""
    tweet = fresh.tweet("gracehopper", "Vanished", "Without a trace")
    fresh.call("DELETE", f"/api/v1/tweet/{tweet['id']}")

    reply = fresh.get(f"/tweet/{tweet['id']}")

    assert (reply.status, reply.headers["cache-control"]) == (410, "no-store")
    assert b"This tweet was deleted." in reply.body
    assert not re.search(rb"gracehopper|Vanished|Without", reply.body)


def test_static_files_are_kept_for_ever(client: Client) -> None:
    """Each file that a page names is there under its hash, immutable, of the right type."""
    types = {"css": "text/css; charset=utf-8", "js": "text/javascript; charset=utf-8", "svg": "image/svg+xml"}
    named = {address for path in ("/", "/api/v1/") for address in addresses(client.get(path).body)}

    assert len(named) >= 8
    for address in named:
        reply = client.get(address)
        assert reply.status == 200
        assert reply.headers["content-type"] == types[address.split("?")[0].rsplit(".")[-1]]
        assert reply.headers["cache-control"] == "public, max-age=31536000, immutable"


def test_a_static_file_under_another_hash_is_asked_for_again(client: Client) -> None:
    """An old or missing hash gives the present file, which is not to be kept without asking; asked, it is 304."""
    reply = client.get("/static/page.css?v=old")

    assert (reply.status, reply.headers["cache-control"]) == (200, "no-cache")
    assert client.get("/static/page.css", HTTP_IF_NONE_MATCH=reply.headers["etag"]).status == 304


@pytest.mark.parametrize(
    "path",
    [
        "nothing.css",
        "../settings.py",
        "%2e%2e/settings.py",
        "..%2fsettings.py",
        "/etc/passwd",
        "vendor",
        "page.css/",
        ".",
    ],
)
def test_nothing_else_is_served(client: Client, path: str) -> None:
    """No path leads out of the folder, and a folder is no file: 404 as every other error."""
    reply = client.get(f"/static/{path}")

    assert (reply.status, reply.json()["code"]) == (404, "not_found")


def test_swagger_has_one_address(client: Client) -> None:
    """/api/v1 leads to /api/v1/."""
    reply = client.get("/api/v1")

    assert (reply.status, reply.headers["location"]) == (308, "/api/v1/")


def test_a_stale_ranking_says_so(fresh: Client, tweets: Tweets, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the ranking is the last one known, the page has a note and the answer a header."""
    fresh.tweet(title="Still here")
    known = tweets.top(10).result()
    calm = fresh.get("/")

    stale_top = Future[Ranking]()
    stale_top.set_result(replace(known, stale=True))
    monkeypatch.setattr(tweets, "top", lambda *_asked: stale_top)
    stale = fresh.get("/")

    assert "stale" not in calm.headers
    assert b"last known version" not in calm.body
    assert stale.headers["stale"] == "true"
    assert b"last known version" in stale.body
    assert b"Still here" in stale.body


@pytest.fixture(params=[IndexUnavailable, StoreUnavailable])
def away(fresh: Client, tweets: Tweets, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Client:
    """A client of a service that can tell nothing of the ranking."""
    failed = Future[Ranking]()
    failed.set_exception(request.param())
    monkeypatch.setattr(tweets, "top", lambda *_asked: failed)
    return fresh


def test_away_is_a_friendly_page(away: Client) -> None:
    """When nothing is known the answer is 503, for people, with the time after which to ask again."""
    reply = away.get("/", HTTP_ACCEPT=BROWSER)

    assert (reply.status, reply.headers["retry-after"], reply.headers["cache-control"]) == (503, "1", "no-store")
    assert reply.headers["vary"] == "Accept"
    assert b"Try again" in reply.body


@pytest.mark.parametrize("accept", [None, "*/*", "application/json"])
def test_away_is_a_problem_for_programs(away: Client, accept: str | None) -> None:
    """A client that asks for no page gets the same as everywhere else."""
    reply = away.get("/", HTTP_ACCEPT=accept)

    assert (reply.status, reply.json()["status"]) == (503, 503)
    assert (reply.headers["retry-after"], reply.headers["cache-control"]) == ("1", "no-store")
    assert reply.headers["vary"] == "Accept"


@pytest.mark.parametrize("accept", [BROWSER, "text/html", "a/b;c=d , TEXT/HTML ;q=0.1", "text/html;level=1"])
@pytest.mark.parametrize(
    "path", ["/tweet/nothing", "/tweet/0000000000001", "/nothing", "/users/no-one", "/users/a%20b"]
)
def test_who_names_html_is_told_in_a_page(client: Client, path: str, accept: str) -> None:
    """What is not there is a page for clients that name text/html in Accept, as browsers do."""
    reply = client.get(path, HTTP_ACCEPT=accept)

    assert (reply.status, reply.headers["content-type"], reply.headers["vary"]) == (404, HTML, "Accept")
    assert b"<h1>Not found</h1>" in reply.body


def test_a_page_of_a_list_that_is_none(client: Client) -> None:
    """A bad cursor is 422, for people as a page; beyond the end of a list its page is empty."""
    client.tweet()
    for path in ("/", "/newest", "/users/ada", f"/tweet/{client.tweet()['id']}"):
        reply = client.get(f"{path}?cursor=x", HTTP_ACCEPT=BROWSER)
        assert (reply.status, reply.headers["content-type"], reply.headers["vary"]) == (422, HTML, "Accept")
        assert b"No page of this list has this address." in reply.body
        assert client.get(f"{path}?cursor=x").faults() == {"cursor": "invalid"}
    for path in ("/?cursor=0.0000000000000", "/newest?cursor=0000000000000", "/users/ada?cursor=0000000000000"):
        assert client.get(path).status == 200


@pytest.mark.parametrize(
    "accept",
    [
        None,
        "",
        "*/*",
        "text/*",
        "application/json",
        "text/html5",
        "text/html;q=0.0, */*",
        "text/html;q=0.4, application/json;q=0.5",
    ],
)
@pytest.mark.parametrize("path", ["/tweet/nothing", "/tweet/0000000000001"])
def test_everybody_else_is_told_as_in_the_api(client: Client, path: str, accept: str | None) -> None:
    """It is problem+json for everybody else, under the policy of what is no page."""
    reply = client.get(path, HTTP_ACCEPT=accept)

    assert (reply.status, reply.json()["code"], reply.headers["vary"]) == (404, "tweet_not_found", "Accept")
    assert reply.headers["content-type"] == "application/problem+json"
    assert reply.headers["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'"
