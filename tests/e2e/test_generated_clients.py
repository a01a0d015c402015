"""
Clients that generators make from the live description compile, and do what the first calls of README do.

The generators are installed once, into the user's cache; where they cannot be had, the tests are skipped and say why.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from hashlib import blake2b
from pathlib import Path

import pytest

from tests.e2e.commands import PATIENCE_S, serving

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "simple-twitter-tests"
FOR_TYPESCRIPT = ("openapi-typescript@7.13.0", "openapi-fetch@0.17.0", "typescript@5.9.3")
FOR_PYTHON = ("openapi-python-client==0.29.1",)

SAID = {"rows": [["ada", 2], ["bob", 1]], "more": True, "faults": 1, "code": "tweet_not_found", "others": None}
"""What each client prints: the ranking, whether there is a next page, the faults of a bad body, an error without."""

TYPESCRIPT = """
import createClient from "openapi-fetch";
import type { paths } from "./schema.js";

declare const process: { argv: string[] };
const client = createClient<paths>({ baseUrl: process.argv[2] });
const body = { user_name: "ada", title: "On counting", body: "We count them all." };

const { data: ada, error } = await client.POST("/api/v1/tweet", { body });
if (!ada) throw new Error(error.detail);
const { data: bob } = await client.POST("/api/v1/retweet", { body: { user_name: "bob", retweet: ada.id } });
if (!bob) throw new Error("bob");
await client.POST("/api/v1/retweet", { body: { user_name: "eve", retweet: bob.id, title: "So true" } });
const { data: top } = await client.GET("/api/v1/top", { params: { query: { limit: 2 } } });
if (!top) throw new Error("top");
const { error: bad } = await client.POST("/api/v1/tweet", { body: { ...body, title: "" } });
const { error: missing } = await client.GET("/api/v1/tweet/{tweet_id}", { params: { path: { tweet_id: "0" } } });
console.log(JSON.stringify({
  rows: top.tweets.map((tweet) => [tweet.user_name, tweet.count_retweet]),
  more: top.next !== null,
  faults: bad?.errors?.length,
  code: missing?.code,
  others: missing?.errors?.length ?? null,
}));
"""

PYTHON = """
import json
import sys

from generated import Client
from generated.api.ranking import get_top
from generated.api.tweets import get_tweet, post_retweet, post_tweet
from generated.models import NewRetweet, NewTweet

client = Client(base_url=sys.argv[1])
body = {"user_name": "ada", "title": "On counting", "body": "We count them all."}

ada = post_tweet.sync(client=client, body=NewTweet(**body))
bob = post_retweet.sync(client=client, body=NewRetweet(user_name="bob", retweet=ada.id))
post_retweet.sync(client=client, body=NewRetweet(user_name="eve", retweet=bob.id, title="So true"))
top = get_top.sync(client=client, limit=2)
bad = post_tweet.sync(client=client, body=NewTweet(**{**body, "title": ""}))
missing = get_tweet.sync("0", client=client)
print(json.dumps({
    "rows": [[tweet.user_name, tweet.count_retweet] for tweet in top.tweets],
    "more": top.next_ is not None,
    "faults": len(bad.errors),
    "code": missing.code,
    "others": missing.errors or None,
}))
"""


def run(*words: str | Path, cwd: Path, **environment: str) -> str:
    """What a program prints that must succeed, and say nothing else."""
    ended = subprocess.run(
        words,
        cwd=cwd,
        env={**os.environ, "NO_PROXY": "*", **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_S,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


def installed(packages: Sequence[str], *commands: Sequence[str]) -> Path:
    """The folder in which *commands* have installed *packages*, in this test run or an earlier one."""
    folder = CACHE / blake2b(repr((packages, sys.version_info[:2])).encode(), digest_size=8).hexdigest()
    if not folder.exists():
        if shutil.which(commands[0][0]) is None:
            pytest.skip(f"there is no {commands[0][0]} here")
        CACHE.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=CACHE) as made:
            for words in commands:
                try:
                    subprocess.run(words, cwd=made, capture_output=True, text=True, check=True, timeout=PATIENCE_S)
                except subprocess.SubprocessError as error:
                    said = " ".join((getattr(error, "stderr", "") or str(error)).split())
                    pytest.skip(f"{packages[0]} cannot be installed: {said[:300]}")
            shutil.copytree(made, folder.with_suffix(".new"), symlinks=True, dirs_exist_ok=True)
        folder.with_suffix(".new").rename(folder)
    return folder


def test_typescript(tmp_path: Path) -> None:
    """`openapi-typescript`, with its default settings: `tsc --strict` passes, and the client runs."""
    options = ("--ignore-scripts", "--no-audit", "--no-fund", "--fetch-retries=0", "--prefix=.")
    modules = installed(FOR_TYPESCRIPT, ["npm", "install", *options, *FOR_TYPESCRIPT]) / "node_modules"
    (tmp_path / "node_modules").symlink_to(modules)
    (tmp_path / "package.json").write_text('{"type": "module"}')
    (tmp_path / "client.ts").write_text(TYPESCRIPT)
    with serving(tmp_path / "data", WORKERS="1") as service:
        run(
            modules / ".bin/openapi-typescript", f"{service.url}/api/v1/openapi.json", "-o", "schema.d.ts", cwd=tmp_path
        )
        run(modules / ".bin/tsc", "--strict", "--target", "es2022", "--module", "nodenext", "client.ts", cwd=tmp_path)
        assert json.loads(run("node", "client.js", service.url, cwd=tmp_path)) == SAID


def test_python(tmp_path: Path) -> None:
    """`openapi-python-client` warns of nothing, and the client runs."""
    uv = [sys.executable, "-m", "uv"]
    python = (
        installed(
            FOR_PYTHON,
            [*uv, "venv", "-q", "--python", sys.executable, "venv"],
            [*uv, "pip", "install", "-q", "--python", "venv", *FOR_PYTHON],
        )
        / "venv/bin/python"
    )
    (tmp_path / "client.py").write_text(PYTHON)
    (tmp_path / "config.json").write_text('{"post_hooks": []}')  # it would format what it has written
    options = ("--meta", "none", "--output-path", "generated", "--config", "config.json", "--fail-on-warning")
    with serving(tmp_path / "data", WORKERS="1") as service:
        url = f"{service.url}/api/v1/openapi.json"
        run(python, "-m", "openapi_python_client", "generate", "--url", url, *options, cwd=tmp_path)
        assert json.loads(run(python, "client.py", service.url, cwd=tmp_path)) == SAID
