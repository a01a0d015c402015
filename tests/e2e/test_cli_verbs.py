"""The other verbs of the command line, as child processes."""

import json
import os
import pty
import re
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest
from redis import Redis

from app import __version__
from app.cli.main import COMMANDS, parser
from storage import open_storage
from storage.ids import encode
from storage.index.embedded import socket_of
from storage.rebuild import OnProgress
from storage.tools.repair import rebuild_all
from storage.tools.verify import verify
from tests.builders import keys_in, post, retweet, whole_ranking
from tests.e2e.commands import PATIENCE_S, ROOT, command, done, environment, nothing_runs, refused, run, serving

LIGHT = "import sys, app.cli.main; sys.exit(any(name in sys.modules for name in ('sqlalchemy', 'redis', 'bottle')))"


def spoil(data_dir: Path, tweet: str) -> None:
    """Add one to a count behind everybody's back."""
    client = Redis(unix_socket_path=str(socket_of(data_dir / "redis")))
    client.zincrby(keys_in(client).ranking, 1, tweet)
    client.close()


def test_help_has_examples() -> None:
    """Every verb explains itself, with an example that names it; and asking imports nothing heavy."""
    assert set(COMMANDS) == set(re.findall(r"^    (\w+)", parser().format_help(), re.MULTILINE))
    for verb in COMMANDS:
        with pytest.raises(SystemExit) as ended:
            parser().parse_args([verb, "--help"])
        assert ended.value.code == 0
    assert subprocess.run([sys.executable, "-c", LIGHT], cwd=ROOT, check=False).returncode == 0


@pytest.mark.parametrize("verb", COMMANDS)
def test_help_of(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The help of a verb shows how to call it."""
    with pytest.raises(SystemExit):
        parser().parse_args([verb, "--help"])
    assert f"simple-twitter {verb}" in capsys.readouterr().out.partition("example")[2]


@pytest.mark.parametrize(
    "words", [[], ["fly"], ["migrate"], ["import"], ["seed", "--tweets", "9"], ["verify", "--rep"]]
)
def test_wrong_words(words: list[str]) -> None:
    """Words that are no command end with code 2, before anything is opened."""
    with pytest.raises(SystemExit) as ended:
        parser().parse_args(words)
    assert ended.value.code == 2


def test_verify_beside_a_service(tmp_path: Path) -> None:
    """A count changed in Redis is found and shown beside a running service; with --repair it is put right."""
    data = tmp_path / "data"
    with serving(data) as service:
        tweet = service.post("/api/v1/tweet", user_name="ann", title="Title", body="Body", count_retweet=41)
        service.post("/api/v1/tweet", user_name="bob", title="Title", body="Body")
        assert done(data, "verify").startswith(b"2 right, 0 wrong, in ")

        spoil(data, tweet["id"])

        found = run(data, "verify")
        assert found.returncode == 1
        first, *table = found.stdout.decode().splitlines()
        assert first.startswith("1 right, 1 wrong, in ")
        assert [line.split() for line in table][1:] == [[tweet["id"], "41", "42"]]
        assert b"Rebuilt." in done(data, "verify", "--repair")
        assert done(data, "verify").startswith(b"2 right, 0 wrong, in ")
        assert service.get(f"/api/v1/tweet/{tweet['id']}")["count_retweet"] == 41


def test_verify_and_rebuild_without_a_service(tmp_path: Path, sample: Path) -> None:
    """Without a service, verify and rebuild start the index for their own time, and leave nothing running."""
    data = tmp_path / "data"
    done(data, "import", sample)
    with open_storage(data) as tweets:
        tweets.reconciler.catch_up()
        spoil(data, encode(tweets.top(1).result().tweets[0].id))
    assert run(data, "verify").returncode == 1
    assert done(data, "rebuild").startswith(b"Rebuilt the index of 4,192 tweets in ")
    assert done(data, "verify").startswith(b"4,192 right, 0 wrong, in ")
    assert nothing_runs(data)


def test_info(tmp_path: Path) -> None:
    """Info says where the data is, the engines and their versions, the tweets, the partitions and the lag."""
    data = tmp_path / "data"
    done(data, "seed", PARTITIONS="2")
    done(data, "rebuild")
    facts = dict(line.split(None, 1) for line in done(data, "info").decode().splitlines())
    assert next(iter(facts.items())) == ("version", __version__)
    assert facts["data"] == str(data)
    assert re.search(r"tweets\.db  \(sqlite 3\.", facts["database"])
    assert re.search(r"embedded  \(valkey \d+\.\d+\.\d+, \d+\.\d MB\)", facts["index"])
    assert facts["tweets"] == "120 live, of 120 log entries"
    assert facts["part"].startswith("1  ")
    assert facts["part"].endswith("lag 0")
    assert "sqlalchemy" in facts["packages"]


def test_json(tmp_path: Path) -> None:
    """Info and verify say the same as JSON, for programs; verify finds a wrong head, --repair corrects it."""
    data = tmp_path / "data"
    done(data, "seed", PARTITIONS="2")
    whole = json.loads(done(data, "verify", "--json"))
    found = json.loads(done(data, "info", "--json"))
    assert (found["version"], found["live"], found["entries"], found["data"]) == (__version__, 120, 120, str(data))
    assert [each["lag"] for each in found["partitions"]] == [0, 0]
    assert sum(each["ranked"] for each in found["partitions"]) == 120
    assert (whole["right"], whole["wrong"], whole["differences"], whole["heads"]) == (120, 0, [], {})
    with closing(sqlite3.connect(data / "tweets.db")) as connection:
        connection.execute("UPDATE heads SET live = live + 1 WHERE partition = 1")
        connection.commit()
    ended = run(data, "verify", "--json")
    head = json.loads(ended.stdout)["heads"]["1"]
    assert (ended.returncode, head["head"]["live"]) == (1, head["rows"]["live"] + 1)
    assert b"The head of partition 1 says " in done(data, "verify", "--repair")
    assert b"120 right, 0 wrong" in done(data, "verify")


def test_seed(tmp_path: Path) -> None:
    """Seed adds the demo tweets, the last one posted now: chains, and counts that vary; again, and they are others."""
    data = tmp_path / "data"
    began_ms = time.time_ns() // 1_000_000
    done(data, "seed")
    with open_storage(data) as tweets:
        tweets.reconciler.catch_up()
        top = tweets.top(100).result().tweets
        counts = [tweet.count_retweet for tweet in top]
        assert max(len(tweets.list_chain(tweet, 100).tweets) for _, tweet in whole_ranking(tweets)) == 7
        assert len(set(counts)) > 10
        assert counts[0] == max(count or 0 for count in counts)
        newest = max(tweet for _, tweet in whole_ranking(tweets))
        assert tweets.get(newest).result().created_at >= began_ms
    done(data, "seed")
    assert b"240 right, 0 wrong" in done(data, "verify")


def test_migrate(tmp_path: Path) -> None:
    """Migrate brings a database of DATABASE_URL up and down, says where it is, and compares its tables."""
    data = tmp_path / "data"
    url = f"sqlite:///{tmp_path / 'own.db'}"
    assert b"0001  missing  Create the tweets" in done(data, "migrate", "status", DATABASE_URL=url)
    advice = refused(data, "serve", DATABASE_URL=url)
    assert advice == "The database is at revision base, and this version needs 0004: run `simple-twitter migrate up`."
    assert refused(data, "migrate", "check", DATABASE_URL=url) == advice
    assert b"0001  applied  " in done(data, "migrate", "up", DATABASE_URL=url)
    revisions = json.loads(done(data, "migrate", "status", "--json", DATABASE_URL=url))
    assert [(each["number"], each["applied"]) for each in revisions[:2]] == [("0001", True), ("0002", True)]
    assert done(data, "migrate", "check", DATABASE_URL=url) == b"The tables are as declared.\n"
    done(data, "seed", DATABASE_URL=url)
    assert "add --yes" in refused(data, "migrate", "down", DATABASE_URL=url)
    assert "9 is no revision" in refused(data, "migrate", "down", "--to", "9", "--yes", DATABASE_URL=url)
    assert done(data, "export", DATABASE_URL=url).count(b"\n") == 120
    assert b"0004  missing  " in done(data, "migrate", "down", "--yes", DATABASE_URL=url)
    assert b"0003  missing  " in done(data, "migrate", "down", "--yes", DATABASE_URL=url)
    assert b"0002  missing  " in done(data, "migrate", "down", "--yes", DATABASE_URL=url)
    assert b"0001  missing  " in done(data, "migrate", "down", "--yes", DATABASE_URL=url)
    assert not (data / "tweets.db").exists()


def test_progress_on_a_terminal(tmp_path: Path, sample: Path) -> None:
    """On a terminal long work draws over one line, elsewhere it writes plain lines."""
    data = tmp_path / "data"
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        command("import", sample), cwd=ROOT, env=environment(data, {}), stdout=subprocess.DEVNULL, stderr=theirs
    ) as process:
        os.close(theirs)
        assert process.wait(PATIENCE_S) == 0
    drawn = os.read(ours, 65536).decode()
    os.close(ours)
    last = [line.rpartition("\r")[2].partition("  ")[0] for line in drawn.split("\r\n")]
    assert last == ["reading: 4,192 tweets", "storing: 100% 4,192 tweets", ""]
    plain = run(tmp_path / "other", "import", sample).stderr.decode()
    assert re.fullmatch(r"reading: 4,192 tweets  [\d,]+/s\nstoring: 100% 4,192 tweets  [\d,]+/s\n", plain)


def test_a_comparison_and_a_rebuild_show_how_far_they_are(tmp_path: Path, sample: Path) -> None:
    """Verify and rebuild say how many of all live tweets they have compared or counted."""
    data = tmp_path / "data"
    done(data, "import", sample)
    assert re.fullmatch(r"comparing: 100% 4,192 tweets  [\d,]+/s\n", run(data, "verify").stderr.decode())
    assert re.fullmatch(r"counting: 100% 4,192 tweets  [\d,]+/s\n", run(data, "rebuild").stderr.decode())


def test_what_is_told_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While tweets are compared or counted, their number rises from nothing to all of them."""
    monkeypatch.setattr("storage.tools.verify.ASKED_AT_ONCE", 1)
    monkeypatch.setattr("storage.rebuild.STAGE_AT_ONCE", 1)
    shown: list[int] = []
    with open_storage(tmp_path / "data") as tweets:
        root = post(tweets)
        for _ in range(9):
            retweet(tweets, root)
        acts: tuple[Callable[[OnProgress], object], ...] = (partial(verify, tweets), partial(rebuild_all, tweets))
        for act in acts:
            shown.clear()
            act(shown.append)
            assert shown == [*range(1, 11)]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"PORT": "http"}, "PORT must be a whole number from 0 to 65535, and is 'http'."),
        ({"DATABASE_URL": "mysql://x/y"}, "DATABASE_URL names mysql"),
        ({"DATABASE_URL": "tweets"}, "DATABASE_URL is not a database URL"),
        ({"DATABASE_URL": "sqlite:////proc/none/x.db"}, "cannot be opened"),
        ({"REDIS_URL": "http://127.0.0.1"}, "REDIS_URL is not a Redis URL"),
        ({"REDIS_URL": "redis://127.0.0.1:1/?colour=red"}, "of options only db, protocol"),
        ({"REDIS_URL": "redis+sentinel://127.0.0.1:26379/primary"}, "Sentinel, which is not supported"),
    ],
)
@pytest.mark.parametrize("verb", ["serve", "verify"])
def test_a_setting_that_cannot_be_used(tmp_path: Path, verb: str, settings: dict[str, str], said: str) -> None:
    """A wrong setting stops any verb with one sentence that names it, and leaves nothing running."""
    done(tmp_path / "data", "migrate", "up")
    assert said in refused(tmp_path / "data", verb, given=None, **settings)
    assert nothing_runs(tmp_path / "data")
