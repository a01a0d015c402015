"""
The index rebuilt when there is reason to doubt it.

A server that crashed may load its file without a complaint and be wrong: one flipped bit of an append-only file in ten
is like that. So after a start that follows no clean stop, and whenever the server turns out to be another process than
the one that was trusted, the index is rebuilt once, in a thread of its own, while the service serves. A server that is
empty has loaded nothing wrongly: it is trusted from there.
"""

import contextlib
import logging
import os
import threading
from pathlib import Path

from storage.errors import IndexUnavailable, StorageError, StoreDamaged
from storage.index.ranking import Counts, IndexState, RankingIndex
from storage.reconciler import Reconciler
from storage.sql.database import Database

LOOK_EVERY_S = 2.0
"""How often to ask whether the server is still the same."""

EMBEDDED = "embedded"
"""What the file of trust says of an embedded server: it is another process after each start."""

_log = logging.getLogger(__name__)


class CleanShutdownMarker:
    """
    A file that is there while the index is trusted and nobody uses it. It names the server, unless that is *embedded*.

    Taken away when the index is opened, and put back when it is closed in order.
    """

    def __init__(self, file: Path, *, embedded: bool) -> None:
        self._file = file
        self._embedded = embedded

    def take(self, incarnation: str) -> bool:
        """Take the file away, for good; whether it was there, and left by *incarnation* if that matters."""
        try:
            left_by = self._file.read_bytes()
            self._file.unlink()
        except OSError:  # it is not there, or something else is: that cannot be trusted, nor be taken for it later
            return False
        # Or a power cut could bring it back, and with it the trust in what the power cut may have spoilt.
        folder = os.open(self._file.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
        return left_by == self._name(incarnation).encode()

    def leave(self, incarnation: str) -> None:
        """Put the file there. What keeps us from it costs one rebuild, at the next start."""
        with contextlib.suppress(OSError):
            self._file.write_text(self._name(incarnation))

    def _name(self, incarnation: str) -> str:
        return EMBEDDED if self._embedded else incarnation


class Scrub:
    """Rebuilds the index when it is not trusted, from `start` to `stop`; `leave` it when its server has ended."""

    def __init__(
        self, database: Database, reconciler: Reconciler, index: RankingIndex, marker: CleanShutdownMarker
    ) -> None:
        self._database = database
        self._reconciler = reconciler
        self._index = index
        self._marker = marker
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        incarnation = self._find_incarnation()
        self._trusted = incarnation if marker.take(incarnation or "") or self._is_empty() else None

    def trusts(self) -> bool:
        """Whether the index is known to be good as the server runs now; False while it is away."""
        return self._trusted is not None and self._trusted == self._find_incarnation()

    def start(self) -> None:
        """Rebuild now if there is reason to, and whenever there is again."""
        self._thread = threading.Thread(target=self._run, name="scrub", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End; call it after the reconciler's `stop`, which ends a rebuild under way."""
        self._stopping.set()
        if self._thread:
            self._thread.join()
        if not self.trusts():  # somebody killed it a moment ago
            self._trusted = None

    def leave(self) -> None:
        """Let the next start trust the index, if this one does. Call it when the server has ended in order."""
        if self._trusted:
            self._marker.leave(self._trusted)

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                incarnation = self._find_incarnation()
                if incarnation not in {None, self._trusted}:
                    self._database.check_whole()
                    self._reconciler.rebuild()
                    self._trusted = incarnation
            except StoreDamaged as error:
                _log.critical("%s", error)
                return
            except StorageError:
                pass  # the reconciler says so, and brings it in step when it is back
            except Exception:  # noqa: BLE001  # the thread must outlive any mistake
                _log.exception("the rebuild failed; it will be tried again")
            self._stopping.wait(LOOK_EVERY_S)

    def _find_incarnation(self) -> str | None:
        try:
            return self._index.incarnation()
        except IndexUnavailable:
            return None

    def _is_empty(self) -> bool:
        """Whether the index holds nothing: all that comes is folded by a server that has not ended since."""
        answers = self._index.counts_all(dict.fromkeys(range(self._reconciler.store.partitions), ()))
        return all(isinstance(answer, Counts) and answer.state == IndexState(None, 0) for answer in answers)
