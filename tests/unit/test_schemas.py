"""The types of the wire: times, keys, cursors, and the two ways in which a body is checked."""

import json
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from bottle import HTTPResponse
from hypothesis import assume, given
from hypothesis import strategies as st

from app.http import schemas
from app.http.requests import Body, cursor_of, explain_body, parse_place
from storage import ids, records


@pytest.mark.parametrize(
    ("time_ms", "text"),
    [
        (0, "1970-01-01T00:00:00.000Z"),
        (1, "1970-01-01T00:00:00.001Z"),
        (-1, "1969-12-31T23:59:59.999Z"),
        (1_763_845_028_391, "2025-11-22T20:57:08.391Z"),
        (4_398_046_511_103, "2109-05-15T07:35:11.103Z"),
    ],
)
def test_timestamp(time_ms: int, text: str) -> None:
    """A time is ISO 8601 in UTC, always with three digits of milliseconds and a Z."""
    assert schemas.timestamp(time_ms) == text


@given(st.integers(0, 2**42 - 1))
def test_timestamp_is_exact(time_ms: int) -> None:
    """A time is read back to the very millisecond."""
    read = datetime.strptime(schemas.timestamp(time_ms), "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=UTC)
    whole = int(read.replace(microsecond=0).timestamp())
    assert whole * 1000 + read.microsecond // 1000 == time_ms


def test_keys_are_in_order() -> None:
    """A tweet, whole or a tombstone, is the same seven keys in the same order."""
    expected = ["user_name", "title", "body", "retweet", "count_retweet", "id", "created_at"]
    whole = records.Tweet(5, "ada", "T", "B", 4, 3, 2)
    tombstone = records.Tweet(5, None, None, None, 4, None, 2)

    for tweet in (whole, tombstone):
        assert list(json.loads(msgspec.json.encode(schemas.tweet_of(tweet)))) == expected


@given(st.integers(0, records.LARGEST_COUNT), st.integers(0, ids.LARGEST))
def test_cursor_is_read_back(count: int, tweet_id: int) -> None:
    """The cursor of a place is the place again."""
    place = records.Place(count, tweet_id)
    assert parse_place(cursor_of(place)) == place


@given(
    st.one_of(
        st.text(max_size=40),
        st.from_regex(r"^(0|[1-9][0-9]{0,15})\." + ids.PATTERN.removeprefix("^")),
        st.from_regex(r"[0-9.]+\.[0-9A-Z]{13}"),
    )
)
def test_any_text_may_be_a_cursor(text: str) -> None:
    """A text is refused as a cursor unless it is the one spelling of a place."""
    place = parse_place(text)
    assert place is None or cursor_of(place) == text


def refusal_of(content: bytes, kind: type[Body]) -> int | Body:
    """What the slow way says: the status of its refusal, or what the body holds."""
    try:
        return explain_body(content, kind)
    except HTTPResponse as refusal:
        return refusal.status_code


SCALARS: st.SearchStrategy[Any] = st.one_of(
    st.none(), st.booleans(), st.integers(-2, 3), st.integers(), st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=4), st.sampled_from(["", " ", "ada", "a\n", "\x00", "\u3000", "0" * 13, 10**12, 10**12 + 1]),
)  # fmt: skip
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=2), max_leaves=3)
OBJECTS = st.dictionaries(
    st.sampled_from(["user_name", "title", "body", "retweet", "count_retweet", "id", ""]), VALUES, max_size=6
)


@pytest.mark.parametrize("kind", [schemas.NewTweet, schemas.NewRetweet])
@given(value=st.one_of(OBJECTS, VALUES))
def test_both_ways_agree(kind: type[Body], value: object) -> None:
    """A body is good in the quick check of msgspec exactly when field by field no fault is found in it."""
    content = json.dumps(value, ensure_ascii=False).encode()
    assume(b"\\r\\n" not in content)  # which becomes LF
    try:
        body = msgspec.json.Decoder(kind).decode(content)
        is_visible = all(schemas.is_visible(text) for text in (body.title, body.body) if text is not None)
        quick: Body | int = body if is_visible else 422
    except msgspec.ValidationError:
        quick = 422
    assert refusal_of(content, kind) == quick


GOOD = {"user_name": "ada", "title": "T", "body": "B", "retweet": None, "count_retweet": 0}


@given(field=st.sampled_from(["user_name", "title", "body", "count_retweet"]), value=VALUES)
def test_both_ways_agree_on_a_field(field: str, value: object) -> None:
    """So it is when only one field is in doubt."""
    test_both_ways_agree.hypothesis.inner_test(schemas.NewTweet, GOOD | {field: value})


@pytest.mark.parametrize("kind", [schemas.NewTweet, schemas.NewRetweet])
def test_every_field_has_its_rule(kind: type[Body]) -> None:
    """For each field of a body there is a sentence that says what it must be."""
    assert set(kind.rules) == set(kind.__struct_fields__)
