"""The measurements themselves: they run, they say what they must, and a wrong answer stops them."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis

from bench.load import CannotMeasure, Contestant, run_wrk
from bench.planting import Fields
from bench.staging import Stage, staged, verified
from bench.workloads import WORKLOADS, Asked
from storage.index.embedded import socket_of
from tests.builders import keys_in
from tests.e2e.commands import PATIENCE_S, ROOT, environment
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
    words = ("--only", "viral", "--only", "batches", "--tweets", "1000", "--connections", "16")
    ended = subprocess.run(
        [sys.executable, "-m", "bench", *words, "--seconds", "1", "--pairs", "1", "--results", str(tmp_path)],
        cwd=ROOT,
        env=environment(tmp_path, {}),
        capture_output=True,
        text=True,
        check=False,
        timeout=2 * PATIENCE_S,
    )
    assert ended.returncode == 0, ended.stderr

    written = json.loads(next(tmp_path.glob("*cores.json")).read_text())
    compared, batches = written["tables"]
    (row,) = (dict(zip(compared["columns"], cells, strict=True)) for cells in compared["rows"])
    assert (row["workload"], row["clients"], row["target"]) == ("retweet of one viral tweet", "16", "≥ 0.70")
    assert row["holds"] in {"yes", "NO"}
    assert float(row["ratio"]) > 0
    assert row["verified"].endswith(" right")
    assert [cells[0] for cells in batches["rows"]] == ["retweet of one viral tweet", *["retweet at depth 1,000"] * 2]
    assert written["machine"]["cores"] > 0
    text = next(tmp_path.glob("*cores.md")).read_text()
    assert "| retweet of one viral tweet | 16 |" in text
    assert ("THE MACHINE WAS BUSY" in text) == (written["machine"]["load"] / written["machine"]["cores"] > 0.5)


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
    requests.write_text(Asked("GET", "/api/v1/tweet/nobody").line())
    with pytest.raises(CannotMeasure, match="were errors"):
        run_wrk(Contestant(stage.server.url, requests), connections=2, seconds=1)
