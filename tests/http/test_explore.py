"""Over HTTP: the tops of windows, cascades and the change feed, as JSON, as a page and as a feed."""

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor, as_completed
from datetime import datetime
from typing import Any
from urllib.parse import quote
from xml.etree import ElementTree as ET

import pytest
from sqlalchemy import text

from app.http.routes import SHAPES_WAITING
from storage import Tweets
from storage.ids import LARGEST, encode
from storage.records import Tweet
from storage.sql.cascades import Cascade, read_cascade
from storage.sql.database import Database
from tests.builders import post, retweet
from tests.http.client import Client

ATOM = "{http://www.w3.org/2005/Atom}"
HTML = {"HTTP_ACCEPT": "text/html"}


@pytest.fixture
def root(tweets: Tweets) -> Tweet:
    """A tweet with two retweets, one of them retweeted twice, once by its own author and once deleted."""
    first = post(tweets, "ann", base=10)
    middle = retweet(tweets, first, "ada")
    retweet(tweets, middle, "ada")
    retweet(tweets, first, "bob")
    tweets.delete(retweet(tweets, middle, "cyd").id).result()
    return first


def test_the_top_of_a_window(fresh: Client, root: Tweet) -> None:
    """The seven keys, and what each received; the window and its ends are named."""
    reply = fresh.get("/api/v1/top?window=36h")
    top = reply.json()
    assert list(top) == ["window", "since", "until", "tweets", "next"]
    assert top["window"] == "36h"
    since, until = (datetime.fromisoformat(top[end]) for end in ("since", "until"))
    assert (until - since).total_seconds() == 36 * 3600
    whole = fresh.get(f"/api/v1/tweet/{encode(root.id)}").json()
    assert top["tweets"][0] == {**whole, "received": 3}
    assert [(each["received"], each["count_retweet"]) for each in top["tweets"]] == [(3, 13), (1, 1)]
    assert len(fresh.get("/api/v1/top?window=35h&limit=1").json()["tweets"]) == 1
    assert fresh.get("/api/v1/top?window=36h", HTTP_IF_NONE_MATCH=reply.headers["etag"]).status in {200, 304}


def test_users_of_a_window(fresh: Client, root: Tweet) -> None:
    """What a user retweets below own tweets counts for the others alone."""
    assert root.count_retweet == 10
    assert fresh.get("/api/v1/top/users?window=day").json()["users"] == [
        {"user_name": "ann", "received": 3, "tweets": 1},
    ]


@pytest.mark.parametrize("window", ["hour", "day", "week", "month", "year", "1h", "366d", "52w", "8784h"])
def test_windows_there_are(client: Client, window: str) -> None:
    """Each is answered under its own name, by each of the routes."""
    for path in ("/api/v1/top", "/api/v1/top/users"):
        reply = client.get(f"{path}?window={window}&until=2026-01-01T00:00:00Z&limit=100")
        assert (reply.json()["window"], reply.json()["until"]) == (window, "2026-01-01T00:00:00.000Z")
    assert client.get(f"/?window={window}").status == client.get(f"/top.atom?window={window}").status == 200


@pytest.mark.parametrize(
    "window",
    [
        "",
        "days",
        "Day",
        "0d",
        "01d",
        "367d",
        "53w",
        "8785h",
        "1m",
        "1.5d",
        "-1d",
        "+1d",
        "1 d",
        "1d\n",
        "\u0661d",
        "9999w",
    ],
)
def test_windows_there_are_not(client: Client, window: str) -> None:
    """Anything else is refused, and the field named; for a person as a page."""
    for path in ("/api/v1/top", "/api/v1/top/users", "/", "/top.atom"):
        reply = client.get(f"{path}?window={quote(window)}")
        assert (reply.status, reply.faults()) == (422, {"window": "invalid"})
    page = client.get(f"/?window={quote(window)}", **HTML)
    assert (page.status, page.headers["content-type"]) == (422, "text/html; charset=utf-8")


@pytest.mark.parametrize(
    ("until", "is_good"),
    [
        *((f"2026-01-01T05{rest}", True) for rest in ("Z", ":00Z", ":00:00Z", ":00:00.000Z", ":00:00+02:00")),
        *(
            (f"2026-01-01T05{rest}", False)
            for rest in ("", ":00:00", ":30:00Z", ":00:01Z", ":00:00+05:30", ":00:00.1Z")
        ),
        *(
            (bad, False)
            for bad in ("", "now", "2026-01-01", "2999-01-01T00:00Z", "2026-13-01T05:00Z", "2026-01-01T24:00Z")
        ),
        *(
            (bad, False)
            for bad in ("1969-12-31T23:00Z", "0001-01-01T00:00Z", "20260101T05Z", "2026-01-01 05:00Z", "1790000000")
        ),
        ("1970-01-01T00:00:00Z", True),
    ],
)
def test_the_end_of_a_window(client: Client, until: str, is_good: bool) -> None:
    """Only a whole hour with its zone, not in the future; without a window it means nothing, and is refused."""
    reply = client.get(f"/api/v1/top?window=day&until={quote(until)}")
    assert reply.status == (200 if is_good else 422)
    assert is_good or reply.faults() == {"until": "invalid"}
    assert client.get(f"/api/v1/top?until={quote(until)}").faults()["window"] == "missing"


def test_other_faults_of_a_window(client: Client) -> None:
    """All are named at once: there is no second page, and no window is needed twice."""
    reply = client.get("/api/v1/top?window=day&window=week&cursor=1&limit=101")
    assert reply.faults() == {"window": "repeated", "cursor": "invalid", "limit": "out_of_range"}
    assert client.get("/api/v1/top/users").faults() == {"window": "missing"}


def test_the_shape_of_a_cascade(fresh: Client, tweets: Tweets, root: Tweet) -> None:
    """Tombstones are nodes; a deleted tweet has a shape too, but no count."""
    path = f"/api/v1/tweet/{encode(root.id)}/cascade"
    shape = {"size": 5, "deleted": 1, "depth": 2, "max_breadth": 2, "breadths": [1, 2, 2]}
    more = {"structural_virality": 1.8, "base": 10, "count_retweet": 13}
    reply = fresh.get(path)
    assert reply.json() == shape | more
    assert fresh.get(path, HTTP_IF_NONE_MATCH=reply.headers["etag"]).status == 304
    tweets.delete(root.id).result()
    assert fresh.get(path).json() == shape | more | {"deleted": 2, "count_retweet": None}
    alone = fresh.get(f"/api/v1/tweet/{encode(post(tweets).id)}/cascade").json()
    assert (alone["structural_virality"], alone["breadths"]) == (None, [1])
    for unknown in (encode(LARGEST), "x"):
        for what in ("cascade", "descendants"):
            assert fresh.get(f"/api/v1/tweet/{unknown}/{what}").json()["code"] == "tweet_not_found"


def test_the_descendants_of_a_tweet(fresh: Client, tweets: Tweets, root: Tweet) -> None:
    """Page by page, each tweet before all below it; a deleted one has no name."""
    found: list[dict[str, Any]] = []
    path = cursor = f"/api/v1/tweet/{encode(root.id)}/descendants?limit=3"
    while cursor:
        reply = fresh.get(cursor)
        page = reply.json()
        assert len(page["tweets"]) <= 3
        found += page["tweets"]
        cursor = page["next"] and f"{path}&cursor={page['next']}"
        assert reply.headers.get("link") == (f'<{cursor}>; rel="next"' if cursor else None)
    assert [(each["user_name"], each["depth"]) for each in found] == [("ada", 1), ("ada", 2), (None, 2), ("bob", 1)]
    assert list(found[0]) == ["id", "retweet", "user_name", "created_at", "depth"]
    other = encode(post(tweets).id)
    for bad in (other, encode(root.id), "x", ""):
        assert fresh.get(f"{path}&cursor={bad}").faults() == {"cursor": "invalid"}
    for limit in ("0", "1001", "x"):
        assert set(fresh.get(f"/api/v1/tweet/{other}/descendants?limit={limit}").faults()) == {"limit"}


def test_the_change_feed(fresh: Client, tweets: Tweets, root: Tweet) -> None:
    """Every entry once, the text of a deleted tweet gone from the entry that posted it; then up to date, and 304."""
    entries: list[dict[str, Any]] = []
    cursor = ""
    while True:
        reply = fresh.get(f"/api/v1/changes?limit=4{cursor and f'&cursor={cursor}'}")
        page = reply.json()
        cursor = page["next"]
        if not page["changes"]:
            assert "link" not in reply.headers
            break
        assert reply.headers["link"] == f'</api/v1/changes?limit=4&cursor={cursor}>; rel="next"'
        entries += page["changes"]
    assert [each["seq"] for each in entries] == [1, 2, 3, 4, 5, 6]
    first, *_, gone, deleted = entries
    whole = fresh.get(f"/api/v1/tweet/{encode(root.id)}").json()
    assert first == {"partition": 0, "seq": 1, "posted": {**whole, "count_retweet": 10}}
    assert deleted == {"partition": 0, "seq": 6, "deleted": gone["posted"]["id"]}
    assert [gone["posted"][key] for key in ("user_name", "title", "body")] == [None] * 3
    path = f"/api/v1/changes?limit=4&cursor={cursor}"
    assert fresh.get(path, HTTP_IF_NONE_MATCH=reply.headers["etag"]).status == 304
    post(tweets)
    assert len(fresh.get(path, HTTP_IF_NONE_MATCH=reply.headers["etag"]).json()["changes"]) == 1
    for bad in ("", "x", f"{cursor}x", "limit"):
        assert fresh.get(f"/api/v1/changes?cursor={bad}").faults() == {"cursor": "invalid"}
    with tweets.database.writing() as connection:
        connection.execute(text("UPDATE tweets SET nonce = nonce + 1 WHERE seq = 4"))
    middle = fresh.get("/api/v1/changes?limit=4").json()["next"]
    with tweets.database.writing() as connection:
        connection.execute(text("UPDATE tweets SET nonce = nonce + 1 WHERE seq = 4"))
    assert fresh.get(f"/api/v1/changes?cursor={middle}").json()["code"] == "other_timeline"


def test_the_feed_of_a_window(fresh: Client, tweets: Tweets, root: Tweet) -> None:
    """A valid Atom feed (RFC 4287), whatever the texts hold."""
    odd = post(tweets, title="<&\"'\uffff\u200b", body="]]>\ufffe\n\t\U0001f600")
    retweet(tweets, retweet(tweets, odd))
    reply = fresh.get("/top.atom?window=13h")
    assert reply.headers["content-type"] == "application/atom+xml"
    feed = ET.fromstring(reply.body)
    assert feed.tag == f"{ATOM}feed"
    entries = feed.findall(f"{ATOM}entry")
    assert len(entries) == 4
    for element in (feed, *entries):
        for name in ("id", "title", "updated"):
            assert len(element.findall(f"{ATOM}{name}")) == 1
            assert (element.findtext(f"{ATOM}{name}") or "").strip()
        assert datetime.fromisoformat(element.findtext(f"{ATOM}updated") or "").tzinfo
        assert element.find(f"{ATOM}link[@rel='alternate']") is not None
    assert feed.find(f"{ATOM}link[@rel='self']") is not None
    assert all(entry.find(f"{ATOM}author/{ATOM}name") is not None for entry in entries)
    ids = [entry.findtext(f"{ATOM}id") or "" for entry in entries]
    assert len(set(ids)) == len(ids)
    assert ids[0] == f"tag:simple-twitter,2026:tweet/{encode(root.id)}"
    assert "<&\"'" in (entries[1].findtext(f"{ATOM}title") or "")
    assert "]]>\n\t\U0001f600" in (entries[1].findtext(f"{ATOM}content") or "")
    assert fresh.get("/top.atom").status == 200


def test_the_page_of_a_window(fresh: Client, tweets: Tweets, root: Tweet) -> None:
    """A row says what the tweet received and its count; the tabs say which window it is."""
    page = fresh.get("/?window=day").body.decode()
    assert "<strong>3 today</strong>, 13\xa0in\xa0all" in page
    assert '<a href="/?window=day" aria-current="page">Day</a>' in page
    assert '<a href="/" aria-current="page">All time</a>' in fresh.get("/").body.decode()
    assert "Nothing was retweeted in 5h" not in page
    tweets.delete(root.id).result()


def test_the_picture_of_a_cascade(fresh: Client, tweets: Tweets, root: Tweet) -> None:
    """The page of a tweet draws all below it, each a link with a title, and says the same in a table."""
    page = fresh.get(f"/tweet/{encode(root.id)}").body.decode()
    svg = ET.fromstring(page[page.index('<svg class="icicle"') : page.index("</svg>", page.index('"icicle"')) + 6])
    assert [title.text for title in svg.iter("title")] == [
        "@ann: 4 below", "@ada: 2 below", "@ada: 0 below", "@bob: 0 below", "A deleted tweet: 0 below"
    ]  # fmt: skip
    links = {link.get("href") for link in svg.iter("a")}
    assert links == {f"/tweet/{encode(node.id)}" for node in read_cascade(tweets.database, root.id).nodes}
    assert '<th scope="row">2</th><td>2</td>' in page
    assert "icicle" not in fresh.get(f"/tweet/{encode(post(tweets).id)}").body.decode()


def test_shapes_one_at_a_time(fresh: Client, root: Tweet, monkeypatch: pytest.MonkeyPatch) -> None:
    """Shapes of cascades do not run side by side, which would take memory and processor from all; few may wait."""
    running, go, compute = threading.Lock(), threading.Event(), read_cascade

    def alone(database: Database, tweet_id: int) -> Cascade:
        assert running.acquire(blocking=False)
        assert go.wait(30)
        running.release()
        return compute(database, tweet_id)

    monkeypatch.setattr("app.http.routes.read_cascade", alone)
    path = f"/api/v1/tweet/{encode(root.id)}/cascade"
    with ThreadPoolExecutor(SHAPES_WAITING + 2) as clients:
        asked = [clients.submit(fresh.get, path) for _ in range(SHAPES_WAITING + 2)]
        refused = next(as_completed(asked, 30)).result()
        go.set()
        statuses = Counter(each.result().status for each in asked)
    assert (refused.status, refused.json()["code"]) == (503, "overloaded")
    assert statuses == {200: SHAPES_WAITING + 1, 503: 1}


def test_too_large(fresh: Client, root: Tweet, monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows and cascades have their limits; the page of the tweet is shown without the picture."""
    monkeypatch.setattr("storage.sql.windows.MOST_RETWEETS", 2)
    monkeypatch.setattr("storage.sql.cascades.LARGEST", 4)
    for path, code in (
        ("top?window=day", "window_too_large"),
        ("top/users?window=day", "window_too_large"),
        (f"tweet/{encode(root.id)}/cascade", "cascade_too_large"),
    ):
        reply = fresh.get(f"/api/v1/{path}")
        assert (reply.status, reply.json()["code"]) == (422, code)
    page = fresh.get(f"/tweet/{encode(root.id)}")
    assert page.status == 200
    assert b"icicle" not in page.body
