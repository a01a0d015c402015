"""
Check that the lock files are what `make lock` would write, without writing them.

Resolves requirements*.txt again, starting from a copy of the lock (so a newer release elsewhere changes nothing), and
compares. Where the package registry cannot be reached it says so, and checks by reading that every package
named in a requirements file stands in its lock with the same version and with hashes.
"""

import difflib
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOCKED = {"requirements.txt": "requirements.lock", "requirements-dev.txt": "requirements-dev.lock"}
FLAGS = ["-q", "--universal", "--python-version", "3.11", "--generate-hashes", "--no-header", "--no-emit-index-url"]
"""As in `make lock`; with others the result would differ, and this check would say so."""

UNREACHABLE = ("error sending request", "dns error", "operation timed out", "Connection refused")
PIN = re.compile(r"^(?P<name>[A-Za-z0-9._-]+)==(?P<version>[^\s;#]+)", re.MULTILINE)


def main() -> int:
    """Check both lock files: 0 when they are up to date, 1 with what differs when not."""
    faults = [fault for source, lock in LOCKED.items() if (fault := find_fault(ROOT, source, lock))]
    for fault in faults:
        print(fault, file=sys.stderr)
    return 1 if faults else 0


def find_fault(folder: Path, source: str, lock: str) -> str | None:
    """What is wrong with *lock* of *source*, both in *folder*, or None."""
    if not (folder / lock).exists():
        return f"{lock} is missing: run `make lock`."
    with tempfile.TemporaryDirectory() as temporary:
        fresh = Path(shutil.copy(folder / lock, temporary))
        answer = compile_lock(folder, source, fresh)
        if answer.returncode == 0:
            return differences(lock, (folder / lock).read_text(), fresh.read_text())
    if any(sign in answer.stderr for sign in UNREACHABLE):
        print(f"{lock}: the package registry cannot be reached, so only the packages named in {source} were checked.")
        return unlocked_pins(source, lock, (folder / source).read_text(), (folder / lock).read_text())
    return f"{source} cannot be resolved:\n{answer.stderr.strip()}"


def compile_lock(folder: Path, source: str, target: Path) -> subprocess.CompletedProcess[str]:
    """Let uv, which stands beside this Python, resolve *source* into *target*."""
    uv = Path(sys.executable).with_name("uv")
    return subprocess.run(
        [str(uv), "pip", "compile", *FLAGS, source, "-o", str(target)],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


def differences(lock: str, present: str, fresh: str) -> str | None:
    """The lines in which *present* is not *fresh*, or None."""
    lines = difflib.unified_diff(present.splitlines(), fresh.splitlines(), lock, "would be", lineterm="", n=1)
    changed = "\n".join(lines)
    return f"{lock} is not up to date: run `make lock`.\n{changed}" if changed else None


def unlocked_pins(source: str, lock: str, wanted: str, present: str) -> str | None:
    """The pins of *wanted* that *present* lacks, or has without a hash; None when there are none."""
    locked = {}
    for block in re.split(r"\n(?=\S)", present):
        if (pin := PIN.match(block)) and "--hash=sha256:" in block:
            locked[pin["name"].lower()] = pin["version"]
    missing = [pin[0] for pin in PIN.finditer(wanted) if locked.get(pin["name"].lower()) != pin["version"]]
    return f"{lock} lacks {', '.join(missing)} of {source}: run `make lock`." if missing else None


if __name__ == "__main__":
    sys.exit(main())
