"""The append-only file of the embedded server is packed by a stop: the next start loads counts, not how they came."""

import os
import signal
from pathlib import Path

import pytest

from storage import open_storage
from storage.index import embedded
from storage.tools.verify import verify
from tests.builders import post, retweet, whole_ranking


def size_of(data_dir: Path, kind: str) -> int:
    """The bytes of the append-only file that are changes (`incr.aof`), or what they led to (`base.rdb`)."""
    return sum(file.stat().st_size for file in (data_dir / "redis" / "appendonlydir").glob(f"*.{kind}"))


@pytest.mark.parametrize("packed_from", [1, embedded.PACKED_FROM])
def test_a_stop_packs_many_changes(data_dir: Path, monkeypatch: pytest.MonkeyPatch, packed_from: int) -> None:
    """Many changes are written as counts, few stay as they are; either way the next start has every count."""
    monkeypatch.setattr(embedded, "PACKED_FROM", packed_from)
    with open_storage(data_dir) as tweets:
        root = post(tweets)
        for _ in range(20):
            retweet(tweets, root)
        before = size_of(data_dir, "incr.aof")
        assert before > 20 * len(str(root.id))
    assert (size_of(data_dir, "incr.aof") == 0) == (packed_from == 1)
    assert (data_dir / "index.trusted").exists()
    with open_storage(data_dir) as tweets:
        assert whole_ranking(tweets)[0] == (20, root.id)
        assert tweets.reconciler.rebuilds == 0
        assert verify(tweets) == []


def test_a_server_that_hangs_is_ended_all_the_same(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stop gives up packing when the server does not answer."""
    monkeypatch.setattr(embedded, "PACKED_FROM", 1)
    with open_storage(data_dir) as tweets:
        root = post(tweets)
        assert tweets.server
        pid = tweets.server.pid
        os.kill(pid, signal.SIGSTOP)
    assert not Path(f"/proc/{pid}").exists()
    with open_storage(data_dir) as tweets:
        assert whole_ranking(tweets) == [(0, root.id)]
