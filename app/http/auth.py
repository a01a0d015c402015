"""
Who may write: anybody while there is no token, and then whoever sends one (RFC 6750). Reading is open to all.

A token writes as its own user alone. An admin's does so too, but may delete any tweet and set count_retweet.
"""

import re

from bottle import HTTPResponse, request

from app.http.answers import refusal
from app.http.limits import Limiter
from app.later import LATER
from app.settings import Rate
from storage.errors import TweetDeleted, TweetNotFound
from storage.tokens import Token, Tokens
from storage.tweets import Tweets

CHALLENGE = 'Bearer realm="simple-twitter"'

_BEARER = re.compile(r"bearer +(\S+) *", re.IGNORECASE)


class Guard:
    """Lets writes in: those of *tokens*, or all as long as there are none; so many of each as *rate* says."""

    def __init__(self, tokens: Tokens, rate: Rate | None) -> None:
        self._tokens = tokens
        self._limiter = Limiter(rate) if rate else None

    def is_ready(self) -> bool:
        """Whether `enter` will not wait."""
        return self._tokens.are_known()

    def enter(self) -> Token | None:
        """The token of the request, None while nobody needs one. Raises the refusal: 401 or 429."""
        if LATER not in request.environ:  # this thread may wait
            self._tokens.renew()
        needed = self._tokens.are_needed()
        if not needed and self._limiter is None:
            return None
        sent = request.environ.get("HTTP_AUTHORIZATION")
        token = self._find(sent) if needed and sent else None
        if self._limiter:
            self._limiter.check(token.id if token else request.environ.get("REMOTE_ADDR", ""))
        if needed and token is None:
            raise _unknown() if sent else _missing()
        return token

    def _find(self, authorization: str) -> Token | None:
        bearer = _BEARER.fullmatch(authorization)
        return self._tokens.find(bearer[1]) if bearer else None


def check_may_post(token: Token | None, user_name: str, count_retweet: int | None) -> None:
    """Raise the refusal, 403, if *token* may not post as that user, or not with that count."""
    if token is None:
        return
    if token.user_name != user_name:
        raise refusal(403, "wrong_user", f"This token posts as {token.user_name} only.")
    if count_retweet and not token.admin:
        raise refusal(403, "admin_only", "Only an admin's token may set count_retweet.")


def check_may_delete(token: Token | None, tweet_id: int, tweets: Tweets) -> None:
    """Raise the refusal, 403, if the tweet is not *token*'s to delete. Raises TweetNotFound, TweetDeleted."""
    if token is None or token.admin:
        return
    authors = tweets.list_authors([tweet_id])
    if tweet_id not in authors:
        raise TweetNotFound
    author = authors[tweet_id]
    if author is None:
        raise TweetDeleted
    if author != token.user_name:
        raise refusal(403, "wrong_user", f"This token deletes tweets of {token.user_name} only.")


def _missing() -> HTTPResponse:
    detail = "Writing needs a token, sent as `Authorization: Bearer TOKEN`."
    return refusal(401, "token_missing", detail, headers=[("WWW-Authenticate", CHALLENGE)])


def _unknown() -> HTTPResponse:
    challenge = f'{CHALLENGE}, error="invalid_token"'
    return refusal(
        401, "token_unknown", "This token is unknown, or was revoked.", headers=[("WWW-Authenticate", challenge)]
    )
