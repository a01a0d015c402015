"""The routes of the ranking: the top, and the place of one tweet in it."""

from bottle import Bottle, HTTPResponse

from app.http.answers import answer, tagged
from app.http.parameters import cursor_of, id_of, place_of, read_query
from app.http.wire import Rank, Top, tweet_of
from storage.tweets import Tweets

DEFAULT_LIMIT = 10


def mount(app: Bottle, tweets: Tweets) -> None:
    """Add the routes of the ranking to *app*; *tweets* does the work."""

    @app.get("/api/v1/top")
    def get_top() -> HTTPResponse:
        """A page of the ranking, or 304; said to be stale, in a field and a header, when the index is away."""
        limit, after = read_query(DEFAULT_LIMIT, place_of)
        ranking = tweets.top(limit, after)
        following = None if ranking.next is None else cursor_of(ranking.next)
        top = Top([tweet_of(tweet) for tweet in ranking.tweets], following, ranking.stale)
        return tagged(top, [("Stale", "true")] if ranking.stale else [])

    @app.get("/api/v1/tweet/<tweet_id>/rank")
    def get_rank(tweet_id: str) -> HTTPResponse:
        """Where a tweet stands."""
        rank = tweets.rank(id_of(tweet_id))
        return answer(Rank(rank.rank, rank.count_retweet, rank.total))
