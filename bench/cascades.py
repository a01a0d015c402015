"""
The main job on real input: load the retweet cascades of a file, and check every count against the file's own answer.

    python -m bench.cascades ../shared/data/cascades.tsv.gz

First the whole file through `import`, then `verify` and the top 10; then a part of it, whole cascades spread over the
file, through HTTP by many clients at once, each tweet posted as soon as the one it retweets was. Prints the times; exit
code 1 when a single count differs. Everything runs in a folder of its own, which is removed.
"""

import argparse
import gzip
import http.client
import json
import os
import platform
import queue
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from bench.convert import convert

ROOT = Path(__file__).resolve().parent.parent
SETTINGS = ("HOST", "PORT", "DATA_DIR", "DATABASE_URL", "REDIS_URL", "PARTITIONS")


class Row(NamedTuple):
    """A tweet of the file; `parent` is 0 for a root."""

    number: int
    user: str
    parent: int
    count_retweet: int


class Wrong(Exception):
    """A count is not the file's."""


def main() -> int:
    """Run both parts: 0 when every count is right."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0], allow_abbrev=False)
    parser.add_argument("file", type=Path, help="the cascades, as cascades.tsv.gz")
    parser.add_argument("--part", type=int, default=50_000, help="tweets through HTTP (50000)")
    parser.add_argument("--clients", type=int, default=32, help="clients at once (32)")
    arguments = parser.parse_args()
    rows = read_rows(arguments.file)
    print(f"{len(rows):,} tweets; Python {platform.python_version()}, {os.cpu_count()} CPUs, {platform.machine()}")
    try:
        with tempfile.TemporaryDirectory() as folder:
            import_whole(arguments.file.resolve(), rows, Path(folder))
        with tempfile.TemporaryDirectory() as folder:
            load_by_http(part_of(rows, arguments.part), arguments.clients, Path(folder))
    except Wrong as wrong:
        print(f"WRONG: {wrong}", file=sys.stderr)
        return 1
    return 0


def read_rows(file: Path) -> list[Row]:
    """The rows of the file, in its order."""
    with gzip.open(file, "rt") as lines:
        next(lines)
        cells = (line.rstrip("\n").split("\t") for line in lines)
        return [Row(int(number), user, int(parent or 0), int(count)) for number, user, parent, _, count in cells]


def part_of(rows: Sequence[Row], at_most: int) -> list[Row]:
    """Whole cascades, spread over the file, of *at_most* tweets together."""
    root_of: dict[int, int] = {}
    cascades = defaultdict[int, list[Row]](list)
    for row in rows:
        root_of[row.number] = root_of.get(row.parent, row.number)
        cascades[root_of[row.number]].append(row)
    step = max(1, len(rows) // at_most)
    roots = list(cascades)
    chosen: list[Row] = []
    for root in [root for first in range(step) for root in roots[first::step]]:
        if len(chosen) + len(cascades[root]) <= at_most:
            chosen += cascades[root]
    return sorted(chosen)


def import_whole(file: Path, rows: Sequence[Row], folder: Path) -> None:
    """Import the file, verify all counts, and compare the top 10."""
    lines = folder / "lines.jsonl"
    with lines.open("wb") as converted:
        converted.writelines(convert(file))
    began = time.monotonic()
    said = run_verb(folder, "import", str(lines))
    print(f"import: {said}  ({time.monotonic() - began:.1f} s with start and stop)")
    said = run_verb(folder, "verify")
    print(f"verify: {said}")
    if not said.startswith(f"{len(rows):,} right, 0 wrong"):
        raise Wrong(said)
    expected = sorted(rows, key=lambda row: (-row.count_retweet, -row.number))[:10]
    with service(folder) as port:
        top = ask(connect(port), "GET", "/api/v1/top?limit=10")["tweets"]
    check(
        [(f"Tweet {row.number}", row.count_retweet) for row in expected],
        [(tweet["title"], tweet["count_retweet"]) for tweet in top],
    )
    print("top 10: as in the file:", ", ".join(f"{tweet['title'][6:]} ({tweet['count_retweet']:,})" for tweet in top))


def load_by_http(rows: Sequence[Row], clients: int, folder: Path) -> None:
    """Post *rows* by *clients* threads at once, then read the whole ranking and compare every count."""
    with service(folder) as port:
        began = time.monotonic()
        post_all(rows, clients, port)
        took_s = time.monotonic() - began
        print(f"HTTP: {len(rows):,} tweets by {clients} clients in {took_s:.1f} s: {len(rows) / took_s:,.0f} a second")
        counts = dict(read_ranking(port))
        check({f"Tweet {row.number}": row.count_retweet for row in rows}, counts)
        print(f"HTTP: every one of {len(counts):,} counts is the file's")
        print(f"verify: {run_verb(folder, 'verify')}")


def post_all(rows: Sequence[Row], clients: int, port: int) -> None:
    """Post every row once its parent is there; whoever is free takes the next one."""
    loading = Loading(rows, clients)
    crowd = [threading.Thread(target=loading.work, args=(port,)) for _ in range(clients)]
    for one in crowd:
        one.start()
    for one in crowd:
        one.join()
    if loading.failures:
        raise loading.failures[0]


class Loading:
    """Which tweets can be posted now, shared by all clients."""

    def __init__(self, rows: Sequence[Row], clients: int) -> None:
        self.failures: list[Exception] = []
        self._clients = clients
        self._left = len(rows)
        self._counting = threading.Lock()
        self._children = defaultdict[int, list[Row]](list)
        for row in rows:
            self._children[row.parent].append(row)
        self._ready: queue.SimpleQueue[tuple[Row, str] | None] = queue.SimpleQueue()  # a row and its parent's id
        self._release(0, "")

    def work(self, port: int) -> None:
        """Be one client, until all is posted or one client fails."""
        connection = connect(port)
        try:
            while task := self._ready.get():
                self._release(task[0].number, post(connection, *task))
                with self._counting:
                    self._left -= 1
                if self._left == 0:
                    self._end()
        except Exception as error:  # noqa: BLE001  # whatever it is, the main thread is told
            self.failures.append(error)
            self._end()
        finally:
            connection.close()

    def _release(self, number: int, posted: str) -> None:
        for child in self._children.get(number, ()):
            self._ready.put((child, posted))

    def _end(self) -> None:
        for _ in range(self._clients):
            self._ready.put(None)


def post(connection: http.client.HTTPConnection, row: Row, parent: str) -> str:
    """Post one tweet; its id."""
    body = {"user_name": row.user, "title": f"Tweet {row.number}", "body": f"{row.user} says {row.number}"}
    if parent:
        answer = ask(connection, "POST", "/api/v1/retweet", {**body, "retweet": parent})
    else:
        answer = ask(connection, "POST", "/api/v1/tweet", body)
    return str(answer["id"])


def read_ranking(port: int) -> Iterator[tuple[str, int]]:
    """Title and count of every tweet, page by page down the ranking."""
    connection, cursor = connect(port), ""
    while True:
        page = ask(connection, "GET", f"/api/v1/top?limit=100{cursor}")
        yield from ((tweet["title"], tweet["count_retweet"]) for tweet in page["tweets"])
        if page["next"] is None:
            return
        cursor = f"&cursor={page['next']}"


def connect(port: int) -> http.client.HTTPConnection:
    """A connection to the service, kept for all calls of a client."""
    return http.client.HTTPConnection("127.0.0.1", port, timeout=60)


def ask(connection: http.client.HTTPConnection, method: str, path: str, body: object = None) -> Any:
    """The JSON of an answer, which must be 200 or 201; one of 503 is asked again, as it says."""
    content = None if body is None else json.dumps(body)
    while True:
        connection.request(method, path, content, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        said = answer.read()
        if answer.status in {200, 201}:
            return json.loads(said)
        if answer.status != 503:
            raise Wrong(f"{method} {path}: {answer.status} {said!r}")
        time.sleep(int(answer.headers["Retry-After"]))


@contextmanager
def service(folder: Path) -> Iterator[int]:
    """A service on the data of *folder*, in a process of its own; its port."""
    command = [sys.executable, "-m", "app", "serve"]
    with subprocess.Popen(command, cwd=ROOT, env=environment(folder), stdout=subprocess.PIPE, text=True) as process:
        try:
            line = process.stdout.readline() if process.stdout else ""
            yield int(line.split()[2].rstrip("/").rpartition(":")[2])
        finally:
            process.terminate()


def run_verb(folder: Path, *words: str) -> str:
    """What a verb prints."""
    ended = subprocess.run(
        [sys.executable, "-m", "app", *words], cwd=ROOT, env=environment(folder), stdout=subprocess.PIPE, check=False
    )
    return ended.stdout.decode().strip()


def environment(folder: Path) -> dict[str, str]:
    """Ours, without settings, with the data in *folder* and a free port."""
    inherited = {name: value for name, value in os.environ.items() if name not in SETTINGS}
    return {**inherited, "DATA_DIR": str(folder), "PORT": "0"}


def check(expected: Any, found: Any) -> None:
    """Raise Wrong, with the first differences, unless the two are equal."""
    if expected == found:
        return
    one, other = (set(each.items() if isinstance(each, dict) else each) for each in (expected, found))
    differences = [f"{pair} expected" for pair in one - other]
    raise Wrong(f"{len(differences)} counts differ, of {len(one)} and {len(other)}: {'; '.join(differences[:5])}")


if __name__ == "__main__":
    sys.exit(main())
