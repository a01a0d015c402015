"""
Check that words which have a plainer equivalent stay out of code, comments, messages and docs.

The list is kept in ROT13, so that this file passes as well.
"""

import codecs
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
WORDS = codecs.decode(
    "jubrire|jubzrire|abobql|fbzrobql|narj|gbyq|va unaq|sbe rire|gnxra bhg|ynvq bhg|yrgf? or", "rot13"
)
PATTERN = re.compile(rf"\b({WORDS})\b", re.IGNORECASE)
OF_OTHERS = ("stubs/", "bench/results/", "app/static/vendor/")
KINDS = ["py", "lua", "md", "tpl", "js", "css", "yaml", "yml", "conf", "cfg", "service", "sh", "toml", "txt"]


def main() -> int:
    """0 when no file has one of the words; else 1, with each place."""
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True)
    faults = [
        place
        for name in listed.stdout.splitlines()
        if Path(name).suffix[1:] in {*KINDS, ""} and not name.startswith(OF_OTHERS)
        for place in places_in(name)
    ]
    print("\n".join(faults), end="\n" if faults else "")
    return 1 if faults else 0


def places_in(name: str) -> list[str]:
    """Each line of a file that has one of the words, with its place; none for what is no text."""
    try:
        lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    except (UnicodeDecodeError, OSError):
        return []
    return [f"{name}:{number}: {line.strip()}" for number, line in enumerate(lines, 1) if PATTERN.search(line)]


if __name__ == "__main__":
    sys.exit(main())
