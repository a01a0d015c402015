"""The threats of docs/security.md that only a whole service can show, and that every row there has its test."""

import ast
import json
import os
import re
import shlex
import signal
import sqlite3
import stat
import subprocess
import time
import urllib.request
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import pytest

from app.cli.serve import is_loopback
from app.errors import SECURITY
from storage.tokens import READ_EVERY_S
from tests.e2e.commands import PATIENCE_S, ROOT, Service, command, done, refused, run, serving
from tests.e2e.server_wire import Answer, Wire
from tests.faults.services import eventually

TWEET = {"user_name": "ada", "title": "Title", "body": "Body"}
TOKEN = re.compile(r"st_[0-9a-f]{12}_[A-Za-z0-9_-]{43}\n")
HEEDED_S = READ_EVERY_S + 0.5
"""After so long each process has read the list of tokens again: it does so once a second, beside its requests."""

TELLTALES = re.compile(
    rb"waitress|bottle|python|sqlite|sqlalchemy|redis|valkey|psycopg|traceback|\.py|/srv|/home|/work|/tmp",
    re.IGNORECASE,
)


def call(service: Service, method: str, path: str, body: object = None, **headers: str) -> tuple[int, Any]:
    """Status and JSON of an answer, None where there is none."""
    content = None if body is None else json.dumps(body).encode()
    named = {"Content-Type": "application/json", **{name.replace("_", "-"): value for name, value in headers.items()}}
    request = urllib.request.Request(service.url + path, content, named, method=method)
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
            return answer.status, json.loads(answer.read() or b"null")
    except HTTPError as error:
        with error:
            return error.code, json.loads(error.read() or b"null")


def post(service: Service, token: str = "", user_name: str = "ada") -> int:
    """The status of a post."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    return call(service, "POST", "/api/v1/tweet", TWEET | {"user_name": user_name}, **headers)[0]


def add_token(data_dir: Path, *words: str) -> str:
    """A new token, as the verb prints it: alone on stdout."""
    printed = done(data_dir, "token", "add", *words).decode()
    assert TOKEN.fullmatch(printed)
    return printed.strip()


def test_tokens_of_a_running_service(data_dir: Path) -> None:
    """Every worker heeds a token that is added or revoked beside it, without a restart."""
    with serving(data_dir, WORKERS="2") as service:
        assert post(service) == 201
        ada = add_token(data_dir, "ada")
        time.sleep(HEEDED_S)
        assert [post(service) for _ in range(8)] == [401] * 8
        assert [post(service, ada) for _ in range(8)] == [201] * 8
        assert post(service, ada, user_name="bob") == 403

        bob = add_token(data_dir, "bob", "--admin")
        time.sleep(HEEDED_S)
        assert [post(service, bob, user_name="bob") for _ in range(8)] == [201] * 8
        done(data_dir, "token", "revoke", ada[3:15])
        time.sleep(HEEDED_S)
        assert [post(service, ada) for _ in range(8)] == [401] * 8
        assert post(service, bob, user_name="bob") == 201
    with serving(data_dir) as service:
        assert (post(service), post(service, ada), post(service, bob, user_name="bob")) == (401, 401, 201)


def test_the_verb(data_dir: Path) -> None:
    """A token is shown once; the list has ids, users and times but no secret; what cannot be done is one sentence."""
    first = run(data_dir, "token", "add", "ada")
    assert TOKEN.fullmatch(first.stdout.decode())
    assert b"from now on every write needs a token" in first.stderr
    second = run(data_dir, "token", "add", "root", "--admin")
    assert b"every write" not in second.stderr
    ids = [each.stdout[3:15].decode() for each in (first, second)]
    assert done(data_dir, "token", "revoke", ids[0]) == f"Revoked {ids[0]}.\n".encode()

    listed = done(data_dir, "token", "list").decode().splitlines()[1:]
    assert [line.split()[:2] for line in listed] == [[ids[0], "user"], [ids[1], "admin"]]
    assert [line.split()[-1] for line in listed] == ["ada", "root"]
    assert [line.split()[3] == "-" for line in listed] == [False, True]
    rows = json.loads(done(data_dir, "token", "list", "--json"))
    assert [(row["id"], row["user"], row["revoked_at"] is None) for row in rows] == [
        (ids[0], "ada", False),
        (ids[1], "root", True),
    ]
    assert not any(each.stdout[16:].decode().strip() in "".join(listed) for each in (first, second))

    assert refused(data_dir, "token", "revoke", ids[0]).startswith(f"No token has the id '{ids[0]}', or it was revoked")
    assert refused(data_dir, "token", "add", "a b").startswith("A user must be 1 to 64 ASCII letters")
    assert refused(data_dir, "token", "add", "x" * 65).startswith("A user must be")


def test_strangers_need_a_token(data_dir: Path) -> None:
    """On an address that others reach there must be a token, or a setting that says it is meant."""
    assert refused(data_dir, "serve", HOST="0.0.0.0") == (
        "HOST 0.0.0.0 is reached from elsewhere, and without a token anybody could write: make one with "
        "`simple-twitter token add USER`, or set ALLOW_ANONYMOUS_WRITES=1 if that is meant."
    )
    with serving(data_dir, HOST="0.0.0.0", ALLOW_ANONYMOUS_WRITES="1") as service:
        assert post(service) == 201
    token = add_token(data_dir, "ada")
    with serving(data_dir, HOST="0.0.0.0") as service:
        assert (post(service), post(service, token)) == (401, 201)
    done(data_dir, "token", "revoke", token[3:15])
    with serving(data_dir, HOST="0.0.0.0") as service:
        assert post(service, token) == 401


@pytest.mark.parametrize(
    ("address", "is_ours"),
    [
        ("127.0.0.1", True),
        ("127.8.9.10", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        ("0.0.0.0", False),
        ("::", False),
        ("192.168.1.1", False),
        ("fe80::1%eth0", False),
        ("::ffff:10.0.0.1", False),
    ],
)
def test_loopback(address: str, is_ours: bool) -> None:
    """Only the addresses that no other machine reaches are loopback, in whatever form they are written."""
    assert is_loopback(address) == is_ours


def test_other_sites_cannot_write(data_dir: Path) -> None:
    """What a page of another site may send without being asked for leave is refused, and leave is never given."""
    with serving(data_dir) as service:
        tweet = call(service, "POST", "/api/v1/tweet", TWEET)[1]
        here = service.url.rstrip("/")
        simple = ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x")
        for kind in simple:
            for origin, refusal in (("https://evil.example", (403, "no_token_exists")), (here, (415, "not_json"))):
                status, problem = call(service, "POST", "/api/v1/tweet", TWEET, Content_Type=kind, Origin=origin)
                assert (status, problem["code"]) == refusal
        for path in ("/api/v1/tweet", f"/api/v1/tweet/{tweet['id']}"):
            with Wire(service.url) as wire:
                asked = (
                    f"OPTIONS {path} HTTP/1.1\r\nHost: a\r\nOrigin: https://evil.example\r\n"
                    "Access-Control-Request-Method: DELETE\r\n\r\n"
                )
                answer = wire.ask(asked.encode())
            assert answer.status == 405
            assert not any(name.startswith("access-control") for name in answer.headers)
        assert len(service.get("/api/v1/top")["tweets"]) == 1


REQUESTS = {
    "page": b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    "head": b"HEAD /api/v1/top HTTP/1.1\r\nHost: a\r\n\r\n",
    "static": b"GET /static/page.css HTTP/1.1\r\nHost: a\r\n\r\n",
    "redirection": b"GET /api/v1 HTTP/1.1\r\nHost: a\r\n\r\n",
    "not found": b"GET /nothing HTTP/1.1\r\nHost: a\r\n\r\n",
    "wrong method": b"PUT /api/v1/top HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
    "bad path": b"GET /%ff HTTP/1.1\r\nHost: a\r\n\r\n",
    "no tweet": b"GET /tweet/0000000000001 HTTP/1.1\r\nHost: a\r\n\r\n",
    "not json": b"POST /api/v1/tweet HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 2\r\n\r\n{}",
    "bad body": (
        b"POST /api/v1/tweet HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        b"Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
    ),
    "no delete": b"DELETE /api/v1/tweet/x HTTP/1.1\r\nHost: a\r\n\r\n",
    "bad request line": b"nonsense\r\n\r\n",
    "bad request line of HEAD": b"HEAD / HTTP/9\r\n\r\n",
    "no host": b"GET / HTTP/1.1\r\n\r\n",
    "ambiguous": b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
    "body too large": b"POST /api/v1/tweet HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 99999999\r\n\r\n",
    "header too large": b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 40_000 + b"\r\n\r\n",
}


def test_every_answer_is_safe_to_show(data_dir: Path) -> None:
    """Of the application and of the server below it: the headers are there, and nothing shows what runs."""
    with serving(data_dir) as service:
        answers = {name: ask(service, raw) for name, raw in REQUESTS.items()}
        tag = answers["page"].headers["etag"].encode()
        answers["not modified"] = ask(service, b"GET / HTTP/1.1\r\nHost: a\r\nIf-None-Match: " + tag + b"\r\n\r\n")
    assert {answer.status for answer in answers.values()} >= {200, 304, 308, 400, 404, 405, 413, 415, 422, 431}
    for name, answer in answers.items():
        for header, value in SECURITY[:2]:
            assert answer.headers.get(header.lower()) == value, name
        assert answer.headers["content-security-policy"].startswith("default-src 'none'"), name
        assert "frame-ancestors 'none'" in answer.headers["content-security-policy"], name
        assert not {"server", "via", "x-powered-by"} & set(answer.headers), name
        shown = repr(answer.headers).encode() + (b"" if name in {"page", "static"} else answer.body)
        assert not TELLTALES.search(shown), name


def ask(service: Service, raw: bytes) -> Answer:
    """The answer to *raw*, on a connection of its own."""
    with Wire(service.url) as wire:
        return wire.ask(raw, "HEAD" if raw.startswith(b"HEAD") else "GET")


def test_no_exception_reaches_a_client(data_dir: Path) -> None:
    """With the tables gone every answer is an error in its one shape, in words of ours alone."""
    with serving(data_dir) as service:
        tweet = call(service, "POST", "/api/v1/tweet", TWEET)[1]
        with sqlite3.connect(data_dir / "tweets.db") as database:
            for table in ("tweets", "heads", "tokens"):
                database.execute(f"DROP TABLE {table}")
        database.close()
        body = json.dumps(TWEET).encode()
        json_header = b"Content-Type: application/json\r\nContent-Length: " + str(len(body)).encode()
        time.sleep(HEEDED_S)
        for raw in (
            b"POST /api/v1/tweet HTTP/1.1\r\nHost: 127.0.0.1\r\n" + json_header + b"\r\n\r\n" + body,
            f"DELETE /api/v1/tweet/{tweet['id']} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode(),
            f"GET /api/v1/tweet/{tweet['id']} HTTP/1.1\r\nHost: a\r\n\r\n".encode(),
            f"GET /api/v1/tweet/{tweet['id']}/chain HTTP/1.1\r\nHost: a\r\n\r\n".encode(),
            b"GET /api/v1/users/ada/tweets HTTP/1.1\r\nHost: a\r\n\r\n",
            b"GET /readyz HTTP/1.1\r\nHost: a\r\n\r\n",
        ):
            answer = ask(service, raw)
            assert answer.status in {500, 503}, raw
            assert answer.headers["content-type"] == "application/problem+json"
            assert not TELLTALES.search(answer.body)


def test_hostile_texts_are_only_texts(data_dir: Path) -> None:
    """Texts that are SQL, Lua, templates, formats or markup are stored and come back as they are."""
    texts = [
        "'); DROP TABLE tweets; --", '" OR 1=1 --', "${7*7} {{7*7}} %(x)s %s {0}", "return redis.call('FLUSHALL')",
        "../../etc/passwd", "$(touch /tmp/x) `id`", "<script>alert(1)</script>", "\\'; \\x27 \\0",
    ]  # fmt: skip
    with serving(data_dir) as service:
        for text in texts:
            posted = call(service, "POST", "/api/v1/tweet", TWEET | {"title": text, "body": text})[1]
            found = service.get(f"/api/v1/tweet/{posted['id']}")
            assert found["title"] == found["body"] == text
        assert len(service.get("/api/v1/top?limit=100")["tweets"]) == len(texts)
    assert f"{len(texts)} right, 0 wrong".encode() in done(data_dir, "verify")


def test_the_log_of_a_service(tmp_path: Path, data_dir: Path) -> None:
    """Whatever a service says, with all of its processes, is a line of JSON; each request is one, with its route."""
    said = tmp_path / "said"
    words = ("sh", "-c", f"exec {shlex.join(command('serve'))} 2>{shlex.quote(str(said))}")
    with serving(data_dir, *words, WORKERS="2", LOG="json", ACCESS_LOG="1") as service:
        assert [post(service) for _ in range(5)] == [201] * 5
        ask(service, b"GET /tweet/a%0d%0ab%1b%7f%e2%80%a8?q=secret HTTP/1.1\r\nHost: a\r\n\r\n")
        ask(service, REQUESTS["bad request line"])
        os.kill(workers_of(service.process.pid)[0], signal.SIGKILL)
        eventually(lambda: "a worker ended" in said.read_text())
        assert service.end() == 0
    lines = [json.loads(line) for line in said.read_text().splitlines()]
    requests = [each for each in lines if "route" in each]
    assert [(each["route"], each["status"]) for each in requests].count(("/api/v1/tweet", 201)) == 5
    assert ("/tweet/<text>", 404) in [(each["route"], each["status"]) for each in requests]
    assert ("", 400) in [(each["route"], each["status"]) for each in requests]
    assert [each["level"] for each in lines if "a worker ended" in each.get("message", "")] == ["error"]
    assert "secret" not in said.read_text()


def workers_of(pid: int) -> list[int]:
    """The worker processes of a service."""
    found = subprocess.run(
        ["pgrep", "-P", str(pid), "-f", "app.supervisor"], capture_output=True, text=True, check=True
    )
    return [int(worker) for worker in found.stdout.split()]


def test_data_is_its_owners(data_dir: Path) -> None:
    """The folder of all data is for its owner alone, and the embedded server listens on no port."""
    with serving(data_dir, WORKERS="1", METRICS="1") as service:
        assert post(service) == 201
        for folder in (data_dir, data_dir / "redis", data_dir / "metrics"):
            assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        children = subprocess.run(
            ["pgrep", "-P", str(service.process.pid)], capture_output=True, text=True, check=True
        ).stdout.split()
        assert len(children) == 1
        assert listening_ports(int(children[0])) == set()
        assert listening_ports(service.process.pid) == {int(service.url.rpartition(":")[2])}


def listening_ports(pid: int) -> set[int]:
    """The TCP ports on which a process listens, as the kernel says."""
    sockets = {str(file.readlink()) for file in Path(f"/proc/{pid}/fd").iterdir()}
    rows = [line.split() for kind in ("tcp", "tcp6") for line in Path(f"/proc/net/{kind}").read_text().splitlines()[1:]]
    return {int(row[1].rpartition(":")[2], 16) for row in rows if row[3] == "0A" and f"socket:[{row[9]}]" in sockets}


def test_every_threat_has_its_test() -> None:
    """Each row of the table names at least one test, and every test that is named is there."""
    text = (ROOT / "docs" / "security.md").read_text().partition("\n## Threats\n")[2]
    rows = [line for line in text.splitlines() if line.startswith("| ") and not line.startswith(("| threat", "| ---"))]
    assert len(rows) > 20
    for row in rows:
        named = re.findall(r"`(tests/[a-z0-9_/]+\.py)::(\w+)`", row)
        assert named, row
        for file, test in named:
            tree = ast.parse((ROOT / file).read_text())
            assert test in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}, f"{file}::{test}"
