"""The numbers at /metrics, of a real service with several worker processes: right, whichever of them answers."""

import os
import signal
import subprocess
import time
import urllib.request
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from redis import Redis

import app
from app.metrics import Metrics
from storage import Tweets
from storage.index.embedded import socket_of
from tests.builders import keys_in
from tests.e2e.commands import PATIENCE_S, Service, done, run, serving
from tests.e2e.server_wire import Wire
from tests.faults.services import eventually
from tests.http.client import Client

WORKERS = 3
POSTED = {"method": "POST", "route": "/api/v1/tweet"}


class Numbers:
    """A page of numbers, read by the library's own parser."""

    def __init__(self, text: str) -> None:
        self._samples = [each for family in text_string_to_metric_families(text) for each in family.samples]

    def __call__(self, name: str, **labels: str) -> float:
        """The one number of that name and labels, 0 when there is none."""
        found = [each.value for each in self._samples if each.name == name and labels == dict(each.labels)]
        assert len(found) <= 1, f"{name} stands {len(found)} times"
        return found[0] if found else 0.0

    def has(self, name: str) -> bool:
        """Whether there is such a number."""
        return any(each.name == name for each in self._samples)


def numbers(service: Service) -> Numbers:
    """The numbers, from whichever worker answers."""
    with urllib.request.urlopen(f"{service.url}/metrics", timeout=PATIENCE_S) as answer:
        assert answer.headers["Content-Type"].startswith("text/plain; version=")
        return Numbers(answer.read().decode())


def workers_of(service: Service) -> list[int]:
    """The worker processes of a service."""
    found = subprocess.run(
        ["pgrep", "-P", str(service.process.pid), "-f", "app.supervisor"], capture_output=True, text=True, check=False
    )
    return [int(pid) for pid in found.stdout.split()]


def post(service: Service, count: int) -> None:
    """Post so many tweets, each on a connection of its own."""
    for _ in range(count):
        service.post("/api/v1/tweet", user_name="ann", title="t", body="b")


def valkey(data_dir: Path) -> Redis:
    """A client of the embedded server."""
    return Redis(unix_socket_path=str(socket_of(data_dir / "redis")))


def test_off_by_default(fresh: Client) -> None:
    """Without the setting there is no such page."""
    assert fresh.get("/metrics").status == 404


def test_all_workers_are_one_service(data_dir: Path) -> None:
    """Every worker gives the sums of all; a killed one takes no count with it; a new start begins at nothing."""
    with serving(data_dir, WORKERS=str(WORKERS), METRICS="1") as service:
        post(service, 40)
        with Wire(service.url) as wire:
            assert wire.send(b"nonsense\r\n\r\n").find_answer() is not None
        for _ in range(4 * WORKERS):
            seen = numbers(service)
            assert seen("tweets_requests_total", **POSTED, status="201") == 40
            assert seen("tweets_request_seconds_count", **POSTED) == 40
            assert seen("tweets_request_seconds_bucket", **POSTED, le="+Inf") == 40
            assert seen("tweets_requests_total", method="other", route="", status="400") == 1
            assert seen("tweets_batch_writes_sum") == 40
            assert 1 <= seen("tweets_batch_writes_count") <= 40
            assert seen("tweets_live") == 40
            assert seen("tweets_build_info", version=app.__version__) == 1
            assert (seen("tweets_store_up"), seen("tweets_index_up"), seen("tweets_lag_entries")) == (1, 1, 0)
            assert seen("tweets_queue_writes") == 0

        victim = workers_of(service)[0]
        os.kill(victim, signal.SIGKILL)
        eventually(lambda: victim not in workers_of(service) and len(workers_of(service)) == WORKERS)
        post(service, 5)
        assert numbers(service)("tweets_requests_total", **POSTED, status="201") == 45
        assert not list((data_dir / "metrics").glob(f"gauge_live*_{victim}.db"))
        assert service.end() == 0
    with serving(data_dir, WORKERS="1", METRICS="1") as service:
        assert numbers(service)("tweets_requests_total", **POSTED, status="201") == 0
        assert numbers(service)("tweets_live") == 45


def test_the_index_is_watched(data_dir: Path) -> None:
    """The numbers tell of memory for each tweet, of rebuilds, of what a verification found, and of an index away."""
    with serving(data_dir, WORKERS="2", METRICS="1") as service, valkey(data_dir) as index:
        post(service, 3)
        seen = numbers(service)
        used = int(index.info("memory")["used_memory"])
        assert seen("tweets_index_bytes_per_tweet") == seen("tweets_index_bytes") / 3
        assert used / 2 < seen("tweets_index_bytes") < used * 2

        index.zincrby(keys_in(index).ranking, 5, service.get("/api/v1/top")["tweets"][0]["id"])
        assert run(data_dir, "verify", METRICS="1").returncode == 1
        assert numbers(service)("tweets_verify_differences") == 1
        assert abs(numbers(service)("tweets_verify_time_seconds") - time.time()) < PATIENCE_S
        done(data_dir, "rebuild")
        done(data_dir, "verify", METRICS="1")
        assert numbers(service)("tweets_verify_differences") == 0

        rebuilds = numbers(service)("tweets_rebuilds_total")
        index.flushall()
        eventually(lambda: numbers(service)("tweets_rebuilds_total") > rebuilds)

        pid = int(index.info("server")["process_id"])
        os.kill(pid, signal.SIGSTOP)
        try:
            away = numbers(service)
            assert (away("tweets_store_up"), away("tweets_index_up")) == (1, 0)
            assert not away.has("tweets_lag_entries")
        finally:
            os.kill(pid, signal.SIGCONT)
        eventually(lambda: numbers(service)("tweets_index_up") == 1)


def test_labels_are_bounded(tweets: Tweets, data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Unknown methods are one, and routes are rules: no client makes the numbers grow."""
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", "")  # put back in the end
    metrics = Metrics(data_dir, tweets)
    for number in range(50):
        metrics.watch({"method": f"METHOD{number}", "route": "", "status": 404, "duration_ms": 1.0})
    assert Numbers(metrics.page().decode())("tweets_requests_total", method="other", route="", status="404") == 50


def test_the_files_are_whole(tweets: Tweets, data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The files mapped into memory have no holes: where the disk is full, counting goes on."""
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", "")
    Metrics(data_dir, tweets)
    files = list((data_dir / "metrics").glob("*.db"))
    assert len(files) == 3
    assert all(file.stat().st_blocks * 512 >= file.stat().st_size >= 500_000 for file in files)
