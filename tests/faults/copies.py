"""
Copies of the service on one PostgreSQL and one cluster, each started again whenever it ends, and clients of them all.

A client whose call got no answer, or 503, repeats it with its key through any copy until it knows. What one copy
answered, it looks for in the next answer of another.
"""

import random
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from tests.e2e.commands import PATIENCE_S, ROOT, command, environment
from tests.faults.load import Call, Caller, Ledger, Reply

HIGH = 10**6
"""The count that a client's own root begins with: the roots of all clients are the first of the ranking."""

AGAIN_S = 0.05
"""Between a call that was not answered and the next try; between a service that ended and the next start."""

PAUSE_AT_MOST_S = 0.1
"""Between two calls of a client: the machine is to start services as well."""


class Copy:
    """A service that is started again whenever it ends, until `stop`; `url` is None while it does not serve."""

    def __init__(self, data_dir: Path, **settings: str) -> None:
        self.url: str | None = None
        self._environment = environment(data_dir, settings)
        self._lock = threading.Lock()
        self._stopping = False
        self._process: subprocess.Popen[str] | None = None
        self._thread = threading.Thread(target=self._keep)
        self._thread.start()

    def kill(self) -> bool:
        """Kill it, whether it serves or is starting; False when it is dead."""
        with self._lock:
            if self._process is None or self._process.poll() is not None:
                return False
            self._process.kill()
            return True

    def stop(self) -> int | None:
        """End it in order, and start it no more; its exit code."""
        with self._lock:
            self._stopping = True
            if self._process:
                self._process.terminate()
        self._thread.join()
        return self._process.returncode if self._process else None

    def _keep(self) -> None:
        while process := self._start():
            with process:
                line = process.stdout.readline() if process.stdout else ""
                if line.startswith("Serving on http://"):
                    self.url = line.split()[2].rstrip("/")
                process.wait()
                self.url = None
            time.sleep(AGAIN_S)

    def _start(self) -> subprocess.Popen[str] | None:
        with self._lock:
            if self._stopping:
                return None
            self._process = subprocess.Popen(
                command("serve"),
                cwd=ROOT,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                text=True,
                start_new_session=True,
            )
            return self._process


class Client:
    """Writes through one copy and looks through another; no other client touches its root and retweets."""

    def __init__(self, copies: Sequence[Copy], ledger: Ledger, name: str) -> None:
        self._copies = copies
        self._ledger = ledger
        self._name = name
        self._rng = random.Random(name)
        self._callers: dict[Copy, tuple[str, Caller]] = {}
        self._kept: dict[str, tuple[str, dict[str, int]]] = {}  # by the copy's URL: ETag and counts of its first page
        self._root = ""
        self._posted = 0  # the root and its retweets
        self.looks = 0
        self.repeats = 0
        self.wrong: list[str] = []

    def work(self, stopping: threading.Event) -> None:
        """Write and look until it is time to stop; then everything that was begun is known."""
        while not stopping.is_set():
            if not self._root or self._rng.random() < 0.4:
                self._write_own()
            else:
                self._write(self._ledger.draw())
            time.sleep(self._rng.random() * PAUSE_AT_MOST_S)

    def close(self) -> None:
        """Close its connections."""
        for _, caller in self._callers.values():
            caller.close()

    def _write(self, call: Call) -> None:
        reply, copy = self._until_known(call)
        tweet_id = reply.body["id"] if reply.status == 201 else call.target
        seen = self._ask(self._other(copy), f"/api/v1/tweet/{tweet_id}")
        # Another client may have deleted it meanwhile.
        self._check(seen, (200, 410) if reply.status == 201 else (410,), f"{call}: {reply}, and then {seen}")

    def _write_own(self) -> None:
        """Post the own root, or retweet it; then its count, by another copy, is exactly so much higher."""
        body = {"user_name": self._name}
        if self._root:
            call = Call("POST", "/api/v1/retweet", body | {"retweet": self._root}, "", self._root)
        else:
            call = Call("POST", "/api/v1/tweet", body | {"title": "Mine", "body": "Body"}, "")
        call.body["count_retweet"] = 0 if self._root else HIGH
        reply, copy = self._until_known(replace(call, key=f"{self._name} {self._posted}", private=True))
        self._posted += 1
        self._root = self._root or reply.body["id"]
        self._look(self._other(copy))

    def _look(self, copy: Copy) -> None:
        """Ask *copy* in one of three ways for the count of the own root."""
        way = self._rng.choice(("", "/rank", "/top"))
        count: int | None = None
        if way == "/top":
            page = self._first_page(copy)
            if page is None:
                return
            count = page.get(self._root)
        else:
            reply = self._ask(copy, f"/api/v1/tweet/{self._root}{way}")
            if not self._check(reply, (200,), f"{way}: {reply}"):
                return
            count = reply.body["count_retweet"]
        if count != HIGH + self._posted - 1:
            self.wrong.append(f"{way} says {count} after {self._posted - 1} retweets of {self._root}")

    def _first_page(self, copy: Copy) -> dict[str, int] | None:
        """The counts on the first page, asked for by the ETag that is known; None for no answer, or a stale one."""
        url = copy.url or ""
        etag, counts = self._kept.get(url, ("", {}))
        reply = self._ask(copy, "/api/v1/top?limit=100", {"If-None-Match": etag} if etag else {})
        if not self._check(reply, (200, 304), f"/top: {reply}") or reply.body.get("stale") or "stale" in reply.headers:
            return None
        if reply.status == 200:
            counts = {tweet["id"]: tweet["count_retweet"] for tweet in reply.body["tweets"]}
            self._kept[url] = (reply.headers["etag"], counts)
        return counts

    def _check(self, reply: Reply, right: Sequence[int], said: str) -> bool:
        """Whether it was answered; an answer that is none of *right* is wrong. 503 is none, nor a lost connection."""
        if reply.status in (0, 503):
            return False
        self.looks += 1
        if reply.status not in right:
            self.wrong.append(said)
        return reply.status in right

    def _until_known(self, call: Call) -> tuple[Reply, Copy]:
        """What *call* was answered in the end, and by whom; the ledger takes it down."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            copy = self._rng.choice(self._copies)
            caller = self._caller(copy)
            reply = caller.call(call) if caller else Reply(0)
            if reply.status not in (0, 503):
                self._ledger.learn(call, reply)
                return reply, copy
            assert time.monotonic() < deadline, f"no answer but {reply}"
            self.repeats += 1
            time.sleep(AGAIN_S)

    def _ask(self, copy: Copy, path: str, headers: dict[str, str] | None = None) -> Reply:
        caller = self._caller(copy)
        return caller.ask("GET", path, None, headers) if caller else Reply(0)

    def _other(self, copy: Copy) -> Copy:
        return self._rng.choice([other for other in self._copies if other is not copy])

    def _caller(self, copy: Copy) -> Caller | None:
        """The connection to *copy*, a new one when it was started again; None while it does not serve."""
        url = copy.url
        if url is None:
            return None
        if copy not in self._callers or self._callers[copy][0] != url:
            if copy in self._callers:
                self._callers[copy][1].close()
            self._callers[copy] = (url, Caller(url))
        return self._callers[copy][1]


@contextmanager
def at_work(clients: Sequence[Client]) -> Iterator[list[BaseException]]:
    """The clients write for as long as the block, which is given what one of them raised; raised in the end."""
    stopping, failures = threading.Event(), list[BaseException]()

    def work(client: Client) -> None:
        try:
            client.work(stopping)
        except BaseException as failure:  # noqa: BLE001  # it belongs to the test
            failures.append(failure)

    threads = [threading.Thread(target=work, args=(client,)) for client in clients]
    for thread in threads:
        thread.start()
    try:
        yield failures
    finally:
        stopping.set()
        for thread in threads:
            thread.join()
    if failures:
        raise failures[0]
