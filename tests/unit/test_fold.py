from array import array
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.errors import StoreConflict
from storage.fold import Change, Entry, change
from storage.rebuild import count_tweets
from storage.tools.verify import PackedGains
from tests.model import PlainTweets


@st.composite
def logs(draw: st.DrawFn, *, parents_live: bool = False) -> list[Entry]:
    """A log of posts and deletions in which every tweet follows its parent, as imports do, or follows it while live."""
    entries: list[Entry] = []
    posted: list[int] = []
    deleted: set[int] = set()
    for seq in range(1, draw(st.integers(1, 30)) + 1):
        live = [tweet for tweet in posted if tweet not in deleted]
        if live and draw(st.integers(0, 3)) == 0:
            tweet = draw(st.sampled_from(live))
            deleted.add(tweet)
            parent = next(entry.parent for entry in entries if entry.id == tweet)
            entries.append(Entry(seq, seq, tweet, parent, 0, -1))
        else:
            parents = live if parents_live else posted
            parent = draw(st.none() | st.sampled_from(parents)) if parents else None
            entries.append(Entry(seq, seq, seq * 10, parent, draw(st.integers(0, 5)), 1))
            posted.append(seq * 10)
    return entries


def apply(ranking: dict[int, int], done: Change) -> None:
    """What the script does, in Python: credited tweets that are not there stay away."""
    ranking.update(done.added)
    for tweet, gain in done.credited.items():
        if tweet in ranking:
            ranking[tweet] += gain
    for tweet in done.removed:
        ranking.pop(tweet, None)


def recount(entries: list[Entry]) -> dict[int, int]:
    """The counts after *entries*, by walking every chain."""
    model = PlainTweets()
    for entry in entries:
        if entry.sign > 0:
            model.post(entry.id, entry.parent, entry.base)
        else:
            model.delete(entry.id)
    return model.counts()


@given(logs(), st.data())
def test_any_cut_of_a_log_folds_to_the_same_counts(entries: list[Entry], data: st.DataObject) -> None:
    """However a log is cut into batches, folding them one after the other gives the counts of a plain recount."""
    parents = {entry.id: entry.parent for entry in entries}
    ranking: dict[int, int] = {}
    for start, end in cuts_of(entries, data):
        apply(ranking, change(entries[start:end], parents.__getitem__))
    assert ranking == recount(entries)


def cuts_of(entries: list[Entry], data: st.DataObject) -> Iterator[tuple[int, int]]:
    """Where a log is cut into batches."""
    return pairwise(sorted(data.draw(st.sets(st.integers(0, len(entries)))) | {0, len(entries)}))


@given(logs())
def test_a_whole_log_is_counted_as_it_is_folded(entries: list[Entry]) -> None:
    """A log read newest first gives each live tweet with its count."""
    deleted = {entry.id for entry in entries if entry.sign < 0}
    posted = sorted((entry for entry in entries if entry.sign > 0), key=lambda entry: -entry.id)
    rows = [(entry.id, entry.parent, entry.base, int(entry.id not in deleted)) for entry in posted]
    found = list(count_tweets(rows, {}))
    assert [tweet for tweet, _ in found] == [entry.id for entry in posted if entry.id not in deleted]
    assert dict(found) == recount(entries)
    packed = PackedGains(array("q", sorted({row[1] for row in rows if row[1] is not None})))
    assert list(count_tweets(rows, packed)) == found


def test_a_log_without_a_parent_is_refused() -> None:
    """A retweet whose target is not in the log is no log that can be counted."""
    with pytest.raises(StoreConflict, match="7"):
        list(count_tweets([(9, 8, 0, 1), (8, 7, 0, 1)], {}))
    with pytest.raises(StoreConflict, match="7"):
        list(count_tweets([(9, 8, 0, 1), (8, 7, 0, 1)], PackedGains(array("q", [7, 8]))))


def test_each_ancestor_is_visited_once() -> None:
    """A thousand retweets at the end of a chain of a thousand ask for each parent once, not a million times."""
    depth, asked = 1000, Counter[int]()

    def parent_of(tweet: int) -> int | None:
        asked[tweet] += 1
        return tweet - 1 if tweet > 1 else None

    entries = [Entry(seq, 0, depth + seq, depth, 0, 1) for seq in range(1, 1001)]
    done = change(entries, parent_of)
    assert done.credited == dict.fromkeys(range(1, depth + 1), 1000)
    assert set(asked.values()) == {1}


def test_posted_and_deleted_in_one_batch_is_worth_nothing() -> None:
    """A tweet posted and deleted within a batch changes nothing, but its retweets still count above it."""
    entries = [Entry(1, 0, 20, 10, 0, 1), Entry(2, 0, 30, 20, 0, 1), Entry(3, 0, 20, 10, 0, -1)]
    assert change(entries, {10: None}.__getitem__) == Change({30: 0}, {10: 1}, [])
