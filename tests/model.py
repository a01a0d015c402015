"""The slow and obvious truth: tweets in a dict, every count made by walking every chain."""

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass
class PlainTweet:
    """A tweet of the model."""

    parent: int | None
    base: int
    deleted: bool = False


class PlainTweets:
    """What the service must say, computed again for each question."""

    def __init__(self) -> None:
        self.tweets: dict[int, PlainTweet] = {}

    def post(self, tweet_id: int, parent: int | None, base: int) -> None:
        """Take note of a tweet."""
        self.tweets[tweet_id] = PlainTweet(parent, base)

    def delete(self, tweet_id: int) -> None:
        """Take note of a deletion."""
        self.tweets[tweet_id].deleted = True

    def ancestors(self, tweet_id: int) -> Iterator[int]:
        """The chain of a tweet, parent first, root last."""
        parent = self.tweets[tweet_id].parent
        while parent is not None:
            yield parent
            parent = self.tweets[parent].parent

    def counts(self) -> dict[int, int]:
        """The count of every tweet that is not deleted."""
        counts = {tweet_id: tweet.base for tweet_id, tweet in self.tweets.items()}
        for tweet_id, tweet in self.tweets.items():
            if not tweet.deleted:
                for ancestor in self.ancestors(tweet_id):
                    counts[ancestor] += 1
        return {tweet_id: count for tweet_id, count in counts.items() if not self.tweets[tweet_id].deleted}

    def ranking(self) -> list[tuple[int, int]]:
        """All (count, id) in the order of the ranking."""
        return sorted(((count, tweet_id) for tweet_id, count in self.counts().items()), reverse=True)

    def live(self) -> list[int]:
        """The tweets that are not deleted."""
        return [tweet_id for tweet_id, tweet in self.tweets.items() if not tweet.deleted]
