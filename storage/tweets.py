"""What the service can do with tweets. (Contract; the implementation follows.)"""

from types import TracebackType
from typing import Self

from storage.records import Draft, Health, Page, Place, Posted, Rank, Ranking, Tweet


class Tweets:
    """
    The tweets and their ranking. Safe to use from any thread; close it when done.

    Beside the errors named, each call may raise StoreUnavailable, StoreFull or IndexUnavailable.
    """

    def post(self, draft: Draft) -> Posted:
        """
        Post *draft*, a tweet or a retweet; every ancestor of a retweet gains one.

        Returns when it is on disk. Raises TweetNotFound or TweetDeleted (the target), ChainTooLong, KeyReused,
        TweetDeleted (the tweet that the key had posted), Overloaded.
        """

    def delete(self, tweet_id: int) -> None:
        """
        Delete a tweet: its text goes, its place in the chain stays, each of its ancestors loses one.

        Raises TweetNotFound, TweetDeleted (before), Overloaded.
        """

    def get(self, tweet_id: int) -> Tweet:
        """The tweet with its count. Raises TweetNotFound, TweetDeleted."""

    def list_chain(self, tweet_id: int) -> tuple[Tweet, ...]:
        """The tweet, its parent and so on: target first, root last; deleted ones as tombstones. Raises TweetNotFound."""

    def list_retweets(self, tweet_id: int, limit: int, after: int | None = None) -> Page:
        """The direct retweets that are not deleted, newest first, older than *after*. Raises TweetNotFound."""

    def list_by_user(self, user_name: str, limit: int, after: int | None = None) -> Page:
        """The tweets of *user_name*, newest first, older than *after*; empty for nobody's name."""

    def top(self, limit: int, after: Place | None = None) -> Ranking:
        """The first *limit* tweets of the ranking below *after*."""

    def rank(self, tweet_id: int) -> Rank:
        """Where the tweet stands. Raises TweetNotFound, TweetDeleted."""

    def health(self) -> Health:
        """Ask both parts, each within a second. Raises nothing."""

    def close(self) -> None:
        """End the threads and connections, and the embedded server; what was accepted is stored before."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
