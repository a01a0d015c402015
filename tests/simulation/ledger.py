"""What was acknowledged, held against the rows of the log, the keys of Redis and every answer to a reader."""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from tests.simulation.hosts import Outcome, Page, Shown, Write, keys_of, member, read_position


class Row(NamedTuple):
    """A row of the log."""

    id: int
    parent: int | None
    partition: int
    depth: int
    seq: int
    nonce: int
    base: int
    title: str | None
    deleted_seq: int | None
    deleted_nonce: int | None


class Log:
    """The log at one instant: the rows, and from them alone every count at every place."""

    def __init__(self, truth: Any) -> None:
        names = ", ".join(Row._fields)
        self.rows = {row[0]: Row(*row) for row in truth.execute(f"SELECT {names} FROM tweets ORDER BY id")}
        self.heads: dict[int, tuple[int, int, int]] = {
            partition: (seq, nonce, live)
            for partition, seq, nonce, live in truth.execute("SELECT partition, seq, nonce, live FROM heads")
        }
        self.store: str = truth.execute("SELECT id FROM store").fetchone()[0]
        self._counts: dict[tuple[int, int], dict[int, int]] = {}

    def ancestors(self, tweet_id: int) -> list[int]:
        """Parent first, root last."""
        found, above = [], self.rows[tweet_id].parent
        while above is not None:
            found.append(above)
            above = self.rows[above].parent
        return found

    def counts(self, partition: int, seq: int) -> dict[int, int]:
        """The count of each tweet of *partition* that was live when *seq* was its last entry."""
        key = (partition, seq)
        if key not in self._counts:
            gained: Counter[int] = Counter()
            counts = {}
            for row in reversed(self.rows.values()):
                if row.partition != partition or row.seq > seq:
                    continue
                is_live = row.deleted_seq is None or row.deleted_seq > seq
                if is_live:
                    counts[row.id] = row.base + gained[row.id]
                if row.parent is not None:
                    gained[row.parent] += gained[row.id] + is_live
            self._counts[key] = counts
        return self._counts[key]

    def nonce_at(self, partition: int, seq: int) -> int | None:
        """The nonce of an entry, 0 before the first, None when there is no such entry."""
        if seq == 0:
            return 0
        for row in self.rows.values():
            if row.partition == partition and row.seq == seq:
                return row.nonce
            if row.partition == partition and row.deleted_seq == seq:
                return row.deleted_nonce
        return None


class Since(NamedTuple):
    """What a reader may rely on when it asks: the places that were acknowledged, and the log."""

    log: Log
    acknowledged: dict[int, int]
    timeline: int
    now: float


@dataclass
class Asked:
    """A write that some client asked for, and what is known of it."""

    write: Write
    timeline: int
    tries: int = 0
    stored: bool | None = None
    id: int | None = None
    is_lost: bool = False
    """It was stored, and the log was put back to before that."""


@dataclass
class Ledger:
    """All writes by their title (deletions apart), and the findings."""

    truth: Any
    """A connection to the database: of sqlite3, or one of psycopg's that is used alike."""
    fail: Callable[[str, str], None]
    clock: Callable[[], float]
    asked: dict[str, Asked] = field(default_factory=dict)
    deleted: dict[int, int] = field(default_factory=dict)
    """How often a deletion of a tweet was acknowledged."""
    acknowledged: dict[int, int] = field(default_factory=dict)
    """By partition: the last place that a client was given an answer for."""
    timeline: int = 0
    trusted_from: float = 0.0
    """When readers must be right again after the log went back: hosts find that out once a second."""
    checks: int = 0
    writes: int = 0

    def log(self) -> Log:
        """The log now."""
        return Log(self.truth)

    def since(self) -> Since:
        """For a reader: what it must see."""
        return Since(self.log(), dict(self.acknowledged), self.timeline, self.clock())

    def expect(self, write: Write) -> Asked:
        """A client is about to ask for *write*, a post."""
        asked = self.asked.setdefault(write.title, Asked(write, self.timeline))
        asked.tries += 1
        return asked

    def settle(self, asked: Asked, outcome: Outcome, began: Since) -> None:
        """A post was answered."""
        self.checks += 1
        self.writes += bool(outcome.stored)
        if self.timeline != began.timeline:  # the log went back meanwhile: it may be lost, or not
            asked.is_lost = True
            return
        rows = [row for row in self.log().rows.values() if row.title == asked.write.title]
        if outcome.stored:
            if not rows and outcome.id is not None:  # deleted already?
                rows = [row for row in self.log().rows.values() if row.id == outcome.id and row.title is None]
            if [row.id for row in rows] != [outcome.id]:
                self.fail("lost", f"{asked.write} was answered with {outcome}, but the log has {rows}")
                return
            if asked.id is not None and asked.id != outcome.id:
                self.fail("doubled", f"{asked.write} was posted as {asked.id}, and again as {outcome.id}")
            asked.stored, asked.id, asked.is_lost = True, outcome.id, False
            self._acknowledge(rows[0].partition, rows[0].seq)
        elif outcome.stored is False and asked.tries == 1:
            asked.stored = False
            if rows:
                self.fail("stored", f"{asked.write} was refused by {outcome.error}, but the log has {rows}")
            self._check_refusal(asked.write, outcome.error, began)

    def settle_deletion(self, write: Write, outcome: Outcome, began: Since) -> None:
        """A deletion was answered."""
        self.checks += 1
        self.writes += bool(outcome.stored)
        assert write.target is not None
        if self.timeline != began.timeline:
            return
        if outcome.stored:
            row = self.log().rows.get(write.target)
            if row is None or row.deleted_seq is None:
                self.fail("lost", f"the deletion of {write.target} was acknowledged, but the log has {row}")
                return
            self.deleted[write.target] = self.deleted.get(write.target, 0) + 1
            if self.deleted[write.target] > 1:
                self.fail("doubled", f"the deletion of {write.target} was acknowledged twice")
            self._acknowledge(row.partition, row.deleted_seq)
        elif outcome.stored is False:
            self._check_refusal(write, outcome.error, began)

    def _acknowledge(self, partition: int, seq: int) -> None:
        self.acknowledged[partition] = max(seq, self.acknowledged.get(partition, 0))

    def _check_refusal(self, write: Write, error: str, began: Since) -> None:
        target = write.target
        now = self.log()
        if error == "TweetNotFound" and target in began.log.rows and target in now.rows:
            self.fail("not found", f"{write}: {target} exists, and the answer was that there is no such tweet")
        if error == "TweetDeleted" and target in now.rows and now.rows[target].deleted_seq is None:
            self.fail("not found", f"{write}: {target} is not deleted, and the answer was that it is")

    def went_back(self, trusted_in_s: float) -> None:
        """The log has lost its last entries: what was acknowledged is what it holds now."""
        self.timeline += 1
        self.trusted_from = self.clock() + trusted_in_s
        log = self.log()
        titles = {row.title for row in log.rows.values()}
        for asked in self.asked.values():
            is_there = asked.id in log.rows if asked.id is not None else asked.write.title in titles
            if not is_there and asked.stored is not False:
                asked.stored, asked.id, asked.is_lost = None, None, True
        self.deleted = {id_: 1 for id_, row in log.rows.items() if row.deleted_seq is not None and id_ in self.deleted}
        self.acknowledged = {p: min(seq, log.heads[p][0]) for p, seq in self.acknowledged.items()}

    # What readers are shown.

    def may_judge(self, began: Since) -> bool:
        """Whether a reader that began then saw one history, which its host knows of."""
        self.checks += 1
        return began.timeline == self.timeline and began.now >= self.trusted_from

    def check_shown(self, shown: Iterable[Shown], began: Since) -> None:
        """Each count is that of a place from what was acknowledged to now."""
        if not self.may_judge(began):
            return
        now = self.log()
        for tweet in shown:
            row = now.rows.get(tweet.id)
            if row is None:
                self.fail("nothing", f"{tweet} is shown, and the log has no such tweet")
                return
            possible = {counts.get(tweet.id) for counts in self._possible(now, row.partition, began)}
            if tweet.count_retweet is None:
                if row.deleted_seq is None:
                    self.fail("not found", f"{tweet} is shown as deleted, and is not")
            elif tweet.count_retweet not in possible and None not in possible:  # one deleted meanwhile has no count
                self.fail("old read", f"{tweet} is shown, but since the question its count was of {possible}: {row}")

    def _possible(self, now: Log, partition: int, began: Since) -> list[dict[int, int]]:
        """The counts of *partition* at each place that a reader may be shown."""
        first = began.acknowledged.get(partition, 0)
        return [now.counts(partition, seq) for seq in range(first, now.heads[partition][0] + 1)]

    def check_page(self, page: Page, limit: int, after: Any, began: Since) -> None:
        """Each partition's part of the page is what its ranking held at some place from the acknowledged one to now."""
        if not self.may_judge(began):
            return
        now = self.log()
        if page.is_stale:
            gone = {id_ for id_, row in began.log.rows.items() if row.deleted_seq is not None and id_ in self.deleted}
            if dead := [tweet for tweet in page.tweets if tweet.id in gone]:
                self.fail("old read", f"a stale page shows {dead}, which were deleted before")
            return
        places = [(tweet.count_retweet or 0, tweet.id) for tweet in page.tweets]
        if places != sorted(places, reverse=True):
            self.fail("order", f"the page is not in order: {places}")
        last = page.next or (places[-1] if len(places) >= limit else (-1, -1))
        for partition in now.heads:
            shown = [place for place in places if place[1] in now.rows and now.rows[place[1]].partition == partition]
            candidates = []
            for counts in self._possible(now, partition, began):
                ranking = sorted(((count, id_) for id_, count in counts.items()), reverse=True)
                part = [p for p in ranking if p >= tuple(last) and (after is None or p < tuple(after))]
                # A tweet that was deleted since the index was asked is left out.
                part = [p for p in part if now.rows[p[1]].deleted_seq is None or p in shown]
                candidates.append(part)
            if shown not in candidates:
                self.fail("old read", f"partition {partition} of a page is {shown}, but was {candidates[:1]} or later")

    def check_error(self, kind: str, tweet_id: int, began: Since) -> None:
        """A reader was refused: not so for a tweet that is there."""
        if not self.may_judge(began):
            return
        before, now = began.log.rows.get(tweet_id), self.log().rows.get(tweet_id)
        if kind == "missing" and before and now:
            self.fail("not found", f"{tweet_id} exists, and the answer was that there is no such tweet")
        if kind == "deleted" and now and now.deleted_seq is None:
            self.fail("not found", f"{tweet_id} is not deleted, and the answer was that it is")

    # What is stored.

    def check_log(self) -> None:
        """Every acknowledged write is there once, and nothing else; places, depths and heads are right."""
        self.checks += 1
        log = self.log()
        for title, times in Counter(row.title for row in log.rows.values() if row.title is not None).items():
            asked = self.asked.get(title)
            if asked is None or times > 1:
                self.fail("doubled", f"{title} is {times} times in the log, and was asked for as {asked}")
            elif asked.stored is False:
                self.fail("stored", f"{asked} was refused, and is in the log")
        for asked in self.asked.values():
            if asked.stored and asked.id not in log.rows:
                self.fail("lost", f"{asked} was acknowledged, and is not in the log")
        for tweet_id in self.deleted:
            if log.rows[tweet_id].deleted_seq is None:
                self.fail("lost", f"the deletion of {tweet_id} was acknowledged, and is not in the log")
        self._check_rows(log)

    def _check_rows(self, log: Log) -> None:
        for row in log.rows.values():
            if len(log.ancestors(row.id)) != row.depth:
                self.fail("depth", f"{row} has {len(log.ancestors(row.id))} ancestors")
        for partition, (seq, nonce, live) in log.heads.items():
            rows = [row for row in log.rows.values() if row.partition == partition]
            places = sorted([row.seq for row in rows] + [row.deleted_seq for row in rows if row.deleted_seq])
            if places != list(range(1, seq + 1)):
                self.fail("places", f"partition {partition} has the places {places}, and its head is {seq}")
            if live != sum(row.deleted_seq is None for row in rows) or log.nonce_at(partition, seq) != nonce:
                self.fail("heads", f"the head of partition {partition} does not fit its rows")

    def check_index(self, redis: Any, *, must_be_current: bool, may_lack: bool) -> bool:
        """
        The index equals the log up to its position. Whether it is current; when it *must* be, that is a finding.

        What holds no position of this log is not of it, and readers see that. With *may_lack* members were evicted.
        """
        self.checks += 1
        log, is_current = self.log(), True
        pipeline = redis.pipeline(transaction=False)
        for partition in log.heads:
            keys = keys_of(log.store, partition)
            pipeline.get(keys.position).zrange(keys.ranking, 0, -1, withscores=True)
        answers = pipeline.execute(raise_on_error=False)
        for number, (partition, (head, _, _)) in enumerate(log.heads.items()):
            text, pairs = answers[2 * number : 2 * number + 2]
            position, at = read_position(log.store, text if isinstance(text, bytes) else b""), None
            found = {name.decode(): int(score) for name, score in pairs} if isinstance(pairs, list) else {}
            if position and log.nonce_at(partition, position[0]) == position[1]:
                at = position[0]
                want = {member(id_): count for id_, count in log.counts(partition, at).items()}
                if found != want and not (may_lack and len(found) < len(want)):
                    different = {key: (want.get(key), found.get(key)) for key in want.keys() | found.keys()}
                    wrong = {key: pair for key, pair in sorted(different.items()) if pair[0] != pair[1]}
                    self.fail("index", f"partition {partition} at {at}: {wrong} (right, found)")
                is_current = is_current and found == want
            is_current = is_current and at == head
            if must_be_current and not is_current:
                self.fail("not at rest", f"partition {partition} is at {position}, and the log at {head}")
        return is_current
