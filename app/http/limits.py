"""
How many writes one token or address may make: a bucket for each, in the memory of this process.

Several worker processes have buckets of their own, so a client may reach as many times the rate. The address is the one
that connected: behind a proxy that is the proxy, as what X-Forwarded-For says can be made up by anybody.
"""

import ipaddress
import math
import threading
import time
from collections import OrderedDict

from app.http.answers import refusal
from app.settings import Rate

BUCKETS = 10_000
"""Buckets kept, some 2 MB; past that the one untouched for longest is forgotten, which makes it a full one."""

ROUNDING_S = 1e-6


class Limiter:
    """
    Buckets that hold as many calls as *rate* says, and fill up evenly in its time.

    Of each bucket only the time is kept at which it is full again.
    """

    def __init__(self, rate: Rate) -> None:
        self._fills_in_s = float(rate.per_s)
        self._one_s = rate.per_s / rate.calls
        self._full_at: OrderedDict[str, float] = OrderedDict()
        self._lock = threading.Lock()

    def check(self, client: str) -> None:
        """Take a call out of the bucket of *client*, a token's id or an address. Raises the refusal, 429."""
        wait_s = self.take(_of_network(client), time.monotonic())
        if wait_s > 0:
            headers = [("Retry-After", str(math.ceil(wait_s)))]
            raise refusal(
                429, "too_many_writes", "Too many writes. Nothing was stored; ask again later.", headers=headers
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


def _of_network(client: str) -> str:
    """Of an IPv6 address its /64, of which one household has all; anything else as it is."""
    if ":" not in client:
        return client
    try:
        return str(ipaddress.ip_network((client.partition("%")[0], 64), strict=False))
    except ValueError:
        return client
