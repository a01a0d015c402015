"""Whatever Redis is, does or refuses: the service starts, takes writes, and says once what is wrong and what to do."""

import logging
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Self

import pytest
from redis import Redis

from storage import Tweets, open_storage
from storage.errors import CannotOpen, IndexUnavailable
from storage.index.embedded import EmbeddedServer, find_server
from storage.index.keys import keys_of
from storage.index.opening import open_index
from storage.records import Place
from storage.tools.health import get_health
from storage.tools.repair import rebuild_all
from storage.tools.verify import verify
from tests.builders import post, retweet, whole_ranking
from tests.faults.services import eventually

ACL = (
    "~twitter:* -@all +get +set +unlink +exists +rename +persist +pexpire +pttl +zadd +zrem +zcard +zscore +zmscore "
    "+zcount +zrevrange +zrevrank +zscan +eval +evalsha +info"
)
"""The exact permissions that docs/operations.md lists."""


class Server:
    """A valkey server with any options, at a port of its own, for as long as the block lasts."""

    def __init__(self, folder: Path, *options: str) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"redis://127.0.0.1:{self.port}"
        folder.mkdir(exist_ok=True)
        words = [find_server(), "--port", str(self.port), "--dir", str(folder), "--save", "", *options]
        self._process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.client: Any = Redis(port=self.port)
        eventually(self._answers)

    def _answers(self) -> bool:
        with socket.socket() as one:
            return one.connect_ex(("127.0.0.1", self.port)) == 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.client.close()
        self._process.kill()
        self._process.wait()


@contextmanager
def service(data_dir: Path, url: str) -> Iterator[Tweets]:
    """Storage with two tweets, then opened on *url*."""
    with open_storage(data_dir) as before:
        retweet(before, post(before))
    with open_storage(data_dir, redis_url=url) as tweets:
        yield tweets


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What was logged of the index."""
    return [each.getMessage() for each in caplog.records if each.name == "storage.reconciler" and each.levelno > 20]


def fill(client: Any) -> None:
    """Take all memory that the server may have."""
    client.config_set("maxmemory-policy", "noeviction")
    client.set("ballast", b"x" * 1_000_000)
    client.config_set("maxmemory", "1mb")


def follow_nobody(client: Any) -> None:
    """Make the server a replica of one that is not there."""
    client.config_set("replica-serve-stale-data", "yes")
    client.replicaof("127.0.0.1", "1")


REFUSALS: dict[str, tuple[Callable[[Any], object], Callable[[Any], object], str]] = {
    "full": (fill, lambda client: client.config_set("maxmemory", "0"), "give Redis more memory"),
    "replica": (follow_nobody, lambda client: client.replicaof("NO", "ONE"), "name the primary in REDIS_URL"),
    "lonely": (
        lambda client: client.config_set("min-replicas-to-write", "1"),
        lambda client: client.config_set("min-replicas-to-write", "0"),
        "start its replicas",
    ),
}


@pytest.mark.parametrize("refusal", REFUSALS)
def test_a_redis_that_refuses_writes(
    data_dir: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, refusal: str
) -> None:
    """The service starts, stores writes, tries seldom and warns once, with cause and remedy; then all is well."""
    refuse, allow, remedy = REFUSALS[refusal]
    caplog.set_level(logging.INFO)
    with Server(tmp_path / "server") as server:
        refuse(server.client)
        with service(data_dir, server.url) as tweets:
            eventually(lambda: warnings(caplog))
            processor_s = time.process_time()
            for _ in range(20):
                post(tweets)
                time.sleep(0.05)
            assert time.process_time() - processor_s < 0.8, "it keeps the processor busy"
            with pytest.raises(IndexUnavailable):
                tweets.top(10).result()
            (warned,) = warnings(caplog)
            assert remedy in warned
            allow(server.client)
            tweets.reconciler.catch_up()
            assert len(whole_ranking(tweets)) == 22
            assert verify(tweets) == []


@pytest.mark.parametrize("command", ["UNLINK", "EVALSHA", "ZADD"])
def test_a_redis_without_a_command(
    data_dir: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, command: str
) -> None:
    """Where a command is disabled the service starts and stores, and the warning says why there is no ranking."""
    with (
        Server(tmp_path / "server", "--rename-command", command, "") as server,
        service(data_dir, server.url) as tweets,
    ):
        post(tweets)
        eventually(lambda: warnings(caplog))
        assert "unknown" in warnings(caplog)[0].lower()
        assert "enable the command again" in warnings(caplog)[0]
        with pytest.raises(IndexUnavailable):
            tweets.top(10).result()


def test_no_redis_at_all(data_dir: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A service starts while its Redis is away, stores writes, counts by the log; when Redis comes, it ranks."""
    with Server(tmp_path / "server") as server:
        port = server.port
    with service(data_dir, f"redis://127.0.0.1:{port}") as tweets:
        root = post(tweets)
        retweet(tweets, root)
        assert tweets.get(root.id).result().count_retweet == 1
        assert not get_health(tweets).index
        eventually(lambda: warnings(caplog))
        assert "start it, or correct REDIS_URL" in warnings(caplog)[0]


def test_a_redis_that_hangs_does_not_hold_the_start(data_dir: Path) -> None:
    """A server that accepts connections and never answers: storage is open after a moment, and stores."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        began = time.monotonic()
        with service(data_dir, f"redis://127.0.0.1:{silent.getsockname()[1]}") as tweets:
            post(tweets)
            assert time.monotonic() - began < 60


@pytest.mark.usefixtures("refusals_are_waited_for")
def test_a_wrong_password_refuses_the_start(data_dir: Path, tmp_path: Path) -> None:
    """What can never work is one sentence, with the server's own words and without the password."""
    with Server(tmp_path / "server", "--requirepass", "secret") as server:
        for password in ("", ":wrong@"):
            with pytest.raises(CannotOpen, match=r"refuses the password.*[^.]\); correct it\.$") as refused:
                open_index(server.url.replace("://", f"://{password}"), "store")
            assert "wrong@" not in str(refused.value)
        with service(data_dir, server.url.replace("://", "://:secret@")) as tweets:
            tweets.reconciler.catch_up()


@pytest.mark.parametrize(
    "url",
    [
        *("redis+sentinel://127.0.0.1/primary", "sentinel://127.0.0.1", "valkey://127.0.0.1", "redis:/x", "nonsense"),
        *("redis://127.0.0.1/abc", "redis://127.0.0.1:99999", "redis://127.0.0.1?colour=red", "redis://127.0.0.1?db=x"),
        *("redis://127.0.0.1?decode_responses=1", "redis://127.0.0.1?protocol=9", "rediss://127.0.0.1?ssl_cert_reqs=x"),
        *("redis://app:p@ss/w:rd@127.0.0.1", "redis://127.0.0.1?socket_timeout=0", "redis+cluster://127.0.0.1?max=1"),
    ],
)
def test_an_unfit_url_is_one_sentence(url: str) -> None:
    """A URL that cannot be used is refused in one sentence that names the setting, and no part of a password."""
    with pytest.raises(CannotOpen, match=r"^REDIS_URL [^\n]*\.$") as refused:
        open_index(url, "store")
    assert "w:rd" not in str(refused.value)


def test_the_documented_permissions_suffice(data_dir: Path, tmp_path: Path) -> None:
    """A user with exactly the listed permissions can do all that the service does, and each of them is used."""
    page = (Path(__file__).parents[2] / "docs" / "operations.md").read_text()
    assert ACL in " ".join(page.split())
    with Server(tmp_path / "server") as server:
        server.client.execute_command("ACL", "SETUSER", "app", "on", ">secret", *ACL.split())
        server.client.config_resetstat()
        url = server.url.replace("://", "://app:secret@")
        for _ in range(2):
            with service(data_dir, url) as tweets:
                tweets.reconciler.catch_up()  # else a rebuild counts what comes now, and nothing is folded
                root = post(tweets)
                tweets.delete(retweet(tweets, root).id).result()
                tweets.reconciler.catch_up()
                tweets.rank(root.id)
                whole_ranking(tweets, 1)
                tweets.top(1, Place(7, root.id)).result()  # where no tweet stands
                rebuild_all(tweets)
                assert len(list(tweets.index.scan(0))) == len(whole_ranking(tweets))
                tweets.index._client.zrem(keys_of(tweets.store.id, 0).ranking, "x")
                assert verify(tweets) == []
                eventually(tweets.reconciler.is_trustworthy)
        used = {name.partition("_")[2] for name in server.client.info("commandstats")}
        granted = {word[1:] for word in ACL.split() if word.startswith("+")}
        others = {"acl|setuser", "config|resetstat", "info", "hello", "auth", "client|setinfo", "client|setname"}
        assert used - others <= granted
        assert granted - {"eval"} <= used | {"info"}


def test_two_databases_on_one_redis_coexist(tmp_path: Path) -> None:
    """Two services with databases of their own on one Redis do not touch each other's ranking."""
    with Server(tmp_path / "server") as server, ExitStack() as opened:
        both = [opened.enter_context(open_storage(tmp_path / name, redis_url=server.url)) for name in ("one", "two")]
        roots = [post(tweets) for tweets in both]
        for tweets in both:
            tweets.reconciler.catch_up()
        before = [tweets.reconciler.rebuilds for tweets in both]
        for tweets, root in zip(both, roots, strict=True):
            retweet(tweets, root)
            tweets.reconciler.catch_up()
            assert whole_ranking(tweets)[0] == (1, root.id)
        time.sleep(1.5)  # a tick of each
        assert [tweets.reconciler.rebuilds for tweets in both] == before
        assert all(verify(tweets) == [] for tweets in both)


def test_a_rebuild_removes_what_the_old_version_left(data_dir: Path, tmp_path: Path) -> None:
    """The keys of version 0.1 go if they were this database's; those of another database stay."""
    with Server(tmp_path / "server") as server, service(data_dir, server.url) as tweets:
        client = server.client
        for name in ("ranking", "by_id"):
            client.zadd(f"twitter:{{0}}:{name}", {"x": 1})
        client.set("twitter:{0}:position", "another 5 5")
        rebuild_all(tweets)
        assert client.exists("twitter:{0}:ranking")
        client.set("twitter:{0}:position", f"+1 {tweets.store.id} 5 5")
        rebuild_all(tweets)
        assert not [name for name in client.keys("*") if b"{0}" in name]


@pytest.mark.parametrize("policy", ["allkeys-lru", "volatile-lru", "noeviction"])
def test_an_index_that_does_not_fit(
    data_dir: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, policy: str
) -> None:
    """Whatever the policy: writes go on, attempts get seldom, the log says what to set, and more memory heals it."""
    with Server(tmp_path / "server") as server, service(data_dir, server.url) as tweets:
        tweets.reconciler.catch_up()
        root = post(tweets).id
        for _ in range(300):
            retweet(tweets, root)
        used = server.client.info("memory")["used_memory"]
        server.client.flushall()
        server.client.config_set("maxmemory-policy", policy)
        server.client.config_set("maxmemory", used - 20_000 if policy != "noeviction" else used // 2)
        caplog.clear()
        time.sleep(1.2)
        rebuilds, processor_s = tweets.reconciler.rebuilds, time.process_time()
        for _ in range(40):
            retweet(tweets, root)
            time.sleep(0.05)
        assert time.process_time() - processor_s < 1.6, "it keeps the processor busy"
        assert tweets.reconciler.rebuilds - rebuilds < 40
        assert len(warnings(caplog)) < 20
        server.client.config_set("maxmemory", "0")
        tweets.reconciler.catch_up()
        assert whole_ranking(tweets)[0] == (340, root)
        assert verify(tweets) == []


def test_a_head_that_disagrees_is_mended_by_a_rebuild(tweets: Tweets, caplog: pytest.LogCaptureFixture) -> None:
    """A head that was changed by hand: no loop, one warning that names the command, which mends it."""
    caplog.set_level(logging.INFO)
    for _ in range(5):
        post(tweets)
    with tweets.database.writing() as connection:
        connection.exec_driver_sql("UPDATE heads SET live = live + 1")
    eventually(lambda: warnings(caplog))
    counted = tweets.reconciler.rebuilds
    time.sleep(2)
    assert tweets.reconciler.rebuilds == counted
    (warned,) = warnings(caplog)
    assert "`simple-twitter rebuild`" in warned
    rebuild_all(tweets)
    assert len(whole_ranking(tweets)) == 5
    assert verify(tweets) == []


def test_an_embedded_server_that_loads_does_not_hold_the_start(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Storage is open while the embedded server still loads its file; the ranking follows when it has."""
    with open_storage(data_dir) as tweets:
        root = post(tweets)
    start, held = EmbeddedServer._start, [True]

    def start_late(server: EmbeddedServer) -> Any:
        while held:
            time.sleep(0.01)
        return start(server)

    monkeypatch.setattr("storage.EMBEDDED_STARTS_WITHIN_S", 0.1)
    monkeypatch.setattr(EmbeddedServer, "_start", start_late)
    release = threading.Timer(20, held.clear)
    release.start()
    with open_storage(data_dir) as tweets:
        assert held
        release.cancel()
        retweet(tweets, root)
        assert tweets.get(root.id).result().count_retweet == 1
        held.clear()
        eventually(lambda: get_health(tweets).lag == 0)
        assert whole_ranking(tweets)[0] == (1, root.id)
