"""The routes of the ranking: the top, and the place of one tweet in it."""

from bottle import Bottle, HTTPResponse

from app.http.answers import Tagged, answer, encode
from app.http.parameters import cursor_of, id_of, place_of, read_query
from app.http.wire import Rank, Top, tweet_of
from app.later import begin
from storage.records import Ranking
from storage.tweets import Tweets

DEFAULT_LIMIT = 10


def mount(app: Bottle, tweets: Tweets) -> None:
    """Add the routes of the ranking to *app*; *tweets* does the work."""
    last: tuple[Ranking | None, Tagged] = (None, Tagged(b""))

    def encoded(ranking: Ranking) -> Tagged:
        """The JSON of a ranking; of one that was answered just before, the same bytes."""
        nonlocal last
        shown, content = last
        if shown is not ranking:
            following = None if ranking.next is None else cursor_of(ranking.next)
            content = Tagged(encode(Top([tweet_of(tweet) for tweet in ranking.tweets], following, ranking.stale)))
            last = (ranking, content)
        return content

    def shown(ranking: Ranking) -> HTTPResponse:
        return encoded(ranking).answer([("Stale", "true")] if ranking.stale else [])

    @app.get("/api/v1/top")
    def get_top() -> HTTPResponse:
        """A page of the ranking, or 304; said to be stale, in a field and a header, when the index is away."""
        limit, after = read_query(DEFAULT_LIMIT, place_of)
        return begin(tweets.top(limit, after), shown)

    @app.get("/api/v1/tweet/<tweet_id>/rank")
    def get_rank(tweet_id: str) -> HTTPResponse:
        """Where a tweet stands."""
        rank = tweets.rank(id_of(tweet_id))
        return answer(Rank(rank.rank, rank.count_retweet, rank.total))
