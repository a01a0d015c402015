"""
Ids: 63 bits that rise with time, and their text.

The upper 42 bits are the milliseconds since 1970 (enough until the year 2109), the lower 21 a counter, whose last
10 bits are the partition: so two partitions never give the same id, without asking each other.

Outside SQL an id is always the same 13 characters of Crockford's base32 (https://www.crockford.com/base32.html), so
the order of texts, of Redis members and of ids is one.
"""

import re

ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
PATTERN = "^[0-7][0-9A-HJKMNP-TV-Z]{12}$"
"""What an id looks like, for documentation; `decode` is what checks."""

LARGEST = 2**63 - 1
PARTITIONS = 1024
"""How many partitions there may be: the ids keep 10 bits for them."""

GOLDEN = 0x9E3779B97F4A7C15
"""2**64 by the golden ratio: the upper half of a product with it is a good hash (Knuth 6.4)."""

_CLOCK_SHIFT = 21
_TEXT = re.compile(r"[0-7][0-9A-HJKMNP-TV-Z]{12}", re.ASCII)
_PAIRS = [a + b for a in ALPHABET for b in ALPHABET]
_PYTHON_DIGITS = str.maketrans(ALPHABET, "0123456789abcdefghijklmnopqrstuv")


def encode(tweet_id: int) -> str:
    """The 13 characters of *tweet_id*, which is 0 to 2**63 - 1."""
    pairs = _PAIRS  # two characters a step: this runs once for every tweet in an answer
    return (
        ALPHABET[tweet_id >> 60]
        + pairs[tweet_id >> 50 & 1023]
        + pairs[tweet_id >> 40 & 1023]
        + pairs[tweet_id >> 30 & 1023]
        + pairs[tweet_id >> 20 & 1023]
        + pairs[tweet_id >> 10 & 1023]
        + pairs[tweet_id & 1023]
    )


def decode(text: str) -> int | None:
    """The id that *text* spells, or None when it spells none: only the one spelling of `encode` is taken."""
    if _TEXT.fullmatch(text) is None:
        return None
    return int(text.translate(_PYTHON_DIGITS), 32)


def next_id(last_id: int, now_ms: int, partition: int) -> int:
    """The id for a tweet of *partition*: greater than *last_id*, whatever the clock says, and of *now_ms* if it can."""
    floor = max(last_id + 1, now_ms << _CLOCK_SHIFT)
    return floor + (partition - floor) % PARTITIONS


def hash_of(tweet_id: int) -> int:
    """A number of 32 bits in which ids of any times differ evenly; it is the same in every version."""
    return tweet_id * GOLDEN % 2**64 >> 32


def time_of(tweet_id: int) -> int:
    """The clock part of *tweet_id*, in milliseconds since 1970."""
    return tweet_id >> _CLOCK_SHIFT


def first_of(time_ms: int) -> int:
    """The smallest id whose clock part is *time_ms*, in milliseconds since 1970."""
    return time_ms << _CLOCK_SHIFT
