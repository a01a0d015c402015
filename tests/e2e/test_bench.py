"""The measurements themselves: they run, they say what they must, and a wrong answer stops them."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis

from bench.load import run_wrk
from bench.planting import Fields, Stage, staged, verified
from bench.servers import CannotMeasure
from bench.workloads import WORKLOADS
from storage.index.embedded import socket_of
from tests.builders import keys_in
from tests.e2e.commands import CASCADES, PATIENCE_S, ROOT, environment
from tests.system import FindProgram

VIRAL = WORKLOADS["viral"]


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    """A service with a few tweets in place, to be asked for retweets of one of them."""
    with staged(Fields(tmp_path), VIRAL, 50) as stage:
        yield stage


def test_table_has_the_ratio_and_what_was_verified(tmp_path: Path, program: FindProgram) -> None:
    """One workload, run shortly: rates of both servers, their ratio, the target, and every count compared."""
    program("wrk")
    columns, _, compared, _, _, *read = _bench(tmp_path, "--only", "viral", "--only", "log", "--connections", "16")
    row = dict(zip(columns, compared, strict=True))
    assert (row["workload"], row["clients"], row["target"]) == ("retweet of one viral tweet", "16", "≥ 0.70")
    assert row["holds"] in {"yes", "NO"}
    assert float(row["ratio"]) > 0
    assert row["verified"].endswith(" right")
    assert [cells[0].split()[0] for cells in read] == ["top", "top", "change", "cascade"]
    text = next(tmp_path.glob("*cores.md")).read_text()
    load = float(text.partition("load average before: ")[2].split()[0])
    assert ("THE MACHINE WAS BUSY" in text) == (load > 0.3)


def test_wrong_count_is_no_result(stage: Stage) -> None:
    """When one count in the index is not the log's, or what was acknowledged is not there, there is no figure."""
    assert verified(stage, VIRAL, stage.total(), 0, 0) == "52 right"
    with pytest.raises(CannotMeasure, match="1 were acknowledged, and 0 are there"):
        verified(stage, VIRAL, stage.total(), 1, 1)

    with Redis(unix_socket_path=str(socket_of(stage.data_dir / "redis"))) as client:
        client.zincrby(keys_in(client).ranking, 1, stage.planted.viral)
    with pytest.raises(CannotMeasure, match="a fast wrong answer is no answer"):
        verified(stage, VIRAL, stage.total(), 0, 0)


def test_rate_of_errors_is_no_result(stage: Stage, tmp_path: Path, program: FindProgram) -> None:
    """When an answer is an error there is no figure."""
    program("wrk")
    requests = tmp_path / "missing.tsv"
    requests.write_text("GET\t/api/v1/tweet/unknown\t\t\n")
    with pytest.raises(CannotMeasure, match="were errors"):
        run_wrk(stage.server, requests, connections=2, seconds=1)


def test_two_checkouts_are_measured_in_turn(tmp_path: Path, program: FindProgram) -> None:
    """A service started in another folder is the other side of each row, with its own data."""
    program("wrk")
    other = tmp_path / "other"
    other.mkdir()
    for name in ("app", "storage", "migrations", "wsgi.py"):
        (other / name).symlink_to(ROOT / name)
    columns, _, row = _bench(tmp_path, "--only", "post", "--beside", str(other), "--connections", "2")
    cells = dict(zip(columns, row, strict=True))
    assert cells["target"] == "≥ 1.00"
    assert float(cells["beside /s"].replace(",", "")) > 0
    assert cells["verified"].endswith(" right")


def test_import_is_measured_beside_raw_inserts(tmp_path: Path) -> None:
    """The cascades, converted, and invented tweets: rate, raw inserts and memory of each, once every count is right."""
    _, _, *rows = _bench(tmp_path, "--only", "import", "--cascades", str(CASCADES))
    assert [row[0].split()[0] for row in rows] == ["import,", "...", "..."] * 2


def _bench(results: Path, *words: str) -> list[list[str]]:
    """The lines of the table that a short run on 1,000 tweets writes, the names of its columns first: their cells."""
    short = ("--tweets", "1000", "--seconds", "1", "--pairs", "1", "--results", str(results))
    ended = subprocess.run(
        [sys.executable, "-m", "bench", *short, *words],
        cwd=ROOT,
        env=environment(results, {}),
        capture_output=True,
        text=True,
        check=False,
        timeout=2 * PATIENCE_S,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    written = next(results.glob("*cores.md")).read_text()
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in written.splitlines() if line.startswith("|")]
