"""The pass over the links of a window counts as the fold of the log does."""

from hypothesis import given
from hypothesis import strategies as st

from storage.fold import Entry, change
from storage.sql.windows import credit


@given(st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 3)), max_size=60))
def test_credit_equals_the_fold(links: list[tuple[int, int]]) -> None:
    """One pass over known links gives what the fold of the log gives, for any forest."""
    parent_of = {at: None if link % (at + 1) == at else link % (at + 1) for at, (link, _) in enumerate(links)}
    direct = {at: own for at, (_, own) in enumerate(links) if own}
    children = [at for at, own in direct.items() for _ in range(own)]
    entries = [Entry(seq, 0, len(links) + seq, parent, 0, 1) for seq, parent in enumerate(children)]
    received = credit(direct, parent_of, lambda: None)
    assert change(entries, parent_of.__getitem__).credited == {at: count for at, count in received.items() if count}
