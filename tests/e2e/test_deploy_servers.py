"""The configurations of deploy/, each in the server that it is written for, with the service behind or before it."""

import json
import os
import pwd
import re
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from socketserver import ThreadingMixIn
from typing import Any
from urllib.parse import urlsplit
from wsgiref.simple_server import WSGIServer, make_server
from wsgiref.types import StartResponse, WSGIEnvironment

import pytest
from redis import Redis

from storage import open_storage
from storage.embedded import find_server
from tests.builders import post, retweet, whole_ranking
from tests.e2e import commands
from tests.e2e.commands import PATIENCE_S, done
from tests.e2e.deployed import DEPLOY, compose, free_port, listens, redis_running, running, short_folder
from tests.e2e.server_wire import Answer, Wire, check_problem
from tests.e2e.server_wire import serving as serving_wsgi
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
Proxy = Callable[..., AbstractContextManager[int]]
"""Called with the ports of copies of the service; in its context, the port that it listens on."""

NGINX_AROUND = """
daemon off; pid nginx.pid; error_log stderr; user {user};
events {{}}
http {{
    access_log off; client_body_temp_path body; proxy_temp_path proxy;
    fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi; scgi_temp_path scgi;
    include site.conf;
}}
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder for a server."""
    with short_folder() as made:
        yield made


@pytest.mark.parametrize("kind", ["packaged", "redis-server"])
def test_redis_conf_keeps_the_index(kind: str, program: FindProgram, folder: Path, data_dir: Path) -> None:
    """A server with our redis.conf runs as promised, serves as REDIS_URL, and finds its index again after kill -9."""
    server = find_server() if kind == "packaged" else program(kind)
    socket = str(folder / "redis.sock")
    own = ["--port", "0", "--dir", str(folder), "--unixsocket", socket]
    command = [server, str(DEPLOY / "redis.conf"), *own]
    with redis_running(command, folder, unix_socket_path=socket) as process, Redis(unix_socket_path=socket) as client:
        found: Any = client.config_get(*PROMISED)
        assert found == PROMISED
        with open_storage(data_dir, redis_url=f"unix://{socket}") as tweets:
            first = post(tweets)
            second = retweet(tweets, first)
            assert whole_ranking(tweets) == [(1, first.id), (0, second.id)]
        kept = client.dbsize()
        process.kill()
    with redis_running(command, folder, unix_socket_path=socket), Redis(unix_socket_path=socket) as client:
        assert client.dbsize() == kept == 2


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


def test_cluster_is_formed_once(program: FindProgram, folder: Path) -> None:
    """form-cluster.sh makes a whole cluster of six nodes with three primaries; run again it changes nothing."""
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
    assert seen[0] == seen[1]
    assert sorted(role for role, _ in seen[0]) == ["master"] * 3 + ["slave"] * 3
    assert sum(slots for _, slots in seen[0]) == 16384


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
    """Each node that the one at *port* knows: its role and the number of its slots."""
    with Redis(port=port, decode_responses=True) as client:
        lines = str(client.execute_command("CLUSTER", "NODES", NEVER_DECODE=True).decode()).splitlines()
    nodes = []
    for _, _, flags, _, _, _, _, _, *slots in map(str.split, lines):
        ranges = [list(map(int, each.split("-"))) for each in slots]
        nodes.append((flags.removeprefix("myself,"), sum(last - first + 1 for first, last in ranges)))
    return sorted(nodes)


class ThreadingServer(ThreadingMixIn, WSGIServer):
    """Keeps no connection waiting for another one."""

    daemon_threads = True


@dataclass
class Copy:
    """Lives, and answers everything but /livez with *status*. Keeps what it was asked."""

    status: str = "503 Service Unavailable"
    asked: list[WSGIEnvironment] = field(default_factory=list)

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
        """Answer without a body."""
        lives = environ["PATH_INFO"] == "/livez"
        if not lives:
            self.asked.append(environ)
        start_response("200 OK" if lives else self.status, [("Content-Length", "0"), ("Retry-After", "1")])
        return []


@contextmanager
def nginx(path: str, folder: Path, *copies: int) -> Iterator[int]:
    """Our nginx.conf with these copies of the service (ports); the port that it listens on."""
    port, site = free_port(), (DEPLOY / "nginx.conf").read_text()
    site, listening = re.subn(r"listen 8080;", f"listen 127.0.0.1:{port};", site)
    for name, copy in zip(("app-1", "app-2"), copies, strict=True):
        site = site.replace(f"{name}:5000", f"127.0.0.1:{copy}")
    assert (listening, "app-" in site) == (1, False)
    (folder / "site.conf").write_text(site)
    (folder / "nginx.conf").write_text(NGINX_AROUND.format(user=pwd.getpwuid(os.getuid()).pw_name))
    command = [path, "-e", "stderr", "-p", str(folder), "-c", str(folder / "nginx.conf")]
    tested = subprocess.run([*command, "-t"], capture_output=True, text=True, check=False, timeout=PATIENCE_S)
    assert tested.returncode == 0, tested.stderr
    assert "[emerg]" not in tested.stderr
    with running(command, folder, lambda: listens(port)):
        yield port


@contextmanager
def caddy(path: str, folder: Path, *copies: int) -> Iterator[int]:
    """Our Caddyfile with these copies of the service (ports); the port that it listens on."""
    port = free_port()
    settings = {
        "SITE": f"http://127.0.0.1:{port}",
        "UPSTREAMS": " ".join(f"127.0.0.1:{copy}" for copy in copies),
        "HOME": str(folder),
        "XDG_DATA_HOME": str(folder),
        "XDG_CONFIG_HOME": str(folder),
    }
    command = [path, "run", "--adapter", "caddyfile", "--config", str(DEPLOY / "Caddyfile")]
    with running(command, folder, lambda: listens(port), {**os.environ, **settings}):
        yield port


@pytest.fixture(params=[nginx, caddy], ids=["nginx", "caddy"])
def proxy(request: pytest.FixtureRequest, program: FindProgram, folder: Path) -> Proxy:
    """Each proxy."""
    path = program(request.param.__name__)
    return lambda *copies: request.param(path, folder, *copies)


def ask(port: int, method: str, path: str, body: object = None, headers: str = "") -> Answer:
    """What the server at *port* answers to one request."""
    content = b"" if body is None else json.dumps(body).encode()
    head = f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n{headers}"
    with Wire(f"http://127.0.0.1:{port}") as wire:
        return wire.ask(f"{head}Content-Length: {len(content)}\r\n\r\n".encode() + content, method)


def port_of(url: str) -> int:
    """The port in *url*."""
    port = urlsplit(url).port
    assert port is not None
    return port


TWEET = {"user_name": "ann", "title": "Title", "body": "Body"}


def test_proxy_passes_on_what_can_be_done(proxy: Proxy, data_dir: Path) -> None:
    """Through a proxy that has one copy and one address without any, posts and pages arrive, each of them once."""
    with commands.serving(data_dir) as service, proxy(port_of(service.url), free_port()) as port:
        posted = [ask(port, "POST", "/api/v1/tweet", TWEET) for _ in range(6)]
        assert [answer.status for answer in posted] == [201] * 6
        page = ask(port, "GET", "/")
        assert page.status == 200
        assert page.body.count(b"<article") == 6
        assert "content-security-policy" in page.headers
        assert ask(port, "GET", f"/api/v1/tweet/{posted[0].json['id']}").json == posted[0].json
        assert ask(port, "GET", "/api/v1/tweet/0").json["code"] == "tweet_not_found"
    assert len(done(data_dir, "export").splitlines()) == 6


def test_proxy_repeats_no_post(proxy: Proxy, data_dir: Path) -> None:
    """A POST that a copy has refused goes back to the client with its Retry-After, and is not sent to another copy."""
    full = Copy()
    with commands.serving(data_dir) as service, serving_wsgi(full) as other:
        with proxy(port_of(service.url), port_of(other.url)) as port:
            posts = [ask(port, "POST", "/api/v1/tweet", TWEET) for _ in range(12)]
        refused = [answer for answer in posts if answer.status == 503]
        asked = [each for each in full.asked if each["REQUEST_METHOD"] == "POST"]
        assert len(refused) == len(asked) > 0
        assert all(answer.headers["retry-after"] == "1" for answer in refused)
    assert len(done(data_dir, "export").splitlines()) == 12 - len(refused)


def test_nginx_asks_another_copy_for_a_page(program: FindProgram, folder: Path, data_dir: Path) -> None:
    """A GET that one copy answers 503 is asked of the other."""
    full = Copy()
    with commands.serving(data_dir) as service, serving_wsgi(full) as other:
        with nginx(program("nginx"), folder, port_of(service.url), port_of(other.url)) as port:
            assert [ask(port, "GET", "/").status for _ in range(6)] == [200] * 6
        assert full.asked


def test_proxy_says_itself_who_asks(proxy: Proxy) -> None:
    """What a client says of where it comes from never reaches the service."""
    copy = Copy("200 OK")
    names = ("X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host", "Forwarded")
    forged = "".join(f"{name}: 6.6.6.6\r\n" for name in names)
    # Not the service's own server, which does not let such headers through either.
    with make_server("127.0.0.1", 0, copy, ThreadingServer) as plain:
        thread = threading.Thread(target=plain.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        with proxy(plain.server_port, plain.server_port) as port:
            assert ask(port, "GET", "/forged", headers=forged).status == 200
        plain.shutdown()
        thread.join()
    (asked,) = copy.asked
    assert asked["HTTP_X_FORWARDED_FOR"] == "127.0.0.1"
    assert not any("6.6.6.6" in str(value) for value in asked.values())


def test_proxy_refuses_as_the_service_does(proxy: Proxy, data_dir: Path) -> None:
    """A body too large is 413 and a service that is away 502 or 503, both in the shape of all errors."""
    with commands.serving(data_dir) as service, proxy(port_of(service.url), port_of(service.url)) as port:
        large = ask(port, "POST", "/api/v1/tweet", {**TWEET, "body": "x" * 70_000})
        assert large.status == 413
        check_problem_of_proxy(large)
        service.end()
        away = ask(port, "GET", "/")
        assert away.status in (502, 503)
        check_problem_of_proxy(away)


def check_problem_of_proxy(answer: Answer) -> None:
    """As `check_problem`, but for the name of the server, which a proxy may say."""
    answer.headers.pop("server", None)
    check_problem(answer)
