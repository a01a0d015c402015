"""The ranking: its order, its pages, and what is said of it when Redis is away."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from app.http.application import Application
from storage import open_storage
from storage.index.embedded import EmbeddedServer
from tests.http.client import Client, Row
from tests.http.conftest import SETTINGS


def ranked(client: Client, query: str = "") -> list[tuple[str, int]]:
    """Id and count of the tweets in the ranking."""
    return [(row["id"], row["count_retweet"]) for row in client.get(f"/api/v1/top{query}").json()["tweets"]]


def test_empty(fresh: Client) -> None:
    """Without tweets the ranking is an empty page."""
    assert fresh.get("/api/v1/top").json() == {"tweets": [], "next": None}


def test_order(fresh: Client) -> None:
    """The ranking falls by count, bases included, and of equal counts the newer tweet comes first."""
    older, newer, based = fresh.tweet(), fresh.tweet(), fresh.tweet(count_retweet=2)
    last = fresh.retweet(older)
    other = fresh.retweet(newer)

    expected = [(based, 2), (newer, 1), (older, 1), (other, 0), (last, 0)]
    assert ranked(fresh) == [(row["id"], count) for row, count in expected]
    for rank, (row, count) in enumerate(expected, start=1):
        reply = fresh.get(f"/api/v1/tweet/{row['id']}/rank")
        assert reply.json() == {"rank": rank, "count_retweet": count, "total": 5}

    fresh.call("DELETE", f"/api/v1/tweet/{last['id']}")
    assert ranked(fresh) == [(row["id"], count) for row, count in ((based, 2), (newer, 1), (other, 0), (older, 0))]


def test_rows_are_whole_tweets(fresh: Client) -> None:
    """A tweet in the ranking is the same seven keys as elsewhere."""
    tweet = fresh.retweet(fresh.tweet(), count_retweet=9)

    assert fresh.get("/api/v1/top?limit=1").json()["tweets"] == [tweet]


@pytest.mark.parametrize("limit", [1, 2, 4, 11, 100])
def test_pages(fresh: Client, limit: int) -> None:
    """Pages follow each other without a gap or a repetition, among ties too; the last one's `next` is null."""
    rows = [fresh.tweet(count_retweet=number // 4) for number in range(11)]
    expected = [row["id"] for row in sorted(rows, key=lambda row: (row["count_retweet"], row["id"]), reverse=True)]

    assert fresh.pages("/api/v1/top", limit) == [expected[start : start + limit] for start in range(0, 11, limit)]


def test_ten_unless_asked(fresh: Client) -> None:
    """Without a limit there are ten, and `next` is count and id of the last."""
    for _ in range(11):
        fresh.tweet(count_retweet=7)

    page = fresh.get("/api/v1/top").json()
    assert len(page["tweets"]) == 10
    assert page["next"] == f"7.{page['tweets'][-1]['id']}"


def test_etag(fresh: Client) -> None:
    """The same ranking has the same ETag and is not sent again; another one is."""
    root = fresh.tweet()
    first = fresh.get("/api/v1/top")
    same = fresh.get("/api/v1/top", HTTP_IF_NONE_MATCH=first.headers["etag"])
    fresh.retweet(root)
    other = fresh.get("/api/v1/top", HTTP_IF_NONE_MATCH=first.headers["etag"])

    assert (same.status, same.body, same.headers["etag"]) == (304, b"", first.headers["etag"])
    assert (other.status, other.headers["etag"] == first.headers["etag"]) == (200, False)
    assert "stale" not in first.headers
    assert "stale" not in first.json()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[EmbeddedServer]:
    """A server of the index that a test may stop."""
    server = EmbeddedServer(tmp_path / "redis")
    try:
        yield server
    finally:
        server.stop()


def test_without_redis(data_dir: Path, server: EmbeddedServer) -> None:
    """With Redis away a known ranking is shown and said to be stale, an unknown one is 503; writes are still 201."""
    with open_storage(data_dir, redis_url=f"unix://{server.socket}") as tweets:
        client = Client(Application(tweets, SETTINGS))
        root: Row = client.tweet()
        known = client.get("/api/v1/top")
        server.stop()

        assert client.retweet(root)["retweet"] == root["id"]
        stale = client.get("/api/v1/top")
        assert (stale.status, stale.headers["stale"], stale.json()["stale"]) == (200, "true", True)
        assert stale.headers["etag"] != known.headers["etag"]
        again = client.get("/api/v1/top", HTTP_IF_NONE_MATCH=stale.headers["etag"])
        assert (again.status, again.headers["stale"]) == (304, "true")

        unknown = client.get("/api/v1/top?limit=100")
        assert (unknown.status, unknown.json()["code"]) == (503, "index_unavailable")
        assert unknown.headers["retry-after"].isdigit()

        assert client.get("/livez").status == 200
        ready = client.get("/readyz")
        assert (ready.status, ready.json()["code"]) == (503, "not_ready")
        assert (ready.json()["store"], ready.json()["index"], ready.json()["lag"]) == (True, False, None)
        assert ready.headers["retry-after"].isdigit()
