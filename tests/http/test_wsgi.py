"""`wsgi:application` serves from the environment alone, in a process of its own."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]

ASK = """
from tests.http.client import Client
from wsgi import application
client = Client(application)
tweet = client.tweet()
print(client.get("/api/v1/top").json() == {"tweets": [tweet], "next": None})
"""


def run(data_dir: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """What a server's process would say that imports the application."""
    return subprocess.run(
        [sys.executable, "-c", ASK],
        cwd=ROOT,
        env=os.environ | {"DATA_DIR": str(data_dir), **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_application(data_dir: Path) -> None:
    """The application answers, and ends in order with its process: the next one finds what was written."""
    first, second = run(data_dir), run(data_dir)

    assert (first.returncode, first.stdout, first.stderr) == (0, "True\n", "")
    assert (second.returncode, second.stdout, second.stderr) == (0, "False\n", "")


def test_a_setting_that_is_wrong(data_dir: Path) -> None:
    """A setting that cannot be used stops the start with one sentence that names it."""
    wrong = run(data_dir, MAX_ANCESTORS="many")

    assert wrong.returncode == 1
    assert wrong.stderr == "MAX_ANCESTORS must be a whole number from 1 to 1000000, and is 'many'.\n"
