"""A log written straight into the database, with tweets of any time, and the plain truth about it."""

import random
from dataclasses import dataclass
from typing import Any

from sqlalchemy import insert, text

from storage.ids import PARTITIONS, first_of
from storage.sql.database import Database
from storage.sql.schema import tweets

HOUR_MS = 3_600_000
NOW_MS = 1_790_000_000_000
"""An hour that has just begun."""

USERS = ("ada", "bob", "cyd", "dan")


@dataclass
class Planted:
    """A tweet of the log."""

    id: int
    parent: int | None
    user: str
    base: int
    deleted: bool
    partition: int
    depth: int
    entries: list[int]  # seqs of its post, and of its deletion


class PlantedLog(dict[int, Planted]):
    """All tweets by id, in the order of ids."""

    def ancestors(self, tweet_id: int) -> list[Planted]:
        """Parent first, root last."""
        found, parent = [], self[tweet_id].parent
        while parent is not None:
            found.append(self[parent])
            parent = self[parent].parent
        return found

    def descendants(self, tweet_id: int) -> list[Planted]:
        """In pre-order."""
        found = []
        for each in self.values():
            if each.parent == tweet_id:
                found += [each, *self.descendants(each.id)]
        return found


def plant(database: Database, rng: random.Random, count: int, step_ms: int = HOUR_MS // 3) -> PlantedLog:
    """
    Append *count* tweets to an empty log, the last ones at `NOW_MS`, some *step_ms* apart; several share an instant.

    Some 70 % are retweets, of new and of old tweets, also of deleted ones; 15 % are deleted, at any time later.
    """
    log = PlantedLog()
    with database.writing() as connection:
        partitions: int = connection.execute(text("SELECT partitions FROM store")).scalar_one()
        seqs, doomed = dict.fromkeys(range(partitions), 0), list[Planted]()

        def enter(tweet: Planted) -> None:
            seqs[tweet.partition] += 1
            tweet.entries.append(seqs[tweet.partition])

        time_ms, tweet_id = NOW_MS - step_ms * count, 0
        for _ in range(count):
            time_ms += rng.choice([0, step_ms, 2 * step_ms])
            tweet_id = max(tweet_id + PARTITIONS, first_of(min(time_ms, NOW_MS)) + 1)
            parent = rng.choice([*log.values()][-rng.choice([4, 30]) :]) if log and rng.random() < 0.7 else None
            partition, depth = (parent.partition, parent.depth + 1) if parent else (rng.randrange(partitions), 0)
            log[tweet_id] = planted = Planted(
                tweet_id,
                parent.id if parent else None,
                rng.choice(USERS),
                rng.choice([0, 0, 7]),
                rng.random() < 0.15,
                partition,
                depth,
                [],
            )
            enter(planted)
            doomed += [planted] if planted.deleted else []
            while doomed and rng.random() < 0.3:
                enter(doomed.pop(0))
        for each in doomed:
            enter(each)
        connection.execute(insert(tweets), [_row(each) for each in log.values()])
        for partition, seq in seqs.items():
            live = sum(each.partition == partition and not each.deleted for each in log.values())
            values = {"p": partition, "seq": seq, "nonce": nonce_of(partition, seq), "last": tweet_id, "live": live}
            connection.execute(
                text("UPDATE heads SET seq = :seq, nonce = :nonce, last_id = :last, live = :live WHERE partition = :p"),
                values,
            )
    return log


def nonce_of(partition: int, seq: int) -> int:
    """The nonce of a planted entry: 0 before the first one."""
    return seq and 1000 * partition + seq


def _row(tweet: Planted) -> dict[str, Any]:
    posted, *deleted = tweet.entries
    texts = (None, None, None) if tweet.deleted else (tweet.user, f"title {posted}", f"body {posted}")
    return {
        "id": tweet.id,
        "parent": tweet.parent,
        "partition": tweet.partition,
        "depth": tweet.depth,
        "seq": posted,
        "nonce": nonce_of(tweet.partition, posted),
        "base": tweet.base,
        "created_at": tweet.id >> 21,
        **dict(zip(("user_name", "title", "body"), texts, strict=True)),
        "deleted_seq": deleted[0] if deleted else None,
        "deleted_nonce": nonce_of(tweet.partition, deleted[0]) if deleted else None,
    }
