"""The routes of tweets: post, retweet, read, delete, and the lists around one. Each parses, calls and answers."""

import msgspec
from bottle import Bottle, HTTPResponse

from app.http.answers import Tagged, answer, encode
from app.http.auth import Guard, check_may_delete, check_may_post
from app.http.bodies import read_body
from app.http.parameters import id_of, read_key, read_query
from app.http.wire import Chain, NewRetweet, NewTweet, link_of, list_of, names_user, tweet_of
from app.later import begin
from storage import ids, records
from storage.records import Page, Posted, Tweet
from storage.tweets import Tweets

DEFAULT_LIMIT = 20

_new_tweet = msgspec.json.Decoder(NewTweet)
_new_retweet = msgspec.json.Decoder(NewRetweet)


def mount(app: Bottle, tweets: Tweets, guard: Guard) -> None:
    """Add the routes of tweets to *app*; *tweets* does the work, and *guard* says who may write."""
    _mount_writes(app, tweets, guard)
    _mount_reads(app, tweets)
    _mount_lists(app, tweets)


def _mount_writes(app: Bottle, tweets: Tweets, guard: Guard) -> None:
    @app.post("/api/v1/tweet")
    def post_tweet() -> HTTPResponse:
        """Post an original: 201 with the new tweet."""
        token, key, new = guard.enter(), read_key(), read_body(_new_tweet)
        check_may_post(token, new.user_name, new.count_retweet)
        draft = records.NewTweet(new.user_name, new.title, new.body, None, new.count_retweet or 0, key)
        return begin(tweets.post(draft), _created)

    @app.post("/api/v1/retweet")
    def post_retweet() -> HTTPResponse:
        """Post a retweet: 201 with the new tweet, 404 or 410 when there is no such target."""
        token, key, new = guard.enter(), read_key(), read_body(_new_retweet)
        check_may_post(token, new.user_name, new.count_retweet)
        draft = records.NewTweet(new.user_name, new.title, new.body, id_of(new.retweet), new.count_retweet or 0, key)
        return begin(tweets.post(draft), _created)

    @app.delete("/api/v1/tweet/<tweet_id>")
    def delete_tweet(tweet_id: str) -> HTTPResponse:
        """Delete a tweet: 204, and 410 from then on."""
        token, found = guard.enter(), id_of(tweet_id)
        check_may_delete(token, found, tweets)
        tweets.delete(found).result()
        return HTTPResponse(status=204, headers=[("Cache-Control", "no-store")])


def _mount_reads(app: Bottle, tweets: Tweets) -> None:
    @app.get("/api/v1/tweet/<tweet_id>")
    def get_tweet(tweet_id: str) -> HTTPResponse:
        """The tweet with its count, or 304."""
        return begin(tweets.get(id_of(tweet_id)), _found)

    @app.get("/api/v1/tweet/<tweet_id>/chain")
    def get_chain(tweet_id: str) -> HTTPResponse:
        """The tweet and its ancestors."""
        chain = tweets.list_chain(id_of(tweet_id))
        return answer(Chain([link_of(tweet) for tweet in chain]))


def _mount_lists(app: Bottle, tweets: Tweets) -> None:
    @app.get("/api/v1/tweet/<tweet_id>/retweets")
    def list_retweets(tweet_id: str) -> HTTPResponse:
        """The direct retweets of a tweet, newest first."""
        limit, after = read_query(DEFAULT_LIMIT, ids.decode)
        return answer(list_of(tweets.list_retweets(id_of(tweet_id), limit, after)))

    @app.get("/api/v1/users/<user_name>/tweets")
    def list_by_user(user_name: str) -> HTTPResponse:
        """The tweets of a user, newest first; none of a name that nobody can have."""
        limit, after = read_query(DEFAULT_LIMIT, ids.decode)
        page = tweets.list_by_user(user_name, limit, after) if names_user(user_name) else Page((), None)
        return answer(list_of(page))


def _found(tweet: Tweet) -> HTTPResponse:
    return Tagged(encode(tweet_of(tweet))).answer()


def _created(posted: Posted) -> HTTPResponse:
    tweet = tweet_of(posted.tweet)
    location = ("Location", f"/api/v1/tweet/{tweet.id}")
    if posted.replayed:
        return answer(tweet, 201, [location, ("Idempotency-Replayed", "true")])
    return answer(tweet, 201, [location])
