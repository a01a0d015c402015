"""
A real cluster for the tests: three primaries with a replica each, on loopback, formed by our own client.

Its nodes forget everything when they end (no append-only file), which is the worst a cluster can do to us.
"""

import random
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from redis import Redis
from redis.exceptions import RedisError

from storage.index.embedded import find_server
from storage.index.keys import keys_of

PRIMARIES = 3
SLOTS = 16_384
NODE_TIMEOUT_MS = 1_000
"""How long a node may be silent before the others take it for dead."""

OPTIONS = {
    "bind": "127.0.0.1",
    "save": "",
    "appendonly": "no",
    "cluster-enabled": "yes",
    "cluster-node-timeout": str(NODE_TIMEOUT_MS),
    "cluster-require-full-coverage": "no",
    "cluster-replica-no-failover": "no",
    "cluster-replica-validity-factor": "0",  # a replica takes over however old it is
    "cluster-allow-replica-migration": "no",
    "repl-diskless-sync-delay": "0",
    "maxmemory-policy": "noeviction",
}


CHANGED = ("cluster-require-full-coverage", "cluster-replica-no-failover", "masterauth")
"""Settings that tests change."""

FAILED = {"fail", "fail?"}

# Ends the servers and removes their files when the tests come to their end, or are killed: its standard input ends.
GUARD = 'cat >/dev/null; kill -KILL $(cat "$0"/*/pid); rm -rf "$0"'


class Node:
    """One server of the cluster; `start` again after `kill`, and it rejoins."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.folder = folder
        self.port, self._bus_port = _free_port(), _free_port()
        self.client: Any = Redis(port=self.port, decode_responses=True, socket_timeout=5)
        self.start()

    def start(self) -> None:
        """Start the server and wait until it answers."""
        options = OPTIONS | {"port": str(self.port), "cluster-port": str(self._bus_port), "dir": str(self.folder)}
        with (self.folder / "server.log").open("ab") as log:
            self.process = subprocess.Popen(
                [find_server(), *(word for name, value in options.items() for word in (f"--{name}", value))],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # a Ctrl-C is for the tests, which then end the servers
            )
        (self.folder / "pid").write_text(f"{self.process.pid}\n")
        eventually(self.answers)

    def answers(self) -> bool:
        """Whether the server answers."""
        assert self.process.poll() is None, (self.folder / "server.log").read_text()
        try:
            return bool(self.client.ping())
        except RedisError:
            return False

    def kill(self) -> None:
        """End the server without a word of warning."""
        self.process.kill()
        self.process.wait()

    @property
    def id(self) -> str:
        """Its name in the cluster."""
        return str(self.client.execute_command("CLUSTER", "MYID"))

    @property
    def is_alive(self) -> bool:
        """Whether it runs."""
        return self.process.poll() is None

    @property
    def is_primary(self) -> bool:
        """Whether it says so itself."""
        return self.is_alive and bool(self.client.role()[0] == "master")

    def settled(self, alive: int) -> bool:
        """Whether it finds the cluster whole, *alive* nodes, and itself, as a replica, in touch with its primary."""
        lines = self.client.execute_command("CLUSTER NODES")
        connected = sum(node["connected"] and not FAILED & {*node["flags"].split(",")} for node in lines.values())
        info = self.client.execute_command("CLUSTER INFO")
        role = self.client.role()
        in_touch = role[0] == "master" or role[3] == "connected"
        return bool(info["cluster_state"] == "ok" and connected == alive and in_touch)


class Cluster:
    """Six servers that form a cluster; `close` ends them and removes their files."""

    def __init__(self) -> None:
        self._folder = Path(mkdtemp(prefix="simple-twitter-cluster-"))
        self._guard = subprocess.Popen(
            ["sh", "-c", GUARD, str(self._folder)],
            stdin=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        self.nodes: list[Node] = []
        try:
            self.nodes += [Node(self._folder / str(number)) for number in range(2 * PRIMARIES)]
            self._form()
        except BaseException:
            self.close()
            raise

    def _form(self) -> None:
        first = self.nodes[0]
        for epoch, node in enumerate(self.nodes, 1):
            node.client.execute_command("CLUSTER", "SET-CONFIG-EPOCH", epoch)
            first.client.execute_command("CLUSTER", "MEET", "127.0.0.1", node.port, node._bus_port)
        bounds = [SLOTS * number // PRIMARIES for number in range(PRIMARIES + 1)]
        for node, low, high in zip(self.nodes, bounds, bounds[1:], strict=False):
            node.client.execute_command("CLUSTER", "ADDSLOTSRANGE", low, high - 1)
        for primary, replica in zip(self.nodes[:PRIMARIES], self.nodes[PRIMARIES:], strict=True):
            eventually(partial(_accepted, replica, "CLUSTER", "REPLICATE", primary.id))
        self.heal()

    @property
    def url(self) -> str:
        """What REDIS_URL is for it: two of its nodes."""
        return f"redis+cluster://127.0.0.1:{self.nodes[0].port},127.0.0.1:{self.nodes[4].port}"

    def primary_of(self, store: str, partition: int) -> Node:
        """The node that has the keys of *partition* of *store*."""
        slot = self.nodes[0].client.execute_command("CLUSTER", "KEYSLOT", keys_of(store, partition).ranking)
        return next(node for node in self.nodes if node.is_primary and slot in _slots_of(node))

    def replica_of(self, primary: Node) -> Node:
        """The replica of *primary*."""
        return next(node for node in self.nodes if node.is_alive and node.client.role()[2:3] == [primary.port])

    @contextmanager
    def joined(self) -> Iterator[Node]:
        """One more primary, without a slot, for the length of the block; its slots must be given back before."""
        node = Node(self._folder / f"more{len(list(self._folder.iterdir()))}")
        try:
            node.client.execute_command("CLUSTER", "SET-CONFIG-EPOCH", 100)
            self.nodes[0].client.execute_command("CLUSTER", "MEET", "127.0.0.1", node.port, node._bus_port)
            eventually(lambda: all(each.settled(len(self.nodes) + 1) for each in [*self.nodes, node]))
            yield node
        finally:
            left = node.id
            node.kill()
            for each in self.nodes:
                each.client.execute_command("CLUSTER", "FORGET", left)
            node.client.close()

    def heal(self) -> None:
        """Start what was killed, take settings back, and wait until all agree that the cluster is whole."""
        for node in self.nodes:
            if not node.is_alive:
                node.start()
            for name in CHANGED:
                node.client.config_set(name, OPTIONS.get(name, ""))
        eventually(lambda: all(node.settled(len(self.nodes)) for node in self.nodes))
        eventually(lambda: sum(node.is_primary for node in self.nodes) == PRIMARIES)

    def flush(self) -> None:
        """Empty it."""
        for node in self.nodes:
            if node.is_primary:
                node.client.flushall()

    def close(self) -> None:
        """End the servers, and remove their files."""
        for node in self.nodes:
            node.client.close()
        if self._guard.stdin:
            self._guard.stdin.close()
        self._guard.wait()
        for node in self.nodes:
            node.process.wait()


def eventually(holds: Callable[[], bool], within_s: float = 30) -> None:
    """Wait until something holds; fail when it does not in time."""
    deadline = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.02)


@contextmanager
def running_cluster() -> Iterator[Cluster]:
    """A cluster for the length of the block."""
    cluster = Cluster()
    try:
        yield cluster
    finally:
        cluster.close()


def _slots_of(node: Node) -> set[int]:
    lines = node.client.execute_command("CLUSTER NODES")
    mine = next(line for line in lines.values() if "myself" in line["flags"])
    return {slot for low, high in _ranges(mine["slots"]) for slot in range(low, high + 1)}


def _ranges(slots: Sequence[Sequence[str]]) -> Iterator[tuple[int, int]]:
    for bounds in slots:
        yield int(bounds[0]), int(bounds[-1])


def _accepted(node: Node, *command: Any) -> bool:
    try:
        node.client.execute_command(*command)
    except RedisError:
        return False
    return True


def _free_port() -> int:
    """
    A port that no program listens on, and none that a connection may be given for its own end.

    For that would keep a node, which must come back under its port, from doing so.
    """
    while True:
        port = random.randrange(
            10_000, 32_768
        )  # https://docs.kernel.org/networking/ip-sysctl.html: ip_local_port_range
        with socket.socket() as one, suppress(OSError):
            one.bind(("127.0.0.1", port))
            return port
