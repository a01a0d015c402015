"""
Keeps the index equal to the log, whatever happened to either.

The index says by its position which entry it holds last. If the log knows that entry, the ones after it are folded in;
if it does not (another timeline, an empty Redis), or the number of tweets differs, the ranking is rebuilt beside the
old one and swapped. There is no third way: nothing corrects a count by hand.

A server that crashed may load its file without a complaint and be wrong: one flipped bit of an append-only file in ten
is like that. So a ranking that was built in another server process than those that run now is rebuilt as well, while it
is served.
"""

import logging
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from itertools import takewhile

from storage.ancestry import load_ancestries
from storage.errors import IndexDamaged, IndexUnavailable, StorageError
from storage.fold import Ancestry, change
from storage.index.ranking import FoldRequest, IndexState, RankingIndex, advice
from storage.rebuild import rebuild
from storage.sql import log
from storage.sql.database import Database
from storage.sql.log import Head, Store

TICK_S = 1.0
"""How often the reconciler looks without being asked."""

RETRY_S = 0.25
"""How often it looks while a partition is unavailable or rebuilt; attempts to rebuild have pauses of their own."""

ON_ITS_WAY_S = 0.001
LOOKS = 20
"""A batch that is stored is in the index about a millisecond later: so look again before it is repaired."""

FOLD_AT_ONCE = 5_000
"""Entries in one script call: keeps Redis busy for some 20 ms, within which others wait."""

REBUILT_FROM = 10_000
"""Entries behind where a rebuild is considered: for each tweet of the store it costs half of what folding one does."""

LONGEST_PAUSE_S = 60.0
"""Between two attempts to rebuild a partition: twice its time after a success, 0.1, 0.4, 1.6 ... s after failures."""

READERS_WAIT_S = 0.5
"""How long a rebuild may take, or be put off, before its partition is marked unavailable, which no reader waits for."""

STOPS_WITHIN_S = 5.0
"""How long `stop` waits for each thread, which may be waiting for SQL or Redis."""

_log = logging.getLogger(__name__)


class Reconciler:
    """
    Brings the index up to date with the log: when woken, once a second, and when a reader waits for it.

    Each partition is followed for itself: while the server of one is unavailable, the others go on. One thread looks
    and folds, another one rebuilds meanwhile; the methods may be called by any thread. With *owns_index* it looks
    whether servers were restarted, for all processes of this host; *is_trusted* when its own one was stopped cleanly.
    """

    def __init__(
        self,
        database: Database,
        index: RankingIndex,
        store: Store,
        *,
        owns_index: bool = False,
        is_trusted: bool = False,
    ) -> None:
        self._database = database
        self._index = index
        self.store = store
        self._owns_index = owns_index
        self._is_trusted = is_trusted
        self._current: set[int] = set()
        self._unavailable: dict[int, StorageError] = {}
        self._damaged: set[int] = set()
        self._doubted: set[int] | None = None  # those built in a server process that runs no more, once that is known
        self._is_blind = False
        self._rebuilding: dict[int, tuple[float, IndexState | None]] = {}
        """Since when a partition is to be rebuilt, and where it stands; None for one that is only doubted."""
        self._failures: dict[int, int] = {}
        self._retry_at: dict[int, float] = {}
        self._has_failed = False  # to look
        self._reported = ""
        self._wake = threading.Event()
        self._wake.set()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="reconciler", daemon=True)
        self._rebuilder = threading.Thread(target=self._rebuild_all, name="rebuilder", daemon=True)
        self._changed = threading.Condition()
        self._asked = self._looked = 0
        """The calls of `catch_up`, and the last one after which the reconciler has looked."""
        self.batch = threading.Lock()
        """To be held while a batch of this process is stored and brought into the index."""
        self.rebuilds = 0
        self.on_rebuild: Callable[[int], object] = lambda _count: None
        """See `Tweets.observe`."""

    def start(self) -> None:
        """Look after the index until `stop`, at once for the first time."""
        self._thread.start()

    def stop(self) -> None:
        """End the threads; a rebuild under way is aborted."""
        self._stopping.set()
        self._wake.set()
        with self._changed:
            self._changed.notify_all()
        for thread in (self._thread, self._rebuilder):
            if thread.is_alive():
                thread.join(STOPS_WITHIN_S)

    def is_trustworthy(self) -> bool:
        """Whether there is no reason to doubt the index, as its server runs now."""
        with suppress(IndexUnavailable):
            if self._doubted is not None:
                return not self._rebuilding and not self._index.list_built_elsewhere(range(self.store.partitions))
        return self._is_trusted  # as it was found, if nothing has looked since

    def is_current(self, partition: int) -> bool:
        """Whether *partition* held the whole log when last looked at; until it does, only the reconciler folds it."""
        return partition in self._current

    def is_unavailable(self, partition: int) -> bool:
        """Whether *partition* did not answer when it was asked last, or takes long to rebuild: do not wait for it."""
        return partition in self._unavailable

    def wait_for_batch(self) -> None:
        """Wait until a batch that is under way has come into the index, or for as long as that takes as a rule."""
        if not self.batch.locked():
            time.sleep(ON_ITS_WAY_S)  # it is one of another process
        elif self.batch.acquire(timeout=ON_ITS_WAY_S):
            self.batch.release()

    def mark_stale(self, partition: int) -> None:
        """Say that *partition* may lack something."""
        self._current.discard(partition)
        self._wake.set()

    def mark_unavailable(self, partition: int, error: StorageError) -> None:
        """Say that *partition* did not answer, or, with IndexDamaged, that it holds what cannot be ours."""
        is_damaged = isinstance(error, IndexDamaged)
        is_known = partition in (self._damaged if is_damaged else self._unavailable)
        self._current.discard(partition)
        if is_damaged:
            self._damaged.add(partition)
        else:
            self._unavailable[partition] = error
        if not is_known:
            self._wake.set()

    def catch_up(self, timeout_s: float | None = None) -> None:
        """
        Wait until the reconciler has brought up to date what it can, at most *timeout_s* seconds.

        Without a limit that includes rebuilds, however long they take and however often they failed before. Raises
        IndexUnavailable when a partition is not up to date then; the others are nevertheless.
        """
        with self._changed:
            if timeout_s is None:
                self._retry_at.clear()
            self._asked += 1
            number = self._asked
            self._wake.set()
            self._changed.wait_for(
                lambda: self._looked >= number and self._is_settled(with_rebuilds=timeout_s is None), timeout_s
            )
        for error in [*self._unavailable.values()]:
            raise IndexUnavailable(f"The index is not up to date: {advice(error)}.") from (error.__cause__ or error)

    def note_rebuild(self, partition: int) -> None:
        """Say that *partition* was rebuilt: what was stored meanwhile is to be folded."""
        self.rebuilds += 1
        self.on_rebuild(1)
        self.mark_stale(partition)

    def _run(self) -> None:
        while True:
            now = time.monotonic()
            pause_s = TICK_S if self._is_settled(with_rebuilds=True) and not self._unavailable else RETRY_S
            next_try_s = min((at - now for at in [*self._retry_at.values()] if at > now), default=TICK_S)
            self._wake.wait(min(pause_s, next_try_s))
            if self._stopping.is_set():
                return
            self._look()
            if self._rebuilding and not self._rebuilder.is_alive():
                self._rebuilder = threading.Thread(target=self._rebuild_all, name="rebuilder", daemon=True)
                self._rebuilder.start()

    def _is_settled(self, *, with_rebuilds: bool) -> bool:
        """Whether there is nothing to wait for: each partition is up to date, or there is a reason why it is not."""
        if self._stopping.is_set() or self._has_failed:
            return True
        if with_rebuilds and self._rebuilding:
            return False
        return all(each in self._current or each in self._unavailable for each in range(self.store.partitions))

    def _look(self) -> None:
        """Repair what can be repaired at once. Raises nothing; what fails is logged once and tried again later."""
        self._wake.clear()
        with self._changed:
            number = self._asked
        problem, has_failed = "", True
        try:
            self._repair()
            has_failed = False
        except StorageError as error:
            problem = f"the log is unavailable: {error.__cause__ or error}"
        except Exception:  # noqa: BLE001  # the thread must outlive any mistake
            _log.exception("reconciling failed; the next tick tries again")
        with self._changed:
            self._looked, self._has_failed = number, has_failed
            self._changed.notify_all()
        for partition, cause in [*self._unavailable.items()][:1]:
            problem = problem or f"partition {partition} of the index is unavailable: {advice(cause)}"
        if problem != self._reported and not self._stopping.is_set():
            if problem:
                _log.warning("%s; trying again", problem)
            else:
                _log.info("the index is up to date again")
            self._reported = problem

    def _repair(self) -> None:
        """Fold what partitions lack; note which to rebuild: that stand elsewhere than the log, or are in doubt."""
        tried = dict(self._retry_at)
        broken = self._follow()
        if self._owns_index and not self._unavailable:
            self._look_at_servers()
        now = time.monotonic()
        wanted: dict[int, IndexState | None] = {**dict.fromkeys(self._doubted or ()), **broken}
        for partition in [*self._rebuilding]:
            if partition not in wanted:  # it was rebuilt, or brought up to date by another process
                self._rebuilding.pop(partition, None)
        for partition, state in wanted.items():
            due = self._retry_at.get(partition, 0.0)
            if due != tried.get(partition, 0.0):  # an attempt has ended since it was asked: ask again
                self._wake.set()
                continue
            if due <= now:
                due, _ = self._rebuilding.get(partition, (now, None))
                self._rebuilding[partition] = due, state
            if partition in broken:
                self._current.discard(partition)
                if abs(now - due) > READERS_WAIT_S:
                    self._unavailable.setdefault(partition, IndexUnavailable("it is being rebuilt"))

    def _follow(self) -> dict[int, IndexState]:
        """Fold what partitions lack. Returns where those stand that must be rebuilt. Raises StoreUnavailable."""
        for partition in [*self._damaged]:
            try:
                self._index.remove(partition)
            except IndexUnavailable as error:
                self._unavailable[partition] = error
                continue
            self._damaged.discard(partition)
            _log.warning("the index of partition %d held what cannot be ours; it was removed", partition)
        # The positions before the heads: so no head is behind a position of this timeline.
        answers = self._index.counts_all(dict.fromkeys(range(self.store.partitions), ()))
        heads = self._database.get_state().checked(self.store).heads
        lagging = {}
        for partition, answer in enumerate(answers):
            if isinstance(answer, IndexUnavailable):
                self.mark_unavailable(partition, answer)
            elif answer.state.matches(heads[partition]):
                self._mark_current(partition)
            else:
                lagging[partition] = answer.state
        lack = sum(heads[partition].seq - state.seq for partition, state in lagging.items())
        if lack > max(REBUILT_FROM, sum(head.live for head in heads.values()) // 2):
            return lagging  # to fold that takes longer
        return {partition: state for partition, state in lagging.items() if not self._fold(partition, state)}

    def _mark_current(self, partition: int) -> None:
        self._unavailable.pop(partition, None)
        self._current.add(partition)

    def _fold(self, partition: int, state: IndexState) -> bool:
        """Fold what *partition* lacks. False when that is not possible: it holds something else than the log."""
        while not self._stopping.is_set():
            with self._database.reading() as connection:
                if state.nonce is None or log.find_nonce(connection, partition, state.seq) != state.nonce:
                    return False
                entries = log.list_entries(connection, partition, state.seq, FOLD_AT_ONCE)
                head = log.get_state(connection).checked(self.store).heads[partition]
                parents = [entry.parent for entry in entries if entry.parent is not None]
                ancestries: dict[int, Ancestry] = {}  # not kept, as the log may go back between two
                left_out = load_ancestries(connection, ancestries, parents)
            if state.seq == head.seq:
                if state.cardinality != head.live:
                    return False
                self._mark_current(partition)
                return True
            if not entries:
                return True  # the log moved on between the two; the next look goes on
            # Those with too many ancestors for one script call come with the next one.
            entries = list(takewhile(lambda entry: entry.parent not in left_out, entries))  # noqa: B023  # called here
            before = Head(state.seq, state.nonce, 0, state.live)
            after = Head(entries[-1].seq, entries[-1].nonce, 0, state.live + sum(entry.sign for entry in entries))
            increments = change(entries, lambda tweet_id: ancestries[tweet_id].parent)  # noqa: B023  # called here
            answer = self._index.fold_all([FoldRequest(partition, before, after, increments)])[0]
            if isinstance(answer, IndexUnavailable):
                self.mark_unavailable(partition, answer)
                return True
            state = answer
        return True

    def _look_at_servers(self) -> None:
        """Doubt the rankings that were built in a server process that runs no more."""
        try:
            found = self._index.list_built_elsewhere(range(self.store.partitions), trust=self._is_trusted)
        except IndexUnavailable as error:
            if not self._is_blind:
                _log.warning("a restart of Redis after a crash cannot be noticed: %s", advice(error))
            self._is_blind = True
            return
        if self._doubted is None:
            self._warn_of_evictions()
        self._doubted, self._is_trusted, self._is_blind = found, False, False

    def _warn_of_evictions(self) -> None:
        with suppress(IndexUnavailable):
            limited = [each for each in self._index.info("memory") if int(each["maxmemory"])]
            for policy in {each.get("maxmemory_policy", "noeviction") for each in limited} - {"noeviction"}:
                _log.warning("Redis evicts keys (maxmemory-policy %s): set noeviction, or the index gets lost", policy)

    def _rebuild_all(self) -> None:
        for partition, (_, broken) in [*self._rebuilding.items()]:
            if not self._stopping.is_set():
                self._rebuild(partition, broken)

    def _rebuild(self, partition: int, broken: IndexState | None) -> None:
        """Rebuild a partition that still stands where it was *broken*, or is only doubted, and served meanwhile."""
        began = time.monotonic()

        def is_needed(found: IndexState) -> bool:
            return bool(self._index.list_built_elsewhere([partition])) if broken is None else found == broken

        def on_progress(_counted: int) -> None:
            if self._stopping.is_set():
                raise IndexUnavailable("the service is stopping")

        try:
            counted = rebuild(
                self._database, self._index, self.store, partition, is_needed, on_progress, insist=broken is None
            )
        except StorageError as error:
            failures = self._failures[partition] = self._failures.get(partition, 0) + 1
            self._retry_at[partition] = time.monotonic() + min(0.1 * 4 ** (failures - 1), LONGEST_PAUSE_S)
            if failures == 1:
                self._warn_of_evictions()
            if partition not in self._current:
                self._unavailable[partition] = error
            self._rebuilding.pop(partition, None)
            self._wake.set()
            return
        if counted is None:  # another process is at it, or was
            return
        took_s = time.monotonic() - began
        _log.info("rebuilt the index of partition %d in %.1f s", partition, took_s)
        self._failures.pop(partition, None)
        self._retry_at[partition] = time.monotonic() + min(2 * took_s, LONGEST_PAUSE_S)
        self._unavailable.pop(partition, None)
        self.note_rebuild(partition)
        self._rebuilding.pop(partition, None)
