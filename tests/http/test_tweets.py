"""Post, retweet, read and delete, as the table of the API says it."""

import re
from pathlib import Path
from typing import Any

import pytest

from app.http.application import Application
from storage import open_storage
from tests.http.client import Client, OnLoop, Row
from tests.http.conftest import SETTINGS

KEYS = ["user_name", "title", "body", "retweet", "count_retweet", "id", "created_at"]
UNKNOWN = "0000000000000"


def ids_of(rows: list[Row]) -> list[str]:
    return [row["id"] for row in rows]


def test_post(client: Client) -> None:
    """A post is answered 201 with the seven keys in their order, and Location is where the tweet is read."""
    reply = client.post("/api/v1/tweet", {"body": "B", "title": "T", "user_name": "ada"})

    assert reply.status == 201
    tweet = reply.json()
    assert list(tweet) == KEYS
    assert [tweet[key] for key in KEYS[:5]] == ["ada", "T", "B", None, 0]
    assert re.fullmatch(r"[0-7][0-9A-HJKMNP-TV-Z]{12}", tweet["id"])
    assert re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", tweet["created_at"])
    assert reply.headers["location"] == f"/api/v1/tweet/{tweet['id']}"
    assert client.get(reply.headers["location"]).json() == tweet


@pytest.mark.parametrize("retweet", [None, ""])
def test_post_may_say_that_it_has_no_parent(client: Client, retweet: str | None) -> None:
    """A `retweet` that is null or empty means an original."""
    assert client.tweet(retweet=retweet)["retweet"] is None


def test_post_refuses_a_parent(client: Client) -> None:
    """POST /tweet with a `retweet`, even of a tweet that exists, is 422."""
    target = client.tweet()
    reply = client.post("/api/v1/tweet", {"user_name": "a", "title": "t", "body": "b", "retweet": target["id"]})

    assert (reply.status, reply.faults()) == (422, {"retweet": "invalid"})
    assert client.get(f"/api/v1/tweet/{target['id']}").json()["count_retweet"] == 0


@pytest.mark.parametrize("base", [0, 1, 1_000_000_000_000])
def test_post_starts_with_its_base(client: Client, base: int) -> None:
    """count_retweet is the count a tweet starts with, 0 to 10**12, in a post and in a retweet."""
    tweet = client.tweet(count_retweet=base)
    retweet = client.retweet(tweet, count_retweet=base)

    assert (tweet["count_retweet"], retweet["count_retweet"]) == (base, base)
    assert client.get(f"/api/v1/tweet/{tweet['id']}").json()["count_retweet"] == base + 1


def test_retweet_counts_for_the_whole_chain(client: Client) -> None:
    """Every tweet from the target to the root gains 1; the new one does not."""
    root = client.tweet()
    middle = client.retweet(root)
    leaf = client.retweet(middle)

    counts = [client.get(f"/api/v1/tweet/{row['id']}").json()["count_retweet"] for row in (root, middle, leaf)]
    assert counts == [2, 1, 0]
    assert (leaf["retweet"], middle["retweet"]) == (middle["id"], root["id"])


@pytest.mark.parametrize(
    ("given", "title", "body"),
    [
        ({}, "T", "B"),
        ({"title": None, "body": None}, "T", "B"),
        ({"title": "Own"}, "Own", "B"),
        ({"body": "Own"}, "T", "Own"),
        ({"title": "Own", "body": "Own too"}, "Own", "Own too"),
    ],
)
def test_retweet_takes_what_is_left_out_from_its_target(
    client: Client, given: dict[str, str], title: str, body: str
) -> None:
    """A title and a body that are left out, or null, are the target's; each for itself."""
    retweet = client.retweet(client.tweet(title="T", body="B"), **given)

    assert (retweet["title"], retweet["body"]) == (title, body)


def test_retweet_of_nothing(client: Client) -> None:
    """The target is unknown: 404; deleted: 410; neither counts for anyone."""
    root = client.tweet()
    deleted = client.retweet(root)
    assert client.call("DELETE", f"/api/v1/tweet/{deleted['id']}").status == 204

    unknown = client.post("/api/v1/retweet", {"user_name": "bob", "retweet": UNKNOWN})
    gone = client.post("/api/v1/retweet", {"user_name": "bob", "retweet": deleted["id"]})
    assert (unknown.status, unknown.json()["code"]) == (404, "tweet_not_found")
    assert (gone.status, gone.json()["code"]) == (410, "tweet_deleted")
    assert client.get(f"/api/v1/tweet/{root['id']}").json()["count_retweet"] == 0


def test_chain_is_bounded(data_dir: Path) -> None:
    """A retweet with more ancestors than the setting allows is 409, and counts for no tweet."""
    with open_storage(data_dir, max_ancestors=2) as few:
        client = Client(Application(few, SETTINGS))
        root = client.tweet()
        last = client.retweet(client.retweet(root))
        reply = client.post("/api/v1/retweet", {"user_name": "bob", "retweet": last["id"]})

        assert (reply.status, reply.json()["code"]) == (409, "chain_too_long")
        assert client.get(f"/api/v1/tweet/{root['id']}").json()["count_retweet"] == 2


@pytest.mark.parametrize("tail", ["", "/chain", "/retweets", "/rank"])
@pytest.mark.parametrize("tweet_id", [UNKNOWN, "x", "%00", "%C3%A9", "9" * 13, "l" * 13, "0" * 5000, "-1"])
def test_unknown_or_malformed_ids_are_not_found(client: Client, tweet_id: str, tail: str) -> None:
    """An id that no tweet has, or that is none, is 404 on every path with an id."""
    reply = client.get(f"/api/v1/tweet/{tweet_id}{tail}")

    assert (reply.status, reply.json()["code"]) == (404, "tweet_not_found")
    if not tail:
        assert client.call("DELETE", f"/api/v1/tweet/{tweet_id}").status == 404


def test_delete(client: Client) -> None:
    """A deleted tweet is gone, its ancestors lose 1, once; its own retweets still count for them."""
    root = client.tweet()
    middle = client.retweet(root)
    leaf = client.retweet(middle)
    path = f"/api/v1/tweet/{middle['id']}"

    first = client.call("DELETE", path)
    again = client.call("DELETE", path)

    assert (first.status, first.body) == (204, b"")
    assert (again.status, again.json()["code"]) == (410, "tweet_deleted")
    assert (client.get(path).status, client.get(f"{path}/rank").status) == (410, 410)
    assert client.get(f"/api/v1/tweet/{root['id']}").json()["count_retweet"] == 1
    assert client.get(f"/api/v1/tweet/{leaf['id']}").json() == leaf


def test_chain(client: Client) -> None:
    """A chain is target first, root last; a deleted link stays as a tombstone, also when it is the target."""
    root = client.tweet()
    middle = client.retweet(root)
    leaf = client.retweet(middle)
    client.call("DELETE", f"/api/v1/tweet/{middle['id']}")
    kept = {key: middle[key] for key in ("retweet", "id", "created_at")}
    tombstone = {"user_name": None, "title": None, "body": None, "count_retweet": None} | kept

    chain = client.get(f"/api/v1/tweet/{leaf['id']}/chain").json()
    assert chain == {"tweets": [leaf, tombstone, root | {"count_retweet": 1}], "next": None}
    assert all(list(link) == KEYS for link in chain["tweets"])
    assert client.get(f"/api/v1/tweet/{middle['id']}/chain").json() == chain | {"tweets": chain["tweets"][1:]}
    assert client.get(f"/api/v1/tweet/{root['id']}/chain").json() == chain | {"tweets": chain["tweets"][2:]}


def test_a_long_chain_comes_in_pages(client: Client) -> None:
    """No answer has more than 100 links, however long the chain is; the pages have each of them once."""
    tweet = client.tweet()
    ids = [tweet["id"]]
    for _ in range(104):
        tweet = client.retweet(tweet)
        ids.insert(0, tweet["id"])
    path = f"/api/v1/tweet/{ids[0]}/chain"
    first = client.get(path).json()
    assert [link["id"] for link in first["tweets"]] == ids[:100]
    last = client.get(f"{path}?cursor={first['next']}").json()
    assert ([link["id"] for link in last["tweets"]], last["next"]) == (ids[100:], None)
    for limit in (1, 35, 100):
        assert [each for page in client.pages(path, limit) for each in page] == ids


def test_retweets_of_a_tweet(client: Client) -> None:
    """Direct retweets come newest first, without the deleted and without theirs; also of a deleted target."""
    root = client.tweet()
    first, second, third = (client.retweet(root) for _ in range(3))
    client.retweet(first)
    for gone in (second, root):
        client.call("DELETE", f"/api/v1/tweet/{gone['id']}")

    reply = client.get(f"/api/v1/tweet/{root['id']}/retweets")
    assert (ids_of(reply.json()["tweets"]), reply.json()["next"]) == ([third["id"], first["id"]], None)
    assert reply.json()["tweets"][1]["count_retweet"] == 1


def test_tweets_of_a_user(client: Client) -> None:
    """A user's tweets come newest first, without the deleted; names differ by case."""
    rows = [client.tweet(user_name="Grace.H-1_") for _ in range(3)]
    rows.append(client.retweet(client.tweet(), user_name="Grace.H-1_"))
    client.call("DELETE", f"/api/v1/tweet/{rows[1]['id']}")

    found = client.get("/api/v1/users/Grace.H-1_/tweets").json()
    assert ids_of(found["tweets"]) == [rows[3]["id"], rows[2]["id"], rows[0]["id"]]
    assert client.get("/api/v1/users/grace.h-1_/tweets").json() == {"tweets": [], "next": None}


@pytest.mark.parametrize(
    "name", ["unknown", "%C3%A9t%C3%A9", "a%00b", "a%20b", "a%0A", "n" * 65, "%ED%95%9C", "a'--", "%25"]
)
def test_nobody_has_no_tweets(client: Client, name: str) -> None:
    """The name of no user, also one that no user can have, has an empty list."""
    reply = client.get(f"/api/v1/users/{name}/tweets")

    assert (reply.status, reply.json()) == (200, {"tweets": [], "next": None})


@pytest.mark.parametrize("limit", [1, 2, 3, 5, 100])
def test_lists_are_paged(client: Client, limit: int) -> None:
    """Pages follow each other without a gap or a repetition; the last one's `next` is null, also when it is full."""
    user, root = f"paged{limit}", client.tweet()
    rows = [client.retweet(root, user_name=user)["id"] for _ in range(6)]

    for path in (f"/api/v1/users/{user}/tweets", f"/api/v1/tweet/{root['id']}/retweets"):
        assert client.pages(path, limit) == [rows[::-1][start : start + limit] for start in range(0, 6, limit)]


def test_the_newest_tweets(fresh: Client) -> None:
    """All tweets of all users, newest first, by pages, without those that were deleted."""
    root = fresh.tweet()
    posted = [root["id"], *(fresh.retweet(root, user_name=f"user{number}")["id"] for number in range(5))]
    fresh.call("DELETE", f"/api/v1/tweet/{posted.pop(2)}")

    assert fresh.pages("/api/v1/tweets", 2) == [posted[::-1][start : start + 2] for start in (0, 2, 4)]
    reply = fresh.get("/api/v1/tweets?limit=2")
    assert reply.headers["link"] == f'</api/v1/tweets?limit=2&cursor={reply.json()["next"]}>; rel="next"'


def test_lists_have_twenty_unless_asked(client: Client) -> None:
    """Without a limit a list has at most 20 tweets."""
    for _ in range(21):
        client.tweet(user_name="twenty")

    page = client.get("/api/v1/users/twenty/tweets").json()
    assert len(page["tweets"]) == 20
    assert page["next"] == page["tweets"][-1]["id"]


def test_an_etag_stands_for_an_answer(client: Client) -> None:
    """The ETag of a tweet changes with its count; with it the tweet is not sent again, with another it is."""
    root = client.tweet()
    path = f"/api/v1/tweet/{root['id']}"
    before = client.get(path).headers["etag"]
    unchanged = client.get(path, HTTP_IF_NONE_MATCH=before)
    client.retweet(root)
    after = client.get(path, HTTP_IF_NONE_MATCH=before)

    assert (unchanged.status, unchanged.body, unchanged.headers["etag"]) == (304, b"", before)
    assert after.status == 200
    assert after.headers["etag"] != before
    assert unchanged.headers["cache-control"] == after.headers["cache-control"] == "no-cache"


@pytest.mark.parametrize(
    ("form", "status"),
    [
        ("{}", 304),
        ("W/{}", 304),
        ("*", 304),
        (" * ", 304),
        ('"a", {}', 304),
        ('W/"a",W/{}, "b"', 304),
        ('"a"', 200),
        ("", 200),
        ('"', 200),
        ("abc", 200),
        ('"*"', 200),
        ("\xff", 200),
    ],
)
def test_if_none_match(client: Client, form: str, status: int) -> None:
    """If-None-Match may be a tag, weak or strong, a list of them, or `*`; what it cannot be means nothing."""
    path = f"/api/v1/tweet/{client.tweet()['id']}"
    tag = client.get(path).headers["etag"]

    assert client.get(path, HTTP_IF_NONE_MATCH=form.format(tag)).status == status


@pytest.mark.parametrize("deferred", [False, True])
def test_a_conditional_delete(fresh: Client, *, deferred: bool) -> None:
    """If-Match of another state is 412 and deletes nothing; of the present one, or `*`, it deletes."""
    client = Client(OnLoop(fresh.app)) if deferred else fresh
    tweet = fresh.tweet()
    path = f"/api/v1/tweet/{tweet['id']}"
    old = fresh.get(path).headers["etag"]
    fresh.retweet(tweet)
    tag = fresh.get(path).headers["etag"]
    for header, names in (
        ("IF_MATCH", (old, '"nope"', "", f"W/{tag}", f'{tag[:-1]}x"')),
        ("IF_NONE_MATCH", (tag, "*", f"W/{tag}")),
    ):
        for name in names:
            environ: dict[str, Any] = {f"HTTP_{header}": name}
            refused = client.call("DELETE", path, **environ)
            assert (refused.status, refused.json()["code"]) == (412, "precondition_failed")
    assert fresh.get(path).status == 200
    assert client.get(path, HTTP_IF_MATCH=old).status == 412
    assert client.get(path, HTTP_IF_MATCH=f"{old}, {tag}").status == 200

    assert client.call("DELETE", path, HTTP_IF_MATCH=f'"a", {tag}').status == 204
    assert client.call("DELETE", path, HTTP_IF_MATCH="*").status == 410
    other = fresh.tweet()
    assert client.call("DELETE", f"/api/v1/tweet/{other['id']}", HTTP_IF_MATCH="*").status == 204
    assert client.call("DELETE", "/api/v1/tweet/0000000000001", HTTP_IF_MATCH="*").status == 404
