"""The index goes away, comes back older or other: writes go on, and all is right again by itself."""

import os
import shutil
import signal
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from storage import Tweets, open_storage
from storage.errors import CannotOpen, IndexUnavailable
from storage.ids import encode
from storage.index.embedded import EmbeddedServer
from storage.index.keys import keys_of
from storage.index.ranking import RankingIndex
from storage.records import NewTweet, Place
from storage.tools.health import get_health
from storage.tools.repair import rebuild_all
from storage.tools.verify import verify
from tests.builders import post, retweet, whole_ranking
from tests.faults.services import eventually, is_alive


def is_exact(tweets: Tweets) -> bool:
    """Whether the index answers and equals the log."""
    try:
        return verify(tweets) == []
    except IndexUnavailable:
        return False


def pid_of(tweets: Tweets) -> int:
    """The embedded server's process."""
    assert tweets.server
    pid: int = tweets.server.pid
    return pid


def test_killed_server_comes_back_by_itself(tweets: Tweets) -> None:
    """A killed server is started again at once; every write meanwhile is stored, and counts."""
    root = post(tweets)
    for _ in range(5):
        eventually(lambda: is_alive(pid_of(tweets)))
        os.kill(pid_of(tweets), signal.SIGKILL)
        for _ in range(5):
            retweet(tweets, root)
    eventually(lambda: is_exact(tweets))
    assert tweets.get(root.id).result().count_retweet == 25


def test_a_server_that_cannot_be_started_is_tried_again(data_dir: Path, tweets: Tweets) -> None:
    """A server that dies while its folder cannot be written is started once it can be."""
    root, log = post(tweets), data_dir / "redis" / "server.log"
    log.unlink()
    log.mkdir()
    os.kill(pid_of(tweets), signal.SIGKILL)
    eventually(lambda: not is_alive(pid_of(tweets)) and get_health(tweets).index is False)
    retweet(tweets, root)
    log.rmdir()
    eventually(lambda: is_exact(tweets))
    assert tweets.get(root.id).result().count_retweet == 1


def test_hanging_server_does_not_stop_writes(tweets: Tweets) -> None:
    """While the server hangs, writes are stored, a count is taken from the log, the ranking says that it is stale."""
    root = post(tweets)
    known = tweets.top(10).result().tweets
    os.kill(pid_of(tweets), signal.SIGSTOP)
    try:
        for _ in range(20):
            retweet(tweets, root)
        assert tweets.get(root.id).result().count_retweet == 20
        ranking = tweets.top(10).result()
        assert ranking.stale
        assert ranking.tweets == known
        with pytest.raises(IndexUnavailable):
            tweets.top(10, after=Place(5, 0)).result()
        with pytest.raises(IndexUnavailable):
            tweets.rank(root.id)
        assert get_health(tweets).index is False
    finally:
        os.kill(pid_of(tweets), signal.SIGCONT)
    eventually(lambda: is_exact(tweets))
    assert tweets.rank(root.id).count_retweet == 20
    assert not tweets.top(10).result().stale


def test_a_stale_ranking_leaves_out_who_was_deleted(tweets: Tweets) -> None:
    """While the server hangs, a deleted tweet is not shown any more, though the ranking is an older one."""
    root, gone, last = post(tweets, base=3), post(tweets, base=2), post(tweets, base=1)
    assert len(tweets.top(10).result().tweets) == 3
    os.kill(pid_of(tweets), signal.SIGSTOP)
    try:
        tweets.delete(gone.id).result()
        ranking = tweets.top(10).result()
        assert (ranking.stale, [tweet.id for tweet in ranking.tweets]) == (True, [root.id, last.id])
    finally:
        os.kill(pid_of(tweets), signal.SIGCONT)


def test_a_hanging_server_is_waited_for_once(tweets: Tweets, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once one client has waited in vain, none of the others asks it; the reconciler alone looks whether it is back."""
    root, ask = post(tweets), RankingIndex._ask
    asked: set[str] = set()
    assert len(tweets.top(10).result().tweets) == 1

    def noted(index: RankingIndex, read: Any, questions: Sequence[Any]) -> Any:
        asked.update({threading.current_thread().name} if questions else ())
        return ask(index, read, questions)

    os.kill(pid_of(tweets), signal.SIGSTOP)
    try:
        retweet(tweets, root)
        assert tweets.reconciler.is_unavailable(0)
        monkeypatch.setattr(RankingIndex, "_ask", noted)
        for _ in range(20):
            retweet(tweets, root)
            assert tweets.top(10).result().stale
        assert tweets.get(root.id).result().count_retweet == 21
    finally:
        os.kill(pid_of(tweets), signal.SIGCONT)
    assert asked <= {"reconciler"}
    eventually(lambda: tweets.get(root.id).result().count_retweet == 21 and not tweets.top(10).result().stale)
    assert asked - {"reconciler"}


def test_flushed_index_is_never_shown_empty(tweets: Tweets) -> None:
    """A client that asks right after Redis lost everything gets the whole ranking."""
    root = post(tweets)
    made = [retweet(tweets, root).id for _ in range(20)]
    tweets.index._client.flushall()
    assert whole_ranking(tweets) == [(20, root.id), *((0, tweet) for tweet in sorted(made, reverse=True))]


def test_lost_member_is_seen_without_a_write(tweets: Tweets) -> None:
    """A tweet that vanished from the sorted set is missed by its number, and put back."""
    root = post(tweets)
    retweet(tweets, root)
    tweets.index._client.zrem(
        keys_of(tweets.store.id, 0).ranking,
        "x",
        *tweets.index._client.zrange(keys_of(tweets.store.id, 0).ranking, 0, 0),
    )
    assert len(tweets.top(10).result().tweets) == 2
    assert verify(tweets) == []


@pytest.mark.parametrize("spoil", [
    lambda text: text[:0],
    lambda text: text[::-1],
    lambda text: text[:-3] + b"?" + text[-2:],
    lambda text: text.replace(b" ", b" 0"),
    lambda text: text.replace(b" ", b" " + b"9" * 20),
    lambda text: bytes([text[0] ^ 0x80]) + text[1:],
], ids=["empty", "backwards", "no number", "zeros", "huge", "no text"])  # fmt: skip
def test_a_position_that_nobody_wrote_is_replaced(tweets: Tweets, spoil: Callable[[bytes], bytes]) -> None:
    """A position that a flipped bit made unreadable is no history of ours: the ranking is rebuilt, once."""
    root = post(tweets)
    retweet(tweets, root)
    client, key = tweets.index._client, keys_of(tweets.store.id, 0).position
    client.set(key, spoil(client.get(key)))
    eventually(lambda: get_health(tweets).lag == 0 and tweets.reconciler.rebuilds)
    assert whole_ranking(tweets)[0] == (1, root.id)
    client.set(key, spoil(client.get(key)))
    rebuild_all(tweets)
    assert verify(tweets) == []
    assert tweets.reconciler.rebuilds in (2, 3)  # the reconciler may have looked first


def test_changed_count_is_found_and_repaired_by_rebuild(tweets: Tweets) -> None:
    """A count changed behind our back is what verify is for: it names the tweet, and a rebuild puts it right."""
    root = post(tweets)
    retweet(tweets, root)
    tweets.index._client.zincrby(keys_of(tweets.store.id, 0).ranking, 3, encode(root.id))
    assert verify(tweets) == [(root.id, 1, 4)]
    rebuild_all(tweets)
    assert verify(tweets) == []


def test_corrupt_append_only_file_is_set_aside(data_dir: Path) -> None:
    """A server that refuses its append-only file starts empty, and the index is rebuilt from the log."""
    with open_storage(data_dir) as tweets:
        root = post(tweets)
        for _ in range(50):
            retweet(tweets, root)
    for file in (data_dir / "redis" / "appendonlydir").glob("*.aof"):
        content = bytearray(file.read_bytes())
        content[20:60] = b"\xff" * 40
        file.write_bytes(content)
    with open_storage(data_dir) as tweets:
        assert tweets.get(root.id).result().count_retweet == 50
        assert verify(tweets) == []
    assert (data_dir / "redis" / "appendonlydir.unreadable").is_dir()


def test_append_only_file_cut_at_every_byte_of_a_batch(data_dir: Path) -> None:
    """Wherever the append-only file ends, the start after it finds every count."""
    with open_storage(data_dir) as tweets:
        root = post(tweets)
        file = next((data_dir / "redis" / "appendonlydir").glob("*.incr.aof"))
        before = file.stat().st_size
        retweet(tweets, root)
        eventually(lambda: file.stat().st_size > before)
    whole = file.read_bytes()
    for size in range(before, len(whole), max(1, (len(whole) - before) // 12)):
        file.write_bytes(whole[:size])
        with open_storage(data_dir) as tweets:
            assert whole_ranking(tweets)[0] == (1, root.id)
            assert verify(tweets) == []


def test_older_backup_of_the_log_is_another_history(data_dir: Path) -> None:
    """After an older database file is put back and written on, the index knows that its own entries are not these."""
    with open_storage(data_dir) as tweets:
        root = post(tweets)
        retweet(tweets, root)
    shutil.copy(data_dir / "tweets.db", data_dir / "backup")
    with open_storage(data_dir) as tweets:
        for _ in range(5):
            retweet(tweets, root)
    shutil.copytree(data_dir / "redis", data_dir / "redis.later")
    shutil.copy(data_dir / "backup", data_dir / "tweets.db")
    shutil.rmtree(data_dir / "redis")
    with open_storage(data_dir) as tweets:
        for _ in range(5):
            post(tweets)  # the same seqs as the five retweets, with other contents
    shutil.rmtree(data_dir / "redis")
    shutil.copytree(data_dir / "redis.later", data_dir / "redis")
    with open_storage(data_dir) as tweets:
        assert tweets.get(root.id).result().count_retweet == 1
        assert verify(tweets) == []
        assert tweets.reconciler.rebuilds == 1


def test_another_database_on_the_same_redis_is_not_ours(tmp_path: Path, tweets: Tweets) -> None:
    """A Redis that holds another store's ranking is not taken for ours, whatever its position says."""
    post(tweets, base=7)
    assert tweets.server
    with open_storage(tmp_path / "other", redis_url=f"unix://{tweets.server.socket}") as other:
        mine = post(other, base=3)
        assert whole_ranking(other) == [(3, mine.id)]


def test_orphaned_server_is_ended_before_a_new_one_starts(data_dir: Path) -> None:
    """When the service was killed, its server lives on; the next start ends it and takes its place."""
    child = os.fork()
    if child == 0:
        tweets = open_storage(data_dir)
        post(tweets)
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    orphan = int((data_dir / "redis" / "server.lock").read_text())
    assert is_alive(orphan)
    with open_storage(data_dir) as tweets:
        assert not is_alive(orphan)
        assert len(tweets.top(10).result().tweets) == 1


def test_second_service_on_one_folder_is_refused(data_dir: Path, tweets: Tweets) -> None:
    """Two services on one data folder would run two servers on one file: the second says so, the first goes on."""
    with pytest.raises(CannotOpen, match="stop it first"):
        open_storage(data_dir)
    post(tweets)
    with open_storage(data_dir, attach=True) as beside:
        assert len(beside.top(10).result().tweets) == 1
    post(tweets)
    assert len(tweets.top(10).result().tweets) == 2


def test_a_server_that_is_started_again_is_waited_for(
    data_dir: Path, tweets: Tweets, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker or a command that begins while the service starts its server again sees it when it is there."""
    post(tweets)
    started, start = threading.Event(), EmbeddedServer._start

    def start_late(server: EmbeddedServer) -> Any:
        started.wait()
        return start(server)

    monkeypatch.setattr(EmbeddedServer, "_start", start_late)
    os.kill(pid_of(tweets), signal.SIGKILL)
    eventually(lambda: not is_alive(pid_of(tweets)))
    threading.Timer(0.5, started.set).start()
    with open_storage(data_dir, attach=True) as beside:
        assert not started.is_set()
        eventually(lambda: is_exact(beside))
        assert len(beside.top(10).result().tweets) == 1


def test_folder_with_a_path_too_long_for_a_socket(tmp_path: Path) -> None:
    """A data folder may lie as deep as one likes."""
    deep = tmp_path / ("d" * 120)
    with open_storage(deep) as tweets:
        post(tweets)
        socket = tweets.server and tweets.server.socket
    assert socket
    assert not socket.parent.exists()


def test_url_that_leads_nowhere_is_one_sentence(tmp_path: Path) -> None:
    """A wrong REDIS_URL or DATABASE_URL stops the start with a sentence that names it."""
    with pytest.raises(CannotOpen, match="REDIS_URL"):
        open_storage(tmp_path, redis_url="http://127.0.0.1/")
    with pytest.raises(CannotOpen, match="DATABASE_URL"):
        open_storage(tmp_path, database_url="nonsense")
    with pytest.raises(CannotOpen, match="DATABASE_URL"):
        open_storage(tmp_path, database_url="sqlite:////nowhere/at/all.db")


def test_replay_answers_while_redis_is_away(tweets: Tweets) -> None:
    """A repeated call is answered with the present count although Redis is away."""
    first = tweets.post(NewTweet("ann", "t", "b", key="k")).result().tweet
    retweet(tweets, first)
    os.kill(pid_of(tweets), signal.SIGSTOP)
    try:
        again = tweets.post(NewTweet("ann", "t", "b", key="k")).result()
    finally:
        os.kill(pid_of(tweets), signal.SIGCONT)
    assert again.replayed
    assert again.tweet.id == first.id
    assert again.tweet.count_retweet == 1


def test_redis_holds_ids_and_counts_and_the_position_only(tweets: Tweets) -> None:
    """Redis holds a sorted set and a position, and nothing of any text."""
    retweet(tweets, post(tweets, title="secret title", body="secret body"))
    client = tweets.index._client
    keys = keys_of(tweets.store.id, 0)
    eventually(lambda: set(client.keys("*")) == {key.encode() for key in keys[:3]})
    assert client.type(keys.ranking) == b"zset"
