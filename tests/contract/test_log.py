"""The log read as of a place, and heads that are not what the rows say."""

import pytest
from sqlalchemy import text

from storage import Tweets
from storage.errors import StoreDamaged
from storage.sql import database as sql_database
from storage.sql.heads import list_wrong_heads, repair_heads
from tests.builders import post, retweet


@pytest.mark.parametrize("at_once", [1, 2, 10_000])
def test_the_tweets_of_a_place(tweets: Tweets, at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is written while it is read is not in it, however few rows are read at once; nor is a later deletion."""
    monkeypatch.setattr(sql_database, "READ_AT_ONCE", at_once)
    root = post(tweets)
    partition = tweets.database.find_rows([root.id])[root.id].partition
    child, gone = retweet(tweets, root), retweet(tweets, root)
    tweets.delete(gone.id).result()
    seq = tweets.database.get_state().heads[partition].seq
    expected = [(gone.id, root.id, 0), (child.id, root.id, 1), (root.id, None, 1)]

    rows = tweets.database.stream_tweets(partition, seq)
    found = [next(rows)]
    retweet(tweets, child)
    tweets.delete(child.id).result()
    found += rows

    assert [(row[0], row[1], row[3]) for row in found] == expected
    assert [row[0] for row in tweets.database.stream_tweets(partition, 0)] == []


def spoil(tweets: Tweets, statement: str) -> None:
    """Change the database by hand."""
    with tweets.database.writing() as connection:
        connection.execute(text(statement))


def test_a_head_behind_its_rows(tweets: Tweets) -> None:
    """It is found and mended, number by number, and then writes go on where the rows end."""
    root = post(tweets)
    partition = tweets.database.find_rows([root.id])[root.id].partition
    before = tweets.database.get_state().heads[partition]
    gone = retweet(tweets, root)
    tweets.delete(gone.id).result()
    right = tweets.database.get_state().heads[partition]
    with tweets.database.reading() as connection:
        assert list_wrong_heads(connection) == {}
    values = ", ".join(f"{name} = {value}" for name, value in before._asdict().items())
    spoil(tweets, f"UPDATE heads SET {values} WHERE partition = {partition}")

    with tweets.database.writing("writing at length") as connection:
        assert repair_heads(connection) == {partition: (before, right)}

    with tweets.database.reading() as connection:
        assert list_wrong_heads(connection) == {}
    assert tweets.database.get_state().heads[partition] == right
    retweet(tweets, root)
    assert tweets.get(root.id).result().count_retweet == 1


def test_entries_that_are_missing(tweets: Tweets) -> None:
    """A place without its row is damage, which no head can mend."""
    root = post(tweets)
    child = retweet(tweets, root)
    retweet(tweets, root)
    spoil(tweets, f"DELETE FROM tweets WHERE id = {child.id}")
    with tweets.database.reading() as connection, pytest.raises(StoreDamaged, match="Entries of partition"):
        list_wrong_heads(connection)
