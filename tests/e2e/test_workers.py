"""Several worker processes on one socket are one service: exact, each with what the others wrote, ended together."""

import os
import signal
import subprocess
from pathlib import Path

from storage.index.embedded import EmbeddedServer
from tests.builders import at_once
from tests.e2e.commands import Service, done, nothing_runs, serving
from tests.faults.services import eventually


def workers_of(service: Service) -> list[int]:
    """The worker processes of a service."""
    found = subprocess.run(
        ["pgrep", "-P", str(service.process.pid), "-f", "app.supervisor"], capture_output=True, text=True, check=False
    )
    return [int(pid) for pid in found.stdout.split()]


def test_counts_are_exact_and_each_worker_sees_what_the_others_wrote(data_dir: Path) -> None:
    """Eight clients on new connections each: no retweet is lost, and each is seen in the very next answer."""
    with serving(data_dir, WORKERS="3") as service:
        assert len(workers_of(service)) == 3
        root = service.post("/api/v1/tweet", user_name="ann", title="t", body="b")["id"]

        def write(_number: int) -> None:
            for done_before in range(25):
                posted = service.post("/api/v1/retweet", user_name="bob", retweet=root)
                assert service.get(f"/api/v1/tweet/{posted['id']}")["count_retweet"] == 0
                assert service.get(f"/api/v1/tweet/{root}")["count_retweet"] > done_before

        at_once(8, write)
        assert service.get("/api/v1/top")["tweets"][0]["count_retweet"] == 200
        assert b"201 right, 0 wrong" in done(data_dir, "verify")
        assert service.end() == 0
    assert nothing_runs(data_dir)


def test_killed_worker_is_replaced(data_dir: Path) -> None:
    """A worker that is killed takes nothing with it; another takes its place, and all end with the service."""
    with serving(data_dir, WORKERS="2") as service:
        root = service.post("/api/v1/tweet", user_name="ann", title="t", body="b")["id"]
        victim = workers_of(service)[0]
        os.kill(victim, signal.SIGKILL)
        eventually(lambda: victim not in workers_of(service) and len(workers_of(service)) == 2)
        assert service.get(f"/api/v1/tweet/{root}")["id"] == root
        pids = workers_of(service)
        assert service.end() == 0
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)
    assert nothing_runs(data_dir)


def test_workers_end_with_a_killed_parent(data_dir: Path) -> None:
    """When the parent is killed its workers stop by themselves, and the next start finds everything."""
    with serving(data_dir, WORKERS="2") as service:
        service.post("/api/v1/tweet", user_name="ann", title="t", body="b")
        pids = workers_of(service)
        service.end(signal.SIGKILL)
        eventually(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids))
    with serving(data_dir, WORKERS="1") as service:
        assert len(service.get("/api/v1/top")["tweets"]) == 1
        assert service.end() == 0


def test_a_worker_is_replaced_while_redis_is_away(data_dir: Path) -> None:
    """A worker that dies during an outage of Redis is replaced all the same, and the new one takes writes."""
    server = EmbeddedServer(data_dir / "own")
    try:
        with serving(data_dir, WORKERS="2", REDIS_URL=f"unix://{server.socket}") as service:
            first = workers_of(service)
            server.stop()
            for victim in first:
                os.kill(victim, signal.SIGKILL)
            eventually(lambda: len(set(workers_of(service)) - set(first)) == 2)
            assert service.post("/api/v1/tweet", user_name="ann", title="t", body="b")["title"] == "t"
            assert service.end() == 0
    finally:
        server.stop()
