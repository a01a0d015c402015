"""
The numbers of the service for Prometheus, at /metrics.

Each process writes its own into small files in DATA_DIR/metrics, which the client library maps into memory. The process
that is asked adds up the files of all, also of those that have ended. What is the same for all processes (the lag, the
size of the index) is read from storage for each request.
"""

import json
import os
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest, values
from prometheus_client.metrics_core import GaugeMetricFamily
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead
from prometheus_client.registry import Collector
from prometheus_client.values import MultiProcessValue

from app import __version__
from storage.data_dir import usable
from storage.errors import StorageError
from storage.tools.health import get_health
from storage.tweets import Tweets

FILE_BYTES = 512 * 1024
"""A file of the library, full of zeros: in one with holes a full disk would end the process (SIGBUS)."""

KINDS = ("counter", "histogram", "gauge_livesum")
SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
METHODS = frozenset(("GET", "HEAD", "POST", "DELETE", "PUT", "PATCH", "OPTIONS"))


class Metrics(Collector):
    """The numbers of this process, and the page of all. One in a process: it observes *tweets*."""

    content_type = CONTENT_TYPE_LATEST

    def __init__(self, data_dir: Path, tweets: Tweets) -> None:
        self._folder = _folder(data_dir)
        self._tweets = tweets
        _write_into(self._folder)
        self._requests = Counter("tweets_requests", "Requests answered.", ("method", "route", "status"), registry=None)
        self._seconds = Histogram(
            "tweets_request_seconds", "Time to answer.", ("method", "route"), buckets=SECONDS, registry=None
        )
        self._batch = Histogram("tweets_batch_writes", "Writes in a batch.", buckets=SIZES, registry=None)
        self._batch_seconds = Histogram("tweets_batch_seconds", "Time of a batch.", buckets=SECONDS, registry=None)
        self._queue = Gauge(
            "tweets_queue_writes", "Writes that wait, as last seen.", multiprocess_mode="livesum", registry=None
        )
        self._rebuilds = Counter("tweets_rebuilds", "Rankings of partitions rebuilt.", registry=None)
        self._registry = CollectorRegistry(support_collectors_without_names=True)
        MultiProcessCollector(self._registry, path=str(self._folder))
        self._registry.register(self)
        tweets.observe(self.count_batch, self._rebuilds.inc)

    def watch(self, answered: dict[str, Any]) -> None:
        """Count a request: see `app.logging.log_request`."""
        method = answered["method"] if answered["method"] in METHODS else "other"
        self._requests.labels(method, answered["route"], answered["status"]).inc()
        self._seconds.labels(method, answered["route"]).observe(answered["duration_ms"] / 1000)

    def count_batch(self, writes: int, waiting: int, took_s: float) -> None:
        """Count a batch."""
        self._batch.observe(writes)
        self._batch_seconds.observe(took_s)
        self._queue.set(waiting)

    def page(self) -> bytes:
        """The numbers of all processes, in the text format."""
        self._queue.set(self._tweets.waiting())
        for file in self._folder.glob("gauge_live*.db"):
            if not _is_alive(_pid_of(file)):
                mark_process_dead(_pid_of(file), str(self._folder))
        return generate_latest(self._registry)

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """What is read from storage: which parts answer and, when both do, what they hold."""
        build = GaugeMetricFamily("tweets_build_info", "Always 1; the version is in the label.", labels=("version",))
        build.add_metric((__version__,), 1)
        yield build
        health = get_health(self._tweets)
        yield GaugeMetricFamily("tweets_store_up", "Whether SQL answers.", int(health.store))
        yield GaugeMetricFamily("tweets_index_up", "Whether Redis answers.", int(health.index))
        with suppress(StorageError):  # away just now
            if health.store and health.index:
                live = self._tweets.count_live()
                yield GaugeMetricFamily("tweets_lag_entries", "Log entries that the index lacks.", health.lag or 0)
                yield GaugeMetricFamily("tweets_live", "Tweets that are not deleted.", live)
                memory = self._tweets.index.used_memory()
                each = memory / max(live, 1)
                yield GaugeMetricFamily("tweets_index_bytes", "Memory of Redis in all.", memory)
                yield GaugeMetricFamily("tweets_index_bytes_per_tweet", "Memory of Redis for each tweet.", each)
        with suppress(FileNotFoundError):
            verdict = json.loads((self._folder / "verdict.json").read_bytes())
            yield GaugeMetricFamily("tweets_verify_time_seconds", "When all was compared last.", verdict["time_s"])
            yield GaugeMetricFamily("tweets_verify_differences", "Counts that were wrong then.", verdict["differences"])


def keep_verdict(data_dir: Path, differences: int) -> None:
    """Keep the outcome of a verification, by whatever process, for the metrics of a service."""
    folder = _folder(data_dir)
    part = folder / f"verdict.{os.getpid()}.part"
    part.write_text(json.dumps({"time_s": int(time.time()), "differences": differences}))
    part.replace(folder / "verdict.json")


def forget_ended(data_dir: Path) -> None:
    """Remove the numbers of processes that have ended. Before a service starts; while it runs they still count."""
    for file in _folder(data_dir).glob("*.db"):
        if _pid_of(file) == os.getpid() or not _is_alive(_pid_of(file)):
            file.unlink(missing_ok=True)


def _folder(data_dir: Path) -> Path:
    folder = data_dir / "metrics"
    with usable(folder):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


def _write_into(folder: Path) -> None:
    """Let the library keep the numbers of this process in *folder*."""
    for kind in KINDS:
        file = folder / f"{kind}_{os.getpid()}.db"
        if not file.exists():
            file.write_bytes(bytes(FILE_BYTES))
    # The library takes both from the environment when it is imported, which may be long ago.
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(folder)
    values.ValueClass = MultiProcessValue()


def _pid_of(file: Path) -> int:
    return int(file.stem.rpartition("_")[2])


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except OSError:  # none, or another user's, so not one of ours
        return False
    return True
