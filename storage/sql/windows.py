"""
The top of a window: which tweets, and which users, received most retweets in some hours, days or weeks.

From SQL alone, so it works while the index is away. An id holds its time, so a window is a range of the primary key; it
is read in parts, each one short statement, so that deleted text leaves the files as soon as ever and nothing runs into
the time limit of a statement. It takes some microseconds for each retweet in the window, by how many different tweets
they retweet: `python -m bench --only log`.
"""

import heapq
import time
from array import array
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from typing import Any, NamedTuple, TypeVar

from storage import ids
from storage.errors import WindowTooLarge
from storage.kept import KeptAnswers
from storage.records import Place
from storage.sql.database import Database
from storage.sql.statements import rows, run

MOST_RETWEETS = 4_000_000
"""In one window: 200 MB of memory, and minutes between two answers."""

TWEETS_IN_A_PART = 150_000
"""Tweets that one statement sees: some 0.3 s."""

LOOKED_UP = 256
"""Ids in one look-up."""

TWEETS_KEPT = 200
"""Tweets in an answer: twice as many as are shown, for some may be deleted while the answer is kept."""

USERS_KEPT = 100

FETCHED = 1_000
"""Rows that are taken from the driver at a time, so that others get the interpreter in between."""

# A recursion or a join over the parents of a window makes PostgreSQL scan the whole table, all the more once it is
# analyzed; so these statements keep to a range of the primary key, scalar subqueries and look-ups by id.
_IN_RANGE = "id >= :since AND id < :until"
_RETWEETS = f"{_IN_RANGE} AND parent IS NOT NULL AND deleted_seq IS NULL"

END = f"SELECT id FROM tweets WHERE {_IN_RANGE} ORDER BY id LIMIT 1 OFFSET :tweets"  # noqa: S608  # constants
"""The id before which there are so many tweets from *since* on; nothing when there are not so many before *until*."""

# The live retweets from *since* to below *until*: (parent, retweets, what the parent itself retweets), parents rising.
# ORDER BY within the groups: PostgreSQL's hash aggregate would look the grandparents up in random order, twice as slow.
GROUPS = f"""
    SELECT g.parent, g.n, (SELECT p.parent FROM tweets p WHERE p.id = g.parent)
    FROM (SELECT parent, count(*) AS n FROM tweets WHERE {_RETWEETS} GROUP BY parent ORDER BY parent) AS g
"""  # noqa: S608
BY_USER = f"SELECT parent, user_name, count(*) FROM tweets WHERE {_RETWEETS} GROUP BY parent, user_name"  # noqa: S608
PARENTS = "SELECT id, parent FROM tweets WHERE id {in_ids}"
USERS = "SELECT id, user_name FROM tweets WHERE id {in_ids} AND deleted_seq IS NULL"

Value = TypeVar("Value")

Rest = Callable[[], None]
"""Called after each thousand rows or tweets: to let others run, or to raise what ends the reading."""


class Window(NamedTuple):
    """The time after `since_ms` until and with `until_ms`, in milliseconds since 1970."""

    since_ms: int
    until_ms: int


def rank_window(
    kept: KeptAnswers,
    database: Database,
    rank: Callable[[Database, Window, Rest], list[Value]],
    length_ms: int,
    until_ms: int | None = None,
) -> "Future[tuple[Window, list[Value]]]":
    """
    The window of *length_ms* until *until_ms*, by default now, and what *rank*, a function below, finds in it.

    It is computed once for all who ask, and *kept*. Error of the future: WindowTooLarge. Raises Overloaded.
    """

    def compute() -> tuple[Window, list[Value]]:
        ends_ms = time.time_ns() // 1_000_000 if until_ms is None else until_ms
        window = Window(ends_ms - length_ms, ends_ms)
        return window, rank(database, window, kept.rest)

    return kept.get((rank, length_ms, until_ms), compute)


def rank_tweets(database: Database, window: Window, rest: Rest) -> list[Place]:
    """
    The tweets that received retweets in *window*, at most `TWEETS_KEPT`: as (received, id), greatest first.

    A tweet receives its live descendants that were posted in the window, however deep; it may itself be of any age, but
    not deleted. All is as known now, also for a window in the past. Raises WindowTooLarge.
    """
    received = _receive(database, window, rest)[0]
    wanted = 2 * TWEETS_KEPT
    while True:
        top = heapq.nlargest(wanted, ((count, tweet_id) for tweet_id, count in received.items()))
        users = _look_up(database, [tweet_id for _, tweet_id in top], USERS, rest)
        live = [Place(*place) for place in top if place[1] in users]
        if len(live) >= TWEETS_KEPT or wanted >= len(received):
            return live[:TWEETS_KEPT]
        wanted *= 4


def rank_users(database: Database, window: Window, rest: Rest) -> list[dict[str, Any]]:
    """
    The users whose tweets received most in *window*, at most `USERS_KEPT`, greatest first, ties by name.

    As `rank_tweets`, summed by author, without what a user retweeted below own tweets: `user_name`, `received`, and of
    how many `tweets`. Raises WindowTooLarge.
    """
    received, parent_of = _receive(database, window, rest)
    users = _look_up(database, sorted(received), USERS, rest)
    first, end = _number(parent_of)
    own = {user: array("q") for user in users.values()}  # below which numbers the own retweets of a user are
    for groups in _groups(database, window, BY_USER, rest):
        for parent, user, count in groups:
            if user in own and parent in first:  # one that was retweeted while we read is in neither
                own[user].extend([first[parent]] * count)
    own = {user: array("q", sorted(numbers)) for user, numbers in own.items()}
    sums: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for number, (tweet_id, user) in enumerate(users.items(), 1):
        below = bisect_left(own[user], end[tweet_id]) - bisect_left(own[user], first[tweet_id])
        if (count := received[tweet_id] - below) > 0:
            sums[user][0] += count
            sums[user][1] += 1
        if not number % FETCHED:
            rest()
    best = heapq.nsmallest(USERS_KEPT, ((-count, user, tweets) for user, (count, tweets) in sums.items()))
    return [{"user_name": user, "received": -count, "tweets": tweets} for count, user, tweets in best]


def credit(direct: Mapping[int, int], parent_of: Mapping[int, int | None], rest: Rest) -> dict[int, int]:
    """
    What each tweet receives, itself and through all below it, where *direct* says what it receives by itself.

    *parent_of* has every tweet of *direct* and all of their ancestors; a parent's id is smaller than its child's. Equal
    to what `fold.change` credits, and five times as fast where all links are known.
    """
    received = dict(direct)
    for number, tweet_id in enumerate(sorted(parent_of, reverse=True), 1):
        if (parent := parent_of[tweet_id]) is not None and (count := received.get(tweet_id)):
            received[parent] = received.get(parent, 0) + count
        if not number % FETCHED:
            rest()
    return received


def _receive(database: Database, window: Window, rest: Rest) -> tuple[dict[int, int], dict[int, int | None]]:
    """What each tweet received in *window*, and the parents of all of these. Raises WindowTooLarge."""
    direct: dict[int, int] = {}
    parent_of: dict[int, int | None] = {}
    retweets = 0
    for groups in _groups(database, window, GROUPS, rest):
        for parent, count, grandparent in groups:
            direct[parent] = direct.get(parent, 0) + count
            parent_of[parent] = grandparent
            retweets += count
        if retweets > MOST_RETWEETS:
            raise WindowTooLarge
    # No snapshot is needed from here on: a parent never changes.
    missing = {parent for parent in parent_of.values() if parent is not None and parent not in parent_of}
    while missing:
        above = _look_up(database, sorted(missing), PARENTS, rest)
        parent_of.update(above)
        missing = {parent for parent in above.values() if parent is not None and parent not in parent_of}
    return credit(direct, parent_of, rest), parent_of


def _number(parent_of: Mapping[int, int | None]) -> tuple[dict[int, int], dict[int, int]]:
    """A pre-order of the tweets: the number of each, and the first number after all below it."""
    size = dict.fromkeys(parent_of, 1)
    order = sorted(parent_of)
    for tweet_id in reversed(order):
        if (parent := parent_of[tweet_id]) is not None:
            size[parent] += size[tweet_id]
    first: dict[int, int] = {}
    free: dict[int | None, int] = {None: 0}  # the next number below a tweet, or for a root
    for tweet_id in order:
        parent = parent_of[tweet_id]
        first[tweet_id] = free[parent]
        free[parent] += size[tweet_id]
        free[tweet_id] = first[tweet_id] + 1
    return first, {tweet_id: number + size[tweet_id] for tweet_id, number in first.items()}


def _groups(database: Database, window: Window, statement: str, rest: Rest) -> Iterator[list[Any]]:
    """The rows of *statement* for *window*, some at a time; it sees at most `TWEETS_IN_A_PART` tweets at once."""
    since, end = ids.first_of(max(window.since_ms, -1) + 1), ids.first_of(window.until_ms + 1)
    while since < end:
        with database.reading() as connection:
            found = rows(connection, END, since=since, until=end, tweets=TWEETS_IN_A_PART)
            until = found[0][0] if found else end
        with database.reading() as connection:
            values = {"since": since, "until": until}
            cursor = run(connection.connection.driver_connection, connection.dialect, statement, (values,))
            while groups := cursor.fetchmany(FETCHED):
                yield groups
                rest()
        since = until


def _look_up(database: Database, wanted: Sequence[int], statement: str, rest: Rest) -> dict[int, Any]:
    """What *statement* finds for the ids *wanted*, some of them at a time."""
    found: dict[int, Any] = {}
    for start in range(0, len(wanted), LOOKED_UP):
        with database.reading() as connection:
            found.update(rows(connection, statement, ids=wanted[start : start + LOOKED_UP]))
        rest()
    return found
