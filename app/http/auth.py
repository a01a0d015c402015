"""
Who may write: anybody on this machine while there is no token, then a client that sends one (RFC 6750).

Reading is open to all. A token writes as its own user alone. An admin's does so too, but may delete any tweet and set
count_retweet. How many writes one token or address may make is counted in a bucket for each, in the memory of this
process: with several workers a client may reach as many times the rate. The address is the one that connected: behind
a proxy that is the proxy, as what X-Forwarded-For says can be made up by any client.
"""

import ipaddress
import math
import re
import threading
import time
from collections import OrderedDict
from concurrent.futures import Future
from contextlib import suppress
from urllib.parse import urlsplit

from bottle import request

from app.deferred import DEFERRED, Pool
from app.http.responses import respond_problem
from storage.errors import Overloaded, StoreUnavailable
from storage.tokens import READ_EVERY_S, Token, Tokens

CHALLENGE = 'Bearer realm="simple-twitter"'

TOKEN_ID = "simple_twitter.token"  # noqa: S105  # a name
"""In the environ: the id of the token that the request was let in by."""

OLDEST_S = 5.0
"""The age of the list of tokens from which no write is let in: one of them may have been revoked."""

RATE_HEADERS = "simple_twitter.rate"
"""In the environ: the headers that tell the client what is left of its rate."""

BUCKETS = 10_000
"""Buckets kept, some 2 MB; past that the one untouched for longest is dropped, which makes it a full one."""

ROUNDING_S = 1e-6

_BEARER = re.compile(r"bearer +(\S+) *", re.IGNORECASE)
_LOCAL_NAME = re.compile(r"(?:[a-z0-9-]+\.)*localhost\.?", re.IGNORECASE)
_FORWARDED = ("HTTP_FORWARDED", "HTTP_X_FORWARDED_", "HTTP_X_REAL_IP", "HTTP_VIA")
"""How the headers begin that a proxy adds."""
_NAT64 = ipaddress.ip_network("64:ff9b::/96")


class Guard:
    """
    Lets writes in: those of *tokens*, or, as long as there are none, those that come from this machine alone.

    *anonymous*: without tokens, those from anywhere. *rate*: so many of each token or address.
    """

    def __init__(self, tokens: Tokens, rate: tuple[int, int] | None, *, anonymous: bool) -> None:
        self.tokens = tokens
        self._limiter = Limiter(rate) if rate else None
        self._anonymous = anonymous
        self._refreshed: Future[None] = Future()
        self._refreshed.set_result(None)

    def refresh(self, pool: Pool) -> None:
        """Begin to read the list of tokens in *pool*, unless that is under way. Once a second."""
        if self._refreshed.done():
            with suppress(Overloaded):
                self._refreshed = pool.submit(self.tokens.refresh)

    def authenticate(self) -> Token | None:
        """
        The token of the request, None while none is needed. Raises the refusal: 401, 403 or 429.

        On the event loop the list of tokens is the one read last, and too old a one raises StoreUnavailable. Under
        another server it is read here.
        """
        environ = request.environ
        if DEFERRED not in environ:
            self.tokens.refresh(READ_EVERY_S)
        elif self.tokens.age_s() > OLDEST_S:
            failure = self._refreshed.exception() if self._refreshed.done() else None
            raise StoreUnavailable("the tokens cannot be read") from failure or TimeoutError("the reading takes long")
        needed = self.tokens.are_needed()
        if not (needed or self._anonymous):
            _check_local(environ)
        if not needed and self._limiter is None:
            return None
        sent = environ.get("HTTP_AUTHORIZATION")
        bearer = _BEARER.fullmatch(sent) if needed and sent else None
        token = self.tokens.find(bearer[1]) if bearer else None
        if self._limiter:
            self._limiter.check(token.id if token else environ.get("REMOTE_ADDR", ""))
        if token:
            environ[TOKEN_ID] = token.id
        elif needed and sent:
            headers = [("WWW-Authenticate", f'{CHALLENGE}, error="invalid_token"')]
            raise respond_problem(401, "token_unknown", "This token is unknown, or was revoked.", headers=headers)
        elif needed:
            detail = "Writing needs a token, sent as `Authorization: Bearer TOKEN`."
            raise respond_problem(401, "token_missing", detail, headers=[("WWW-Authenticate", CHALLENGE)])
        return token


def _check_local(environ: dict[str, str]) -> None:
    """
    Raise the refusal, 403, of what cannot be meant for a service that only this machine is to reach.

    That is a request for a name (DNS rebinding), one from a page of another site, and one that a proxy has passed on.
    """
    host = environ.get("HTTP_HOST", "").lower()
    name = urlsplit(f"//{host}").hostname or ""
    origin = environ.get("HTTP_ORIGIN")
    is_local = _LOCAL_NAME.fullmatch(name) is not None
    with suppress(ValueError):
        ipaddress.ip_address(name)
        is_local = True
    is_own = origin is None or origin.lower().partition("://")[2] == host
    if is_local and is_own and not any(name.startswith(_FORWARDED) for name in environ):
        return
    raise respond_problem(
        403,
        "no_token_exists",
        "This service has no token yet, so only this machine may write, by its address. To open it, make a token with "
        "`simple-twitter token add USER`, or set ALLOW_ANONYMOUS_WRITES=1.",
    )


def check_may_post(token: Token | None, user_name: str, count_retweet: int | None) -> None:
    """Raise the refusal, 403, if *token* may not post as that user, or not with that count."""
    if token is None:
        return
    if token.user_name != user_name:
        raise respond_problem(403, "wrong_user", f"This token posts as {token.user_name} only.")
    if count_retweet and not token.admin:
        raise respond_problem(403, "admin_only", "Only an admin's token may set count_retweet.")


def check_may_delete(token: Token | None, author: str) -> None:
    """Raise the refusal, 403, if a tweet of *author* is not *token*'s to delete."""
    if token is not None and not token.admin and author != token.user_name:
        raise respond_problem(403, "wrong_user", f"This token deletes tweets of {token.user_name} only.")


class Limiter:
    """
    Token buckets of as many calls as *rate* says first, which fill up evenly in the seconds that it says then.

    Of each bucket only the time is kept at which it is full again.
    """

    def __init__(self, rate: tuple[int, int]) -> None:
        self._calls, self._fills_in_s = rate
        self._one_s = self._fills_in_s / self._calls
        self._full_at: OrderedDict[str, float] = OrderedDict()
        self._lock = threading.Lock()

    def check(self, client: str) -> None:
        """Take a call out of the bucket of *client*, a token's id or an address. Raises the refusal, 429."""
        key, now = network_of(client), time.monotonic()
        wait_s = self.take(key, now)
        full_in_s = max(self._full_at.get(key, now) - now, 0.0)
        request.environ[RATE_HEADERS] = [
            ("RateLimit-Limit", str(self._calls)),
            ("RateLimit-Remaining", str(max(0, int((self._fills_in_s - full_in_s) / self._one_s + ROUNDING_S)))),
            ("RateLimit-Reset", str(math.ceil(full_in_s - ROUNDING_S))),
        ]
        if wait_s > 0:
            raise respond_problem(
                429,
                "too_many_writes",
                "Too many writes. Nothing was stored; ask again later.",
                headers=[("Retry-After", str(math.ceil(wait_s - ROUNDING_S)))],
            )

    def take(self, key: str, now: float) -> float:
        """Take a call out of the bucket *key*; 0.0, or after how many seconds there is one."""
        with self._lock:
            full_at = max(self._full_at.get(key, now), now)
            wait_s = full_at + self._one_s - now - self._fills_in_s
            if wait_s > ROUNDING_S:
                return wait_s
            self._full_at[key] = full_at + self._one_s
            self._full_at.move_to_end(key)
            if len(self._full_at) > BUCKETS:
                self._full_at.popitem(last=False)
            return 0.0


def network_of(client: str) -> str:
    """Of an IPv6 address its /64, of which one household has all, or the IPv4 address in it; else as it is."""
    if ":" not in client:
        return client
    try:
        address = ipaddress.IPv6Address(client.partition("%")[0])
    except ValueError:
        return client
    embedded = address.ipv4_mapped
    if embedded is None and address in _NAT64:
        embedded = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return str(embedded or ipaddress.ip_network((address, 64), strict=False))
