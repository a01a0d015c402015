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
from contextlib import AbstractContextManager, suppress
from itertools import takewhile

from storage.ancestry import AncestorCache
from storage.errors import IndexDamaged, IndexUnavailable, StorageError
from storage.fold import change
from storage.index.ranking import FoldRequest, IndexState, RankingIndex, advice
from storage.rebuild import OnProgress, rebuild
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

OTHERS_TAKE_S = 0.2
"""How often a partition that another process rebuilds is asked for."""

READERS_WAIT_S = 0.5
"""How long a rebuild may take, or be put off, before its partition is marked unavailable, which no reader waits for."""

STOPS_WITHIN_S = 5.0
"""How long `stop` waits for the threads, which may be waiting for SQL or Redis."""

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
        ancestors: AncestorCache,
        *,
        owns_index: bool = False,
        is_trusted: bool = False,
    ) -> None:
        self._database = database
        self._index = index
        self.store = store
        self._owns_index = owns_index
        self._is_trusted = is_trusted
        self._ancestors = ancestors
        self._current: set[int] = set()
        self._unavailable: dict[int, StorageError] = {}
        self._damaged: set[int] = set()
        self._doubted: set[int] | None = None  # those built in a server process that runs no more, once that is known
        self._is_blind = False
        self._rebuilding: dict[int, tuple[float, IndexState | None]] = {}
        """Since when a partition is to be rebuilt, and where it stood then; None for one that is only doubted."""
        self._failures: dict[int, int] = {}
        self._retry_at: dict[int, float] = {}
        self._has_failed = False  # to look
        self._reported = ""
        self._wake = threading.Event()
        self._wake.set()
        self._stopping = threading.Event()
        self._has_work = threading.Event()
        self._threads = [
            threading.Thread(target=target, name=name, daemon=True)
            for name, target in (("reconciler", self._run), ("rebuilder", self._rebuild_all))
        ]
        self._changed = threading.Condition()
        self._asked = self._looked = 0
        """The calls of `catch_up`, and the last one after which the reconciler has looked."""
        self._batch = threading.Lock()
        self.rebuilds = 0
        self.on_rebuild: Callable[[int], object] = lambda _count: None
        """See `Tweets.observe`."""
        self.on_progress: OnProgress = lambda _counted: None
        """Called by the thread with how many tweets a rebuild has counted so far."""

    def start(self) -> None:
        """Look after the index until `stop`, at once for the first time."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End the threads; a rebuild under way is aborted."""
        self._stopping.set()
        self._wake.set()
        with self._changed:
            self._changed.notify_all()
        self._has_work.set()
        for thread in self._threads:
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

    def mark_unavailable(self, partition: int, error: StorageError) -> None:
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

    def rebuild(self, on_progress: OnProgress = lambda _counted: None) -> None:
        """
        Rebuild every ranking from the log, one partition after the other; readers and writers go on.

        Heads that disagree with their entries are mended, and the keys of version 0.1 removed. *on_progress* is called
        with how many tweets were counted so far; what it raises aborts the rebuild. Raises IndexUnavailable.
        """
        with self._database.reading() as connection:
            wrong = log.list_wrong_heads(connection)
        if wrong:
            with self._database.writing("writing at length") as connection:
                log.repair_heads(connection)
            _log.warning("mended the heads of partitions %s: their entries said otherwise", sorted(wrong))
        before = 0
        for partition in range(self.store.partitions):
            counted = None
            while counted is None:
                counted = rebuild(
                    self._database,
                    self._index,
                    self.store,
                    partition,
                    insist=True,
                    on_progress=lambda counted: on_progress(before + counted),  # noqa: B023  # called right here
                )
                if counted is None and self._stopping.wait(OTHERS_TAKE_S):  # another process is at it
                    raise IndexUnavailable("the service is stopping")
            before += counted
            self.rebuilds += 1
            self.on_rebuild(1)
            self.mark_stale(partition)
        self._index.remove_old(range(self.store.partitions))
        self.catch_up()

    def _run(self) -> None:
        while True:
            now = time.monotonic()
            pause_s = TICK_S if self._is_settled(with_rebuilds=True) and not self._unavailable else RETRY_S
            next_try_s = min((at - now for at in [*self._retry_at.values()] if at > now), default=TICK_S)
            self._wake.wait(min(pause_s, next_try_s))
            self._wake.clear()
            if self._stopping.is_set():
                return
            self._attempt()

    def _is_settled(self, *, with_rebuilds: bool) -> bool:
        """Whether there is nothing to wait for: each partition is up to date, or there is a reason why it is not."""
        if self._stopping.is_set() or self._has_failed:
            return True
        if with_rebuilds and self._rebuilding:
            return False
        return all(each in self._current or each in self._unavailable for each in range(self.store.partitions))

    def _attempt(self) -> None:
        """Repair what can be repaired now. Raises nothing; what fails is logged once and tried again later."""
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
        """Fold what partitions lack; have those rebuilt that stand elsewhere than the log, and those in doubt."""
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
                since, _ = self._rebuilding.get(partition, (now, None))
                self._rebuilding[partition] = since, state
                self._has_work.set()
                due = since
            if partition in broken:
                self._current.discard(partition)
                if abs(now - due) > READERS_WAIT_S:
                    self._unavailable.setdefault(partition, IndexUnavailable("it is being rebuilt"))

    def _follow(self) -> dict[int, IndexState]:
        """Fold what partitions lack. Returns where those stand that must be rebuilt. Raises StoreUnavailable."""
        # The positions before the heads: so no head is behind a position of this timeline.
        answers = self._index.counts_all(dict.fromkeys(range(self.store.partitions), ()))
        heads = self._database.get_state().checked(self.store).heads
        lagging = {}
        for partition, answer in enumerate(answers):
            if isinstance(answer, IndexUnavailable):
                self.mark_unavailable(partition, answer)
            elif not answer.state.matches(heads[partition]):
                lagging[partition] = answer.state
            elif partition not in self._damaged:
                self._mark_current(partition)
        damaged = dict.fromkeys(self._damaged, IndexState(b"", 0, None, 0, 0))
        lack = sum(heads[partition].seq - state.seq for partition, state in lagging.items())
        if lack > max(REBUILT_FROM, sum(head.live for head in heads.values()) // 2):
            return lagging | damaged  # to fold that takes longer
        return {partition: state for partition, state in lagging.items() if not self._fold(partition, state)} | damaged

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
                ancestries, left_out = self._ancestors.load(connection, parents)
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
            for policy in self._index.list_evictions():
                _log.warning("Redis evicts keys (maxmemory-policy %s): set noeviction, or the index gets lost", policy)

    def _rebuild_all(self) -> None:
        """Rebuild what must be, one partition after the other; what another process rebuilds is asked for again."""
        while not self._stopping.is_set():
            if not self._rebuilding:
                self._has_work.wait()
            self._has_work.clear()
            for partition, (_, broken) in [*self._rebuilding.items()]:
                if not self._stopping.is_set():
                    self._try_to_rebuild(partition, broken)
            self._stopping.wait(OTHERS_TAKE_S)

    def _try_to_rebuild(self, partition: int, broken: IndexState | None) -> None:
        """Rebuild a partition that still stands where it was *broken*, or is only doubted, and served meanwhile."""
        began = time.monotonic()

        def is_needed(found: IndexState) -> bool:
            return bool(self._index.list_built_elsewhere([partition])) if broken is None else found == broken

        def on_progress(counted: int) -> None:
            if self._stopping.is_set():
                raise IndexUnavailable("the service is stopping")
            self.on_progress(counted)

        try:
            if partition in self._damaged:
                _log.warning("the index of partition %d holds what cannot be ours; it is removed", partition)
                self._index.remove(partition)
                self._damaged.discard(partition)
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
        if counted is None:
            return
        took_s = time.monotonic() - began
        _log.info("rebuilt the index of partition %d in %.1f s", partition, took_s)
        self.rebuilds += 1
        self.on_rebuild(1)
        self._failures.pop(partition, None)
        self._retry_at[partition] = time.monotonic() + min(2 * took_s, LONGEST_PAUSE_S)
        self._unavailable.pop(partition, None)
        self.mark_stale(partition)  # what was stored meanwhile is folded now
        self._rebuilding.pop(partition, None)
