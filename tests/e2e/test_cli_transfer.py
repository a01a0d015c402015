"""`import` and `export`, as child processes with real files."""

import gzip
import io
import json
import signal
import subprocess
import time
from pathlib import Path

from app.cli.formats import read_tweets
from storage import Tweets, open_storage
from storage.ids import decode
from storage.reconciler import REBUILT_FROM
from storage.records import NewTweet
from storage.transfer import import_tweets
from tests.builders import post, retweet, whole_ranking
from tests.e2e.commands import PATIENCE_S, ROOT, SAMPLE, command, done, environment, nothing_runs, refused, serving

HEADER = "number\tuser\tretweet\tcreated_at\tcount_retweet\n"


def fill(tweets: Tweets) -> None:
    """Some of everything that an export must keep."""
    root = post(tweets, "ann", "Any script: \u0431 \u4e2d \u05d0 \U0001f600", "two\nlines\tand a tab", base=7)
    chain = [root]
    for number in range(5):
        chain.append(retweet(tweets, chain[-1], f"user{number}", base=number))
    retweet(tweets, root, "bob")
    tweets.post(NewTweet("ann", "With a key", "posted once", key="idem-7")).result()
    for gone in (chain[2], chain[5], post(tweets, "leaver", base=10**12)):
        tweets.delete(gone.id).result()


def number_of(text: str) -> int:
    tweet_id = decode(text)
    assert tweet_id is not None
    return tweet_id


def rows_of(path: Path) -> list[list[str]]:
    with gzip.open(path, "rt") as file:
        return [line.rstrip("\n").split("\t") for line in file][1:]


def test_an_export_imported_is_exported_the_same(tmp_path: Path) -> None:
    """Export, import into an empty store and export again: the same bytes, the same ranking, every count right."""
    first, second = tmp_path / "first", tmp_path / "second"
    with open_storage(first) as tweets:
        fill(tweets)
        ranking = whole_ranking(tweets)
    done(first, "export", tmp_path / "one.jsonl")
    done(second, "import", tmp_path / "one.jsonl")
    done(second, "export", tmp_path / "two.jsonl")

    exported = (tmp_path / "one.jsonl").read_bytes()
    assert (tmp_path / "two.jsonl").read_bytes() == exported
    assert done(second, "verify").startswith(b"6 right, 0 wrong")
    with open_storage(second) as tweets:
        assert whole_ranking(tweets) == ranking

    lines = [json.loads(line) for line in exported.splitlines()]
    assert [line["id"] for line in lines] == sorted(line["id"] for line in lines)
    assert sum(line.get("deleted", False) for line in lines) == 3
    assert {line["base"] for line in lines} >= {7, 4, 10**12}
    assert b"leaver" not in exported
    assert b"idem-7" not in exported


def test_through_a_pipe_and_gzipped(tmp_path: Path) -> None:
    """Standard input and output carry the same bytes as files; a name in .gz is gzipped, always to the same bytes."""
    first, second, third = tmp_path / "first", tmp_path / "second", tmp_path / "third"
    with open_storage(first) as tweets:
        fill(tweets)
    plain = done(first, "export")
    done(second, "import", "-", given=plain)
    for name in ("one.jsonl.gz", "two.jsonl.gz"):
        done(second, "export", tmp_path / name)
    packed = (tmp_path / "one.jsonl.gz").read_bytes()
    done(third, "import", "-", given=packed)

    assert gzip.decompress(packed) == plain
    assert (tmp_path / "two.jsonl.gz").read_bytes() == packed
    assert done(third, "export", "-") == plain
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_file()) == ["one.jsonl.gz", "two.jsonl.gz"]


def test_an_empty_store_and_an_empty_file(tmp_path: Path) -> None:
    """No tweets are exported as no bytes, and no bytes are imported as no tweets."""
    done(tmp_path / "first", "migrate", "up")
    assert done(tmp_path / "first", "export") == b""
    assert done(tmp_path / "second", "import", "-", given=b"").startswith(b"Imported 0 tweets")


def test_real_cascades_count_as_their_file_says(tmp_path: Path) -> None:
    """Every tweet of a part of the real cascades has the count that was worked out apart from this program."""
    data = tmp_path / "data"
    done(data, "import", SAMPLE)

    rows = rows_of(SAMPLE)
    assert done(data, "verify").startswith(f"{len(rows):,} right, 0 wrong".encode())
    expected = {f"Tweet {row[0]}": int(row[4]) for row in rows}
    with open_storage(data) as tweets:
        places = {tweet: count for count, tweet in whole_ranking(tweets)}
        top = [tweet.count_retweet for tweet in tweets.top(10).result().tweets]
        deepest = max(rows, key=lambda row: int(row[0]))
        assert tweets.get(max(places)).result().body == f"{deepest[1]} retweets tweet {deepest[2]}"
    exported = [json.loads(line) for line in done(data, "export").splitlines()]
    assert {line["title"]: places[number_of(line["id"])] for line in exported} == expected
    assert top == sorted(expected.values(), reverse=True)[:10]
    assert [line["created_at"][:19] for line in exported] == [row[3].rstrip("Z") for row in rows]


def test_the_same_cascades_twice(tmp_path: Path) -> None:
    """Rows without ids may be imported again: they get other ids, and both sets count by themselves."""
    data = tmp_path / "data"
    done(data, "import", SAMPLE)
    done(data, "import", SAMPLE)

    rows = rows_of(SAMPLE)
    assert done(data, "verify").startswith(f"{2 * len(rows):,} right, 0 wrong".encode())
    with open_storage(data) as tweets:
        counts = [count for count, _ in whole_ranking(tweets)]
    assert counts == sorted([int(row[4]) for row in rows] * 2, reverse=True)


def test_beside_a_running_service(tmp_path: Path) -> None:
    """Import and export work while the service runs: it shows what was imported, and goes on taking retweets of it."""
    data = tmp_path / "data"
    with serving(data) as service:
        before = service.post("/api/v1/tweet", user_name="ann", title="Before", body="It was here first")
        done(data, "import", SAMPLE)
        top = service.get("/api/v1/top")["tweets"][0]
        service.post("/api/v1/retweet", user_name="ann", retweet=top["id"])
        assert service.get(f"/api/v1/tweet/{top['id']}")["count_retweet"] == top["count_retweet"] + 1
        exported = [json.loads(line) for line in done(data, "export").splitlines()]
        assert len(exported) == len(rows_of(SAMPLE)) + 2
        assert before["id"] in {line["id"] for line in exported}
        assert b" 0 wrong" in done(data, "verify")
        assert service.end() == 0
    assert nothing_runs(data)


def test_into_several_partitions(tmp_path: Path) -> None:
    """With several partitions a chain still lies in one, every count is right, and ids given later are new ones."""
    data = tmp_path / "data"
    done(data, "import", SAMPLE, PARTITIONS="4")
    assert b" 0 wrong" in done(data, "verify")
    assert done(data, "info").count(b" live, ") == 1 + 4
    with open_storage(data) as tweets:
        count, tweet = whole_ranking(tweets)[0]
        retweet(tweets, tweet)
        assert tweets.get(tweet).result().count_retweet == count + 1
    exported = done(data, "export")
    done(tmp_path / "one", "import", "-", given=exported)
    assert done(tmp_path / "one", "export") == exported


def test_a_refused_file_leaves_nothing(tmp_path: Path) -> None:
    """A fault in the last line takes back all lines before it, in batches or not, and names the line."""
    data = tmp_path / "data"
    with open_storage(data) as tweets:
        fill(tweets)
    before = done(data, "export")
    rows = gzip.decompress(SAMPLE.read_bytes())
    number = rows.count(b"\n") + 1

    said = refused(data, "import", "-", given=rows + b"9999999\tuser1\t77\t2013-12-01T16:32:24Z\t0\n")

    assert said == f"line {number}: the tweet it retweets is not in this file."
    assert done(data, "export") == before
    assert b"6 right, 0 wrong" in done(data, "verify")


def test_a_wrong_count_is_refused(tmp_path: Path) -> None:
    """The first row whose count_retweet is not what the rows make it is named, before anything is stored."""
    file = tmp_path / "cascade.tsv"
    file.write_text(
        HEADER + "".join(f"{n}\tu\t{n - 1 or ''}\t2020-01-01T00:00:00Z\t{max(3 - n, 0)}\n" for n in range(1, 5))
    )

    said = refused(tmp_path / "data", "import", file)

    assert said == "line 2: count_retweet is 2, but the rows of this file make it 3."
    assert done(tmp_path / "data", "export") == b""


def test_an_import_that_is_stopped_leaves_nothing(tmp_path: Path) -> None:
    """SIGTERM in the middle of an import ends it with code 143, nothing stored and nothing running."""
    data = tmp_path / "data"
    process = subprocess.Popen(
        command("import", "-"), cwd=ROOT, env=environment(data, {}), stdin=subprocess.PIPE, stderr=subprocess.PIPE
    )
    with process:
        assert process.stdin is not None
        row = b"%d\tuser\t\t2020-01-01T00:00:00Z\t0\n"
        process.stdin.write(HEADER.encode() + b"".join(row % number for number in range(40_000)))
        process.stdin.flush()  # a pipe holds far less: most of it was taken
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_S) == 128 + signal.SIGTERM
    assert nothing_runs(data)
    assert done(data, "export") == b""


def test_files_that_cannot_be_read_or_written(tmp_path: Path) -> None:
    """A missing file, a damaged one and a place that cannot be written to are named in one sentence."""
    data, damaged = tmp_path / "data", tmp_path / "damaged.gz"
    damaged.write_bytes(SAMPLE.read_bytes()[:-2000])
    assert (
        refused(data, "import", tmp_path / "none") == f"{tmp_path / 'none'} cannot be read (No such file or directory)."
    )
    assert refused(data, "import", damaged).startswith(f"{damaged} is damaged (")
    assert refused(data, "export", tmp_path) == f"{tmp_path} is a folder; name a file."
    assert refused(data, "export", damaged / "x").startswith(f"{damaged / 'x'} cannot be written (")
    assert done(data, "export") == b""
    assert sorted(path.name for path in tmp_path.iterdir()) == ["damaged.gz", "data"]


def test_a_reader_that_goes_away(tmp_path: Path) -> None:
    """`export | head` ends without a word."""
    data = tmp_path / "data"
    done(data, "import", SAMPLE)
    process = subprocess.Popen(
        command("export"), cwd=ROOT, env=environment(data, {}), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    with process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        said = process.stderr.read()
        assert process.wait(PATIENCE_S) == 141
    assert b"Traceback" not in said
    assert b"BrokenPipe" not in said


def test_a_large_import_is_ranked_by_a_rebuild(tmp_path: Path) -> None:
    """Many more entries than the store had tweets are ranked anew at once, not folded one batch after the other."""
    rows = "".join(f"{number}\tann\t\t2020-01-01T00:00:00Z\t0\n" for number in range(REBUILT_FROM + 1))
    with open_storage(tmp_path / "data") as tweets:
        before = tweets.reconciler.rebuilds
        given = read_tweets(io.BufferedReader(io.BytesIO((HEADER + rows).encode())))
        import_tweets(tweets.database, given, 1000, time.time_ns() // 1_000_000, lambda _: None)
        tweets.reconciler.catch_up()
        assert tweets.reconciler.rebuilds == before + 1
        assert tweets.reconciler.verify() == []
