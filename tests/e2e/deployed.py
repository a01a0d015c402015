"""The files of deploy/ as tests read them, and what it takes to run their programs here."""

import fnmatch
import json
import os
import pwd
import re
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from redis import Redis
from redis.exceptions import RedisError

from tests.e2e.commands import PATIENCE_S, ROOT

DEPLOY = ROOT / "deploy"
COMPOSE_FILES = ("docker-compose.yaml", "docker-compose.cluster.yaml")
NOT_OURS = {"PATH", "PYTHONDONTWRITEBYTECODE", "PYTHONUNBUFFERED"}
"""What is set beside the settings of the service."""


def compose(name: str) -> Any:
    """A compose file, its anchors resolved."""
    return yaml.safe_load((DEPLOY / name).read_text())


def is_job(service: Mapping[str, Any]) -> bool:
    """Whether a service of a compose file is to end by itself."""
    return bool(service.get("restart") == "no")


def is_ours(service: Mapping[str, Any]) -> bool:
    """Whether a service of a compose file is made from our Dockerfile."""
    return "build" in service


NGINX_AROUND = """
daemon off; pid nginx.pid; error_log stderr; user {user};
events {{}}
http {{
    access_log off; client_body_temp_path body; proxy_temp_path proxy;
    fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi; scgi_temp_path scgi;
    include site.conf;
}}
"""


@dataclass(frozen=True)
class Dockerfile:
    """The instructions of a Dockerfile: (name in capitals, arguments), continued lines joined."""

    instructions: list[tuple[str, str]]

    @classmethod
    def read(cls) -> "Dockerfile":
        """Ours."""
        text = re.sub(r"^#.*\n", "", (DEPLOY / "Dockerfile").read_text(), flags=re.MULTILINE)
        lines = text.replace("\\\n", " ").splitlines()
        return cls([(words[0], words[1]) for line in lines if len(words := line.split(None, 1)) == 2])

    def find(self, name: str) -> list[str]:
        """The arguments of each instruction of that name."""
        return [arguments for each, arguments in self.instructions if each == name]

    def command(self) -> list[str]:
        """What a container runs."""
        return self._words(self.find("CMD")[-1])

    def health_check(self) -> list[str]:
        """What says whether it is healthy."""
        return self._words(self.find("HEALTHCHECK")[-1].partition(" CMD ")[2])

    def environment(self) -> dict[str, str]:
        """The variables that it sets."""
        pairs = (pair.partition("=") for line in self.find("ENV") for pair in line.split())
        return {name: value for name, _, value in pairs}

    def sources(self) -> list[tuple[str, str]]:
        """What is copied into it from the project, with where to."""
        copied = [line.split() for line in self.find("COPY") if not line.startswith("--from")]
        return [(source, words[-1]) for words in copied for source in words[:-1]]

    @staticmethod
    def _words(text: str) -> list[str]:
        words = json.loads(text)
        assert isinstance(words, list), "the form without a shell, so that signals arrive"
        return words


def is_sent(path: str) -> bool:
    """Whether .dockerignore lets *path* into the build: the last line that fits decides."""
    sent = True
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        if line and not line.startswith("#") and fnmatch.fnmatch(path, line.removeprefix("!").removeprefix("**/")):
            sent = line.startswith("!")
    return sent


@contextmanager
def short_folder() -> Iterator[Path]:
    """A folder whose path is short enough for a socket in it, gone afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="deploy-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def free_port() -> int:
    """A port that is free now."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port: int = taken.getsockname()[1]
        return port


@contextmanager
def running(
    command: list[str], folder: Path, is_ready: Callable[[], bool], environment: Mapping[str, str] | None = None
) -> Iterator["subprocess.Popen[bytes]"]:
    """A program, once it is ready; ended at the end of the block."""
    said = folder / "said"
    with (
        said.open("ab") as file,
        subprocess.Popen(
            command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=file, stderr=file
        ) as process,
    ):
        try:
            deadline = time.monotonic() + PATIENCE_S
            while not is_ready():
                assert process.poll() is None, said.read_text()
                assert time.monotonic() < deadline, said.read_text()
                time.sleep(0.01)
            yield process
        finally:
            process.terminate()


@contextmanager
def redis_running(command: list[str], folder: Path, **address: Any) -> Iterator["subprocess.Popen[bytes]"]:
    """A Redis server on *address*, as its client names it, once it answers."""

    def is_ready() -> bool:
        try:
            with Redis(**address) as client:
                return bool(client.ping())
        except RedisError:
            return False

    with running(command, folder, is_ready) as process:
        yield process


def listens(port: int) -> bool:
    """Whether connections are taken on *port*."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S).close()
    except ConnectionRefusedError:
        return False
    return True


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
def caddy(path: str, folder: Path, *copies: int, checks: bool = True) -> Iterator[int]:
    """Our Caddyfile, with or without its health checks; otherwise as `nginx`."""
    port, site = free_port(), (DEPLOY / "Caddyfile").read_text()
    (folder / "Caddyfile").write_text(site if checks else re.sub(r"\t+health_.*\n", "", site))
    settings = {
        "SITE": f"http://127.0.0.1:{port}",
        "UPSTREAMS": " ".join(f"127.0.0.1:{copy}" for copy in copies),
        "HOME": str(folder),
        "XDG_DATA_HOME": str(folder),
        "XDG_CONFIG_HOME": str(folder),
    }
    command = [path, "run", "--adapter", "caddyfile", "--config", str(folder / "Caddyfile")]
    with running(command, folder, lambda: listens(port), {**os.environ, **settings}):
        yield port
