"""What is in the database, read past the service."""

from sqlalchemy import text

from storage import Tweets
from storage.sql import log


def bodies(tweets: Tweets) -> list[str]:
    """The bodies of all that is stored, in the order of the log."""
    with tweets.database.reading() as connection:
        return list(connection.execute(text("SELECT body FROM tweets ORDER BY partition, seq")).scalars())


def is_gapless(tweets: Tweets) -> bool:
    """Whether the places of partition 0 are 1, 2, 3 up to its head."""
    with tweets.database.reading() as connection:
        head = log.get_state(connection).heads[0].seq
        return [entry.seq for entry in log.list_entries(connection, 0, 0, head + 1)] == list(range(1, head + 1))
