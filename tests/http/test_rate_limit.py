"""The rate limit: buckets by token or address, their clock, their number, and the setting."""

from types import SimpleNamespace

import pytest

from app import CommandError
from app.http import auth
from app.http.application import Application
from app.http.auth import Limiter
from app.settings import Settings
from storage import Tweets
from storage.tokens import Tokens
from tests.http.client import Client

TWEET = {"user_name": "ada", "title": "Title", "body": "Body"}


def client_with(tweets: Tweets, rate_limit: str) -> Client:
    """A client of a service with that limit."""
    return Client(
        Application(tweets, Settings.from_environment({"RATE_LIMIT": rate_limit, "ALLOW_ANONYMOUS_WRITES": "1"}))
    )


def statuses(client: Client, count: int, **environ: str) -> list[int]:
    """What so many posts are answered."""
    return [client.post("/api/v1/tweet", TWEET, **environ).status for _ in range(count)]


def test_off_by_default(fresh: Client) -> None:
    """Without the setting no client is limited."""
    assert statuses(fresh, 200) == [201] * 200


def test_more_than_that_is_refused(tweets: Tweets) -> None:
    """The writes of a bucket pass, the next is 429 with the seconds to wait, and stores nothing; reading goes on."""
    client = client_with(tweets, "3/hour")
    first = client.tweet()
    assert client.call("DELETE", f"/api/v1/tweet/{first['id']}").status == 204
    client.tweet()
    refused = client.post("/api/v1/retweet", {"user_name": "bob", "retweet": first["id"]})
    assert (refused.status, refused.json()["code"]) == (429, "too_many_writes")
    assert 1100 < int(refused.headers["retry-after"]) <= 1200
    assert len(client.get("/api/v1/top").json()["tweets"]) == 1
    assert [client.get("/api/v1/top").status for _ in range(10)] == [200] * 10


def test_one_bucket_for_each_address(tweets: Tweets) -> None:
    """Each address has its own; what X-Forwarded-For claims changes nothing; an IPv6 network of 64 bits is one."""
    client = client_with(tweets, "2/hour")
    assert statuses(client, 3, REMOTE_ADDR="192.0.2.1") == [201, 201, 429]
    assert statuses(client, 1, REMOTE_ADDR="192.0.2.1", HTTP_X_FORWARDED_FOR="192.0.2.9") == [429]
    assert statuses(client, 1, REMOTE_ADDR="192.0.2.1", HTTP_FORWARDED="for=192.0.2.9") == [429]
    assert statuses(client, 1, REMOTE_ADDR="::ffff:192.0.2.1") == [429]
    assert statuses(client, 1, REMOTE_ADDR="64:ff9b::192.0.2.1") == [429]
    assert statuses(client, 1, REMOTE_ADDR="::ffff:192.0.2.3") == [201]
    assert statuses(client, 3, REMOTE_ADDR="192.0.2.2") == [201, 201, 429]
    assert statuses(client, 2, REMOTE_ADDR="2001:db8::1") == [201, 201]
    assert statuses(client, 1, REMOTE_ADDR="2001:db8::2") == [429]
    assert statuses(client, 1, REMOTE_ADDR="2001:db8:0:1::1") == [201]
    assert statuses(client, 1, REMOTE_ADDR="fe80::1%eth0") == [201]
    assert statuses(client, 1, REMOTE_ADDR="not:an:address") == [201]


def test_a_client_is_told_what_is_left(tweets: Tweets) -> None:
    """Each write says how many are allowed at once, how many of them are left, and when all are again."""
    client = client_with(tweets, "3/hour")
    replies = [client.post("/api/v1/tweet", TWEET) for _ in range(4)]
    assert [reply.status for reply in replies] == [201, 201, 201, 429]
    assert [reply.headers["ratelimit-limit"] for reply in replies] == ["3"] * 4
    assert [reply.headers["ratelimit-remaining"] for reply in replies] == ["2", "1", "0", "0"]
    assert [
        1100 < int(reply.headers["ratelimit-reset"]) - 1200 * at <= 1200 for at, reply in enumerate(replies[:3])
    ] == [True] * 3
    assert "ratelimit-limit" not in client.get("/api/v1/top").headers


def test_times_are_whole_seconds(tweets: Tweets, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a sum of the clock is off by a rounding, no second is added."""
    now = 498.02
    assert (now + 3600.0) - now > 3600
    monkeypatch.setattr(auth, "time", SimpleNamespace(monotonic=lambda: now))
    client = client_with(tweets, "1/hour")
    assert client.post("/api/v1/tweet", TWEET).headers["ratelimit-reset"] == "3600"
    assert client.post("/api/v1/tweet", TWEET).headers["retry-after"] == "3600"


def test_one_bucket_for_each_token(tweets: Tweets) -> None:
    """With tokens each has its own, wherever it comes from; those without a right one share their address's."""
    tokens = Tokens(tweets.database)
    ada, eve = tokens.add("ada"), tokens.add("ada")
    client = client_with(tweets, "2/hour")
    for number, status in enumerate((201, 201, 429)):
        where = {"REMOTE_ADDR": f"192.0.2.{number}", "HTTP_AUTHORIZATION": f"Bearer {ada}"}
        assert statuses(client, 1, **where) == [status]
    assert statuses(client, 2, HTTP_AUTHORIZATION=f"Bearer {eve}") == [201, 201]
    assert statuses(client, 3, REMOTE_ADDR="192.0.2.8", HTTP_AUTHORIZATION="Bearer guess") == [401, 401, 429]
    assert statuses(client, 1, REMOTE_ADDR="192.0.2.8") == [429]


def test_a_bucket_fills_up_evenly() -> None:
    """After the wait that was named there is one more call, no sooner; after the whole time all of them, no more."""
    limiter = Limiter((3, 60))
    assert [limiter.take("a", 100.0) for _ in range(3)] == [0.0] * 3
    assert limiter.take("a", 100.0) == pytest.approx(20)
    assert limiter.take("a", 119.9) == pytest.approx(0.1)
    assert limiter.take("a", 120.0) == 0.0
    assert limiter.take("a", 120.0) == pytest.approx(20)
    assert [limiter.take("a", 1000.0) for _ in range(3)] == [0.0] * 3
    assert limiter.take("a", 1000.0) > 0


@pytest.mark.parametrize("rate", [(1, 1), (7, 1), (3, 60), (1000, 3600), (999_999, 1)])
def test_a_bucket_holds_what_the_rate_says(rate: tuple[int, int]) -> None:
    """At one instant exactly as many calls pass as the rate names, whatever floating point makes of their times."""
    limiter = Limiter(rate)
    calls = min(rate[0], 2000)
    assert not any(limiter.take("a", 12345.678) for _ in range(calls))
    assert rate[0] > calls or limiter.take("a", 12345.678) > 0


def test_buckets_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only so many are kept: the one untouched for longest is forgotten, one in use is not."""
    monkeypatch.setattr(auth, "BUCKETS", 10)
    limiter = Limiter((2, 3600))
    for _ in range(2):
        assert limiter.take("busy", 0.0) == limiter.take("idle", 0.0) == 0.0
    for number in range(9):
        assert limiter.take(f"other {number}", 1800.0) == 0.0
        if number == 4:
            assert limiter.take("busy", 1800.0) == 0.0
    assert len(limiter._full_at) == 10
    assert limiter.take("busy", 1800.0) > 0
    assert [limiter.take("idle", 1800.0) for _ in range(2)] == [0.0, 0.0]  # forgotten, so full


@pytest.mark.parametrize(
    ("text", "rate"),
    [("", None), ("5", (5, 1)), ("5/second", (5, 1)), ("60/minute", (60, 60)), ("9/hour", (9, 3600))],
)
def test_the_setting(text: str, rate: tuple[int, int] | None) -> None:
    """RATE_LIMIT names calls and a time, a second when it names none."""
    assert Settings.from_environment({"RATE_LIMIT": text}).rate_limit == rate


@pytest.mark.parametrize(
    "text", ["0", "-1", "x", "5/day", "5/", "1/2/3", "1.5", "\u0665", "1000000", "/minute", "9" * 99]
)
def test_a_wrong_setting(text: str) -> None:
    """What is no rate stops the start with a sentence that names the setting."""
    with pytest.raises(CommandError, match=r"^RATE_LIMIT must be of the form 60/minute"):
        Settings.from_environment({"RATE_LIMIT": text})


@pytest.mark.parametrize("name", ["ACCESS_LOG", "METRICS", "ALLOW_ANONYMOUS_WRITES", "LOG"])
def test_other_wrong_settings(name: str) -> None:
    """A switch is 0 or 1, and the form of the log one of two."""
    with pytest.raises(CommandError, match=f"^{name} must be"):
        Settings.from_environment({name: "yes"})


@pytest.mark.parametrize(
    "text", ["a.example", "https://a.example/", "https://A.example", "https://a.example;https://b"]
)
def test_a_wrong_origin(text: str) -> None:
    """CORS_ORIGINS is refused where no browser would ever send it so."""
    with pytest.raises(CommandError, match=r"^CORS_ORIGINS must be origins"):
        Settings.from_environment({"CORS_ORIGINS": text})
