"""
A server that tells its threads apart: `python -m bench.inside service` or `python -m bench.inside bare ANSWERS`.

It serves as `app serve` or `bench.bare` do, in one process, with the settings of its environment. Once it takes
requests, `threads.json` in its data directory says which of the kernel's threads does what, for `cpu_us`.
"""

import json
import re
import sys
import threading
from collections import Counter
from contextlib import nullcontext
from functools import partial
from pathlib import Path

from app.http.application import create_app
from app.server import Hooks, serve
from app.settings import Settings
from bench.bare import application, read_answers
from storage import open_storage

PARTS = {"MainThread": "server loop", "pool": "pool"}
"""What threads are called here; others by their own names."""


def main() -> None:
    """Serve until SIGTERM."""
    settings = Settings.from_environment()
    ours = sys.argv[1] == "service"
    with open_storage(settings.data_dir) if ours else nullcontext() as tweets:
        app = create_app(tweets, settings) if tweets else application(read_answers(Path(sys.argv[2])))
        serve(
            app,
            host=settings.host,
            port=settings.port,
            hooks=app if isinstance(app, Hooks) else None,
            on_ready=partial(announce, settings.data_dir / "threads.json"),
        )


def announce(file: Path, url: str) -> None:
    """Say who is who, and where."""
    file.write_text(json.dumps({thread.native_id: part_of(thread.name) for thread in threading.enumerate()}))
    print(f"Serving on {url}", flush=True)


def part_of(name: str) -> str:
    """What a thread of that name does."""
    kind = re.sub(r"[-_ ]?\d.*$", "", name)
    return PARTS.get(kind, kind)


def cpu_us(pid: int, data_dir: Path) -> Counter[str]:
    """The processor time that each part of such a server has used, microseconds. Linux only."""
    parts = json.loads((data_dir / "threads.json").read_text())
    used: Counter[str] = Counter()
    for task in Path(f"/proc/{pid}/task").iterdir():
        used[parts.get(task.name, "other")] += int((task / "schedstat").read_text().split()[0]) // 1000
    return used


if __name__ == "__main__":
    main()
