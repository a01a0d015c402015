"""
Tweets to measure on: a tree in which popular tweets get most retweets, one viral tweet, and one chain of 1,000.

They go in by `import`, under ids that are known beforehand. A planted data directory is kept for the run and copied for
each measurement, so that each one begins with the same tweets; `staged` starts a service on such a copy.
"""

import json
import os
import random
import shutil
import time
from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.servers import ROOT, CannotMeasure, Server, run_command, service, wait_for
from bench.workloads import Planted, Workload, capture, write_requests
from storage import ids

CHAIN = 1_000
"""Tweets in the chain: a retweet of its last one has 1,000 ancestors, as many as a tweet may have."""

RETWEETS = 0.8
"""How many of all tweets retweet another one."""

CLIMBS = 0.5
"""How often a retweet is of the parent instead: a popular tweet gets most, and counts fall off by a power law."""

CHOSEN = 50_000
"""Tweets that requests name; they are asked in turn, again and again."""

SETTLED_WITHIN_S = (0.5, 2, 8, 32, 128)

SPAN_MS = 28 * 86_400_000
AGE_MS = 31 * 86_400_000
"""The newest tweet is 31 days old: of such tweets a page shows the date, so it does not change while it is measured."""

WORDS = (
    *("harbour", "fog", "piano", "library", "tomato", "bridge", "night", "train", "map", "rain", "choir", "comet"),
    *("repair", "bread", "snow", "owl", "ferry", "window", "street", "garden", "winter", "letter", "river", "market"),
)


class Field:
    """Numbered tweets: id, and the number of the parent or -1."""

    def __init__(self, tweets: int, now_ms: int, seed: int = 1) -> None:
        self._random = random.Random(seed)
        self.ids = array("q")
        self._parents = array("q")
        self._chain = min(CHAIN, tweets // 2)  # the viral tweet is number 0, the chain is 1 to this
        last_id, step_ms = 0, max(1, SPAN_MS // tweets)
        first_ms = now_ms - AGE_MS - step_ms * tweets
        for number in range(tweets):
            last_id = ids.next_id(last_id, first_ms + number * step_ms, 0)
            self.ids.append(last_id)
            if number <= self._chain:
                self._parents.append(number - 1 if number > 1 else -1)
            else:
                self._parents.append(self._popular() if self._random.random() < RETWEETS else -1)

    def lines(self) -> Iterator[bytes]:
        """The tweets as lines of JSON, parents first."""
        for tweet_id, parent in zip(self.ids, self._parents, strict=True):
            seconds, rest_ms = divmod(ids.time_of(tweet_id), 1000)
            line = {
                "id": ids.encode(tweet_id),
                "retweet": None if parent < 0 else ids.encode(self.ids[parent]),
                "created_at": time.strftime(f"%Y-%m-%dT%H:%M:%S.{rest_ms:03}Z", time.gmtime(seconds)),
                "user_name": f"user{self._random.randrange(1, 50_000)}",
                "title": " ".join(self._random.choices(WORDS, k=4)),
                "body": " ".join(self._random.choices(WORDS, k=16)),
                "base": 0,  # which version 0.1 does not take as given
            }
            yield json.dumps(line).encode() + b"\n"

    def planted(self) -> Planted:
        """What is to be known of them."""
        return Planted(
            viral=ids.encode(self.ids[0]),
            deep=ids.encode(self.ids[self._chain]),
            random=[ids.encode(self._random.choice(self.ids)) for _ in range(CHOSEN)],
            popular=[ids.encode(self.ids[self._popular()]) for _ in range(CHOSEN)],
        )

    def _popular(self) -> int:
        """A tweet outside of the chain, a popular one more often than not."""
        number = self._random.randrange(len(self._parents) - self._chain) + self._chain
        number = number if number > self._chain else 0
        while self._parents[number] >= 0 and self._random.random() < CLIMBS:
            number = self._parents[number]
        return number


class Fields:
    """Planted data directories in *kept*, each made when it is asked for first, and copies of them in *folder*."""

    def __init__(self, folder: Path, kept: Path | None = None) -> None:
        self._folder = folder
        self._kept = kept or folder

    @contextmanager
    def copied(self, tweets: int, checkout: Path = ROOT) -> Iterator[tuple[Path, Planted]]:
        """A data directory of *checkout* with so many tweets, for one measurement."""
        source = self._kept / ("" if checkout == ROOT else checkout.resolve().name) / f"tweets-{tweets}"
        known = source / "planted.json"
        if not known.exists():
            shutil.rmtree(source, ignore_errors=True)
            source.mkdir(parents=True)
            known.write_text(json.dumps(asdict(_plant(source, tweets, checkout))))
        with TemporaryDirectory(dir=self._folder) as copy:
            data_dir = shutil.copytree(source / "data", Path(copy) / "data", ignore=shutil.ignore_patterns("*.sock"))
            os.sync()  # else it is written to the disk while its services are measured
            yield data_dir, Planted(**json.loads(known.read_text()))


def write_field(tweets: int, file: Path) -> Field:
    """Write so many tweets to *file*, for an import."""
    field = Field(tweets, time.time_ns() // 1_000_000)
    with file.open("wb") as lines:
        lines.writelines(field.lines())
    return field


def _plant(folder: Path, tweets: int, checkout: Path) -> Planted:
    """Import so many tweets into `data` of *folder*, by the command of *checkout*."""
    lines, data_dir = folder / "lines.jsonl", folder / "data"
    field = write_field(tweets, lines)
    ended = run_command(data_dir, "import", str(lines), checkout=checkout)
    lines.unlink()
    print(f"  {ended.said}", flush=True)
    if ended.code:
        raise CannotMeasure(f"The tweets to measure on cannot be imported: {ended.said}")
    for wait_s in SETTLED_WITHIN_S:  # the first start of an older version compares all counts: not while it is measured
        with service(data_dir, checkout):
            time.sleep(wait_s)
        if (data_dir / "index.trusted").exists():
            return field.planted()
    raise CannotMeasure("The index of the tweets to measure on is never trusted.")


@dataclass(frozen=True, slots=True)
class Stage:
    """A service with tweets in place, ready to be asked by one workload."""

    data_dir: Path
    checkout: Path
    planted: Planted
    server: Server
    requests: Path
    """`answers.json` beside it has what the bare app answers."""

    def total(self) -> int:
        """How many tweets are ranked now."""
        return int(self.server.get(f"/api/v1/tweet/{self.planted.viral}/rank")["total"])


@contextmanager
def staged(fields: Fields, workload: Workload, tweets: int, checkout: Path = ROOT) -> Iterator[Stage]:
    """A service of *checkout* on so many tweets."""
    with fields.copied(tweets, checkout) as (data_dir, planted), service(data_dir, checkout) as server:
        asked = data_dir / "asked"
        asked.mkdir()
        wait_for(lambda: server.get("/readyz")["lag"] == 0)  # it answers before its index is loaded
        tag = capture(server.url, planted, asked / "answers.json")
        requests = write_requests(workload, asked, planted, tag)
        yield Stage(data_dir, checkout, planted, server, requests)


def verified(stage: Stage, workload: Workload, before: int, acknowledged: int, in_flight: int) -> str:
    """
    What `verify` says, when every count is right and what was acknowledged is there. Raises CannotMeasure.

    At the end of a run wrk leaves: up to *in_flight* more may be stored than it had an answer for.
    """
    said = run_command(stage.data_dir, "verify", checkout=stage.checkout).said
    if ", 0 wrong" not in said:
        raise CannotMeasure(f"{workload.title}: a fast wrong answer is no answer. {said}")
    if workload.writes == 1:
        stored = stage.total() - before
        if not acknowledged <= stored <= acknowledged + in_flight:
            raise CannotMeasure(f"{workload.title}: {acknowledged:,} were acknowledged, and {stored:,} are there.")
    return said.partition(" right")[0] + " right"
