"""
The cascades file as JSON lines that `import` takes: each tweet under its number there, with texts that name it.

    python -m bench.convert ../shared/data/cascades.tsv.gz | simple-twitter import -
"""

import gzip
import json
import sys
from collections.abc import Iterator
from pathlib import Path


def convert(file: Path) -> Iterator[bytes]:
    """The lines for *file*, which has the columns number, user, retweet, created_at, count_retweet, and a header."""
    with gzip.open(file, "rt") as rows:
        next(rows)
        for row in rows:
            number, user, parent, time, _ = row.rstrip("\n").split("\t")
            line = {
                "key": number,
                "retweet": parent or None,
                "created_at": time,
                "user_name": user,
                "title": f"Tweet {number}",
                "body": f"{user} retweets tweet {parent}" if parent else f"{user} posts tweet {number}",
            }
            yield json.dumps(line).encode() + b"\n"


if __name__ == "__main__":
    sys.stdout.buffer.writelines(convert(Path(sys.argv[1])))
