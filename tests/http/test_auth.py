"""Who may write: the bearer token in every form, missing, wrong, revoked, another user's and an admin's."""

import hashlib
import hmac
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest

from app.http import auth
from app.http.application import Application
from app.settings import Settings
from storage import Tweets
from storage import tokens as storage_tokens
from storage.errors import StorageError
from storage.sql import schema
from storage.tokens import Token, Tokens
from tests.faults.services import eventually
from tests.http.client import Client, OnLoop, Reply, Row
from tests.http.conftest import SETTINGS

TWEET = {"user_name": "ada", "title": "Title", "body": "Body"}


@dataclass(frozen=True)
class World:
    """A service with two users and an admin, each with a token, and a tweet of each user."""

    client: Client
    tweets: Tweets
    tokens: Tokens
    ada: str
    bob: str
    root: str
    ada_tweet: Row
    bob_tweet: Row

    def post(self, token: str | None, **fields: object) -> Reply:
        """Post as ada, or as *fields* say."""
        return self.client.post("/api/v1/tweet", TWEET | fields, **sent(token))

    def retweet(self, token: str | None, **fields: object) -> Reply:
        """Retweet bob's tweet as ada, or as *fields* say."""
        body = {"user_name": "ada", "retweet": self.bob_tweet["id"], **fields}
        return self.client.post("/api/v1/retweet", body, **sent(token))

    def delete(self, token: str | None, tweet: Row) -> Reply:
        """Delete a tweet."""
        return self.client.call("DELETE", f"/api/v1/tweet/{tweet['id']}", b"", **sent(token))

    def all_writes(self, token: str | None) -> list[Reply]:
        """One of each kind of write, all of them by ada."""
        return [self.post(token), self.retweet(token), self.delete(token, self.ada_tweet)]

    def count(self) -> int:
        """How many tweets there are."""
        return len(self.client.get("/api/v1/top?limit=100").json()["tweets"])


def sent(token: str | None) -> dict[str, Any]:
    """The header of a request with *token*."""
    return {} if token is None else {"HTTP_AUTHORIZATION": f"Bearer {token}"}


@pytest.fixture
def world(tweets: Tweets) -> World:
    """The world, its tokens known to the service."""
    before = Client(Application(tweets, SETTINGS))
    rows = before.tweet("ada"), before.tweet("bob")
    tokens = Tokens(tweets.database)
    ada, bob, root = tokens.add("ada"), tokens.add("bob"), tokens.add("root", admin=True)
    return World(Client(Application(tweets, SETTINGS)), tweets, tokens, ada, bob, root, *rows)


def code_of(reply: Reply) -> tuple[int, str]:
    """Status and code of a refusal."""
    return reply.status, reply.json()["code"]


def test_without_tokens_any_client_writes(fresh: Client) -> None:
    """While there is no token none is needed, and whatever is sent as one means nothing."""
    assert fresh.post("/api/v1/tweet", TWEET).status == 201
    assert fresh.post("/api/v1/tweet", TWEET, HTTP_AUTHORIZATION="Basic eDp5").status == 201
    assert fresh.post("/api/v1/tweet", TWEET | {"count_retweet": 5}, **sent("st_x")).status == 201


ELSEWHERE = [
    {"HTTP_HOST": "tweets.example"},
    {"HTTP_HOST": "attacker.example:5000", "HTTP_ORIGIN": "http://attacker.example:5000"},
    {"HTTP_HOST": "localhost.example"},
    {"HTTP_HOST": ""},
    {"HTTP_ORIGIN": "https://a.example"},
    {"HTTP_ORIGIN": "http://127.0.0.1:81"},
    {"HTTP_ORIGIN": "null"},
    {"HTTP_X_FORWARDED_FOR": "192.0.2.1"},
    {"HTTP_FORWARDED": "for=192.0.2.1"},
    {"HTTP_VIA": "1.1 a"},
    {"HTTP_X_REAL_IP": "192.0.2.1"},
    {"HTTP_X_FORWARDED_PROTO": "https"},
]
"""What a write has that comes through a proxy, or from a page of another site, also by DNS rebinding."""


@pytest.mark.parametrize("environ", ELSEWHERE)
def test_without_tokens_only_this_machine_writes(tweets: Tweets, environ: dict[str, Any]) -> None:
    """Such a write is 403 with what to do, and stores nothing, unless anonymous writes are meant; reading is open."""
    closed = Client(Application(tweets, SETTINGS))
    opened = Client(Application(tweets, Settings.from_environment({"ALLOW_ANONYMOUS_WRITES": "1"})))
    refused = closed.post("/api/v1/tweet", TWEET, **environ)
    assert code_of(refused) == (403, "no_token_exists")
    assert "simple-twitter token add USER" in refused.json()["detail"]
    assert code_of(closed.call("DELETE", "/api/v1/tweet/0000000000001", **environ)) == (403, "no_token_exists")
    assert closed.get("/api/v1/top", **environ).json()["tweets"] == []
    assert opened.post("/api/v1/tweet", TWEET, **environ).status == 201

    token = Tokens(tweets.database).add("ada")
    assert Client(Application(tweets, SETTINGS)).post("/api/v1/tweet", TWEET, **environ, **sent(token)).status == 201


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "127.0.0.1:5000", "[::1]:5000", "localhost", "LOCALHOST:81", "192.0.2.7"]
)
def test_this_machine_by_its_address(fresh: Client, host: str) -> None:
    """An address, or the name of the machine itself, with or without the Origin of its own page."""
    assert fresh.post("/api/v1/tweet", TWEET, HTTP_HOST=host).status == 201
    assert fresh.post("/api/v1/tweet", TWEET, HTTP_HOST=host, HTTP_ORIGIN=f"http://{host}").status == 201


def test_a_write_without_a_token(world: World) -> None:
    """From the first token on a write without one is 401, says how to send it, and stores nothing."""
    for reply in world.all_writes(None):
        assert code_of(reply) == (401, "token_missing")
        assert reply.headers["www-authenticate"] == 'Bearer realm="simple-twitter"'
        assert reply.headers["cache-control"] == "no-store"
    assert world.count() == 2


@pytest.mark.parametrize(
    "spoil",
    [
        lambda _: "x",
        lambda _: "st_000000000000_" + 43 * "A",
        lambda token: token[:-1] + ("A" if token[-1] != "A" else "B"),
        lambda token: token[:-1],
        lambda token: token + "A",
        lambda token: token.upper(),
        lambda token: token + "\xff",
        lambda token: token.replace("st_", "ST_"),
        lambda token: f"{token} {token}",
        lambda token: f"{token}, Bearer {token}",
        lambda token: "A" * 30_000 + token,
    ],
)
def test_a_wrong_token(world: World, spoil: Callable[[str], str]) -> None:
    """A token that is unknown, cut, longer, given twice or no token at all is 401, and stores nothing."""
    for reply in world.all_writes(spoil(world.ada)):
        assert code_of(reply) == (401, "token_unknown")
        assert reply.headers["www-authenticate"] == 'Bearer realm="simple-twitter", error="invalid_token"'
    assert world.count() == 2


@pytest.mark.parametrize("header", ["bearer {}", "BEARER  {}", "Bearer {} "])
def test_the_scheme_is_not_case_sensitive(world: World, header: str) -> None:
    """The name of the scheme may be written in any case (RFC 9110, section 11.1)."""
    assert world.client.post("/api/v1/tweet", TWEET, HTTP_AUTHORIZATION=header.format(world.ada)).status == 201


@pytest.mark.parametrize("header", ["{}", "Basic {}", "Bearer{}", "Bearer", "Bearer ", "token {}", "\tBearer {}"])
def test_another_scheme(world: World, header: str) -> None:
    """A right token in another form than `Bearer TOKEN` is 401."""
    reply = world.client.post("/api/v1/tweet", TWEET, HTTP_AUTHORIZATION=header.format(world.ada))
    assert code_of(reply) == (401, "token_unknown")


def test_a_token_only_in_the_header(world: World) -> None:
    """A token in the query or in the body is none: a query is written to logs."""
    assert world.client.post(f"/api/v1/tweet?access_token={world.ada}", TWEET).status == 401
    assert world.client.post("/api/v1/tweet", TWEET | {"access_token": world.ada}).status == 401


def test_one_writes_as_oneself(world: World) -> None:
    """A token posts, retweets and deletes as its own user."""
    posted, retweeted, deleted = world.all_writes(world.ada)
    assert (posted.status, retweeted.status, deleted.status) == (201, 201, 204)
    assert posted.json()["user_name"] == retweeted.json()["user_name"] == "ada"


def test_one_does_not_write_as_another(world: World) -> None:
    """Posting or retweeting as another user, or deleting another's tweet, is 403 and changes nothing."""
    for token in (world.bob, world.root):
        assert code_of(world.post(token)) == code_of(world.retweet(token)) == (403, "wrong_user")
    assert code_of(world.post(world.ada, user_name="Ada")) == (403, "wrong_user")
    assert code_of(world.delete(world.bob, world.ada_tweet)) == (403, "wrong_user")
    assert world.count() == 2


def test_an_admin_deletes_any_tweet(world: World) -> None:
    """An admin's token deletes what others posted."""
    assert world.delete(world.root, world.ada_tweet).status == 204
    assert world.delete(world.root, world.bob_tweet).status == 204


def test_only_an_admin_sets_a_count(world: World) -> None:
    """A count to start with is for an admin's token; none, null and 0 are no such count."""
    for write in (world.post, world.retweet):
        assert code_of(write(world.ada, count_retweet=1)) == (403, "admin_only")
        assert write(world.ada, count_retweet=0).status == write(world.ada, count_retweet=None).status == 201
        assert write(world.root, user_name="root", count_retweet=7).json()["count_retweet"] == 7


def test_deleting_what_is_not_there(world: World) -> None:
    """With a token too, deleting nothing is 404, and deleting twice 410."""
    world.delete(world.ada, world.ada_tweet)
    for token in (world.ada, world.bob, world.root):
        assert code_of(world.delete(token, world.ada_tweet)) == (410, "tweet_deleted")
        assert code_of(world.delete(token, {"id": "0000000000001"})) == (404, "tweet_not_found")
        assert code_of(world.delete(token, {"id": "no-id"})) == (404, "tweet_not_found")


def test_the_token_is_asked_before_the_body(world: World) -> None:
    """Who has no token learns nothing about a body, however wrong it is; who has one, all of it."""
    for body in (b"{", b"[]", b"x" * 140_000):
        assert world.client.post("/api/v1/tweet", body).status == 401
        assert world.client.post("/api/v1/tweet", body, **sent(world.ada)).status in {400, 413, 422}


def test_reading_needs_no_token(world: World) -> None:
    """Whatever is sent with it, reading is open."""
    for path in ("/", "/api/v1/top", f"/api/v1/tweet/{world.ada_tweet['id']}", "/api/v1/users/ada/tweets", "/readyz"):
        assert world.client.get(path).status == world.client.get(path, **sent("wrong")).status == 200


def test_a_replay_is_ones_own(world: World) -> None:
    """The same Idempotency-Key of another user's token neither shows nor blocks the first one's tweet."""
    key = {"HTTP_IDEMPOTENCY_KEY": "k"}
    first = world.client.post("/api/v1/tweet", TWEET | {"body": "mine"}, **sent(world.ada), **key)
    again = world.client.post("/api/v1/tweet", TWEET | {"body": "mine"}, **sent(world.ada), **key)
    assert (again.json(), again.headers["idempotency-replayed"]) == (first.json(), "true")

    for token in (world.bob, world.root):
        stolen = world.client.post("/api/v1/tweet", TWEET | {"body": "mine"}, **sent(token), **key)
        assert code_of(stolen) == (403, "wrong_user")
        assert b"mine" not in stolen.body
    own = world.client.post("/api/v1/tweet", {**TWEET, "user_name": "bob"}, **sent(world.bob), **key)
    assert (own.status, "idempotency-replayed" in own.headers) == (201, False)


def test_a_revoked_token(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A revoked token is 401, those of others go on; revoking all of them does not open the service again."""
    monkeypatch.setattr(auth, "READ_EVERY_S", 0.0)
    assert world.post(world.ada).status == 201
    by_user = {token.user_name: token.id for token in world.tokens.list_all()}
    world.tokens.revoke(by_user["ada"])
    assert [code_of(reply) for reply in world.all_writes(world.ada)] == [(401, "token_unknown")] * 3
    assert world.post(world.bob, user_name="bob").status == 201

    for user in ("bob", "root"):
        world.tokens.revoke(by_user[user])
    assert code_of(world.post(None)) == (401, "token_missing")
    with pytest.raises(StorageError):
        world.tokens.revoke(by_user["ada"])
    with pytest.raises(StorageError):
        world.tokens.revoke("no-such-id")


def test_tokens_are_stored_as_digests(world: World, tweets: Tweets) -> None:
    """The database has the SHA-256 of a token and no part of its secret; each has 256 random bits of its own."""
    with tweets.database.reading() as connection:
        rows = connection.execute(schema.tokens.select()).all()
    assert {row.digest for row in rows} == {
        hashlib.sha256(token.encode()).digest() for token in (world.ada, world.bob, world.root)
    }
    assert not any(token[16:24] in str(rows) for token in (world.ada, world.bob, world.root))
    made = [world.tokens.add("eve") for _ in range(50)]
    assert len({token[16:] for token in made}) == 50
    assert {len(token) for token in made} == {16 + 43}  # 43 characters of base64 are 32 bytes


def test_the_list_is_read_once_a_second(world: World, tweets: Tweets, monkeypatch: pytest.MonkeyPatch) -> None:
    """The list is read but once for all who ask at once, and looking up a token does not read it again."""
    tokens = Tokens(tweets.database)
    reads: list[int] = []
    read = tokens.list_all

    def counted() -> list[Token]:
        reads.append(1)
        time.sleep(0.1)  # meanwhile the others have come
        return read()

    monkeypatch.setattr(tokens, "list_all", counted)

    crowd = [threading.Thread(target=tokens.find, args=(world.ada,)) for _ in range(8)]
    for one in crowd:
        one.start()
    for one in crowd:
        one.join()
    assert tokens.find(world.ada) is not None
    assert len(reads) == 1


def on_loop(world: World, token: str | None) -> Reply:
    """The response to a post as our server asks for it: nothing may wait before it is deferred."""
    return Client(OnLoop(world.client.app)).post("/api/v1/tweet", TWEET, **sent(token))


def test_the_event_loop_never_reads_the_list(world: World) -> None:
    """There it is the list read last, by the clock of the server."""
    app = Application(world.tweets, SETTINGS)
    world = replace(world, client=Client(app))
    assert on_loop(world, "wrong").status == 401
    late = world.tokens.add("ada")
    assert code_of(on_loop(world, late)) == (401, "token_unknown")
    app.tick()
    eventually(lambda: on_loop(world, late).status == 201)


def test_a_list_that_cannot_be_read_any_more_lets_nothing_in(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a token nor the lack of one is believed for longer than five seconds."""
    world = replace(world, client=Client(Application(world.tweets, SETTINGS)))
    assert code_of(on_loop(world, None)) == (401, "token_missing")
    monkeypatch.setattr(auth, "OLDEST_S", 0.0)
    for token in (None, "wrong", world.ada):
        assert code_of(on_loop(world, token)) == (503, "store_unavailable")


def test_comparing_takes_the_same_time(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Digests of 32 bytes are compared in constant time, also when there is no token of that id."""
    compared: list[tuple[bytes, bytes]] = []

    def noted(one: bytes, other: bytes) -> bool:
        compared.append((one, other))
        return hmac.compare_digest(one, other)

    monkeypatch.setattr(storage_tokens, "compare_digest", noted)
    assert world.tokens.find(world.ada)
    assert not world.tokens.find(world.ada[:-1] + "~")
    assert not world.tokens.find("st_000000000000_" + 43 * "A")
    assert [(len(one), len(other)) for one, other in compared] == [(32, 32)] * 3
