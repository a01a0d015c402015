"""How long it takes until all is right again: from an empty Redis to a service that is ready, and a lag made up for."""

import os
import signal
import subprocess
import time
from pathlib import Path

from bench.planting import Field
from storage import Tweets, open_storage
from storage.tools.verify import verify
from tests.builders import at_once, retweet
from tests.e2e.commands import ROOT, command, done, environment, serving
from tests.torture.report import Row

TWEETS, WITHIN_S = 1_000_000, 10
LAG, CAUGHT_UP_WITHIN_S = 10_000, 1
STORE = 100_000
"""Tweets that are there before the lag: in a smaller store a rebuild would be chosen."""

CLIENTS = 50


def recovery(seed: int, tweets: int, folder: Path) -> Row:
    """Start a service of *tweets* tweets whose Redis is empty."""
    data_dir = folder / "recovery"
    plant(data_dir, tweets, seed)
    began = time.monotonic()
    with serving(data_dir) as service:
        ready = service.get("/readyz")
        took_s = time.monotonic() - began
        wrong = int(ready["lag"] != 0) + (b" 0 wrong" not in done(data_dir, "verify"))
        service.end()
    met = took_s <= WITHIN_S if tweets >= TWEETS else None
    return Row("recovery", f"{tweets:,} tweets", 0, 0, wrong, took_s, f"{TWEETS:,} within {WITHIN_S} s on 4 cores", met)


def plant(data_dir: Path, tweets: int, seed: int) -> None:
    """Import so many tweets."""
    field = Field(tweets, time.time_ns() // 1_000_000, seed)
    with subprocess.Popen(
        command("import", "-"), cwd=ROOT, env=environment(data_dir, {}), stdin=subprocess.PIPE
    ) as process:
        assert process.stdin
        with process.stdin as lines:
            lines.writelines(field.lines())
    assert process.returncode == 0


def catch_up(seed: int, entries: int, folder: Path) -> Row:
    """Let *entries* entries be written while Redis hangs, and fold them when it is back."""
    data_dir = folder / "catch-up"
    plant(data_dir, max(STORE, 3 * entries), seed)
    with open_storage(data_dir) as tweets:
        tweets.reconciler.catch_up()
        top = [tweet.id for tweet in tweets.top(100).result().tweets]
        assert tweets.server
        os.kill(tweets.server.pid, signal.SIGSTOP)
        try:
            at_once(CLIENTS, lambda client: retweet_all(tweets, top, entries // CLIENTS, client))
        finally:
            os.kill(tweets.server.pid, signal.SIGCONT)
        began = time.monotonic()
        tweets.reconciler.catch_up()
        took_s = time.monotonic() - began
        wrong = len(verify(tweets)) + tweets.reconciler.rebuilds
    met = took_s <= CAUGHT_UP_WITHIN_S if entries >= LAG else None
    target = f"{LAG:,} entries within {CAUGHT_UP_WITHIN_S} s: {took_s:.2f} s"
    return Row("catch-up", f"{entries:,} entries", 0, 0, wrong, took_s, target, met)


def retweet_all(tweets: Tweets, targets: list[int], many: int, client: int) -> None:
    """Retweet *targets* in turn, so often."""
    for number in range(many):
        retweet(tweets, targets[(client + number) % len(targets)])
