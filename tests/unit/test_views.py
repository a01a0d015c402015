"""What the templates are given."""

import pytest

from app.http.views import age, excerpt, rows
from storage.records import Tweet

MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000
NOW = 1_780_000_000_000


@pytest.mark.parametrize(
    ("passed_ms", "words"),
    [
        (-DAY, "just now"),
        (MINUTE - 1, "just now"),
        (MINUTE, "1 min ago"),
        (HOUR - 1, "59 min ago"),
        (HOUR, "1 h ago"),
        (DAY - 1, "23 h ago"),
        (DAY, "1 d ago"),
        (30 * DAY - 1, "29 d ago"),
        (NOW, "1 Jan 1970"),
    ],
)
def test_age(passed_ms: int, words: str) -> None:
    """Minutes, hours, days, then a date; a clock that goes ahead does no harm."""
    assert age(NOW - passed_ms, NOW) == words


@pytest.mark.parametrize("body", ["short", "x" * 480, "\n".join("abcdefg"), ""])
def test_what_is_short_is_whole(body: str) -> None:
    """Up to seven lines and 480 characters nothing is cut."""
    assert excerpt(body) == body


def test_an_excerpt_ends_between_words() -> None:
    """A long text ends before a word that does not fit, an endless word within, many lines after the seventh."""
    assert excerpt("word " * 200) == ("word " * 96).rstrip()
    assert excerpt("x" * 1000) == "x" * 480
    assert excerpt("\n" * 100) == "\n" * 6


def test_rows_of_tweets() -> None:
    """Ranks rise from 1, counts have separators, shares are of the greatest, and a parent has its author's name."""
    first = Tweet(3, "ada", "A", "x" * 600, None, 12_000, NOW)
    second = Tweet(4, "bob", "B", "b", 3, 3_000, NOW)
    orphan = Tweet(5, "eve", "C", "c", 2, 0, NOW)

    made = rows([first, second, orphan], {3: "ada", 2: None}, NOW)

    assert [(row.rank, row.count, row.share, row.more) for row in made] == [
        (1, "12,000", 100, True),
        (2, "3,000", 25, False),
        (3, "0", 0, False),
    ]
    assert [(row.parent, row.parent_name) for row in made] == [
        ("", ""),
        ("0000000000003", "ada"),
        ("0000000000002", ""),
    ]


def test_the_first_row_may_be_whole() -> None:
    """Of a chain the target shows all of its body."""
    long = Tweet(3, "ada", "A", "x" * 600, None, 0, NOW)

    assert [len(row.body or "") for row in rows([long, long], {}, NOW, whole=1)] == [600, 480]
