"""The index server of deploy/, as one and as a cluster: real servers, given our files and our commands."""

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from storage import open_storage
from storage.index.embedded import find_server
from tests.builders import post, retweet, whole_ranking
from tests.e2e.commands import PATIENCE_S
from tests.e2e.deployed import DEPLOY, compose, free_port, redis_running, short_folder
from tests.system import FindProgram

PROMISED = {
    "appendonly": "yes",
    "appendfsync": "everysec",
    "aof-load-truncated": "yes",
    "save": "",
    "maxmemory-policy": "noeviction",
    "protected-mode": "yes",
    "bind": "127.0.0.1 -::1",
    "unixsocketperm": "770",
    "daemonize": "no",
}


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder for a server."""
    with short_folder() as made:
        yield made


@pytest.mark.parametrize("kind", ["packaged", "redis-server"])
def test_redis_conf_keeps_the_index(kind: str, program: FindProgram, folder: Path, data_dir: Path) -> None:
    """A server with our redis.conf runs as promised and serves as REDIS_URL; its index is there after each end."""
    server = find_server() if kind == "packaged" else program(kind)
    socket = str(folder / "redis.sock")
    own = ["--port", "0", "--dir", str(folder), "--unixsocket", socket]
    command = [server, str(DEPLOY / "redis.conf"), *own]
    with redis_running(command, folder, unix_socket_path=socket), Redis(unix_socket_path=socket) as client:
        found: Any = client.config_get(*PROMISED)
        assert found == PROMISED
        with open_storage(data_dir, redis_url=f"unix://{socket}") as tweets:
            first = post(tweets)
            second = retweet(tweets, first)
            ranked = [(1, first.id), (0, second.id)]
            assert whole_ranking(tweets) == ranked
    with redis_running(command, folder, unix_socket_path=socket) as process:
        with Redis(unix_socket_path=socket) as client:
            assert client.dbsize() == 3
        process.kill()
    with (
        redis_running(command, folder, unix_socket_path=socket),
        open_storage(data_dir, redis_url=f"unix://{socket}") as tweets,
    ):
        assert whole_ranking(tweets) == ranked


@pytest.mark.parametrize(
    ("name", "service"), [("docker-compose.yaml", "redis"), ("docker-compose.cluster.yaml", "redis-6")]
)
def test_command_of_the_container_starts(name: str, service: str, folder: Path) -> None:
    """The server takes the command that the compose file gives it, which opens it to its own network."""
    socket = str(folder / "redis.sock")
    own = ["--port", "0", "--unixsocket", socket]
    command = [*container_command(name, service, folder), *own]
    with redis_running(command, folder, unix_socket_path=socket), Redis(unix_socket_path=socket) as client:
        found: Any = client.config_get("bind", "protected-mode", "appendonly", "cluster-enabled")
        assert found == {
            "bind": "*",
            "protected-mode": "no",
            "appendonly": "yes",
            "cluster-enabled": "yes" if "cluster" in name else "no",
        }


def container_command(name: str, service: str, folder: Path) -> list[str]:
    """The command of an index server in a compose file, to be run outside of its container, its data in *folder*."""
    command: list[str] = compose(name)["services"][service]["command"]
    assert command[:4] == ["valkey-server", "/etc/valkey/redis.conf", "--dir", "/data"]
    return [find_server(), str(DEPLOY / "redis.conf"), "--dir", str(folder), *command[4:]]


def test_cluster_is_formed_once(program: FindProgram, folder: Path, data_dir: Path) -> None:
    """form-cluster.sh makes six nodes a whole cluster with three primaries, which serves; again, it changes nothing."""
    client = program("redis-cli")
    with ExitStack() as nodes:
        ports = [nodes.enter_context(node_running(f"redis-{number}", folder)) for number in range(1, 7)]
        form = ["sh", str(DEPLOY / "form-cluster.sh"), *(f"127.0.0.1:{port}" for port in ports)]
        seen = []
        for _ in range(2):
            formed = subprocess.run(
                form, env={**os.environ, "CLI": client}, capture_output=True, check=False, timeout=PATIENCE_S
            )
            assert formed.returncode == 0, formed.stdout + formed.stderr
            assert formed.stdout.endswith(b"The cluster is whole.\n")
            seen.append(cluster_of(ports[5]))
        url = "redis+cluster://" + ",".join(f"127.0.0.1:{port}" for port in ports[:3])
        with open_storage(data_dir, redis_url=url, partitions=12) as tweets:
            posted = [post(tweets).id for _ in range(20)]
            assert whole_ranking(tweets) == [(0, tweet) for tweet in sorted(posted, reverse=True)]
    assert seen[0] == seen[1]
    assert sorted(role for role, _ in seen[0]) == ["master"] * 3 + ["slave"] * 3
    assert sum(slots for _, slots in seen[0]) == 16384


def test_a_node_that_has_not_heard_of_all_is_waited_for(tmp_path: Path) -> None:
    """The cluster is not whole before each node knows every other, though all its slots are served before."""
    asked = tmp_path / "asked"
    client = tmp_path / "client"
    client.write_text(
        f"""#!/bin/sh
        echo "$@" >> {asked}
        known=2
        [ "$(grep -c -- '-p 2 ' {asked})" = 1 ] || known=3
        printf 'cluster_state:ok\\r\\ncluster_known_nodes:%s\\r\\ncluster_size:1\\r\\n' $known
        """
    )
    client.chmod(0o755)
    form = ["sh", str(DEPLOY / "form-cluster.sh"), "a:1", "a:2", "a:3"]
    formed = subprocess.run(
        form, env={**os.environ, "CLI": str(client)}, capture_output=True, check=False, timeout=PATIENCE_S
    )
    assert (formed.returncode, formed.stdout) == (0, b"The cluster is whole.\n"), formed.stderr
    assert [line.split()[3] for line in asked.read_text().splitlines()].count("2") == 2


@contextmanager
def node_running(name: str, folder: Path) -> Iterator[int]:
    """A node that is not yet in a cluster; its port."""
    own_folder = folder / name
    own_folder.mkdir()
    port, bus = free_port(), free_port()
    own = ["--port", str(port), "--cluster-port", str(bus), "--bind", "127.0.0.1"]
    command = container_command("docker-compose.cluster.yaml", name, own_folder)
    with redis_running([*command, *own], own_folder, port=port):
        yield port


def cluster_of(port: int) -> list[tuple[str, int]]:
    """Each node that the one at *port* knows, by role and number of slots, once it has heard of the replicas."""
    until = time.monotonic() + PATIENCE_S
    while [role for role, _ in nodes_of(port)].count("slave") < 3 and time.monotonic() < until:
        time.sleep(0.1)
    return nodes_of(port)


def nodes_of(port: int) -> list[tuple[str, int]]:
    """The same as it is now: the role of each, and the number of its slots."""
    with Redis(port=port, decode_responses=True) as client:
        lines = str(client.execute_command("CLUSTER", "NODES", NEVER_DECODE=True).decode()).splitlines()
    nodes = []
    for _, _, flags, _, _, _, _, _, *slots in map(str.split, lines):
        ranges = [list(map(int, each.split("-"))) for each in slots]
        nodes.append((flags.removeprefix("myself,"), sum(last - first + 1 for first, last in ranges)))
    return sorted(nodes)
