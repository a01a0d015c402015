from hypothesis import given
from hypothesis import strategies as st

from storage.ids import ALPHABET, LARGEST, PARTITIONS, decode, encode, next_id, time_of

ids = st.integers(0, LARGEST)


@given(ids)
def test_text_and_id_are_one_to_one(tweet_id: int) -> None:
    """An id has one text of 13 characters, and that text has that id."""
    text = encode(tweet_id)
    assert len(text) == 13
    assert decode(text) == tweet_id


@given(ids, ids)
def test_texts_sort_as_ids(one: int, other: int) -> None:
    """The order of texts is the order of ids, so Redis ranks equal scores as we do."""
    assert (one < other) == (encode(one).encode() < encode(other).encode())


@given(st.text(max_size=15) | st.text(alphabet=ALPHABET + "abcoilu", min_size=12, max_size=14))
def test_any_other_text_is_no_id(text: str) -> None:
    """A text is an id only in the one spelling that is written; nothing raises."""
    found = decode(text)
    assert found is None or encode(found) == text


@given(st.integers(0, 2**61), st.integers(0, 2**41), st.integers(0, PARTITIONS - 1))
def test_next_id_rises_whatever_the_clock_says(last_id: int, now_ms: int, partition: int) -> None:
    """The next id is greater than the last one, belongs to its partition, and is never earlier than the clock."""
    tweet_id = next_id(last_id, now_ms, partition)
    assert tweet_id > last_id
    assert tweet_id % PARTITIONS == partition
    assert time_of(tweet_id) >= now_ms
