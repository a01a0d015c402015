"""`import` and `export`, as child processes with real files."""

import gzip
import json
import os
import signal
import stat
import subprocess
import time
from pathlib import Path

from storage import Tweets, open_storage
from storage.ids import decode
from storage.reconciler import REBUILT_FROM
from storage.records import NewTweet
from storage.tools.import_export import ImportRow
from storage.tools.verify import verify
from tests.builders import import_tweets, post, retweet, whole_ranking
from tests.e2e.commands import (
    CASCADES,
    PATIENCE_S,
    ROOT,
    command,
    done,
    environment,
    nothing_runs,
    refused,
    run,
    serving,
)


def keyed(*lines: tuple[str, str | None], **fields: object) -> bytes:
    """Lines of JSON for tweets with these keys and the keys of their parents."""
    texts = {"created_at": "2020-01-01T00:00:00Z", "user_name": "ann", "title": "Title", "body": "Body", **fields}
    return b"".join(json.dumps({"key": key, "retweet": above, **texts}).encode() + b"\n" for key, above in lines)


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


def refused_at_last(data: Path, *words: str | Path, given: bytes | None = None) -> str:
    """The sentence of a command that fails after it showed how far it was."""
    ended = run(data, *words, given=given)
    assert (ended.returncode, ended.stdout) == (1, b""), ended.stderr
    assert b"Traceback" not in ended.stderr
    return ended.stderr.decode().splitlines()[-1]


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


def test_the_id_zero(tmp_path: Path) -> None:
    """The smallest id there is comes in and goes out as any other."""
    data = tmp_path / "data"
    texts = {"created_at": "1970-01-01T00:00:00.000Z", "user_name": "ann", "title": "Title", "body": "Body"}
    ids = ({"id": f"000000000000{number}", "retweet": None, "base": 0} for number in range(2))
    lines = b"".join(json.dumps({**each, **texts}, separators=(",", ":")).encode() + b"\n" for each in ids)
    done(data, "import", "-", given=lines)
    assert done(data, "export") == lines


def test_an_export_follows_a_symlink_and_keeps_a_device(tmp_path: Path) -> None:
    """What a symlink points to is replaced; a device or a pipe gets the lines, and stays what it is."""
    data, pipe, device = tmp_path / "data", tmp_path / "pipe", tmp_path / "device"
    done(data, "seed")
    exported = done(data, "export")
    (tmp_path / "far").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "far" / "tweets.jsonl")
    for _ in range(2):
        done(data, "export", tmp_path / "link")
        assert (tmp_path / "link").is_symlink()
        assert (tmp_path / "far" / "tweets.jsonl").read_bytes() == exported
    os.mkfifo(pipe)
    process = subprocess.Popen(command("export", pipe), cwd=ROOT, env=environment(data, {}), stderr=subprocess.DEVNULL)
    with process:
        assert pipe.read_bytes() == exported
        assert process.wait(PATIENCE_S) == 0
    assert pipe.is_fifo()
    try:
        os.mknod(device, 0o666 | stat.S_IFCHR, os.makedev(1, 7))  # as /dev/full
    except PermissionError:
        device = Path("/dev/full")
    assert refused_at_last(data, "export", device) == f"{device} cannot be written (No space left on device)."
    assert device.is_char_device()
    assert sorted(path.name for path in data.iterdir() if path.name.startswith(".")) == []


def test_an_empty_store_and_an_empty_file(tmp_path: Path) -> None:
    """No tweets are exported as no bytes, and no bytes are imported as no tweets."""
    done(tmp_path / "first", "migrate", "up")
    assert done(tmp_path / "first", "export") == b""
    assert done(tmp_path / "second", "import", "-", given=b"").startswith(b"Imported 0 tweets")


def test_real_cascades_count_as_their_file_says(tmp_path: Path, sample: Path) -> None:
    """Every tweet of a part of the real cascades has the count that was worked out apart from this program."""
    data = tmp_path / "data"
    done(data, "import", sample)

    rows = rows_of(CASCADES)
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


def test_the_same_file_twice(tmp_path: Path, sample: Path) -> None:
    """What was imported before is refused, also where its tweets had no ids, and also beside other tweets."""
    data = tmp_path / "data"
    done(data, "import", sample)
    before = done(data, "export")
    said = refused_at_last(data, "import", sample)
    assert said.startswith("line 1: the store has this tweet already, as ")
    assert refused_at_last(data, "import", "-", given=before) == "line 1: the store has a tweet of that id already."
    assert done(data, "export") == before
    first = keyed(("1", None), ("2", "1"))
    done(data, "import", "-", given=first)
    done(data, "import", "-", given=keyed(("1", None), ("2", "1"), body="Another body, at the same time"))
    assert "line 1: the store has this tweet" in refused_at_last(data, "import", "-", given=first)
    assert b" 0 wrong" in done(data, "verify")


def test_beside_a_running_service(tmp_path: Path, sample: Path) -> None:
    """Import and export work while the service runs: it shows what was imported, and goes on taking retweets of it."""
    data = tmp_path / "data"
    with serving(data) as service:
        before = service.post("/api/v1/tweet", user_name="ann", title="Before", body="It was here first")
        done(data, "import", sample)
        top = service.get("/api/v1/top")["tweets"][0]
        service.post("/api/v1/retweet", user_name="ann", retweet=top["id"])
        assert service.get(f"/api/v1/tweet/{top['id']}")["count_retweet"] == top["count_retweet"] + 1
        exported = [json.loads(line) for line in done(data, "export").splitlines()]
        assert len(exported) == len(rows_of(CASCADES)) + 2
        assert before["id"] in {line["id"] for line in exported}
        assert b" 0 wrong" in done(data, "verify")
        assert service.end() == 0
    assert nothing_runs(data)


def test_into_several_partitions(tmp_path: Path, sample: Path) -> None:
    """With several partitions a chain still lies in one, every count is right, and ids given later are new ones."""
    data = tmp_path / "data"
    done(data, "import", sample, PARTITIONS="4")
    assert b" 0 wrong" in done(data, "verify")
    assert done(data, "info").count(b" live, ") == 1 + 4
    with open_storage(data) as tweets:
        count, tweet = whole_ranking(tweets)[0]
        retweet(tweets, tweet)
        assert tweets.get(tweet).result().count_retweet == count + 1
    exported = done(data, "export")
    done(tmp_path / "one", "import", "-", given=exported)
    assert done(tmp_path / "one", "export") == exported


def test_a_refused_file_leaves_nothing(tmp_path: Path, sample: Path) -> None:
    """A fault in the last line takes back all lines before it, and names the line; nothing is left in the folder."""
    data = tmp_path / "data"
    with open_storage(data) as tweets:
        fill(tweets)
    before, files = done(data, "export"), sorted(data.iterdir())
    lines = gzip.decompress(sample.read_bytes())
    number = lines.count(b"\n") + 1

    said = refused_at_last(data, "import", "-", given=lines + keyed(("new", "none")))

    assert said.startswith(f"line {number}: the tweet it retweets is in no line above it")
    assert done(data, "export") == before
    assert b"6 right, 0 wrong" in done(data, "verify")
    assert sorted(data.iterdir()) == files


def test_an_import_that_is_stopped_leaves_nothing(tmp_path: Path) -> None:
    """SIGTERM in the middle of an import ends it with code 143, nothing stored and nothing running."""
    data = tmp_path / "data"
    process = subprocess.Popen(
        command("import", "-"), cwd=ROOT, env=environment(data, {}), stdin=subprocess.PIPE, stderr=subprocess.PIPE
    )
    with process:
        assert process.stdin is not None
        process.stdin.write(keyed(*((str(number), None) for number in range(4_000))))
        process.stdin.flush()  # a pipe holds far less: most of it was taken
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_S) == 128 + signal.SIGTERM
    assert nothing_runs(data)
    assert done(data, "export") == b""
    assert not list(data.glob(".*"))


def test_a_service_writes_while_an_import_is_read(tmp_path: Path) -> None:
    """The input comes slowly, from a pipe: until it has ended, tweets are posted as if there were no import."""
    data = tmp_path / "data"
    with serving(data) as service:
        process = subprocess.Popen(command("import", "-"), cwd=ROOT, env=environment(data, {}), stdin=subprocess.PIPE)
        with process:
            assert process.stdin is not None
            process.stdin.write(keyed(*((str(number), None) for number in range(4_000))))
            process.stdin.flush()
            service.post("/api/v1/tweet", user_name="ann", title="Title", body="Body")
            process.stdin.close()
            assert process.wait(PATIENCE_S) == 0
    assert done(data, "export").count(b"\n") == 4_001


def test_an_index_that_is_away_is_no_failure(tmp_path: Path) -> None:
    """An import stores the tweets, and leaves the index alone; the next start ranks them."""
    data = tmp_path / "data"
    said = done(data, "import", "-", given=keyed(("1", None), ("2", "1")), REDIS_URL="redis://127.0.0.1:1")
    assert said.startswith(b"Imported 2 tweets in ")
    with open_storage(data) as tweets:
        tweets.reconciler.catch_up()
        assert [count for count, _ in whole_ranking(tweets)] == [1, 0]


def test_keys_of_another_system(tmp_path: Path) -> None:
    """Lines that have keys get ids of their times; --map says which, and other programs' habits are read as well."""
    data, mapped = tmp_path / "data", tmp_path / "map.jsonl"
    lines = keyed(("a b", None), ("38G5A0C400000", "a b"), ("\u4e2d", "38G5A0C400000"), base=3)
    given = b"\xef\xbb\xbf\r\n" + lines.replace(b"\n", b"\r\n") + b"\n \n" + keyed(("last", None)).rstrip(b"\n")
    done(data, "import", "-", "--map", mapped, given=given)
    ids = {line["key"]: line["id"] for line in map(json.loads, mapped.read_bytes().splitlines())}
    exported = [json.loads(line) for line in done(data, "export").splitlines()]
    assert [ids[key] for key in ("a b", "38G5A0C400000", "\u4e2d", "last")] == [line["id"] for line in exported]
    assert [line["retweet"] for line in exported] == [None, exported[0]["id"], exported[1]["id"], None]
    assert [line["base"] for line in exported] == [3, 3, 3, 0]


def test_what_is_refused_today_and_was_not_once(tmp_path: Path) -> None:
    """What version 0.1 stored can be imported: a name of dots, a title that shows nothing, or that has a separator."""
    data = tmp_path / "data"
    old = keyed(("1", None), user_name="..", title="\u200b") + keyed(("2", "1"), title="a\u2028b", body="one\r\ntwo")
    done(data, "import", "-", given=old)
    exported = done(data, "export")
    lines = [json.loads(line) for line in exported.splitlines()]
    assert [line["title"] for line in lines] == ["\u200b", "a\u2028b"]
    assert (lines[0]["user_name"], lines[1]["body"]) == ("..", "one\ntwo")
    done(tmp_path / "other", "import", "-", given=exported)
    assert done(tmp_path / "other", "export") == exported


def test_files_that_cannot_be_read_or_written(tmp_path: Path, sample: Path) -> None:
    """A missing file, a damaged one and a place that cannot be written to are named in one sentence."""
    data, damaged = tmp_path / "data", tmp_path / "damaged.gz"
    damaged.write_bytes(sample.read_bytes()[:-2000])
    assert (
        refused(data, "import", tmp_path / "none") == f"{tmp_path / 'none'} cannot be read (No such file or directory)."
    )
    assert refused_at_last(data, "import", damaged).startswith(f"{damaged} is damaged (")
    assert refused(data, "export", tmp_path) == f"{tmp_path} is a folder; name a file."
    assert refused(data, "export", damaged / "x").startswith(f"{damaged / 'x'} cannot be written (")
    assert done(data, "export") == b""
    assert sorted(path.name for path in tmp_path.iterdir()) == ["damaged.gz", "data"]


def test_a_reader_that_goes_away(tmp_path: Path, sample: Path) -> None:
    """`export | head` ends without a word."""
    data = tmp_path / "data"
    done(data, "import", sample)
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
    """Many more entries than the store had tweets are ranked by a rebuild, not folded one batch after the other."""
    rows = (ImportRow(0, str(number), None, 0, "ann", "Title", "Body") for number in range(REBUILT_FROM + 1))
    with open_storage(tmp_path / "data") as tweets:
        tweets.reconciler.catch_up()
        before = tweets.reconciler.rebuilds
        import_tweets(tweets.database, rows, tmp_path, 1000, time.time_ns() // 1_000_000)
        tweets.reconciler.catch_up()
        assert tweets.reconciler.rebuilds == before + 1
        assert verify(tweets) == []
