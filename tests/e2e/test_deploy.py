"""What deploy/ says is true of the service, and is taken by the programs that it is written for."""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import urllib.request
from contextlib import ExitStack
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import yaml
from redis import Redis
from redis.exceptions import RedisError

import app
from app.settings import Settings
from storage.index.embedded import find_server
from tests.e2e.commands import PATIENCE_S, ROOT, nothing_runs, serving
from tests.e2e.deployed import (
    COMPOSE_FILES,
    DEPLOY,
    NOT_OURS,
    Dockerfile,
    compose,
    free_port,
    is_job,
    is_ours,
    is_sent,
    redis_running,
    running,
)
from tests.system import FindProgram

UNIT = "simple-twitter.service"
SETTINGS = {entry.name.upper() for entry in fields(Settings)}
EXPOSURE_AT_MOST = 15
"""Of 100; what systemd calls "OK" ends at 40, and a unit without any line about it has 96."""


def run(command: list[str], *, given: str | None = None, **environment: str) -> "subprocess.CompletedProcess[str]":
    """Run a program to its end."""
    return subprocess.run(
        command,
        cwd=DEPLOY,
        env={**os.environ, **environment},
        input=given,
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_S,
    )


@pytest.fixture(params=COMPOSE_FILES)
def composed(request: pytest.FixtureRequest) -> Any:
    """Each of the compose files."""
    return compose(request.param)


def test_only_this_machine_can_connect(composed: Any) -> None:
    """Every published port is one of the loopback address, and the index and the database publish none."""
    ports = {name: service.get("ports", []) for name, service in composed["services"].items()}
    assert [port for each in ports.values() for port in each], "nothing can be reached"
    assert all(port.startswith("127.0.0.1:") for each in ports.values() for port in each)
    assert {name for name, published in ports.items() if published} <= {"app", "proxy"}
    assert not any("network_mode" in service for service in composed["services"].values())


def test_containers_are_confined(composed: Any) -> None:
    """No container may write outside its volumes, gain a privilege, or run as root; each but a job is started again."""
    for name, service in composed["services"].items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert "cap_add" not in service, name
        assert is_ours(service) or service["user"] not in {"root", "0"}, name
        assert service["restart"] in {"no", "unless-stopped"}, name


def test_every_container_says_whether_it_is_healthy(composed: Any) -> None:
    """Each has a health check, ours in the image; a job has its exit code; and who waits, waits for one of the two."""
    services = composed["services"]
    for name, service in services.items():
        assert is_job(service) or is_ours(service) or service["healthcheck"]["test"][0] == "CMD", name
        for other, waited in service.get("depends_on", {}).items():
            awaited = "service_completed_successfully" if is_job(services[other]) else "service_healthy"
            assert waited == {"condition": awaited}, (name, other)
    assert Dockerfile.read().health_check()


def test_images_are_pinned(composed: Any) -> None:
    """No image is taken by a name that means another version tomorrow; PostgreSQL's major version is one number."""
    images = [service["image"] for service in composed["services"].values()]
    images += [stage.split()[0] for stage in Dockerfile.read().find("FROM")]
    pinned = re.compile(r"(?:[a-z/-]+:\d+\.\d+|postgres:\d+)(?:-[a-z-]+)?")
    assert [image for image in images if not pinned.fullmatch(image)] == []


def test_what_is_named_is_there(composed: Any) -> None:
    """Files, volumes and networks that a container is given exist."""
    for service in composed["services"].values():
        for volume in service.get("volumes", []):
            source = volume.partition(":")[0]
            assert (DEPLOY / source).is_file() if source.startswith(".") else source in composed["volumes"], volume
        assert set(service["networks"]) <= set(composed["networks"])
        if is_ours(service):
            assert (DEPLOY / service["build"]["context"] / service["build"]["dockerfile"]).is_file()


def test_variables_are_settings(composed: Any) -> None:
    """Whatever is set for the service is a setting that it has."""
    set_here = {
        name for service in composed["services"].values() if is_ours(service) for name in service.get("environment", {})
    }
    assert set_here - SETTINGS == set()
    assert set_here >= {"REDIS_URL"}
    assert set(Dockerfile.read().environment()) - NOT_OURS == {"DATA_DIR", "HOST"}
    lines = re.findall(r"^Environment=(.*)", (DEPLOY / UNIT).read_text(), re.MULTILINE)
    in_unit = re.findall(r"(\w+)=", " ".join(lines))
    assert set(in_unit) - NOT_OURS == {"DATA_DIR"}


def test_addresses_of_the_cluster_agree() -> None:
    """The job forms the cluster of the six nodes there are; the service knows them by name."""
    services = compose("docker-compose.cluster.yaml")["services"]
    nodes = {name: each for name, each in services.items() if "index" in each["networks"] and "healthcheck" in each}
    assert len(nodes) == 6
    assert services["form-cluster"]["command"][2:] == [
        f"{node['networks']['index']['ipv4_address']}:6379" for node in nodes.values()
    ]
    assert set(services["form-cluster"]["depends_on"]) == set(nodes)
    assert len({node["volumes"][1] for node in nodes.values()}) == 6
    redis = services["app-1"]["environment"]["REDIS_URL"].removeprefix("redis+cluster://")
    assert {address.removesuffix(":6379") for address in redis.split(",")} <= set(nodes)
    database = services["postgres"]["environment"]
    login = f"{database['POSTGRES_USER']}:{database['POSTGRES_PASSWORD']}@postgres:5432/{database['POSTGRES_DB']}"
    assert services["migrate"]["environment"]["DATABASE_URL"] == f"postgresql+psycopg://{login}"


@pytest.mark.parametrize("name", COMPOSE_FILES)
def test_compose_takes_the_files(name: str, program: FindProgram) -> None:
    """A compose client finds no fault in them, and refuses the cluster without a password."""
    client = [program("docker"), "compose"] if has_compose_plugin() else [program("docker-compose")]
    text = (DEPLOY / name).read_text()
    if len(client) == 1:
        text = re.sub(r"^name: .*\n", "", text, flags=re.MULTILINE)  # Debian's client is older than this word
    command = [*client, "-f", "-", "--project-directory", str(DEPLOY), "config", "-q"]
    taken = run(command, given=text, POSTGRES_PASSWORD="abc")
    assert (taken.returncode, taken.stderr) == (0, "")
    refused = run(command, given=text, POSTGRES_PASSWORD="")
    assert (refused.returncode == 0) == ("POSTGRES_PASSWORD" not in text)


def has_compose_plugin() -> bool:
    """Whether this docker client knows `compose`."""
    docker = shutil.which("docker")
    return docker is not None and run([docker, "compose", "version"]).returncode == 0


def test_image_holds_the_service_and_nothing_else() -> None:
    """What is copied exists and is sent to the build; data, history and tests are not; it runs as a user, not root."""
    dockerfile = Dockerfile.read()
    for source, _ in dockerfile.sources():
        assert (ROOT / source).exists(), source
        assert is_sent(source), source
    for other in (".git", "data", "tests", "deploy", "app/__pycache__", ".venv", "requirements-dev.lock"):
        assert not is_sent(other.rpartition("/")[2]), other
    user = dockerfile.find("USER")[-1]
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", user), "as a number, which is seen not to be root without the image"
    assert f"-o {user.partition(':')[0]} -g {user.partition(':')[2]} -m 700 /data" in dockerfile.find("RUN")[-1]
    assert dockerfile.find("STOPSIGNAL") == ["SIGTERM"]


def test_image_runs_and_is_healthy(tmp_path: Path) -> None:
    """
    The package is built from the files that are copied, and its command serves from an environment of its own.

    The health check says 0 while it runs and 1 after.
    """
    dockerfile, source, site = Dockerfile.read(), tmp_path / "src", tmp_path / "venv"
    source.mkdir()
    for name, to in dockerfile.sources():
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, source / to)
    pip = [sys.executable, "-m", "pip", "-q", "--disable-pip-version-check"]
    build = [*pip, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(tmp_path), str(source)]
    install = [*pip, f"--python={site / 'bin' / 'python'}", "install", "--no-deps", "--no-index"]
    install += [f"--find-links={tmp_path}", "simple-twitter"]
    for command in (build, [sys.executable, "-m", "venv", "--without-pip", str(site)], install):
        done = run(command)
        assert done.returncode == 0, done.stdout + done.stderr
    (packages,) = site.glob("lib/python*/site-packages")
    (packages / "other.pth").write_text(sysconfig.get_path("purelib"))  # what it needs is installed here
    program = str(site / "bin" / dockerfile.command()[0])
    assert run([program, "--version"]).stdout == f"simple-twitter {app.__version__}\n"
    with serving(tmp_path / "data", "env", "-C", str(tmp_path), program, *dockerfile.command()[1:]) as service:
        assert service.post("/api/v1/tweet", user_name="ann", title="Title", body="Body")["count_retweet"] == 0
        for path in ("/", "/static/page.css", "/api/v1/"):
            with urllib.request.urlopen(service.url + path, timeout=PATIENCE_S) as response:
                assert response.status == 200
        check = [sys.executable, *dockerfile.health_check()[1:]]
        port = service.url.rpartition(":")[2]
        assert run(check, PORT=port).returncode == 0
        assert service.end() == 0
    assert run(check, PORT=port).returncode == 1
    assert nothing_runs(tmp_path / "data")


def test_systemd_takes_the_unit(program: FindProgram, tmp_path: Path) -> None:
    """The unit has no fault that systemd finds, and systemd counts it among the least exposed."""
    analyze = program("systemd-analyze")
    unit = tmp_path / UNIT
    unit.write_text(re.sub(r"(?<=ExecStart=)\S+", sys.executable, (DEPLOY / UNIT).read_text()))
    verified = run([analyze, "verify", "--man=no", str(unit)])
    assert (verified.returncode, verified.stderr) == (0, "")
    rated = run([analyze, "security", "--offline=true", "--no-pager", f"--threshold={EXPOSURE_AT_MOST}", str(unit)])
    assert rated.returncode == 0, rated.stdout + rated.stderr


def test_unit_waits_for_the_drain() -> None:
    """Nothing is killed before the service has had its 15 s; the signal goes to the service alone."""
    unit = (DEPLOY / UNIT).read_text().splitlines()
    assert "TimeoutStopSec=30" in unit
    assert "KillMode=mixed" in unit
    assert all(
        service["stop_grace_period"] == "30s"
        for name in COMPOSE_FILES
        for service in compose(name)["services"].values()
        if is_ours(service)
    )


def test_alerts_ask_for_numbers_that_there_are() -> None:
    """Each name in alerts.yml is that of a number of the service, and prometheus.yml reads that file."""
    alerts = yaml.safe_load((DEPLOY / "alerts.yml").read_text())["groups"][0]["rules"]
    assert len(alerts) == 3
    numbers = (ROOT / "app" / "metrics.py").read_text()
    for name in re.findall(r"tweets_\w+", " ".join(alert["expr"] for alert in alerts)):
        assert f'"{name.removesuffix("_total")}"' in numbers, name
    config = yaml.safe_load((DEPLOY / "prometheus.yml").read_text())
    assert config["rule_files"] == ["alerts.yml"]
    assert config["scrape_configs"][0]["job_name"] in alerts[0]["expr"]


def test_haproxy_finds_the_primary(program: FindProgram, tmp_path: Path) -> None:
    """The configuration for Sentinel is right, and of two servers the primary is the one that is reached."""
    haproxy, redis = program("haproxy"), find_server()
    ports = [free_port() for _ in range(3)]
    config = (DEPLOY / "haproxy-sentinel.cfg").read_text()
    for number, port in enumerate(ports):
        config = config.replace(f"10.0.0.{number + 1}:6379", f"127.0.0.1:{port}")
    bound = free_port()
    (tmp_path / "haproxy.cfg").write_text(config.replace("127.0.0.1:6380", f"127.0.0.1:{bound}"))
    assert run([haproxy, "-c", "-q", "-f", str(tmp_path / "haproxy.cfg")]).returncode == 0
    with ExitStack() as stack:
        for port in ports[1:]:
            own = ["--port", str(port), "--save", "", "--dir", str(tmp_path)]
            replica = ["--replicaof", f"127.0.0.1 {ports[2]}"] if port == ports[1] else []
            stack.enter_context(redis_running([redis, *own, *replica], tmp_path, port=port))
        command = [haproxy, "-db", "-f", str(tmp_path / "haproxy.cfg")]

        def is_primary() -> bool:
            try:
                with Redis(port=bound, socket_timeout=PATIENCE_S) as client:
                    return bool(client.config_get("port") == {"port": str(ports[2])})
            except RedisError:
                return False

        stack.enter_context(running(command, tmp_path, is_primary))


def test_runbook_names_every_file() -> None:
    """deploy/README.md says of each file there what it is for."""
    readme = (DEPLOY / "README.md").read_text()
    assert [file.name for file in DEPLOY.iterdir() if file.name != "README.md" and file.name not in readme] == []
