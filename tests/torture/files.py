"""The append-only file cut at every byte, and one bit of it another: whatever loads, every count gets right."""

import os
import random
import shutil
import tempfile
import time
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path
from typing import NamedTuple

from storage import open_log, open_storage
from storage.index.embedded import EmbeddedServer
from storage.index.opening import open_index
from storage.rebuild import rebuild
from storage.reconciler import Reconciler
from storage.tools.verify import list_differences
from tests.builders import post, retweet
from tests.torture.report import Row

CUT_BYTES = 4_096
FLIPS = 500
SHOW_EVERY = 500


class Found(NamedTuple):
    """After how many starts every count was right by itself, was right after the scrub, and was not right at all."""

    right: int = 0
    scrubbed: int = 0
    wrong: int = 0

    def plus(self, other: "Found") -> "Found":
        """Both together."""
        return Found(*map(sum, zip(self, other, strict=True)))


def cuts(_seed: int, cut_bytes: int, folder: Path) -> Row:
    """Cut the last *cut_bytes* off the file, byte by byte, and start from what is left."""
    began, content = time.monotonic(), fill(folder / "cuts", cut_bytes + 2_000)
    sizes = range(len(content) - cut_bytes, len(content))
    found = look_at_all(folder / "cuts", (content[:size] for size in sizes))
    summary = f"{sum(found):,} cuts, {found.right:,} right at once"
    met = found.scrubbed == 0 if cut_bytes >= CUT_BYTES else None
    return Row("cuts", summary, 0, 0, found.wrong, time.monotonic() - began, f"every byte of {CUT_BYTES:,}", met)


def flips(seed: int, flips: int, folder: Path) -> Row:
    """Change one bit of the file, so often, and start from that."""
    began, rng, content = time.monotonic(), random.Random(seed), fill(folder / "flips", 6_000)
    bits = (rng.randrange(8 * len(content)) for _ in range(flips))
    found = look_at_all(folder / "flips", (flipped(content, bit) for bit in bits))
    summary = f"{sum(found):,} bits, {found.scrubbed:,} found by the scrub alone"
    return Row("flips", summary, 0, 0, found.wrong, time.monotonic() - began, "every count right")


def flipped(content: bytes, bit: int) -> bytes:
    """*content* with that bit changed."""
    changed = bytearray(content)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def fill(data_dir: Path, at_least: int) -> bytes:
    """Write until the append-only file has so many bytes; its content."""
    with open_storage(data_dir) as tweets:
        made = [post(tweets).id]
        file = next((data_dir / "redis" / "appendonlydir").glob("*.incr.aof"))
        while file.stat().st_size < at_least:
            made.append(retweet(tweets, made[len(made) // 2]).id)
            if len(made) % 10 == 0:
                tweets.delete(made.pop()).result()
    return file.read_bytes()


def look_at_all(data_dir: Path, contents: Iterable[bytes]) -> Found:
    """Start from each of *contents*, on as many cores as there are."""
    total = Found()
    with ProcessPoolExecutor() as pool:
        for number, found in enumerate(pool.map(partial(look, data_dir), contents, chunksize=20), 1):
            total = total.plus(found)
            if number % SHOW_EVERY == 0:
                print(f"  {number:,} starts, {total.scrubbed:,} scrubbed, {total.wrong:,} wrong", flush=True)
    return total


def look(data_dir: Path, content: bytes) -> Found:
    """Start a server from *content*, bring the index in step, compare; if need be rebuild and compare again."""
    folder = Path(tempfile.gettempdir()) / f"torture-{os.getpid()}"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(data_dir / "redis" / "appendonlydir", folder / "appendonlydir")
    next((folder / "appendonlydir").glob("*.incr.aof")).write_bytes(content)
    with ExitStack() as opened:
        opened.callback(shutil.rmtree, folder)
        database = opened.enter_context(closing(open_log(data_dir)))
        server = EmbeddedServer(folder)
        opened.callback(server.stop)
        store = database.get_state().store
        index = opened.enter_context(closing(open_index(f"unix://{server.socket}", store.id)))
        reconciler = Reconciler(database, index, store)
        reconciler.start()
        opened.callback(reconciler.stop)
        reconciler.catch_up()
        if not list_differences(database, index):
            return Found(right=1)
        rebuild(database, index, store, 0, insist=True)
        return Found(wrong=1) if list_differences(database, index) else Found(scrubbed=1)
