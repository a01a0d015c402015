"""The log goes back, or the index does: what the two have in common is found, and the rest is rebuilt."""

import shutil
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from storage import Tweets, open_storage
from storage.index.embedded import EmbeddedServer
from storage.index.keys import keys_of
from storage.tools.verify import verify
from tests.builders import post, retweet, whole_ranking
from tests.e2e.commands import done, serving
from tests.faults.load import Caller, Ledger, list_ranking, writing


@pytest.fixture
def server(tmp_path: Path) -> Iterator[EmbeddedServer]:
    """A Redis that outlives every service."""
    server = EmbeddedServer(tmp_path / "server")
    yield server
    server.stop()


def test_an_older_log_beside_a_later_index(tmp_path: Path, data_dir: Path, server: EmbeddedServer) -> None:
    """A backup is put back while Redis keeps what came after it: shown is the backup, and counted on from there."""
    copy, url = tmp_path / "copy.db", f"unix://{server.socket}"
    ledger, later = Ledger(seed=1), Ledger(seed=2)
    with serving(data_dir, WORKERS="1", REDIS_URL=url) as service:
        with writing(service.url, ledger) as load:
            load.wait_for(60)
        at_backup = ledger.model().ranking()
        done(data_dir, "backup", copy, REDIS_URL=url)
        with writing(service.url, ledger) as load:
            load.wait_for(60)
        assert service.end() == 0
    done(data_dir, "restore", "--force", copy, REDIS_URL=url)
    with serving(data_dir, WORKERS="1", REDIS_URL=url) as service, closing(Caller(service.url)) as caller:
        assert list_ranking(caller) == at_backup
        with writing(service.url, later) as load:
            load.wait_for(200)  # past the places that the other history had taken
        assert sorted(list_ranking(caller)) == sorted(at_backup + later.model().ranking())
        assert b" 0 wrong" in done(data_dir, "verify", REDIS_URL=url)
        assert service.end() == 0


def fill(tweets: Tweets) -> int:
    """A tweet with ten retweets."""
    root = post(tweets)
    for _ in range(10):
        retweet(tweets, root)
    return root.id


def test_a_deleted_append_only_file(data_dir: Path) -> None:
    """Deleted while the server runs or after it, no reader sees it."""
    with open_storage(data_dir) as tweets:
        root = fill(tweets)
        shutil.rmtree(data_dir / "redis" / "appendonlydir")
        retweet(tweets, root)
        assert whole_ranking(tweets)[0] == (11, root)
    shutil.rmtree(data_dir / "redis", ignore_errors=True)
    with open_storage(data_dir) as tweets:
        assert whole_ranking(tweets)[0] == (11, root)
        assert verify(tweets) == []


@pytest.mark.parametrize("key", ["ranking", "position"])
def test_an_evicted_key(tweets: Tweets, key: str) -> None:
    """Whichever of its two keys Redis has thrown out, the next reader and the next writer find all as it was."""
    root = fill(tweets)
    tweets.index._client.delete(getattr(keys_of(tweets.store.id, 0), key))
    assert whole_ranking(tweets)[0] == (10, root)
    tweets.index._client.delete(getattr(keys_of(tweets.store.id, 0), key))
    retweet(tweets, root)
    assert whole_ranking(tweets)[0] == (11, root)
    assert verify(tweets) == []
