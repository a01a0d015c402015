"""
Tweets to measure on: a tree in which the rich get richer, one viral tweet, and one chain of 1,000.

They go in by `import`, under ids that are known beforehand. A planted data directory is kept for the run and copied for
each measurement, so that each one begins with the same tweets.
"""

import json
import os
import random
import shutil
import subprocess
import sys
import time
from array import array
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from bench.load import CannotMeasure
from bench.processes import ROOT, environment, service
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


@dataclass(frozen=True, slots=True)
class Planted:
    """How many tweets there are, and the ids of those that requests name."""

    tweets: int
    viral: str
    deep: str
    random: list[str]
    popular: list[str]


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
            self._parents.append(self._parent(number))

    def lines(self) -> Iterator[bytes]:
        """The tweets as lines of JSON, parents first."""
        for number, tweet_id in enumerate(self.ids):
            parent = self._parents[number]
            line = {
                "id": ids.encode(tweet_id),
                "retweet": None if parent < 0 else ids.encode(self.ids[parent]),
                "base": 0,
                "created_at": _timestamp(ids.time_of(tweet_id)),
                "user_name": f"user{self._random.randrange(1, 50_000)}",
                "title": self._text(4),
                "body": self._text(16),
            }
            yield json.dumps(line).encode() + b"\n"

    def planted(self) -> Planted:
        """What is to be known of them."""
        anyone = [self._random.randrange(len(self.ids)) for _ in range(CHOSEN)]
        popular = [self._popular() for _ in range(CHOSEN)]
        return Planted(
            tweets=len(self.ids),
            viral=ids.encode(self.ids[0]),
            deep=ids.encode(self.ids[self._chain]),
            random=[ids.encode(self.ids[number]) for number in anyone],
            popular=[ids.encode(self.ids[number]) for number in popular],
        )

    def _parent(self, number: int) -> int:
        if number <= 1:
            return -1
        if number <= self._chain:
            return number - 1
        return self._popular() if self._random.random() < RETWEETS else -1

    def _popular(self) -> int:
        """A tweet outside of the chain, a popular one more often than not."""
        number = self._random.randrange(len(self._parents) - self._chain) + self._chain
        number = number if number > self._chain else 0
        while self._parents[number] >= 0 and self._random.random() < CLIMBS:
            number = self._parents[number]
        return number

    def _text(self, words: int) -> str:
        return " ".join(self._random.choices(WORDS, k=words))


class Fields:
    """Planted data directories in *kept*, each made when it is asked for first, and copies of them in *folder*."""

    def __init__(self, folder: Path, kept: Path | None = None) -> None:
        self._folder = folder
        self._kept = kept or folder
        self._copies = 0

    def copy(self, tweets: int) -> tuple[Path, Planted]:
        """A data directory with so many tweets, for one measurement; `discard` it then."""
        source, planted = self._plant(tweets)
        self._copies += 1
        copy = self._folder / f"copy-{self._copies}"
        shutil.copytree(source, copy, ignore=shutil.ignore_patterns("*.sock"))
        os.sync()  # else it is written to the disk while its services are measured
        return copy, planted

    def discard(self, copy: Path) -> None:
        """Remove a copy."""
        shutil.rmtree(copy, ignore_errors=True)

    def _plant(self, tweets: int) -> tuple[Path, Planted]:
        folder = self._kept / f"tweets-{tweets}"
        known = folder / "planted.json"
        if not known.exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            planted = plant(folder / "data", tweets)
            known.write_text(json.dumps(asdict(planted)))
        return folder / "data", Planted(**json.loads(known.read_text()))


def plant(data_dir: Path, tweets: int) -> Planted:
    """Import so many tweets into *data_dir*."""
    field = Field(tweets, time.time_ns() // 1_000_000)
    command = [sys.executable, "-m", "app", "import", "-"]
    with subprocess.Popen(
        command, cwd=ROOT, env=environment(data_dir), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=False
    ) as process:
        if process.stdin is None or process.stdout is None:
            raise AssertionError("the pipes were asked for")
        process.stdin.writelines(field.lines())
        process.stdin.close()
        print(f"  {process.stdout.read().decode().strip()}", flush=True)
    if process.returncode != 0:
        raise CannotMeasure("The tweets to measure on cannot be imported; the reason is above.")
    settle(data_dir)
    return field.planted()


def settle(data_dir: Path) -> None:
    """Let a service compare all counts once, as it does after its first start: not while it is measured."""
    for wait_s in SETTLED_WITHIN_S:
        with service(data_dir):
            time.sleep(wait_s)
        if (data_dir / "index.trusted").exists():
            return
    raise CannotMeasure("The service does not come to trust the index of the tweets to measure on.")


def _timestamp(time_ms: int) -> str:
    seconds, rest_ms = divmod(time_ms, 1000)
    return time.strftime(f"%Y-%m-%dT%H:%M:%S.{rest_ms:03}Z", time.gmtime(seconds))
