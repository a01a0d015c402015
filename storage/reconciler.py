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
from collections.abc import Collection, Iterable, Mapping
from contextlib import AbstractContextManager, suppress
from itertools import takewhile
from typing import NamedTuple

from storage.ancestry import AncestorCache
from storage.errors import HeadsDisagree, IndexDamaged, IndexUnavailable, LeaseLost, StorageError
from storage.fold import Entry, change
from storage.index.ranking import FoldRequest, IndexState, RankingIndex, advice
from storage.observer import Observer
from storage.rebuild import rebuild
from storage.recount import OnProgress, no_progress
from storage.sql import log
from storage.sql.database import Database
from storage.sql.log import Head, Store

TICK_S = 1.0
"""How often the reconciler looks without being asked."""

RETRY_S = 0.25
"""How often it asks a server that did not answer; rebuilds have pauses of their own."""

ON_ITS_WAY_S = 0.001
LOOKS = 20
"""A batch that is stored is in the index about a millisecond later: so look again before it is repaired."""

FOLD_AT_ONCE = 5_000
"""Entries in one script call: keeps Redis busy for some 20 ms, within which others wait."""

REBUILT_FROM = 10_000
"""Entries behind where a rebuild is considered: for each tweet of the store it costs half of what folding one does."""

LONGEST_PAUSE_S = 60.0
"""Between two attempts to rebuild a partition: twice its time after a success, 0.1, 0.4, 1.6 ... s after failures."""

TRIES = 3
"""To rebuild a partition before the next tick: Redis may have been emptied meanwhile, and the lease with it."""

LOSSES = 10
"""Leases that `Reconciler.rebuild` may lose in a partition: each of its tries is a whole rebuild."""

OTHERS_TAKE_S = 0.5
"""How long to wait for another process's rebuild before the partition is marked unavailable until the next tick."""

STOPS_WITHIN_S = 5.0
"""How long `stop` waits for the thread, which may be waiting for SQL or Redis."""

REBUILT_BY_ANOTHER = "it is being rebuilt by another process"

_log = logging.getLogger(__name__)


class Ownership(NamedTuple):
    """What a process has to do with the server of its index."""

    owns_index: bool = False
    """It looks whether the server was restarted, on behalf of all processes of this host."""

    runs_server: bool = False
    """It has just started the server itself: older leases are those of dead processes."""

    was_clean: bool = False
    """That server was stopped cleanly the last time."""


class Reconciler:
    """
    Brings the index up to date with the log: when woken, once a second, and when a reader waits for it.

    Each partition is followed for itself: while the server of one is unavailable, the others go on. One thread does all
    of it; the other methods may be called by any thread.
    """

    def __init__(
        self,
        database: Database,
        index: RankingIndex,
        store: Store,
        ancestors: AncestorCache,
        ownership: Ownership = Ownership(),  # noqa: B008  # it is immutable
    ) -> None:
        self._database = database
        self._index = index
        self.store = store
        self._owns, self._runs_server, self._is_trusted = ownership
        self._ancestors = ancestors
        self._current: set[int] = set()
        self._unavailable: dict[int, IndexUnavailable] = {}
        self._damaged: set[int] = set()
        self._doubted: set[int] = set()
        self._run_ids: set[str] = set()
        self._is_blind = False
        self._failures: dict[int, int] = {}
        self._retry_at: dict[int, float] = {}
        self._next_look = 0.0
        self._reported = ""
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._changed = threading.Condition()
        self._asked = 0
        self._looked = 0
        """The last call of `catch_up` after which the reconciler has looked, and `_ended` has done what it could."""
        self._ended = 0
        self._batch = threading.Lock()
        self.rebuilds = 0
        self.observer = Observer()
        self.on_progress: OnProgress = no_progress
        """Called by the thread with how many tweets a rebuild has counted so far."""

    def start(self) -> None:
        """Look after the index in a thread of its own until `stop`, at once for the first time."""
        self._wake.set()
        self._thread = threading.Thread(target=self._run, name="reconciler", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread; a rebuild under way is aborted."""
        self._stopping.set()
        self._wake.set()
        with self._changed:
            self._changed.notify_all()
        if self._thread:
            self._thread.join(STOPS_WITHIN_S)

    def is_trustworthy(self) -> bool:
        """Whether there is no reason to doubt the index, as its server runs now."""
        with suppress(IndexUnavailable):
            if self._run_ids and not self._doubted:
                return self._index.run_ids() == self._run_ids
        return self._is_trusted  # as it was found, if nothing has looked since

    def is_current(self, partition: int) -> bool:
        """Whether *partition* held the whole log when last looked at; until it does, only the reconciler folds it."""
        return partition in self._current

    def is_unavailable(self, partition: int) -> bool:
        """Whether *partition* did not answer when it was asked last, or takes long to rebuild: do not wait for it."""
        return partition in self._unavailable

    def batch_on_its_way(self) -> AbstractContextManager[object]:
        """To be held while a batch of this process is stored and brought into the index."""
        return self._batch

    def wait_for_batch(self) -> None:
        """Wait until a batch that is under way has come into the index, or for as long as that takes as a rule."""
        if not self._batch.locked():
            time.sleep(ON_ITS_WAY_S)  # it is one of another process
        elif self._batch.acquire(timeout=ON_ITS_WAY_S):
            self._batch.release()

    def wake(self) -> None:
        """Look now, as the server has come back."""
        self._wake.set()

    def mark_stale(self, partition: int) -> None:
        """Say that *partition* may lack something."""
        self._current.discard(partition)
        self._wake.set()

    def mark_unavailable(self, partition: int, error: IndexUnavailable) -> None:
        """Say that *partition* did not answer, or, with IndexDamaged, that it holds what cannot be ours."""
        if isinstance(error, IndexDamaged):
            self._damaged.add(partition)
            self.mark_stale(partition)
            return
        self._current.discard(partition)
        if partition not in self._unavailable:
            self._wake.set()
        self._unavailable[partition] = error

    def catch_up(self, timeout_s: float | None = None) -> None:
        """
        Wait until the reconciler has brought up to date what it can, at most *timeout_s* seconds.

        Without a limit that includes rebuilds, however long they take and however often they failed before. Raises
        IndexUnavailable when a partition is not up to date then; the others are nevertheless.
        """
        if timeout_s is None:
            self._retry_at.clear()
        if self._thread is None:
            self._attempt()
        else:
            with self._changed:
                self._asked += 1
                number = self._asked
                self._wake.set()
                self._changed.wait_for(
                    lambda: (self._ended if timeout_s is None else self._looked) >= number or self._stopping.is_set(),
                    timeout_s,
                )
        for error in list(self._unavailable.values()):
            if timeout_s is None and str(error) == REBUILT_BY_ANOTHER and not self._stopping.wait(OTHERS_TAKE_S):
                return self.catch_up()
            raise IndexUnavailable(f"The index is not up to date: {advice(error)}.") from (error.__cause__ or error)
        return None

    def rebuild(self, on_progress: OnProgress = no_progress) -> None:
        """
        Rebuild every ranking from the log, one partition after the other; readers and writers go on.

        Heads that disagree with their entries are mended, and the keys of version 0.1 removed. *on_progress* is called
        with how many tweets were counted so far; what it raises aborts the rebuild. Raises IndexUnavailable.
        """
        with self._database.reading() as connection:
            wrong = log.list_wrong_heads(connection)
        if wrong:
            with self._database.writing(at_length=True) as connection:
                log.repair_heads(connection)
            _log.warning("mended the heads of partitions %s: their entries said otherwise", sorted(wrong))
        before = counted = 0

        def report(counted_here: int) -> None:
            nonlocal counted
            self._check_stop()
            counted = before + counted_here
            on_progress(counted)

        for partition in range(self.store.partitions):
            lost = 0
            while True:
                try:
                    if rebuild(self._database, self._index, self.store, partition, insist=True, on_progress=report):
                        break
                except LeaseLost:  # this process was too slow to renew it, or Redis was emptied
                    lost += 1
                    if lost == LOSSES:
                        raise
                self._check_stop()
                time.sleep(0.05)  # in which another process may be at it
            before = counted
            self.rebuilds += 1
            self.observer.rebuilt()
            self.mark_stale(partition)
        self._index.remove_old(range(self.store.partitions))
        self.catch_up()

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._wake.wait(RETRY_S if self._unavailable else TICK_S)
            self._wake.clear()
            if not self._stopping.is_set():
                self._attempt()

    def _attempt(self) -> None:
        """Repair what can be repaired now. Raises nothing; what fails is logged once and tried again later."""
        with self._changed:
            number = self._asked
        problem = ""
        try:
            self._repair()
        except IndexUnavailable as error:
            problem = f"the index is unavailable: {advice(error)}"
        except StorageError as error:
            problem = f"the log is unavailable: {error.__cause__ or error}"
        except Exception:  # noqa: BLE001  # the thread must outlive any mistake
            _log.exception("reconciling failed; the next tick tries again")
        with self._changed:
            self._looked = self._ended = number
            self._changed.notify_all()
        for partition, cause in [*self._unavailable.items()][:1]:
            problem = problem or f"partition {partition} of the index is unavailable: {advice(cause)}"
        self._report(problem)

    def _report(self, problem: str) -> None:
        if problem == self._reported or self._stopping.is_set():
            return
        if problem:
            _log.warning("%s; trying again", problem)
        else:
            _log.info("the index is up to date again")
        self._reported = problem

    def _repair(self) -> None:
        """Fold what partitions lack; rebuild those that stand elsewhere than the log, and those that are doubted."""
        broken = self._follow(range(self.store.partitions))
        self._current.difference_update(broken)
        if self._owns and not self._unavailable:
            self._look_at_servers()
        for partition in [*broken, *(self._doubted - broken.keys())]:
            for _ in range(TRIES):
                if not self._is_due(partition) or self._rebuild(partition):
                    break

    def _follow(self, partitions: Iterable[int]) -> dict[int, IndexState]:
        """Fold what *partitions* lack; returns those that must be rebuilt."""
        lagging = self._look([*partitions])
        far = self._are_far(lagging)
        return {
            partition: state
            for partition, state in lagging.items()
            if far or partition in self._damaged or not self._fold(partition, state)
        }

    def _look(self, partitions: Collection[int]) -> dict[int, IndexState]:
        """Where those partitions stand that answer and are not where the log is. Raises StoreReplaced."""
        # The positions before the heads: so no head is behind a position of this timeline.
        answers = self._index.counts_all(dict.fromkeys(partitions, ()))
        heads = self._database.get_state().checked(self.store).heads
        lagging = {}
        for partition, answer in zip(partitions, answers, strict=True):
            if isinstance(answer, IndexDamaged):
                self._damaged.add(partition)
                lagging[partition] = IndexState(b"", 0, None, 0, 0)
            elif isinstance(answer, IndexUnavailable):
                self._current.discard(partition)
                self._unavailable[partition] = answer
            elif answer.state.matches(heads[partition]) and partition not in self._damaged:
                self._mark_current(partition)
            else:
                lagging[partition] = answer.state
        return lagging

    def _mark_current(self, partition: int) -> None:
        self._unavailable.pop(partition, None)
        self._current.add(partition)

    def _are_far(self, lagging: Mapping[int, IndexState]) -> bool:
        """Whether it takes longer to fold what they lack than to rebuild them."""
        if not lagging:
            return False
        heads = self._database.get_state().checked(self.store).heads
        lack = sum(heads[partition].seq - state.seq for partition, state in lagging.items())
        return lack > max(REBUILT_FROM, sum(head.live for head in heads.values()) // 2)

    def _fold(self, partition: int, state: IndexState) -> bool:
        """Fold what *partition* lacks. False when that is not possible: it holds something else than the log."""
        while True:
            self._check_stop()
            with self._database.reading() as connection:
                is_known = state.nonce is not None
                is_known = is_known and log.find_nonce(connection, partition, state.seq) == state.nonce
                entries = log.list_entries(connection, partition, state.seq, FOLD_AT_ONCE) if is_known else []
                head = log.get_state(connection).checked(self.store).heads[partition]
            if not is_known or (state.seq == head.seq and state.cardinality != head.live):
                return False
            if state.seq == head.seq:
                self._mark_current(partition)
                return True
            if not entries:
                return True  # the log moved on between the two; the next look goes on
            answer = self._fold_next(partition, state, entries)
            if isinstance(answer, IndexUnavailable):
                self._current.discard(partition)
                self._unavailable[partition] = answer
                return not isinstance(answer, IndexDamaged)
            state = answer

    def _fold_next(self, partition: int, state: IndexState, entries: list[Entry]) -> IndexState | IndexUnavailable:
        """Fold the entries that follow *state*, and say where the partition stands then."""
        with self._database.reading() as connection:
            parents = [entry.parent for entry in entries if entry.parent is not None]
            ancestries, left_out = self._ancestors.load(connection, parents)
        # Those with too many ancestors for one script call come with the next one.
        entries = list(takewhile(lambda entry: entry.parent not in left_out, entries))
        before = Head(state.seq, state.nonce or 0, 0, state.live)
        after = Head(entries[-1].seq, entries[-1].nonce, 0, state.live + sum(entry.sign for entry in entries))
        increments = change(entries, lambda tweet_id: ancestries[tweet_id].parent)
        answer = self._index.fold_all([FoldRequest(partition, before, after, increments)])[0]
        return answer if isinstance(answer, IndexUnavailable) else answer.state

    def _look_at_servers(self) -> None:
        """Doubt the rankings that were built in a server process that runs no more."""
        try:
            run_ids = self._index.run_ids()
            if run_ids == self._run_ids:
                return
            for partition, built_in in self._index.list_builders(range(self.store.partitions)).items():
                if self._runs_server:
                    self._index.break_lease(partition, self._index.run_id(partition))
                if self._is_trusted:
                    self._index.trust(partition, self._index.run_id(partition))
                elif built_in not in run_ids:
                    self._doubted.add(partition)
        except IndexUnavailable as error:
            if not self._is_blind:
                _log.warning("a restart of Redis after a crash cannot be noticed: %s", advice(error))
            self._is_blind = True
            return
        self._run_ids, self._is_trusted, self._is_blind = run_ids, False, False
        self._warn_of_evictions()

    def _warn_of_evictions(self) -> None:
        with suppress(IndexUnavailable):
            for policy in self._index.list_evictions():
                _log.warning("Redis evicts keys (maxmemory-policy %s): set noeviction, or the index gets lost", policy)

    def _is_due(self, partition: int) -> bool:
        """Whether *partition* may be rebuilt now; waits for a moment that is near."""
        pause_s = self._retry_at.get(partition, 0.0) - time.monotonic()
        return pause_s <= 0 or (pause_s < OTHERS_TAKE_S and not self._stopping.wait(pause_s))

    def _rebuild(self, partition: int) -> bool:
        """Rebuild a partition that is broken, or doubted and served meanwhile; False when that failed."""
        began = time.monotonic()
        is_served = partition in self._current
        is_doubted = partition in self._doubted
        self._next_look = began + OTHERS_TAKE_S

        def is_needed(state: IndexState, head: Head) -> bool:
            return not state.matches(head) or (is_doubted and self._is_built_elsewhere(partition))

        def on_progress(counted: int) -> None:
            self._check_stop()
            self.on_progress(counted)
            now = time.monotonic()
            if now > self._next_look or (self._wake.is_set() and now > began + OTHERS_TAKE_S):
                self._go_on_meanwhile(partition, is_served=is_served)

        try:
            if partition in self._damaged:
                _log.warning("the index of partition %d holds what cannot be ours; it is removed", partition)
                self._index.remove(partition)
                self._damaged.discard(partition)
            swapped = rebuild(
                self._database,
                self._index,
                self.store,
                partition,
                is_needed=is_needed,
                insist=is_doubted,
                on_progress=on_progress,
            )
        except (IndexUnavailable, HeadsDisagree) as error:
            self._fail(partition, error)
            return False
        if swapped:
            _log.info("rebuilt the index of partition %d in %.1f s", partition, time.monotonic() - began)
            self.rebuilds += 1
            self.observer.rebuilt()
            self._failures.pop(partition, None)
            self._retry_at[partition] = time.monotonic() + min(2 * (time.monotonic() - began), LONGEST_PAUSE_S)
        self._settle(partition, is_doubted=is_doubted)
        return True

    def _settle(self, partition: int, *, is_doubted: bool) -> None:
        """After a rebuild, by us or by another process that may be at it still, fold what was written meanwhile."""
        deadline = time.monotonic() + OTHERS_TAKE_S
        while broken := self._follow([partition]):
            if time.monotonic() > deadline or self._stopping.wait(0.02):
                error = IndexUnavailable(REBUILT_BY_ANOTHER)
                self._current.difference_update(broken)
                self._unavailable.update(dict.fromkeys(broken, error))
                return
        if is_doubted and not self._is_built_elsewhere(partition):
            self._doubted.discard(partition)

    def _is_built_elsewhere(self, partition: int) -> bool:
        """Whether the ranking of *partition* was built in a server process that runs no more."""
        return self._index.list_builders([partition])[partition] not in self._run_ids

    def _fail(self, partition: int, error: IndexUnavailable | HeadsDisagree) -> None:
        """Remember that *partition* could not be rebuilt, and when to try again."""
        if self._stopping.is_set():
            return
        failures = self._failures[partition] = self._failures.get(partition, 0) + 1
        self._retry_at[partition] = time.monotonic() + min(0.1 * 4 ** (failures - 1), LONGEST_PAUSE_S)
        if failures == 1:
            self._warn_of_evictions()
        if isinstance(error, HeadsDisagree):
            error = IndexUnavailable(f"{error}; run `simple-twitter rebuild`, which mends it")
        if partition not in self._current:
            self._unavailable[partition] = error

    def _go_on_meanwhile(self, partition: int, *, is_served: bool) -> None:
        """Do what cannot wait for the end of the rebuild of *partition*: fold the others, and it too if *is_served*."""
        self._wake.clear()
        with self._changed:
            number = self._asked
        if not is_served:  # a reader does not wait for it
            self._unavailable[partition] = IndexUnavailable("it is being rebuilt")
        self._follow(each for each in range(self.store.partitions) if is_served or each != partition)
        self._next_look = time.monotonic() + OTHERS_TAKE_S
        with self._changed:
            self._looked = number
            self._changed.notify_all()

    def _check_stop(self) -> None:
        """Abort what takes long when the service is shutting down. Raises IndexUnavailable."""
        if self._stopping.is_set():
            raise IndexUnavailable("the service is stopping")
