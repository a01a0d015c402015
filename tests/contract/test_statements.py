"""A list is one parameter: of any length, all of it is found, by an index, on both databases."""

from typing import Any

import pytest
from sqlalchemy import Connection, text

from storage import Tweets
from storage.records import NewTweet
from storage.sql import log
from storage.sql.database import Database
from storage.sql.statements import rows
from tests.builders import post

NUMBERS = (1, 45, 512)
MANY = 300

PLANT = text("""
    WITH RECURSIVE planted(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM planted WHERE n < 20000)
    INSERT INTO tweets (id, parent, partition, depth, seq, nonce, base, created_at, user_name, title, body)
    SELECT n, CASE WHEN n > 100 THEN n % 100 + 1 END, 0, CASE WHEN n > 100 THEN 1 ELSE 0 END, n, n, 0, 1,
        'ann', 't', 'b'
    FROM planted
""")
"""20,000 tweets with few parents: a planner expects much of a recursion through them."""

LISTS: dict[str, tuple[str, tuple[str, ...], str]] = {
    "rows": (log.BY_IDS, ("ids",), "tweets_pkey"),
    "calls": (log.CALLS, ("keys",), "tweets_by_key"),
    "ancestries": (log.ANCESTRIES, ("ids",), "tweets_pkey"),
    "chains": (log.CHAINS, ("ids",), "tweets_pkey"),
    "descendants": (log.DESCENDANTS, ("id", "limit"), "tweets_by_parent"),
}
"""Statements with a list of tweets or a recursion, their parameters, and the index that each goes by."""


@pytest.fixture
def planted(database: Database) -> Database:
    """A log with so many tweets that the planner has a choice."""
    with database.writing() as connection:
        connection.execute(PLANT)
    if "postgresql" in database.server_version():
        with database.writing() as connection:
            connection.exec_driver_sql("ANALYZE tweets")
    return database


def plan_of(connection: Connection, statement: str, parameters: dict[str, Any]) -> list[str]:
    """The steps by which the database would answer."""
    explain = "EXPLAIN QUERY PLAN" if connection.dialect.name == "sqlite" else "EXPLAIN"
    return [str(row[-1]) for row in rows(connection, f"{explain} {statement}", **parameters)]


@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.parametrize("name", LISTS)
def test_a_list_goes_by_an_index(planted: Database, name: str, number: int) -> None:
    """The table is read by the index that is meant for it, with every join a look-up in an index."""
    statement, names, index = LISTS[name]
    ids = range(1, number + 1)
    values = {"ids": ids, "keys": [each.to_bytes(16) for each in ids], "limit": 1_000, "id": 1}
    parameters = {each: values[each] for each in names}
    with planted.reading() as connection:
        if connection.dialect.name == "postgresql":
            connection.exec_driver_sql("SET LOCAL enable_seqscan = off")  # what a larger table does of itself
        plan = plan_of(connection, statement, parameters)
        index = {"sqlite": index.replace("tweets_pkey", "PRIMARY KEY")}.get(connection.dialect.name, index)
    assert any(index in step for step in plan), plan
    assert not [step for step in plan if "SCAN tweets" in step or "Seq Scan on tweets" in step], plan
    assert not [step for step in plan if "Hash Join" in step or "Merge Join" in step], plan


@pytest.mark.parametrize("number", NUMBERS)
def test_heads_are_locked_by_their_key(database: Database, number: int) -> None:
    """Also among as many partitions as there may be."""
    with database.writing() as connection:
        if connection.dialect.name == "postgresql":
            connection.exec_driver_sql("SET LOCAL enable_seqscan = off")
        plan = plan_of(connection, log.LOCKED_HEADS, {"ids": range(number)})
    assert any("PRIMARY KEY" in step or "heads_pkey" in step for step in plan), plan


def post_together(tweets: Tweets, drafts: list[NewTweet]) -> list[int]:
    """The ids of *drafts*, posted in one batch."""
    return [future.result().tweet.id for future in [tweets.post(draft) for draft in drafts]]


def test_rows_by_any_number_of_ids(tweets: Tweets) -> None:
    """Each of them that is a tweet, for any number of them."""
    ids = post_together(tweets, [NewTweet("ada", "t", "b") for _ in range(MANY)])
    for number in (0, 1, 2, 10, MANY):
        found = tweets.database.find_rows([1, *ids[:number]])
        assert sorted(found) == sorted(ids[:number])
        assert all(row.id == tweet_id for tweet_id, row in found.items())


def test_calls_by_any_number_of_keys(database: Database) -> None:
    """Each digest that was used, among others that were not, is found with its own tweet."""
    digests = [bytes([0, 255, 39, 92, each % 256]) + each.to_bytes(11) for each in range(MANY)]
    columns = ("id", "partition", "depth", "seq", "nonce", "base", "created_at", "user_name", "title", "body")
    values = [(each, 0, 0, each, 1, 0, 1, "ann", "t", "b", digests[each], bytes(16)) for each in range(1, MANY)]
    with database.writing() as connection:
        log.insert_tweets(connection, (*columns, "key_digest", "call_digest"), values)
    with database.reading() as connection:
        for number in (0, 1, 2, 45, MANY):
            expected = {digests[each]: (each, bytes(16)) for each in range(1, number)}
            assert log.list_calls(connection, digests[:number]) == expected


def test_one_batch_of_retweets_of_many(tweets: Tweets) -> None:
    """Each target and its chain is found, and gains one."""
    root = post(tweets)
    targets = post_together(tweets, [NewTweet("ada", None, None, root.id) for _ in range(MANY)])
    post_together(tweets, [NewTweet("bob", None, None, target) for target in targets])
    assert tweets.get(root.id).result().count_retweet == 2 * MANY
    assert {tweets.get(target).result().count_retweet for target in targets} == {1}


@pytest.mark.parametrize("partitions", [MANY])
def test_the_heads_of_many_partitions(tweets: Tweets) -> None:
    """All are locked, in their order."""
    with tweets.database.writing() as connection:
        assert list(log.lock_heads(connection, tweets.store, reversed(range(MANY)))) == list(range(MANY))


def test_the_newest(tweets: Tweets) -> None:
    """Newest first, without deleted ones, a page at a time."""
    ids = post_together(tweets, [NewTweet("ada", "t", "b") for _ in range(7)])
    tweets.delete(ids[5]).result()
    with tweets.database.reading() as connection:
        first = log.list_below(connection, 2**63 - 1, 3)
        second = log.list_below(connection, first[-1].id, 9)
    assert [row.id for row in first] == [ids[6], ids[4], ids[3]]
    assert [row.id for row in second] == ids[2::-1]
