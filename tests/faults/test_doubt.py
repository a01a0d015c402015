"""What loads without a complaint and is wrong all the same: after an unclean stop the index is rebuilt."""

import itertools
import os
import re
import signal
import threading
import time
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest

from storage import Tweets, open_storage
from storage.errors import StorageError
from storage.ids import encode
from storage.index.embedded import EmbeddedServer
from storage.index.keys import keys_of
from storage.reconciler import Reconciler
from storage.tools.repair import rebuild_all
from storage.tools.verify import verify
from tests.builders import post, retweet, whole_ranking
from tests.e2e.commands import PATIENCE_S
from tests.faults.services import eventually

_SCORE = re.compile(rb"ZADD\r\n\$\d+\r\ntwitter:\{\w+:0\}:ranking\r\n(?:\$\d+\r\n[A-Z]+\r\n)*\$\d+\r\n([0-9]+)\r\n")


@contextmanager
def retweeting(tweets: Tweets, target: int) -> Iterator[None]:
    """Others retweet *target* without a pause: another process as far as *tweets* can see."""
    stopping = threading.Event()

    def run() -> None:
        while not stopping.is_set():
            retweet(tweets, target)

    threads = [threading.Thread(target=run) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stopping.set()
        for thread in threads:
            thread.join()


def flip_a_bit(folder: Path) -> None:
    """Change one bit of the append-only file: the last digit of a count becomes another digit."""
    (file,) = (folder / "appendonlydir").glob("*.incr.aof")
    content = bytearray(file.read_bytes())
    scores = list(_SCORE.finditer(content))
    content[scores[-1].end(1) - 1] ^= 1
    file.write_bytes(content)


def stop_hard(data_dir: Path, retweets: int) -> int:
    """Post a tweet and so many retweets in a process that is killed with its server; the tweet's id."""
    with open_storage(data_dir) as tweets:
        root = post(tweets).id
    child = os.fork()
    if child == 0:
        tweets = open_storage(data_dir)
        for _ in range(retweets):
            retweet(tweets, root)
        time.sleep(1.5)  # the server writes its file once a second
        assert tweets.server
        os.kill(os.getpid(), signal.SIGSTOP)
    os.waitpid(child, os.WUNTRACED)
    os.kill(int((data_dir / "redis" / "server.lock").read_text()), signal.SIGKILL)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return root


def test_a_rebuild_beside_writers_takes_effect(data_dir: Path, tweets: Tweets, monkeypatch: pytest.MonkeyPatch) -> None:
    """A ranking is replaced although others fold into it meanwhile, and then holds what they folded, too."""
    root, stage = post(tweets), tweets.index.stage
    with open_storage(data_dir, attach=True) as others:

        def stage_slowly(partition: int, token: str, counts: Collection[tuple[int, int]] = ()) -> int:
            staged = stage(partition, token, counts)
            retweet(others, root)
            return staged

        monkeypatch.setattr(tweets.index, "stage", stage_slowly)
        for done in range(1, 4):
            tweets.index._client.zincrby(keys_of(tweets.store.id, 0).ranking, 3, encode(root.id))
            rebuild_all(tweets)
            assert verify(tweets) == []
            assert tweets.get(root.id).result().count_retweet == done


def test_counts_are_compared_while_others_write(
    data_dir: Path, tweets: Tweets, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is written meanwhile is no difference, what is wrong is one, and no writer has to wait for that."""
    root, other = post(tweets), post(tweets)
    with open_storage(data_dir, attach=True) as others, retweeting(others, root.id):
        monkeypatch.setattr(tweets.database, "writing", None)  # the log may not be stopped
        for _ in range(5):
            assert verify(tweets) == []
        tweets.index._client.zincrby(keys_of(tweets.store.id, 0).ranking, 3, encode(root.id))
        tweets.index._client.zincrby(keys_of(tweets.store.id, 0).ranking, 2, encode(other.id))
        wrong = verify(tweets)
        assert [each.tweet_id for each in wrong] == [root.id, other.id]
        assert [(each.in_index or 0) - (each.in_log or 0) for each in wrong] == [3, 2]


def test_a_flipped_bit_is_gone_after_an_unclean_stop(data_dir: Path) -> None:
    """Service and server were killed, and one bit of the file is another: the next start rebuilds the index."""
    root = stop_hard(data_dir, retweets=6)
    flip_a_bit(data_dir / "redis")
    with open_storage(data_dir) as tweets:
        eventually(lambda: tweets.reconciler.rebuilds == 1)
        eventually(lambda: tweets.get(root).result().count_retweet == 6)
        assert verify(tweets) == []


def test_a_flipped_bit_is_gone_when_the_server_comes_back(tmp_path: Path, data_dir: Path) -> None:
    """The server was started again while the service ran, from a file with another bit: the index is rebuilt."""
    folder = tmp_path / "server"
    server = EmbeddedServer(folder)
    with ExitStack() as opened:
        opened.callback(server.stop)
        tweets = opened.enter_context(open_storage(data_dir, redis_url=f"unix://{server.socket}"))
        root = post(tweets)
        for _ in range(6):
            retweet(tweets, root)
        eventually(tweets.reconciler.is_trustworthy)
        server.stop()
        flip_a_bit(folder)
        opened.callback(EmbeddedServer(folder).stop)
        eventually(lambda: tweets.reconciler.rebuilds == 1)
        eventually(lambda: tweets.get(root.id).result().count_retweet == 6)


def test_after_a_clean_stop_nothing_is_rebuilt(data_dir: Path) -> None:
    """The index is trusted if the service ended cleanly, and if it was trusted before."""
    marker = data_dir / "index.trusted"
    with open_storage(data_dir) as tweets:
        eventually(tweets.reconciler.is_trustworthy)
        assert not marker.exists()
    assert marker.exists()
    with open_storage(data_dir) as tweets:
        eventually(tweets.reconciler.is_trustworthy)
        assert not tweets.reconciler.rebuilds
        with open_storage(data_dir, attach=True):
            assert not marker.exists()
    assert marker.exists()


def test_a_restarted_server_of_its_own_is_rebuilt_once(tmp_path: Path, data_dir: Path) -> None:
    """Whichever of its services notices that Redis was restarted, the ranking is rebuilt by one of them."""
    server = EmbeddedServer(tmp_path / "server")
    with ExitStack() as opened:
        url = f"unix://{server.socket}"
        both = [opened.enter_context(open_storage(data_dir, redis_url=url)) for _ in range(2)]
        root = post(both[0])
        for tweets in both:
            eventually(tweets.reconciler.is_trustworthy)
        before = sum(tweets.reconciler.rebuilds for tweets in both)
        server.stop()
        opened.callback(EmbeddedServer(tmp_path / "server").stop)
        for tweets in both:
            eventually(tweets.reconciler.is_trustworthy)
            assert whole_ranking(tweets) == [(0, root.id)]
        assert sum(tweets.reconciler.rebuilds for tweets in both) == before + 1


def test_a_stop_does_not_wait_for_the_rebuild(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A rebuild under way is aborted by a stop, and leaves nothing behind; the next start begins it again."""
    with open_storage(data_dir) as tweets:
        for _ in range(5):
            post(tweets)
    (data_dir / "index.trusted").unlink(missing_ok=True)
    counted = threading.Event()

    def endless(*_: object) -> Iterator[tuple[int, int]]:
        for number in itertools.count(1):
            counted.set()
            yield number, 0

    monkeypatch.setattr("storage.rebuild.count_tweets", endless)  # a rebuild begins with the start
    with open_storage(data_dir) as tweets:
        assert counted.wait(PATIENCE_S)
        assert tweets.top(5).result().tweets, "it is served meanwhile"
        tweets.reconciler.stop()
        assert {b"staging", b"lease"}.isdisjoint(key.rpartition(b":")[2] for key in tweets.index._client.keys("*"))
    assert not (data_dir / "index.trusted").exists()


def test_a_server_that_was_killed_last_leaves_no_trust(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stop right after the server was killed is no clean one, even if nothing had time to notice."""
    with open_storage(data_dir) as tweets:
        eventually(lambda: tweets.reconciler._doubted == set())
        monkeypatch.setattr(Reconciler, "_look_at_servers", lambda _: None)  # nor has it, however slow this machine is
        eventually(lambda: tweets.index._client.info("persistence")["aof_buffer_length"] == 0)  # else it forgets it all
        os.kill(tweets.server.pid, signal.SIGKILL)
        eventually(lambda: is_up_to_date(tweets))
    assert not (data_dir / "index.trusted").exists()


def is_up_to_date(tweets: Tweets) -> bool:
    """Whether the index answers and has all that the log has."""
    with suppress(StorageError):
        tweets.reconciler.catch_up()
        return True
    return False
