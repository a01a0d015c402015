"""The log laid out over other partitions by the command line, while a service beside it is written to."""

import threading
import time
import urllib.error
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.builders import at_once
from tests.e2e.commands import Service, done, refused, serving

WRITERS = 4


class Load:
    """Clients who retweet within a few chains until they are told to stop; `credited` is what each tweet must have."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._stop = threading.Event()
        self.roots = [service.post("/api/v1/tweet", user_name="ann", title=f"{n}", body="b")["id"] for n in range(9)]
        self.credited: Counter[str] = Counter()
        self.posted: list[str] = list(self.roots)
        self.refused = 0

    def write(self, number: int) -> None:
        """Retweet one root after the other, and the last retweet, by turns."""
        chain = [self.roots[number]]
        while not self._stop.is_set():
            for root in self.roots[number::WRITERS]:
                self._retweet([root])
            made = self._retweet(chain)
            chain = [*chain, made] if made and len(chain) < 20 else [self.roots[number]]

    def stop(self) -> None:
        """Let all who write come to their end."""
        self._stop.set()

    def _retweet(self, chain: list[str]) -> str | None:
        try:
            made = self._service.post("/api/v1/retweet", user_name="bob", retweet=chain[-1])["id"]
        except urllib.error.HTTPError as error:
            if error.code != 503:
                raise
            self.refused += 1  # it would have waited too long: the stated pause
            return None
        self.posted.append(made)
        self.credited.update(chain)  # one thread writes to one root: nobody else counts for these
        return str(made)


def ranked(service: Service) -> Iterator[tuple[int, str]]:
    """The whole ranking as (count, id)."""
    cursor = ""
    while cursor is not None:
        page = service.get(f"/api/v1/top?limit=100{cursor and f'&cursor={cursor}'}")
        yield from ((tweet["count_retweet"], tweet["id"]) for tweet in page["tweets"])
        cursor = page["next"]


@pytest.mark.parametrize("workers", ["1", "2"])
def test_partitions_change_beside_a_service_that_is_written_to(data_dir: Path, workers: str) -> None:
    """From one partition to four and back to two while four clients write: nothing is lost, each count is exact."""
    with serving(data_dir, WORKERS=workers) as service:
        load = Load(service)

        def change(number: int) -> None:
            if number < WRITERS:
                load.write(number)
                return
            try:
                for partitions in ("4", "2"):
                    seen = len(load.posted)
                    said = done(data_dir, "rebuild", "--partitions", partitions).decode()
                    assert f"over {partitions} partitions" in said
                    while len(load.posted) < seen + 100:
                        time.sleep(0.01)
            finally:
                load.stop()

        at_once(WRITERS + 1, change)
        ranking = list(ranked(service))
        assert service.get("/readyz")["lag"] == 0
    assert ranking == sorted(((load.credited[made], made) for made in load.posted), reverse=True)
    said = done(data_dir, "info").decode()
    assert said.count("\npart ") == 2
    assert f"{len(load.posted):,} live" in said
    assert b" 0 wrong" in done(data_dir, "verify")


def test_as_many_partitions_as_there_are(data_dir: Path) -> None:
    """The number that it has already changes nothing; an impossible one is refused in a sentence."""
    done(data_dir, "migrate", "up", PARTITIONS="3")
    said = done(data_dir, "rebuild", "--partitions", "3").decode()
    assert said.startswith("The log is laid out over 3 partitions already.\nRebuilt the index of 0 tweets")
    assert "from 1 to 1024" in refused(data_dir, "rebuild", "--partitions", "2000")
