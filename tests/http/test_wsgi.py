"""`wsgi:application` serves from the environment alone, in a process of its own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

ASK = """
from tests.http.client import Client
from wsgi import application
client = Client(application)
tweet = client.tweet()
print(client.get("/api/v1/top").json() == {"tweets": [tweet], "next": None})
"""

SERVE = """
import http.client, json, logging, os, sys, threading
from concurrent.futures import ThreadPoolExecutor
from socketserver import ThreadingMixIn
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import waitress
from wsgi import application

WRITERS, ROUNDS = 8, 5

class Silent(WSGIRequestHandler):
    def log_message(self, *_): pass

class Threading(ThreadingMixIn, WSGIServer):
    daemon_threads, request_queue_size = True, 64

if sys.argv[1] == "waitress":
    logging.getLogger("waitress.queue").setLevel("ERROR")  # it says how many requests wait
    server = waitress.create_server(application, host="127.0.0.1", port=0, threads=WRITERS)
    port, serve = server.effective_port, server.run
else:
    server = make_server("127.0.0.1", 0, application, Threading, Silent)
    port, serve = server.server_port, server.serve_forever
threading.Thread(target=serve, daemon=True).start()

def call(method, path, status, **body):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request(method, path, json.dumps(body), {"Content-Type": "application/json"})
    response = connection.getresponse()
    content = response.read()
    connection.close()
    assert response.status == status, (method, path, response.status, content)
    return json.loads(content or b"null")

def write(root):
    for _ in range(ROUNDS):
        tweet = call("POST", "/api/v1/retweet", 201, user_name="bob", retweet=root)["id"]
        assert len(call("GET", f"/api/v1/tweet/{tweet}/chain", 200)["tweets"]) == 2
        for path in ("tweet/%s/retweets", "tweet/%s/rank", "tweet/%s/cascade", "top?cursor=9.%s", "top?window=day"):
            call("GET", "/api/v1/" + path.replace("%s", root), 200)
        call("DELETE", f"/api/v1/tweet/{tweet}", 204)
        call("DELETE", f"/api/v1/tweet/{tweet}", 410)
        call("GET", "/readyz", 200)

def files():
    return len(os.listdir("/dev/fd"))

root = call("POST", "/api/v1/tweet", 201, user_name="ada", title="T", body="B")["id"]
with ThreadPoolExecutor(WRITERS) as pool:
    list(pool.map(write, [root] * WRITERS))
    before = files()
    list(pool.map(write, [root] * WRITERS))
print(files() - before < WRITERS * ROUNDS, call("GET", f"/api/v1/tweet/{root}", 200)["count_retweet"])
"""


def run(data_dir: Path, script: str = ASK, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """What a server's process would say that imports the application."""
    return subprocess.run(
        [sys.executable, "-c", script, *words],
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


@pytest.mark.parametrize("server", ["waitress", "wsgiref"])
def test_other_servers(data_dir: Path, server: str) -> None:
    """Eight writers at once, with a thread for each or for each request: all is answered, and no file stays open."""
    ended = run(data_dir, SERVE, server)

    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "True 0\n", "")


def test_a_setting_that_is_wrong(data_dir: Path) -> None:
    """A setting that cannot be used stops the start with one sentence that names it."""
    wrong = run(data_dir, MAX_ANCESTORS="many")

    assert wrong.returncode == 1
    assert wrong.stderr == "MAX_ANCESTORS must be a whole number from 1 to 1000000, and is 'many'.\n"
