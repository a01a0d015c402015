"""
The cascades file as JSON lines that `import` takes: each tweet under its number there, with texts that name it.

    python -m bench.convert ../shared/data/cascades.tsv.gz | simple-twitter import -
    python -m bench.convert ../shared/data/cascades.tsv.gz --check http://127.0.0.1:5000

With --check it compares every count of a service that has imported these lines, and nothing else, with the counts in
the file, which were worked out apart from this program. Exit code 1 when one differs.
"""

import gzip
import json
import sys
from collections.abc import Iterator
from pathlib import Path

from bench.servers import CannotMeasure, Server


def convert(file: Path) -> Iterator[bytes]:
    """The lines for *file*, which has the columns number, user, retweet, created_at, count_retweet."""
    for number, user, parent, time, _ in read_cells(file):
        line = {
            "key": number,
            "retweet": parent or None,
            "created_at": time,
            "user_name": user,
            "title": f"Tweet {number}",
            "body": f"{user} retweets tweet {parent}" if parent else f"{user} posts tweet {number}",
        }
        yield json.dumps(line).encode() + b"\n"


def read_cells(file: Path) -> Iterator[list[str]]:
    """The cells of each line of *file*, without the header."""
    with gzip.open(file, "rt") as rows:
        next(rows)
        yield from (row.rstrip("\n").split("\t") for row in rows)


def check_counts(file: Path, server: Server) -> str:
    """Compare every count, page by page down the ranking, with that of *file*. Raises CannotMeasure."""
    expected = {f"Tweet {number}": int(count) for number, *_, count in read_cells(file)}
    wrong, seen, last = [], 0, sys.maxsize
    cursor: str | None = ""
    while cursor is not None:
        page = server.get(f"/api/v1/top?limit=100{cursor}")
        for tweet in page["tweets"]:
            count = tweet["count_retweet"]
            if expected.get(tweet["title"]) != count or count > last:
                wrong.append(f"{tweet['title']}: {count}, not {expected.get(tweet['title'])}")
            last, seen = count, seen + 1
        cursor = page["next"] and f"&cursor={page['next']}"
    if wrong or seen != len(expected):
        raise CannotMeasure(
            f"{len(wrong)} counts of {seen:,}, not {len(expected):,}, are wrong: {'; '.join(wrong[:5])}"
        )
    return f"{seen:,} counts are those of the file."


if __name__ == "__main__":
    source, *rest = sys.argv[1:]
    if rest:
        print(check_counts(Path(source), Server(0, rest[1].rstrip("/"))))
    else:
        sys.stdout.buffer.writelines(convert(Path(source)))
