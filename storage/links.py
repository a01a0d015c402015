"""Where tweets hang, remembered. A parent never changes, so what is remembered here can never be stale."""

from collections.abc import Collection
from contextlib import nullcontext
from itertools import islice

from sqlalchemy import Connection

from storage.errors import TweetNotFound
from storage.fold import Link
from storage.sql.engine import Database
from storage.sql.log import list_links

REMEMBERED = 200_000
"""Links kept: about 30 MB."""


class Links:
    """The links of tweets, from memory or from the log. Belongs to one thread at a time."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._links: dict[int, Link] = {}

    def load(self, ids: Collection[int], connection: Connection | None = None) -> None:
        """
        Remember *ids* and all their ancestors, with one question to the database for those not known yet.

        It is asked by *connection*, which is spared another transaction, or by one of its own.
        """
        missing = {tweet_id for tweet_id in ids if tweet_id not in self._links}
        if missing:
            with nullcontext(connection) if connection else self._database.reading() as asked:
                found = list_links(asked, missing)
            self._make_room(len(found))
            self._links.update(found)

    def add(self, tweet_id: int, link: Link) -> None:
        """Remember a tweet just stored."""
        self._make_room(1)
        self._links[tweet_id] = link

    def find(self, tweet_id: int) -> Link | None:
        """The link of a tweet that was loaded, None when there is no such tweet."""
        return self._links.get(tweet_id)

    def parent_of(self, tweet_id: int) -> int | None:
        """The parent of a tweet that exists, None for a root."""
        link = self._links.get(tweet_id)
        if link is None:
            self.load([tweet_id])
            link = self._links.get(tweet_id)
        if link is None:
            raise TweetNotFound
        return link.parent

    def _make_room(self, coming: int) -> None:
        if len(self._links) + coming > REMEMBERED:
            # Many at once: a dict that loses its first key again and again walks over all the holes each time.
            for oldest in list(islice(self._links, REMEMBERED // 10 + coming)):
                del self._links[oldest]
