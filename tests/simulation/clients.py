"""Clients: each writes and reads through whatever host is up, and has every answer checked."""

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from tests.simulation.hosts import Change, Host, Outcome, StorageError, Write, kind_of
from tests.simulation.ledger import Asked, Ledger
from tests.simulation.scheduler import Killed, Life, Scheduler

ANSWERED_WITHIN_S = 30.0
"""A write waits for its turn for ten seconds and is then tried for four; a reader waits for less."""

TRIES = 4

Result = TypeVar("Result")


class NoAnswer(Exception):
    """The host was killed before it answered."""


@dataclass
class Up:
    """A host that serves, in one life of it."""

    life: Life
    host: Host


@dataclass
class Hosts:
    """The hosts that serve now, by name."""

    up: dict[str, Up] = field(default_factory=dict)


def within(scheduler: Scheduler, up: Up, act: Callable[[], Result], within_s: float = ANSWERED_WITHIN_S) -> Result:
    """
    What *act* returns, which a thread of that host does. Raises NoAnswer when the host is killed meanwhile.

    That it takes longer than *within_s* is a finding.
    """
    task = scheduler.current
    assert task
    if not up.life.is_alive:
        raise NoAnswer
    task.life = up.life
    began = scheduler.now
    try:
        result = act()
    except (Killed, Exception):
        if scheduler.verdict or up.life.is_alive:
            raise
        raise NoAnswer from None
    finally:
        task.life = None
        if scheduler.now - began > within_s:
            scheduler.fail("slow", f"{task.name} waited for {scheduler.now - began:.1f} s for {up.life.name}")
    return result


class Client:
    """One client, who has its own name."""

    def __init__(self, name: str, scheduler: Scheduler, hosts: Hosts, ledger: Ledger, *, partitions: int) -> None:
        self.name = name
        self._scheduler = scheduler
        self._rng: random.Random = scheduler.rng
        self._hosts = hosts
        self._ledger = ledger
        self._partitions = partitions
        self._number = 0
        self._keys: list[str] = []

    def work(self, operations: int) -> None:
        """Do so much, one after the other."""
        for _ in range(operations):
            up = self._wait_for_host()
            if up is None:
                return
            drawn = self._rng.random()
            try:
                if drawn < 0.6:
                    self._write_some(up)
                elif drawn < 0.78:
                    self.read_top(up)
                else:
                    self._read_tweet(up)
            except NoAnswer:
                continue

    def _wait_for_host(self) -> Up | None:
        for _ in range(200):
            if self._hosts.up:
                return self._rng.choice([*self._hosts.up.values()])
            self._scheduler.sleep(0.05)
        return None

    # Writes.

    def _targets(self) -> list[int]:
        return [asked.id for asked in self._ledger.asked.values() if asked.id is not None and not asked.is_lost]

    def draw(self) -> Write:
        """A write to ask for."""
        self._number += 1
        title, targets = f"{self.name}-{self._number}", self._targets()
        drawn, target = self._rng.random(), self._rng.choice(targets) if targets else None
        if target is not None and drawn < 0.2:
            return Write(self.name, title, target, deletes=True)
        key = f"key-{title}" if self._rng.random() < 0.5 else None
        if key and self._keys and self._rng.random() < 0.2:
            key = self._rng.choice(self._keys)  # of another call: refused, if that one was stored
        elif key:
            self._keys.append(key)
        base = self._rng.randrange(5) if drawn > 0.9 else 0
        return Write(self.name, title, target if drawn < 0.75 else None, base=base, key=key)

    def _write_some(self, up: Up) -> None:
        outcomes = self.write([self.draw() for _ in range(self._rng.choice((1, 1, 2, 4)))], up)
        if any(outcome.stored for outcome in outcomes) and self._hosts.up and self._rng.random() < 0.5:
            self.read_top(self._rng.choice([*self._hosts.up.values()]))  # by a host that may not know of it

    def write(self, writes: list[Write], up: Up) -> list[Outcome]:
        """Ask for *writes* at once, through *up* first, and again with their keys until it is known what became."""
        began = self._ledger.since()
        asked = [None if write.deletes else self._ledger.expect(write) for write in writes]
        try:
            outcomes = within(self._scheduler, up, lambda: up.host.write_all(writes))
        except NoAnswer:
            outcomes = [Outcome(None, error="killed")] * len(writes)
        for write, each, outcome in zip(writes, asked, outcomes, strict=True):
            self._scheduler.note(f"= {_tell(write)}: {_tell_outcome(outcome)}")
            if each is None:
                self._ledger.settle_deletion(write, outcome, began)
                continue
            self._ledger.settle(each, outcome, began)
            if outcome.stored is None and write.key:
                self._repeat(each)
            elif outcome.stored and write.key and self._rng.random() < 0.2:
                self._repeat(each)  # the client has not heard it
        return outcomes

    def _repeat(self, asked: Asked) -> None:
        for _ in range(TRIES):
            self._scheduler.sleep(self._rng.uniform(0.001, 0.3))
            up = self._wait_for_host()
            if up is None:
                return
            began = self._ledger.since()
            asked.tries += 1
            try:
                (outcome,) = within(self._scheduler, up, lambda up=up: up.host.write_all([asked.write]))  # type: ignore[misc]
            except NoAnswer:
                continue
            self._scheduler.note(f"= again {_tell(asked.write)}: {_tell_outcome(outcome)}")
            self._ledger.settle(asked, outcome, began)
            if outcome.stored is not None:
                return

    # Reads.

    def read_top(self, up: Up, limit: int | None = None) -> bool:
        """Read the first page and the one after it; whether they came from the index as it is now."""
        size = limit or self._rng.choice((1, 2, 3, 10))
        began = self._ledger.since()
        try:
            page = within(self._scheduler, up, lambda: up.host.top(size))
            self._scheduler.note(
                f"= top {size}: {[(t.count_retweet, t.title) for t in page.tweets]}{' stale' * page.is_stale}"
            )
            self._ledger.check_page(page, size, None, began)
            if page.next and not page.is_stale:
                began, after = self._ledger.since(), page.next
                below = within(self._scheduler, up, lambda: up.host.top(size, after))
                self._scheduler.note(
                    f"= top {size} after {tuple(after)}: {[(t.count_retweet, t.title) for t in below.tweets]}"
                )
                self._ledger.check_page(below, size, after, began)
        except StorageError as error:
            self._note_refused("top", error)
            return False
        return not page.is_stale

    def _read_tweet(self, up: Up) -> None:
        targets = self._targets()
        if not targets:
            return
        target, drawn, began = self._rng.choice(targets), self._rng.random(), self._ledger.since()
        what = "get" if drawn < 0.6 else "chain" if drawn < 0.8 else "rank"
        try:
            if what == "get":
                shown = [within(self._scheduler, up, lambda: up.host.get(target))]
            elif what == "chain":
                shown = within(self._scheduler, up, lambda: up.host.chain(target))
            else:
                self._read_rank(up, target)
                return
        except StorageError as error:
            self._note_refused(what, error)
            self._ledger.check_error(kind_of(error), target, began)
            return
        self._scheduler.note(f"= {what}: {[(tweet.count_retweet, tweet.title) for tweet in shown]}")
        self._ledger.check_shown(shown, began)

    def _read_rank(self, up: Up, target: int) -> None:
        began = self._ledger.since()
        rank, count, total = within(self._scheduler, up, lambda: up.host.rank(target))
        self._scheduler.note(f"= rank of {target}: {rank} of {total}, count {count}")
        if not 1 <= rank <= total and self._ledger.may_judge(began):
            self._scheduler.fail("old read", f"the rank of {target} is {rank} of {total}")

    def _note_refused(self, what: str, error: StorageError) -> None:
        self._scheduler.note(f"= {what}: {type(error).__name__}")
        if kind_of(error) == "error":
            self._scheduler.fail("error", f"{what} was answered by {error}")


class FeedReader:
    """Reads the change feed from whatever host is up: of one timeline it gets every entry, once and in order."""

    def __init__(self, scheduler: Scheduler, hosts: Hosts, ledger: Ledger) -> None:
        self._scheduler = scheduler
        self._hosts = hosts
        self._ledger = ledger
        self._cursor: str | None = None
        self._timeline = 0  # in which the cursor was given
        self._changes: dict[int, list[Change]] = {}

    def work(self, rounds: int) -> None:
        """Read so many pages, with some time between them."""
        for _ in range(rounds):
            self._scheduler.sleep(self._scheduler.rng.uniform(0.001, 0.1))
            if self._hosts.up:
                self.read(self._scheduler.rng.choice([*self._hosts.up.values()]))

    def read(self, up: Up) -> bool:
        """Read a page; whether it was empty, so that all is known."""
        cursor, limit, timeline = self._cursor, self._scheduler.rng.choice((1, 2, 5, 100)), self._ledger.timeline
        try:
            changes, following = within(self._scheduler, up, lambda: up.host.changes(cursor, limit))
        except LookupError:
            if self._timeline == self._ledger.timeline:
                self._scheduler.fail("feed", f"the timeline of {cursor} is refused, and there was no other one")
            self._cursor, self._changes = None, {}
            return False
        except (NoAnswer, StorageError) as error:
            self._scheduler.note(f"= feed: {type(error).__name__}")
            return False
        self._scheduler.note(f"= feed: {[(each.partition, each.seq) for each in changes]}")
        for change in changes:
            known = self._changes.setdefault(change.partition, [])
            if change.seq != len(known) + 1:
                self._scheduler.fail("feed", f"entry {change.seq} of {change.partition} comes after {len(known)}")
            known.append(change)
        # What was read is of the timeline before the call or of the one after it: the earlier one may be refused.
        self._cursor, self._timeline = following, timeline
        return not changes

    def check(self) -> None:
        """Compare what was read, all of it, with the log."""
        log = self._ledger.log()
        expected: dict[int, dict[int, Change]] = {partition: {} for partition in log.heads}
        for row in log.rows.values():
            posted = Change(row.partition, row.seq, row.nonce, row.id, 1)
            expected[row.partition][row.seq] = posted
            if row.deleted_seq is not None and row.deleted_nonce is not None:
                deleted = posted._replace(seq=row.deleted_seq, nonce=row.deleted_nonce, sign=-1)
                expected[row.partition][row.deleted_seq] = deleted
        for partition, entries in expected.items():
            if self._changes.get(partition, []) != [entries[seq] for seq in sorted(entries)]:
                self._scheduler.fail("feed", f"of partition {partition} it gave other entries than the log has")


def _tell(write: Write) -> str:
    if write.deletes:
        return f"delete {write.target}"
    what = "post" if write.target is None else f"retweet {write.target}"
    return f"{what} {write.title}{' key' * bool(write.key)}"


def _tell_outcome(outcome: Outcome) -> str:
    if outcome.stored:
        return f"{outcome.id or 'done'}{' replayed' * outcome.replayed}"
    return f"{outcome.error}"
