"""Requests that are almost right: valid ones of the real service, and the ways in which bytes go wrong."""

import random
import re
from collections.abc import Callable, Sequence

Mutation = Callable[[random.Random, bytes, Sequence[bytes]], bytes]

# What has broken parsers before: signs, limits, half characters, ends of lines, other ends of lines.
BYTES = [
    *[
        bytes([number])
        for number in (0, 9, 10, 11, 13, 32, 34, 35, 37, 44, 47, 58, 63, 92, 127, 128, 133, 194, 240, 255)
    ],
    *[b"\r\n", b"\n\n", b"\r\n\r\n", b"\r\n ", b"%", b"%00", b"%0a", b"%ff", b"%C0%AF", b"..", b"//", b"\xed\xa0\x80"],
    *[
        "ü".encode(),
        "٣".encode(),
        "😀".encode(),
        b"\xf4\x90\x80\x80",
        b"\xef\xbb\xbf",
        b"HTTP/1.1",
        b"0",
        b"-1",
        b"9" * 20,
    ],
]
HEADERS = [
    *[b"Content-Length: " + value for value in (b"0", b"1", b"5", b"-1", b"+7", b"0x10", b"1e3", b"99999999", b"1, 1")],
    *[b"Transfer-Encoding: " + value for value in (b"chunked", b"Chunked", b"gzip", b"chunked, chunked", b"identity")],
    *[b"Host: other", b"Host:", b"Host: a/b", b"Connection: close", b"Connection: keep-alive", b"Connection: upgrade"],
    *[b"Expect: 100-continue", b"Expect: more", b"Upgrade: h2c", b"Content-Encoding: gzip", b"X-Forwarded-For: ::1"],
    *[b"Content-Type: " + value for value in (b"text/plain", b"application/json; charset=utf-16", b"", b"\xff")],
    *[b"Idempotency-Key: " + value for value in (b"", b"a", b"\xff", b"k" * 256, b"a b")],
    *[b"If-None-Match: *", b'If-None-Match: "', b"Accept: text/html", b"Range: bytes=0-1", b"X: " + b"y" * 40_000],
    *[b"X-HTTP-Method-Override: DELETE", b"Content_Length: 3", b" folded", b"no colon", b": no name", b"Name : value"],
]
VALUES = [
    *[
        b"null",
        b"true",
        b"1",
        b"1.0",
        b"-1",
        b"1e999",
        b"NaN",
        b"-Infinity",
        b"1" * 5000,
        b"1000000000001",
        b'""',
        b'" "',
    ],
    *[
        b'"\\ud800"',
        b'"\\u0000"',
        b'"a\\nb"',
        b'"\\x"',
        b'"' + b"z" * 10_001 + b'"',
        b'"\xff"',
        b"{}",
        b"[]",
        b"'a'",
        b"",
    ],
    *[
        b"[" * 3000 + b"]" * 3000,
        b'{"a":' * 2000 + b"1" + b"}" * 2000,
        b'"' + "😀".encode() * 280 + b'"',
        b'"0000000000000"',
    ],
]
TARGETS = [
    *[
        b"/api/v1/tweet/" + name
        for name in (b"", b"0", b"../top", b"%00", b"%ff", b"%C3%BC", b"0" * 13, b"Z" * 13, b"a" * 900)
    ],
    *[
        b"/api/v1/top?limit=" + value
        for value in (b"", b"0", b"-1", b"101", b"1e1", b"%D9%A3", b"1" * 5000, b"1&limit=2")
    ],
    *[
        b"/api/v1/top?cursor=" + value
        for value in (b"", b"0.", b"1.%00", b"9" * 30 + b"." + b"0" * 13, b"%ed%a0%80", b"+")
    ],
    *[b"/api/v1/users/" + name + b"/tweets" for name in (b"", b"%2e%2e", b"%F0%9F%98%80", b"a%0a", b"u" * 65, b"a/b")],
    *[
        b"/",
        b"//",
        b"/%2e%2e/%2e%2e/etc/passwd",
        b"/static/../app.py",
        b"/static/%00",
        b"/tweet/%ff",
        b"/?",
        b"*",
        b"x",
    ],
]
METHODS = [
    b"GET",
    b"HEAD",
    b"POST",
    b"DELETE",
    b"PUT",
    b"PATCH",
    b"OPTIONS",
    b"TRACE",
    b"CONNECT",
    b"get",
    b"BREW",
    b"",
]

_VALUE = re.compile(rb'(?<=:)("[^"]*"|[0-9]+|null)')
_LENGTH = re.compile(rb"Content-Length: [0-9]+")


def valid_requests(ids: Sequence[str]) -> list[bytes]:
    """One of each kind that the service takes, about tweets with these *ids*."""
    one, other = ids[0], ids[-1]
    tweet = '{"user_name":"ada","title":"A title","body":"A body","count_retweet":3}'
    retweet = f'{{"user_name":"bob","retweet":"{other}","title":null,"body":"Again","count_retweet":null}}'
    reads = [
        *["/", "/livez", "/readyz", "/api/v1/top", "/api/v1/top?limit=3", f"/api/v1/top?limit=2&cursor=4.{one}"],
        *[
            f"/api/v1/tweet/{one}",
            f"/api/v1/tweet/{one}/chain",
            f"/api/v1/tweet/{one}/rank",
            "/api/v1/users/ada/tweets",
        ],
        *[f"/api/v1/tweet/{one}/retweets?limit=5&cursor={other}", f"/tweet/{other}", "http://a/api/v1/top?limit=1"],
    ]
    return [
        *[_request("GET", path) for path in reads],
        _request("HEAD", "/api/v1/top"),
        _request("DELETE", f"/api/v1/tweet/{ids[1]}"),
        _request("POST", "/api/v1/tweet", tweet),
        _request("POST", "/api/v1/tweet", tweet, "Idempotency-Key: once"),
        _request("POST", "/api/v1/retweet", retweet),
        _request("POST", "/api/v1/retweet", retweet, "Expect: 100-continue"),
        _chunked("/api/v1/retweet", retweet),
        _request("GET", "/livez") + _request("POST", "/api/v1/retweet", retweet) + _request("GET", "/api/v1/top"),
    ]


def _request(method: str, path: str, body: str = "", *headers: str) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1:5000", "Accept: */*", *headers]
    if body:
        lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    return "\r\n".join([*lines, "", body]).encode()


def _chunked(path: str, body: str) -> bytes:
    head = _request("POST", path, "", "Content-Type: application/json", "Transfer-Encoding: chunked")
    return head + b"10\r\n%b\r\n%x;a=b\r\n%b\r\n0\r\n\r\n" % (body[:16].encode(), len(body) - 16, body[16:].encode())


def mutate(rng: random.Random, requests: Sequence[bytes]) -> bytes:
    """One of *requests*, with one to four things wrong with it."""
    raw = rng.choice(requests)
    for _ in range(rng.choice([1, 1, 1, 2, 2, 3, 4])):
        raw = rng.choice(MUTATIONS)(rng, raw, requests)
    return raw


def _span(rng: random.Random, raw: bytes, longest: int) -> tuple[int, int]:
    start = rng.randrange(len(raw) + 1)
    return start, min(len(raw), start + rng.randint(1, longest))


def flip_bits(rng: random.Random, raw: bytes, _requests: Sequence[bytes]) -> bytes:
    """Change one to three bits."""
    changed = bytearray(raw or b" ")
    for _ in range(rng.randint(1, 3)):
        changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def delete(rng: random.Random, raw: bytes, _: Sequence[bytes]) -> bytes:
    """Leave some bytes out."""
    start, end = _span(rng, raw, 40)
    return raw[:start] + raw[end:]


def repeat(rng: random.Random, raw: bytes, _: Sequence[bytes]) -> bytes:
    """Say some bytes again."""
    start, end = _span(rng, raw, 60)
    return raw[:end] + raw[start:end] * rng.choice([1, 1, 2, 50]) + raw[end:]


def insert(rng: random.Random, raw: bytes, _: Sequence[bytes]) -> bytes:
    """Put in bytes that have broken parsers, or random ones."""
    at = rng.randrange(len(raw) + 1)
    return raw[:at] + rng.choice([rng.choice(BYTES), rng.randbytes(rng.randint(1, 9))]) + raw[at:]


def replace(rng: random.Random, raw: bytes, _: Sequence[bytes]) -> bytes:
    """Write such bytes over others."""
    start, end = _span(rng, raw, 4)
    return raw[:start] + rng.choice(BYTES) + raw[end:]


def truncate(rng: random.Random, raw: bytes, _: Sequence[bytes]) -> bytes:
    """Stop in the middle."""
    return raw[: rng.randrange(len(raw) + 1)]


def splice(rng: random.Random, raw: bytes, requests: Sequence[bytes]) -> bytes:
    """Go on as another request does."""
    other = rng.choice(requests)
    return raw[: rng.randrange(len(raw) + 1)] + other[rng.randrange(len(other) + 1) :]


def add_header(rng: random.Random, raw: bytes, _: Sequence[bytes]) -> bytes:
    """Add a header that changes what the others mean."""
    lines = raw.split(b"\r\n")
    lines.insert(rng.randint(1, len(lines)), rng.choice(HEADERS))
    return b"\r\n".join(lines)


def move_line(rng: random.Random, raw: bytes, _: Sequence[bytes]) -> bytes:
    """Say a line somewhere else, or twice."""
    lines = raw.split(b"\r\n")
    line = rng.choice(lines) if rng.random() < 0.5 else lines.pop(rng.randrange(len(lines)))
    lines.insert(rng.randint(0, len(lines)), line)
    return b"\r\n".join(lines)


def change_method(rng: random.Random, raw: bytes, _: Sequence[bytes]) -> bytes:
    """Ask for something else to be done."""
    return rng.choice(METHODS) + b" " + raw.partition(b" ")[2]


def change_target(rng: random.Random, raw: bytes, _: Sequence[bytes]) -> bytes:
    """Ask it of something else."""
    method, _space, rest = raw.partition(b" ")
    return method + b" " + rng.choice(TARGETS) + b" " + rest.partition(b" ")[2]


def change_value(rng: random.Random, raw: bytes, _requests: Sequence[bytes]) -> bytes:
    """Put another JSON value in the place of one, the length right again."""
    head, _, body = raw.partition(b"\r\n\r\n")
    values = list(_VALUE.finditer(body))
    if not values:
        return raw
    value = rng.choice(values)
    body = body[: value.start()] + rng.choice(VALUES) + body[value.end() :]
    return _LENGTH.sub(b"Content-Length: %d" % len(body), head) + b"\r\n\r\n" + body


def change_body(rng: random.Random, raw: bytes, requests: Sequence[bytes]) -> bytes:
    """Change the bytes of the body alone, the length right again."""
    head, _, body = raw.partition(b"\r\n\r\n")
    body = rng.choice([flip_bits, delete, repeat, insert, replace, truncate])(rng, body, requests)
    return _LENGTH.sub(b"Content-Length: %d" % len(body), head) + b"\r\n\r\n" + body


MUTATIONS: list[Mutation] = [
    *[flip_bits, delete, repeat, insert, replace, truncate, splice, add_header, move_line, change_method],
    *[change_target, change_value, change_value, change_value, change_body, change_body],
]
