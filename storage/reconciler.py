"""
Keeps the index equal to the log, whatever happened to either.

The index says by its position which entry it holds last. If the log knows that entry, the ones after it are folded in;
if it does not (another history, an empty Redis, a foreign one), or the number of tweets differs, the ranking is rebuilt
beside the old one and swapped. There is no third way: nothing corrects a count by hand.
"""

import logging
import threading
import time
from collections.abc import Collection, Mapping
from contextlib import AbstractContextManager
from itertools import takewhile

from storage.ancestry import AncestorCache
from storage.compare import Difference, list_differences
from storage.errors import IndexDamaged, IndexUnavailable, StorageError
from storage.fold import Entry, change
from storage.ids import PARTITIONS
from storage.index.keys import Position
from storage.index.ranking import IndexState, RankingIndex
from storage.observer import Observer
from storage.rebuild import rebuild
from storage.recount import Breathe, no_rest
from storage.sql import log
from storage.sql.database import Database
from storage.sql.log import Store
from storage.standing import ON_ITS_WAY_S, equals, is_known

TICK_S = 1.0
"""How often the reconciler looks without being asked."""

FOLD_AT_ONCE = 5_000
"""Entries in one script call: keeps Redis busy for some 20 ms, within which others wait."""

REBUILT_FROM = 10_000
"""Entries behind where a rebuild is considered: for each tweet of the store it costs half of what folding one does."""

_log = logging.getLogger(__name__)


class Reconciler:
    """
    Brings the index in step with the log: when woken, once a second, and when a reader waits for it.

    Each partition is followed for itself: while the server of one is away, the others go on.
    """

    def __init__(self, database: Database, index: RankingIndex, store: Store, ancestors: AncestorCache) -> None:
        self._database = database
        self._index = index
        self.store = store
        self._ancestors = ancestors
        self._working = threading.Lock()
        self._wake = threading.Event()
        self._stopping = False
        self._thread: threading.Thread | None = None
        self._in_step: set[int] = set()
        self._away: dict[int, IndexUnavailable] = {}
        self._batch = threading.Lock()
        self.rebuilds = 0
        self.observer = Observer()
        self.told: Breathe = no_rest
        """Hears how many tweets were counted so far, in each rebuild."""

    def start(self) -> None:
        """Look after the index in a thread of its own until `stop`."""
        self._thread = threading.Thread(target=self._run, name="reconciler", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread after what it does now."""
        self._stopping = True
        self._wake.set()
        if self._thread:
            self._thread.join()

    def is_current(self, partition: int) -> bool:
        """Whether *partition* held the whole log when last looked at; until it does, only the reconciler folds it."""
        return partition in self._in_step

    def is_unavailable(self, partition: int) -> bool:
        """Whether *partition* did not answer when it was asked last: nobody need wait for it."""
        return partition in self._away

    def batch_on_its_way(self) -> AbstractContextManager[object]:
        """To be held while a batch of this process is stored and brought into the index."""
        return self._batch

    def wait_for_batch(self) -> None:
        """Wait until a batch that is on its way has come into the index, or for as long as that takes as a rule."""
        if not self._batch.locked():
            time.sleep(ON_ITS_WAY_S)  # it is one of another process
        elif self._batch.acquire(timeout=ON_ITS_WAY_S):
            self._batch.release()

    def mark_stale(self, partition: int) -> None:
        """Say that *partition* may lack something."""
        self._in_step.discard(partition)
        self._wake.set()

    def mark_unavailable(self, partition: int, error: IndexUnavailable) -> None:
        """Say that *partition* did not answer. What nobody of us wrote is taken out: then it is not away, but empty."""
        if isinstance(error, IndexDamaged) and self._take_out(partition):
            self._away.pop(partition, None)
            self.mark_stale(partition)
            return
        self._in_step.discard(partition)
        if partition not in self._away:
            self._wake.set()
        self._away[partition] = error

    def catch_up(self, timeout_s: float = -1) -> bool:
        """
        Bring every partition in step now; False when somebody else is at it for longer than *timeout_s*.

        Raises StoreUnavailable, and IndexUnavailable when some partition is away: the others are in step nevertheless.
        The next tick tries again.
        """
        if self._look():
            if not self._working.acquire(timeout=timeout_s):
                return False
            try:
                self._repair(self._look())
            finally:
                self._working.release()
        for error in list(self._away.values()):
            raise IndexUnavailable("the index is away, or a part of it") from (error.__cause__ or error)
        return True

    def rebuild(self) -> None:
        """Build every ranking anew from the log, from place zero. Writers may go on."""
        with self._working:
            partitions = range(self.store.partitions)
            found = {partition: self._index.counts(partition).state.position for partition in partitions}
            self._rebuild(found, insist=True)
            self._index.drop(range(self.store.partitions, PARTITIONS))
        self.catch_up()

    def verify(self, breathe: Breathe = no_rest) -> list[Difference]:
        """
        Every difference between the index and a full count of the log; empty when all is right.

        What is written meanwhile is no difference, and need not wait. *breathe* is called often, as by
        `list_differences`; what it raises ends the comparison.
        """
        for last in (False, False, True):
            self.catch_up()
            try:
                differences = list_differences(self._database, self._index, breathe)
                break
            except IndexUnavailable:  # it may have been emptied meanwhile
                if last:
                    raise
        self.observer.verified(len(differences))
        return differences

    def _run(self) -> None:
        while not self._stopping:
            self._wake.wait(TICK_S)
            self._wake.clear()
            try:
                if not self._stopping:
                    self.catch_up()
            except StorageError as error:
                part = "index" if isinstance(error, IndexUnavailable) else "log"
                _log.warning("the %s is away: %s", part, error.__cause__)
                self._wake.clear()  # what failed has woken us once more: a server that only reads would keep us busy
            except Exception:  # noqa: BLE001  # the thread must outlive any mistake
                _log.exception("following failed; the next tick tries again")

    def _look(self, partitions: Collection[int] | None = None) -> dict[int, IndexState]:
        """Where those partitions stand that answer and are not where the log is. Raises StoreReplaced."""
        store = self.store
        chosen = range(store.partitions) if partitions is None else partitions
        # The positions before the heads: so no head is behind a position of this history.
        answers = self._index.counts_all(dict.fromkeys(chosen, ()))
        state = self._database.get_state().checked(store)
        lagging = {}
        for partition, answer in zip(chosen, answers, strict=True):
            if isinstance(answer, IndexUnavailable):
                self.mark_unavailable(partition, answer)
                if not self.is_unavailable(partition):
                    lagging[partition] = IndexState(None, 0)
            elif equals(answer.state, store, state.heads[partition]):
                self._found_in_step(partition)
            else:
                self._away.pop(partition, None)
                lagging[partition] = answer.state
        return lagging

    def _take_out(self, partition: int) -> bool:
        """Take the partition out whole, whatever its keys hold; False when that is not possible."""
        _log.warning("the index of partition %d holds what nobody here wrote; it is removed", partition)
        try:
            self._index.drop([partition])
        except IndexUnavailable:
            return False
        return True

    def _found_in_step(self, partition: int) -> None:
        self._away.pop(partition, None)
        self._in_step.add(partition)

    def _repair(self, lagging: Mapping[int, IndexState]) -> None:
        """Bring those partitions in step that stand elsewhere than the log."""
        while lagging:
            far = self._are_far(lagging)
            foreign = {
                partition: stand.position
                for partition, stand in lagging.items()
                if far or not self._fold(partition, stand)
            }
            self._rebuild(foreign)
            lagging = self._look(foreign)

    def _are_far(self, lagging: Mapping[int, IndexState]) -> bool:
        """Whether it takes longer to fold what they lack than to rebuild them."""
        heads = self._database.get_state().checked(self.store).heads
        lack = sum(heads[partition].seq - stand.seq for partition, stand in lagging.items())
        return lack > max(REBUILT_FROM, sum(head.live for head in heads.values()) // 2)

    def _fold(self, partition: int, stand: IndexState) -> bool:
        """Fold what *partition* lacks. False when that is not possible: it holds something else than the log."""
        try:
            while True:
                with self._database.reading() as connection:
                    known = is_known(stand, self.store, log.find_nonce(connection, partition, stand.seq))
                    entries = log.list_entries(connection, partition, stand.seq, FOLD_AT_ONCE) if known else []
                    head = log.get_state(connection).checked(self.store).heads[partition]
                if not known or (stand.seq == head.seq and stand.cardinality != head.live):
                    return False
                if stand.seq == head.seq:
                    self._found_in_step(partition)
                    return True
                stand = self._fold_next(partition, stand, entries)
        except IndexUnavailable as error:
            self.mark_unavailable(partition, error)
            return self.is_unavailable(partition)

    def _fold_next(self, partition: int, stand: IndexState, entries: list[Entry]) -> IndexState:
        """Fold the entries that follow *stand*, and say where the partition stands then."""
        if stand.position is None or not entries:
            return stand
        with self._database.reading() as connection:
            parents = [entry.parent for entry in entries if entry.parent is not None]
            ancestries, left_out = self._ancestors.load(connection, parents)
        # Those with too many ancestors for one script call come with the next one.
        entries = list(takewhile(lambda entry: entry.parent not in left_out, entries))
        to = Position(self.store.id, entries[-1].seq, entries[-1].nonce)
        increments = change(entries, lambda tweet_id: ancestries[tweet_id].parent)
        return self._index.fold(partition, stand.position, to, increments).state

    def _go_on(self, counted: int) -> None:
        """Raise IndexUnavailable when it is time to end: a rebuild may take longer than a stop may."""
        if self._stopping:
            raise IndexUnavailable("the service is stopping")
        self.told(counted)

    def _rebuild(self, found: Mapping[int, Position | None], *, insist: bool = False) -> None:
        """Build partitions anew, each unless it moves from the position *found* there; with *insist* also then."""
        if not found:
            return
        if not insist:  # else what is there is served until it is replaced
            self._in_step.difference_update(found)
        for partition, position in found.items():
            # Without a position it is new or was emptied; with one it holds something else, which somebody should know.
            level = logging.WARNING if position else logging.INFO
            _log.log(level, "rebuilding the index of partition %d", partition)
        lost = rebuild(self._database, self._index, self.store, found, insist=insist, breathe=self._go_on)
        for partition, error in lost.items():
            self.mark_unavailable(partition, error)
        for _ in found.keys() - lost.keys():
            self.rebuilds += 1
            self.observer.rebuilt()
