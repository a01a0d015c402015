"""What the templates are given."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.http.presenters import age, excerpt, rows
from storage.records import Tweet

MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000
NOW = 1_780_000_000_000


@pytest.mark.parametrize(
    ("passed_ms", "words"),
    [
        (-DAY, "just now"),
        (-1, "just now"),
        (0, "just now"),
        (MINUTE, "1 min ago"),
        (HOUR - MINUTE, "59 min ago"),
        (HOUR, "1 h ago"),
        (DAY - MINUTE, "23 h ago"),
        (DAY, "1 d ago"),
        (30 * DAY - MINUTE, "29 d ago"),
        (NOW, "1 Jan 1970"),
    ],
)
def test_age(passed_ms: int, words: str) -> None:
    """Minutes, hours, days, then a date; a clock that goes ahead does no harm."""
    assert age(NOW - passed_ms, NOW) == words


@given(st.integers(0, 59 * MINUTE), st.integers(0, MINUTE))
def test_an_age_is_less_than_a_minute_off(passed_ms: int, since_ms: int) -> None:
    """Whenever in a minute one looks, what stands there is neither a minute too much nor one too little."""
    now_ms = NOW + since_ms
    words = age(now_ms - passed_ms, now_ms // MINUTE * MINUTE)  # which is what the pages know of the time
    told_ms = 0 if words == "just now" else int(words.removesuffix(" min ago")) * MINUTE

    assert abs(told_ms - passed_ms) < MINUTE


@given(st.integers(0, 40 * DAY), st.integers(0, MINUTE - 1))
def test_an_age_stays_the_same_for_a_minute(passed_ms: int, since_ms: int) -> None:
    """So the page of an unchanged ranking is the same bytes until the minute ends."""
    assert age(NOW - passed_ms, NOW // MINUTE * MINUTE + since_ms) == age(NOW - passed_ms, NOW)


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

    made = rows(
        [first, second, orphan], {3: first, 2: replace(first, id=2, user_name=None, title=None, body=None)}, NOW
    )

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


def test_words_are_shown_once() -> None:
    """A text that its parent or a row above has is a compact row; the words of a target stand whole, once."""
    root = Tweet(3, "ada", "A", "x" * 600, None, 2, NOW)
    own = Tweet(4, "bob", "B", "x" * 600, 3, 1, NOW)
    passed_on = Tweet(5, "eve", "B", "x" * 600, 4, 0, NOW)
    gone = Tweet(6, None, None, None, 3, None, NOW)
    parents = {3: root, 4: own}

    assert [row.compact for row in rows([root, own, passed_on, gone, gone], parents, NOW)] == [
        False, False, True, False, False
    ]  # fmt: skip
    assert [row.compact for row in rows([passed_on, root, root], parents, NOW)] == [True, False, True]
    assert [(len(row.body or ""), row.compact) for row in rows([root, own, passed_on], parents, NOW, target=5)] == [
        (480, False), (600, False), (0, False)
    ]  # fmt: skip
    assert [len(row.body or "") for row in rows([passed_on], {4: own}, NOW, target=5)] == [600]
    assert [row.rank for row in rows([root, own], {}, NOW, first=11)] == [11, 12]


@pytest.mark.parametrize("title", ["\u200b", "\u2800", "\u00ad \u3164", "\u2060\ufe0f", "\u202e"])
def test_a_title_that_nobody_sees_has_a_name(title: str) -> None:
    """Blanks and marks that only format are no title that one could read or click; the row says so instead."""
    tweet = Tweet(3, "ada", title, "b", None, 0, NOW)

    assert [row.title for row in rows([tweet], {}, NOW)] == ["Untitled"]


@pytest.mark.parametrize("title", ["\u200ba", "\u202eolleh", "\u00e9", "\U0001f3f3\ufe0f\u200d\U0001f308", "."])
def test_a_title_that_can_be_seen_stays(title: str) -> None:
    """One letter or sign is enough, and every character of it remains."""
    tweet = Tweet(3, "ada", title, "b", None, 0, NOW)

    assert [row.title for row in rows([tweet], {}, NOW)] == [title]
