"""The pass over the links of a window counts as the fold of the log does."""

from hypothesis import given
from hypothesis import strategies as st

from storage.fold import gains
from storage.windows import credit


@given(st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 3)), max_size=60))
def test_credit_equals_the_fold(links: list[tuple[int, int]]) -> None:
    """One pass over known links gives what the fold of the log gives, for any forest."""
    parent_of = {at: None if link % (at + 1) == at else link % (at + 1) for at, (link, _) in enumerate(links)}
    direct = {at: own for at, (_, own) in enumerate(links) if own}
    # In the fold a tweet gives to its ancestors: here what it receives itself, as from that many children.
    worths = ((at, parent_of[at], direct.get(at, 0)) for at in sorted(parent_of, reverse=True))
    gained = {at: gain + direct.get(at, 0) for at, gain in gains(worths, parent_of.__getitem__)}
    received = credit(direct, parent_of, lambda: None)
    assert {at: count for at, count in gained.items() if count} == {at: n for at, n in received.items() if n}
