"""Bad bodies: each is refused with the status that fits, names all its faults, and changes nothing."""

import io
import json
from typing import Any

import pytest

from app.errors import BODY_LIMIT as LIMIT
from tests.http.client import Client, Reply

GOOD = {"user_name": "ada", "title": "T", "body": "B"}
POST, RETWEET = "/api/v1/tweet", "/api/v1/retweet"
ID = "0000000000000"


def with_raw(field: str, text: bytes) -> bytes:
    """A good body in which *field* has the JSON text *text*."""
    rest = {name: value for name, value in GOOD.items() if name != field}
    return json.dumps(rest).encode()[:-1] + b',"' + field.encode() + b'":' + text + b"}"


@pytest.mark.parametrize(
    "content_type",
    [
        None,
        "",
        "text/plain",
        "application/x-www-form-urlencoded",
        "application/jsonx",
        "application/json, text/plain",
        "application/problem+json",
        "application/json; charset=latin-1",
        "application/json; charset=utf-16",
        "json",
    ],
)
def test_content_type(client: Client, content_type: str | None) -> None:
    """No content type, or one that is not JSON in UTF-8, is 415."""
    reply = client.post(POST, GOOD, CONTENT_TYPE=content_type)
    assert (reply.status, reply.json()["code"]) == (415, "not_json")


@pytest.mark.parametrize(
    "content_type",
    [
        "application/json",
        "application/json;charset=utf-8",
        'Application/JSON ; charset="UTF-8"',
        "application/json; v=1",
        "application/json; charset=utf8",
    ],
)
def test_content_type_with_parameters(client: Client, content_type: str) -> None:
    """JSON in UTF-8 may say so, in any case, and may have other parameters."""
    assert client.post(POST, GOOD, CONTENT_TYPE=content_type).status == 201


@pytest.mark.parametrize(
    "body",
    [
        b"", b" ", b"{", b"}", b'{"user_name"}', b"{'a':1}", b"nul", b"\x00", b'{"a":1,}', b"{} {}", b"[1,]", b"01",
        b"\xef\xbb\xbf{}", b"\xff\xfe{\x00}\x00", b'{"title":"\xff"}', b'{"\xc3":1}', b'{"title":"\xed\xa0\x80"}',
        with_raw("title", b'"a\nb"'), with_raw("title", b'"a\x00b"'), with_raw("title", b'"\\x41"'),
        with_raw("title", b'"\\ud8"'), with_raw("title", b'"\\ud800"'), with_raw("title", b'"\\udc00\\ud800"'),
        with_raw("body", b'"\\ud83d"'), with_raw("x", b'"a\\udc00b"'), b'{"\\ud800": 1}',
        with_raw("title", b"'T'"), with_raw("title", b'"T'),
        with_raw("count_retweet", b"NaN"), with_raw("count_retweet", b"Infinity"),
        with_raw("count_retweet", b"-Infinity"), with_raw("count_retweet", b"1e999"),
        with_raw("count_retweet", b"-1e999"), with_raw("count_retweet", b"1" * 400 + b".5"),
        with_raw("count_retweet", b"0x10"), with_raw("count_retweet", b"+1"), with_raw("count_retweet", b".5"),
        with_raw("count_retweet", b"1_000"), with_raw("count_retweet", "\u0661".encode()),
        with_raw("count_retweet", b"9" * 5000), with_raw("x", b"NaN"),
        b"[" * 30_000, b'{"a":' * 10_000, b"[" * 30_000 + b"]" * 30_000, b'{"a":' * 10_000 + b"1" + b"}" * 10_000,
        with_raw("title", b"[" * 1000 + b"]" * 1000), with_raw("title", b"[" * 100 + b"]" * 100),
        with_raw("x", b'{"a":' * 200 + b"1" + b"}" * 200),
    ],
    ids=lambda body: repr(body[:40]),
)  # fmt: skip
@pytest.mark.parametrize("path", [POST, RETWEET])
def test_not_json(client: Client, path: str, body: bytes) -> None:
    """What is not JSON in UTF-8, of finite numbers and of a sane depth, is 400."""
    reply = client.post(path, body)
    assert (reply.status, reply.json()["code"]) == (400, "bad_json")


@pytest.mark.parametrize("body", [b"null", b"[]", b'"x"', b"1", b"true", b"[{}]", b"1.5", b"[[[[[]]]]]"])
def test_not_an_object(client: Client, body: bytes) -> None:
    """JSON that is not an object is 422."""
    reply = client.post(POST, body)
    assert (reply.status, reply.json()["code"]) == (422, "not_an_object")


WRONG_TEXTS = [b"1", b"true", b"[]", b"{}", b"1.0"]
BLANK = [
    b'"\\u200b"',
    b'"\\ufeff"',
    b'"\\u2800 \\u3164"',
    b'"\\u202e\\u2066"',
    b'"\\ufe0f\\u034f"',
    b'"\\udb40\\udc41"',
    b'"\\udb40\\udd00\\u180b"',
]
"""Texts that show nothing: zero width, fillers, marks of direction, tags, selectors."""
BAD_TITLES = [
    b'""', b'" "', b'"\\t"', b'"\\n"', b'"a\\nb"', b'"a\\tb"', b'"T\\n"', b'"\\u0000"', b'"a\\u0000b"',
    b'"\\u001b[31m"',
    b'"\\u007f"', b'"\\u0085"', b'"a\\u009fb"', b'"\\u3000\\u2003"', '"\u3000"'.encode(), b'"\\u2028"',
    b'"a\\u2028b"', b'"a\\u2029"', b'"a\\r\\nb"', *BLANK, b'"' + b"x" * 281 + b'"',
]  # fmt: skip
BAD_BODIES = [
    b'""', b'" \\n\\t "', b'"\\u0000"', b'"a\\rb"', b'"a\\u000bb"', b'"a\\u000cb"', b'"\\u0085"', *BLANK, b'"\\r\\n"',
    b'"' + b"x" * 10_001 + b'"',
]  # fmt: skip
BAD_NAMES = [
    b'""', b'" "', b'"a b"', b'"ada\\n"', b'"a/b"', b'"a@b"', '"\u00e9"'.encode(), '"\u0660"'.encode(),
    '"\uff41"'.encode(),
    b'"a\\u0000"', b'"."', b'".."', b'"' + b"." * 64 + b'"', b'"' + b"x" * 65 + b'"',
]  # fmt: skip
BAD_COUNTS = [b"-1", b"1000000000001", b"9" * 25, b"9" * 1000, b"-" + b"9" * 300]
WRONG_COUNTS = [b"true", b"false", b"1.0", b"0.5", b"1e2", b'"1"', b'""', b"[]", b"{}", b"-0.0"]


@pytest.mark.parametrize(
    ("field", "text", "code"),
    [
        *[(field, text, "wrong_type") for field in ("user_name", "title", "body", "retweet") for text in WRONG_TEXTS],
        *[("title", text, "invalid") for text in BAD_TITLES],
        *[("body", text, "invalid") for text in BAD_BODIES],
        *[("user_name", text, "invalid") for text in BAD_NAMES],
        *[("count_retweet", text, "out_of_range") for text in BAD_COUNTS],
        *[("count_retweet", text, "wrong_type") for text in WRONG_COUNTS],
        *[("retweet", text, "invalid") for text in (b'" "', b'"0"', b'"\\u0000"', b'"null"')],
        ("likes", b"1", "unknown"),
        ("id", b'"0"', "unknown"),
        ("", b"null", "unknown"),
        ("Title", b'"T"', "unknown"),
    ],
    ids=lambda value: repr(value[:30]),
)
def test_bad_fields(client: Client, field: str, text: bytes, code: str) -> None:
    """A bad value is 422 and its field is named; it is the only fault."""
    reply = client.post(POST, with_raw(field, text))
    assert (reply.status, reply.json()["code"], reply.faults()) == (422, "invalid_body", {field: code})


@pytest.mark.parametrize(
    "text",
    [
        b'""',
        b"null",
        b'"x"',
        b'"000000000000"',
        b'"00000000000000"',
        b'"000000000000i"',
        b'"8000000000000"',
        b'"000000000000\\n"',
        b"0",
        b'"000000000000L"',
    ],
)
def test_retweet_of_a_malformed_id(client: Client, text: bytes) -> None:
    """POST /retweet with a `retweet` that is missing or no id is 422."""
    reply = client.post(RETWEET, b'{"user_name":"bob","retweet":' + text + b"}")
    assert (reply.status, list(reply.faults())) == (422, ["retweet"])


def test_missing_fields(client: Client) -> None:
    """Fields that are missing or null are all named; so is what is wrong beside them."""
    post = client.post(POST, {"title": None, "count_retweet": -1, "x": 1})
    retweet = client.post(RETWEET, {})

    assert post.faults() == {
        "user_name": "missing", "title": "missing", "body": "missing", "count_retweet": "out_of_range", "x": "unknown",
    }  # fmt: skip
    assert retweet.faults() == {"user_name": "missing", "retweet": "missing"}


@pytest.mark.parametrize(
    ("field", "text"),
    [
        ("title", "x" * 280), ("title", "\U0001f600" * 280), ("title", " x "), ("title", "\u202eabc\u2066"),
        ("title", "مرحبا"), ("title", "\u200da\ufeff"), ("title", "<script>alert(1)</script>"), ("title", "'; --"),
        ("body", "x" * 10_000), ("body", "\U0001f600" * 10_000), ("body", "\n\tx\n"), ("body", "e\u0301"),
        ("user_name", "x" * 64), ("user_name", "a"), ("user_name", "._-"), ("user_name", "0"),
    ],
    ids=lambda value: ascii(value[:20]),
)  # fmt: skip
def test_good_fields(client: Client, field: str, text: str) -> None:
    """Text of any script and direction, up to the limit in code points, comes back as it was given."""
    reply = client.post(POST, json.dumps(GOOD | {field: text}, ensure_ascii=False).encode())
    assert reply.status == 201
    assert client.get(reply.headers["location"]).json()[field] == text


def test_escapes(client: Client) -> None:
    """Text may be escaped: the longest of it, 12 bytes a character, fits into the limit of a body."""
    text = "\U0001f600\u202e"
    assert client.post(POST, GOOD | {"title": text}).json()["title"] == text
    assert client.post(POST, GOOD | {"title": "\U0001f600" * 280, "body": "\U0001f600" * 10_000}).status == 201


def test_line_ends_of_windows(client: Client) -> None:
    """CRLF in a body becomes LF, before its characters are counted."""
    for sent, kept in (("a\r\nb\r\n", "a\nb\n"), ("\r\n" * 4_999 + "xy", "\n" * 4_999 + "xy"), ("a\n\r\n", "a\n\n")):
        assert client.post(POST, GOOD | {"body": sent}).json()["body"] == kept


@pytest.mark.parametrize("text", [b"0", b"-0", b"null", b"1000000000000"])
def test_good_counts(client: Client, text: bytes) -> None:
    """The ends of the range are in it, and null is left out."""
    assert client.post(POST, with_raw("count_retweet", text)).status == 201


@pytest.mark.parametrize(
    "first", [b'"other"', b"1", b"[[1]]", b'""', b'"a\\u0000"', b"99999999999999999999999999999999"]
)
def test_the_last_of_a_key_counts(client: Client, first: bytes) -> None:
    """Of a key given twice the last counts, however bad the first; and the last alone can make the body bad."""
    good = client.post(POST, b'{"title":' + first + b',"user_name":"ada","body":"B","title":"last"}')
    bad = client.post(POST, b'{"title":"good","user_name":"ada","body":"B","title":1}')

    assert (good.status, good.json()["title"]) == (201, "last")
    assert bad.faults() == {"title": "wrong_type"}


def test_faults_of_unknown_fields_are_bounded(client: Client) -> None:
    """A body of thousands of unknown fields, or of one with a huge name, gets a short answer."""
    many = client.post(POST, GOOD | dict.fromkeys(map(str, range(5000)), 1))
    long = client.post(POST, GOOD | {"x" * 60_000: 1})

    assert (many.status, len(many.json()["errors"])) == (422, 100)
    assert (long.status, len(long.json()["errors"][0]["field"])) == (422, 100)


def test_nothing_of_the_values_comes_back(client: Client) -> None:
    """An error repeats no value that was sent."""
    marker = "xyzzy plugh"
    for name in (*GOOD, "retweet", "count_retweet"):
        reply = client.post(POST, GOOD | {name: [marker]})
        assert (reply.status, marker.encode() in reply.body) == (422, False)


class Endless(io.BytesIO):
    """A body without an end, which notes how much of it was read."""

    taken = 0

    def read(self, size: int | None = -1, /) -> bytes:
        """Give as many bytes as are asked for."""
        assert size is not None
        assert size >= 0, "it was to be read whole"
        self.taken += size
        return b" " * size


def padded(length: int) -> bytes:
    body = json.dumps(GOOD).encode()
    return body + b" " * (length - len(body))


def chunked(client: Client, body: io.BytesIO) -> Reply:
    """POST without a length, as a server passes on a chunked body."""
    ended: dict[str, Any] = {"CONTENT_LENGTH": None, "HTTP_TRANSFER_ENCODING": "chunked", "wsgi.input_terminated": True}
    return client.post(POST, b"", **ended, **{"wsgi.input": body})


def test_body_limit(client: Client) -> None:
    """A body of 128 KiB is read, one of a byte more is 413, whether it tells its length or comes in chunks."""
    assert LIMIT == 131_072
    assert client.post(POST, padded(LIMIT)).status == 201
    assert chunked(client, io.BytesIO(padded(LIMIT))).status == 201

    for reply in (client.post(POST, padded(LIMIT + 1)), chunked(client, io.BytesIO(padded(LIMIT + 1)))):
        assert (reply.status, reply.json()["code"]) == (413, "too_large")


def test_no_more_is_read_than_needed(client: Client) -> None:
    """At most one byte over the limit is read of a body in chunks, or of one that tells too great a length."""
    endless, announced = Endless(), Endless()
    assert chunked(client, endless).status == 413
    environ: dict[str, Any] = {"CONTENT_LENGTH": "9" * 30, "wsgi.input": announced}
    assert client.raw("POST", POST, **environ).status == 413
    assert (endless.taken, announced.taken) == (LIMIT + 1, LIMIT + 1)


def test_no_body(client: Client) -> None:
    """Without a length and without chunks there is no body: 400, and nothing is waited for."""
    endless = Endless()
    reply = client.post(POST, b"", CONTENT_LENGTH=None, **{"wsgi.input": endless})
    assert (reply.status, endless.taken) == (400, 0)


def test_refused_writes_change_nothing(fresh: Client) -> None:
    """After any number of refused writes the service is as it was."""
    root = fresh.tweet()
    before = fresh.get("/api/v1/top").body
    target = json.dumps(root["id"]).encode()
    for field, text in (
        ("title", b'""'),
        ("body", b"1"),
        ("user_name", b'"a b"'),
        ("count_retweet", b"-1"),
        ("x", b"1"),
    ):
        assert fresh.post(RETWEET, with_raw(field, text)[:-1] + b',"retweet":' + target + b"}").status == 422
        assert fresh.post(POST, with_raw(field, text)).status == 422
    assert fresh.get("/api/v1/top").body == before
