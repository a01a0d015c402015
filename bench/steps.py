"""
What each step of docs/scaling.md buys: `python -m bench.steps [--seconds 3] [--rounds 5]`.

The same work on each layout, in turn, by 32 threads in each host: without HTTP, which costs the same on all of them.
PostgreSQL waits for its disk here, as it does anywhere else than in the tests. Afterwards every count is compared.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from bench.host import WORKS
from bench.report import Table, look_at_machine
from storage import migrate, open_storage
from storage.index.embedded import EmbeddedServer
from storage.sql.database import open_database
from storage.tools.verify import verify
from tests.cluster import running_cluster
from tests.postgresql import PostgreSQL

DURABLE = {"fsync": "on", "default_transaction_isolation": "read committed", "shared_buffers": "128MB"}
ROOTS = 300


class Layout(NamedTuple):
    """What the tweets are kept in, and how many hosts write there."""

    name: str
    kind: str
    hosts: int
    partitions: int


LAYOUTS = (
    Layout("SQLite, 1 process", "sqlite", 1, 1),
    Layout("SQLite, 2 workers", "sqlite", 2, 1),
    Layout("PostgreSQL and Redis, 1 copy", "server", 1, 1),
    Layout("PostgreSQL and Redis, 2 copies", "server", 2, 1),
    Layout("the same, 12 partitions", "server", 2, 12),
    Layout("PostgreSQL and a cluster, 2 copies, 12 partitions", "cluster", 2, 12),
)


class Hosts:
    """The processes of one layout."""

    def __init__(self, layout: Layout, urls: tuple[str, str], folder: Path) -> None:
        self.layout, self.urls = layout, urls
        self.folders = [folder / (f"host{number}" if urls[0] else "data") for number in range(layout.hosts)]
        self._processes = [self._start(*each) for each in zip(self.folders, ("own", "attach"), strict=False)]
        self.ids = self.ask(["plant", ROOTS], self._processes[:1])[0]

    def _start(self, data_dir: Path, manner: str) -> "subprocess.Popen[str]":
        words = [str(data_dir), *self.urls, str(self.layout.partitions), manner]
        process = subprocess.Popen(
            [sys.executable, "-m", "bench.host", *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        _read(process)
        return process

    def ask(self, line: list[Any], processes: "Sequence[subprocess.Popen[str]]" = ()) -> list[Any]:
        """What the hosts answer to *line*, all told it at the same time."""
        asked = processes or self._processes
        for process in asked:
            assert process.stdin
            process.stdin.write(f"{json.dumps(line)}\n")
            process.stdin.flush()
        return [_read(process) for process in asked]

    def rate(self, work: str, seconds: float) -> float:
        """How often a second they do *work*, all together."""
        return float(sum(self.ask([work, seconds, self.ids]))) / seconds

    def close(self) -> None:
        """End them, those first that use the server of another."""
        for process in reversed(self._processes):
            with process:
                if process.stdin:
                    process.stdin.close()

    def verify(self) -> None:
        """See that every count is right."""
        with open_storage(self.folders[0], *self.urls) as tweets:
            assert verify(tweets) == [], "a fast wrong answer is no answer"


def _read(process: "subprocess.Popen[str]") -> Any:
    assert process.stdout
    line = process.stdout.readline()
    assert line, "a host has ended"
    return json.loads(line)


@contextmanager
def opened(layout: Layout, postgresql: PostgreSQL, redis_url: str, folder: Path) -> Iterator[Hosts]:
    """The hosts of *layout*, for the length of the block; afterwards their counts are compared."""
    with ExitStack() as stack:
        urls = ("", "")
        if layout.kind != "sqlite":
            urls = (postgresql.url(stack.enter_context(postgresql.database())), redis_url)
            with closing(open_database(urls[0])) as database:
                migrate.up(database, layout.partitions)
        if layout.kind == "server":
            server = EmbeddedServer(folder / "index")
            stack.callback(server.stop)
            urls = (urls[0], f"unix://{server.socket}")
        hosts = Hosts(layout, urls, folder)
        try:
            yield hosts
        finally:
            hosts.close()
        hosts.verify()


def measure(seconds: float, rounds: int) -> Iterator[Table]:
    """A table for each kind of work."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="steps-")))
        postgresql = stack.enter_context(closing(PostgreSQL(None, **DURABLE)))
        redis_url = stack.enter_context(running_cluster()).url
        layouts = [
            stack.enter_context(opened(layout, postgresql, redis_url, folder / str(number)))
            for number, layout in enumerate(LAYOUTS)
        ]
        for work in WORKS:
            turns = [[hosts.rate(work, seconds) for hosts in layouts] for _ in range(rounds)]
            table = Table(work, "A second, and the ratio to the first line: medians.", ("layout", "a second", "ratio"))
            for number, hosts in enumerate(layouts):
                rate = median(turn[number] for turn in turns)
                ratio = median(turn[number] / turn[0] for turn in turns)
                table.add(hosts.layout.name, f"{rate:,.0f}", f"{ratio:.2f}")
            yield table


def main() -> None:
    """Measure, and print the tables."""
    parser = argparse.ArgumentParser("python -m bench.steps", description=__doc__, allow_abbrev=False)
    parser.add_argument("--seconds", type=float, default=3, help="length of one measurement (3)")
    parser.add_argument("--rounds", type=int, default=5, help="measurements of each (5)")
    options = parser.parse_args()
    machine = look_at_machine()
    print(f"{machine.markdown()}\n{machine.warning()}", flush=True)
    print("\n".join(table.markdown() for table in measure(options.seconds, options.rounds)))


if __name__ == "__main__":
    main()
