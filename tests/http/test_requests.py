"""What a request says beside its body: path, method, query, idempotency key."""

from typing import Any

import pytest

from app.http.application import Application
from app.settings import Settings
from storage import Tweets
from tests.http.client import Client

LISTS = [
    "/api/v1/top",
    "/api/v1/tweets",
    "/api/v1/users/ada/tweets",
    "/api/v1/tweet/0000000000000/retweets",
    "/api/v1/tweet/0000000000000/chain",
]
PATHS = {
    "/api/v1/tweet": "POST",
    "/api/v1/retweet": "POST",
    "/api/v1/tweet/0000000000000": "DELETE, GET, HEAD",
    "/api/v1/tweet/0000000000000/chain": "GET, HEAD",
    "/api/v1/tweet/0000000000000/retweets": "GET, HEAD",
    "/api/v1/tweet/0000000000000/rank": "GET, HEAD",
    "/api/v1/tweets": "GET, HEAD",
    "/api/v1/users/ada/tweets": "GET, HEAD",
    "/api/v1/top": "GET, HEAD",
    "/api/v1/openapi.json": "GET, HEAD",
    "/livez": "GET, HEAD",
    "/readyz": "GET, HEAD",
}


METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "FOO"]


@pytest.mark.parametrize("method", [*METHODS, "get", "Get", "head", "post", "delete"])
@pytest.mark.parametrize("path", PATHS)
def test_methods(client: Client, path: str, method: str) -> None:
    """A wrong or unknown method is 405, one in small letters too, and Allow names exactly those that work."""
    reply = client.call(method, path)
    if method in PATHS[path].split(", "):
        assert reply.status != 405
        return
    assert (reply.status, reply.headers["allow"]) == (405, PATHS[path])
    if method != "HEAD":
        assert reply.json()["code"] == "method_not_allowed"
        assert reply.json()["detail"] == f"This path has: {PATHS[path]}."


@pytest.mark.parametrize("path", [path for path, methods in PATHS.items() if "HEAD" in methods])
def test_head(client: Client, path: str) -> None:
    """HEAD has the status and the headers of GET, and no body."""
    head, got = client.call("HEAD", path), client.get(path)
    assert (head.status, head.headers, head.body) == (got.status, got.headers, b"")
    assert head.headers["content-length"] == str(len(got.body))


@pytest.mark.parametrize(
    "path",
    ["/nothing", "/api", "/api/v2/top", "/API/V1/top", "/api/v1//top", "/api/v1/top//",
     "/api/v1/users//tweets",
     "/api/v1/users/a%2Fb/tweets", "/api/v1/users/ada", "/livez/", "/readyz%20", "/api/v1/top%0A",
     "/api/v1/tweet/0000000000000%0A", "/api/v1/tweet/0000000000000/chain%0A", "/api/v1/users/ada/tweets%0A",
     "/api/v1/top%00", "/%C3%A9", "/api/v1/../top", "/." + "x" * 5000],
)  # fmt: skip
@pytest.mark.parametrize("method", ["GET", "POST", "FOO", "get"])
def test_unknown_paths(client: Client, path: str, method: str) -> None:
    """An unknown path is 404 with any method; a newline at the end makes another path."""
    reply = client.call(method, path)
    if path == "/api/v1/tweet/0000000000000%0A" and method != "GET":
        assert reply.status in {404, 405}
        return
    assert (reply.status, reply.json()["status"]) == (404, 404)


def test_a_slash_at_the_end(fresh: Client) -> None:
    """Under /api/v1 a path with a slash at its end is the one without."""
    tweet = fresh.tweet()
    for path in ("/api/v1/top", f"/api/v1/tweet/{tweet['id']}", f"/api/v1/tweet/{tweet['id']}/chain"):
        assert fresh.get(f"{path}/").body == fresh.get(path).body
    assert fresh.post("/api/v1/tweet/", {"user_name": "ada", "title": "T", "body": "B"}).status == 201
    assert fresh.get("/livez/").status == 404


def test_options_of_the_whole_service(client: Client) -> None:
    """`OPTIONS *` names all methods (RFC 9110, section 9.3.7)."""
    reply = client.raw("OPTIONS", "*")
    assert (reply.status, reply.headers["allow"]) == (204, "DELETE, GET, HEAD, OPTIONS, POST")


@pytest.mark.parametrize("path", ["/%FF", "/api/v1/top%C3", "//metrics", "/%2Fmetrics"])
def test_a_path_that_our_server_refuses(client: Client, path: str) -> None:
    """Under another server it leads nowhere: no bytes are dropped, and no slashes, to make it fit."""
    assert client.get(path).status == 404


@pytest.mark.parametrize("path", LISTS[:2])
@pytest.mark.parametrize(
    ("query", "faults"),
    [
        *[(f"limit={text}", {"limit": "out_of_range"}) for text in ("0", "101", "-1", "9" * 5000, "-" + "9" * 5000)],
        *[(f"limit={text}", {"limit": "invalid"}) for text in (
            "", "x", "abc", "1.0", "1e1", "+5", "%205", "5%20", "05", "-05", "-", "1_0", "%D9%A1", "5%00", "5%0A",
            "0%0A",
        )],
        *[(f"cursor={text}", {"cursor": "invalid"}) for text in (
            "", "x", "null", "0" * 12, "0" * 14, "8000000000000", "000000000000u", "000000000000%0A", "%00", "-1",
            "0" * 5000, "-1.0000000000000", "1.0.0000000000000", "1.000000000000", "01.0000000000000",
            "9007199254740993.0000000000000",
            "%D9%A1.0000000000000", "1e3.0000000000000", "nan.0000000000000", ".0000000000000", "1.", ".",
            "1.8000000000000",
        )],
        ("limit=0&cursor=x", {"limit": "out_of_range", "cursor": "invalid"}),
        ("limit=x&cursor=x", {"limit": "invalid", "cursor": "invalid"}),
        ("limit", {"limit": "invalid"}),
        ("limit=5&limit=5", {"limit": "repeated"}),
        ("limit=%FF", {"query": "invalid"}),
        ("%ED%A0%80=1", {"query": "invalid"}),
        ("limit=\xe9", {"limit": "invalid"}),
    ],
)  # fmt: skip
def test_bad_queries(client: Client, path: str, query: str, faults: dict[str, str]) -> None:
    """
    A bad limit or cursor is 422 and named, both at once; so is one given twice, and a query that is not UTF-8.

    A number that is too small or too great is refused otherwise than what is no number.
    """
    reply = client.get(f"{path}?{query}")
    assert (reply.status, reply.json()["code"], reply.faults()) == (422, "invalid_query", faults)


@pytest.mark.parametrize("query", ["", "limit=1", "limit=100", "x=1", "x", "&&", "=", "%zz=1", "limi%74=1", "a=1&a=2"])
@pytest.mark.parametrize("path", LISTS[:2])
def test_good_queries(client: Client, path: str, query: str) -> None:
    """Both ends of the range are in it, and parameters of other names mean nothing."""
    assert client.get(f"{path}?{query}").status == 200


@pytest.mark.parametrize("cursor", ["0.0000000000000", "9007199254740992.7ZZZZZZZZZZZZ"])
def test_cursor_of_no_tweet(client: Client, cursor: str) -> None:
    """A cursor need not name a tweet: it is a place, and the page is what lies below."""
    assert client.get(f"/api/v1/top?cursor={cursor}").status == 200


def test_a_key_posts_once(client: Client) -> None:
    """The same key, user and values give the same tweet with its present count, and count once."""
    root = client.tweet()
    values = {"user_name": "keyed", "retweet": root["id"], "title": "T"}
    first = client.post("/api/v1/retweet", values, HTTP_IDEMPOTENCY_KEY="k1")
    reply = client.retweet(first.json())
    again = client.post("/api/v1/retweet", values, HTTP_IDEMPOTENCY_KEY="k1")

    assert (first.status, again.status) == (201, 201)
    assert "idempotency-replayed" not in first.headers
    assert again.headers["idempotency-replayed"] == "true"
    assert again.headers["location"] == first.headers["location"]
    assert again.json() == first.json() | {"count_retweet": 1}
    assert client.get(f"/api/v1/tweet/{root['id']}").json()["count_retweet"] == 2
    assert reply["id"] != again.json()["id"]


def test_a_key_belongs_to_a_user(client: Client) -> None:
    """The same key of another user, and another key of the same user, post another tweet."""
    values = {"title": "T", "body": "B"}
    ids = {
        client.post("/api/v1/tweet", {**values, "user_name": user}, HTTP_IDEMPOTENCY_KEY=key).json()["id"]
        for user, key in (("u1", "k"), ("u2", "k"), ("u1", "K"))
    }
    assert len(ids) == 3


@pytest.mark.parametrize("change", [{"title": "X"}, {"body": "X"}, {"count_retweet": 1}])
def test_a_key_does_not_fit_other_values(client: Client, change: dict[str, object]) -> None:
    """The same key with other values, or for the other call, is 422."""
    values: dict[str, object] = {"user_name": f"changed.{next(iter(change))}", "title": "T", "body": "B"}
    first = client.post("/api/v1/tweet", values, HTTP_IDEMPOTENCY_KEY="k")
    other = client.post("/api/v1/tweet", values | change, HTTP_IDEMPOTENCY_KEY="k")
    call = client.post("/api/v1/retweet", values | {"retweet": first.json()["id"]}, HTTP_IDEMPOTENCY_KEY="k")

    assert (other.status, other.json()["code"]) == (422, "key_reused")
    assert (call.status, call.json()["code"]) == (422, "key_reused")


def test_a_key_of_a_deleted_tweet(client: Client) -> None:
    """When the tweet that the key had posted was deleted since, the call is 410."""
    values = {"user_name": "regret", "title": "T", "body": "B"}
    first = client.post("/api/v1/tweet", values, HTTP_IDEMPOTENCY_KEY="k")
    client.call("DELETE", first.headers["location"])

    again = client.post("/api/v1/tweet", values, HTTP_IDEMPOTENCY_KEY="k")
    assert (again.status, again.json()["code"]) == (410, "tweet_deleted")


@pytest.mark.parametrize("key", ["", "x" * 256, "\xe9", "a\tb", "\x7f", "a\x00"])
@pytest.mark.parametrize("path", ["/api/v1/tweet", "/api/v1/retweet"])
def test_bad_keys(client: Client, path: str, key: str) -> None:
    """A key is 1 to 255 printable ASCII characters, else 400."""
    reply = client.post(path, {"user_name": "ada"}, HTTP_IDEMPOTENCY_KEY=key)
    assert (reply.status, reply.json()["code"]) == (400, "bad_key")


@pytest.mark.parametrize("key", ["x", "x" * 255, "a b", "~!\"#'", "550e8400-e29b-41d4-a716-446655440000"])
def test_good_keys(client: Client, key: str) -> None:
    """Both ends of the length are in it, and so is every printable character."""
    values = {"user_name": "keys", "title": "T", "body": "B"}
    assert client.post("/api/v1/tweet", values, HTTP_IDEMPOTENCY_KEY=key).status == 201


def test_a_list_links_to_its_next_page(fresh: Client) -> None:
    """Each page names the one after it in a Link header, as in its body, and the last one names none."""
    root = fresh.tweet()
    for _ in range(4):
        fresh.retweet(root)
    tip = fresh.retweet(fresh.retweet(fresh.retweet(root)))
    paths = ["/api/v1/top", f"/api/v1/tweet/{root['id']}/retweets", f"/api/v1/tweet/{tip['id']}/chain"]
    for path in [*paths, "/api/v1/users/bob/tweets"]:
        page = fresh.get(f"{path}?limit=3")
        while page.json()["next"] is not None:
            assert page.headers["link"] == f'<{path}?limit=3&cursor={page.json()["next"]}>; rel="next"'
            page = fresh.get(page.headers["link"].partition(">")[0][1:])
            assert page.json()["tweets"]
        assert "link" not in page.headers


def test_ids_are_read_in_either_case(fresh: Client) -> None:
    """In a path, a body and a cursor; they are always written in capitals."""
    root = fresh.tweet()
    small = root["id"].lower()
    posted = fresh.post("/api/v1/retweet", {"user_name": "bob", "retweet": small}).json()
    assert posted["retweet"] == root["id"]
    assert fresh.get(f"/api/v1/tweet/{small}").json()["id"] == root["id"]
    assert fresh.get(f"/api/v1/tweet/{small}/retweets?cursor={'7zzzzzzzzzzzz'}").json()["tweets"] == [posted]
    assert fresh.get(f"/api/v1/top?cursor=1.{small}").json()["tweets"] == [posted]
    assert fresh.call("DELETE", f"/api/v1/tweet/{small}").status == 204


def test_a_cursor_of_zeros_is_the_end(fresh: Client) -> None:
    """No tweet is older than the smallest id that there can be."""
    root = fresh.tweet()
    fresh.retweet(root)
    for path in (f"/api/v1/tweet/{root['id']}/retweets", "/api/v1/users/ada/tweets"):
        assert fresh.get(f"{path}?cursor=0000000000000").json() == {"tweets": [], "next": None}


def origins(tweets: Tweets, setting: str) -> Client:
    """A client of a service with CORS_ORIGINS."""
    return Client(Application(tweets, Settings.from_environment({"CORS_ORIGINS": setting})))


def test_no_other_site_reads_unless_it_is_named(tweets: Tweets) -> None:
    """A page of an origin in CORS_ORIGINS may read, no other may, and none may write."""
    site = {"HTTP_ORIGIN": "https://a.example"}
    several = "https://b.example, https://a.example"
    settings = {"": None, "https://b.example": None, several: "https://a.example", "*": "*"}
    for setting, allowed in settings.items():
        client = origins(tweets, setting)
        assert client.get("/api/v1/top", **site).headers.get("access-control-allow-origin") == allowed
        # A cache must keep apart also what it keeps of a request without an origin; the client refuses a second Vary.
        varies = [client.get(target).headers.get("vary") for target in ("/api/v1/top", "/nothing")]
        assert varies == (["Origin", "Accept, Origin"] if setting else [None, "Accept"])
        asked: dict[str, Any] = {"HTTP_ACCESS_CONTROL_REQUEST_METHOD": "GET", **site}
        before = client.call("OPTIONS", "/api/v1/top", **asked)
        assert (before.status, before.headers.get("access-control-allow-origin")) == (204 if setting else 405, allowed)
        asked["HTTP_ACCESS_CONTROL_REQUEST_METHOD"] = "DELETE"
        assert client.call("OPTIONS", "/api/v1/tweet/0000000000001", **asked).status == 405
        written = client.post("/api/v1/tweet", {"user_name": "ada", "title": "T", "body": "B"}, **site)
        assert (written.status, written.headers.get("access-control-allow-origin")) == (403, None)
