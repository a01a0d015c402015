"""What the server takes for a request, and what it refuses before the application sees it."""

import logging
import socket
import time
from collections.abc import Iterator
from wsgiref.types import StartResponse, WSGIEnvironment

import pytest

from app.server import Server
from tests.e2e.server_apps import Echo
from tests.e2e.server_wire import GET, Wire, check_problem, serving

KIB = 1024
BODY = b"x" * 128 * KIB
HEAD = b"POST /p HTTP/1.1\r\nHost: a\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"


@pytest.fixture(scope="module")
def echo() -> Echo:
    """What the server serves."""
    return Echo()


@pytest.fixture(scope="module")
def server(echo: Echo) -> Iterator[Server]:
    """A server that echoes."""
    with serving(echo) as running:
        yield running


def get(line: bytes, *headers: bytes) -> bytes:
    return b"\r\n".join([line, *headers, b"", b""])


REFUSED = {
    "garbage": (b"\x16\x03\x01\x02\x00\r\n\r\n", 400, "bad_request_line"),
    "one word": (get(b"GET", b"Host: a"), 400, "bad_request_line"),
    "no version": (get(b"GET /", b"Host: a"), 400, "bad_request_line"),
    "version of the future": (get(b"GET / HTTP/2.0", b"Host: a"), 505, "version_not_supported"),
    "version of the past": (get(b"GET / HTTP/0.9", b"Host: a"), 505, "version_not_supported"),
    "space before the request line": (b" " + GET, 400, "bad_request_line"),
    "bare LF before the request line": (b"\n" + GET, 400, "bad_request_line"),
    "bare CR before the request line": (b"\r\r" + GET, 400, "bad_request_line"),
    "tab and VT before the request line": (b"\r\n\t\x0b" + GET, 400, "bad_request_line"),
    "an encoded slash": (get(b"GET /%2Flivez HTTP/1.1", b"Host: a"), 400, "bad_path"),
    "an encoded slash in small letters": (get(b"GET /api%2fv1/top HTTP/1.1", b"Host: a"), 400, "bad_path"),
    "two slashes at the start": (get(b"GET //metrics HTTP/1.1", b"Host: a"), 400, "bad_path"),
    "the same with an authority": (get(b"GET http://a//metrics HTTP/1.1", b"Host: a"), 400, "bad_path"),
    "a path that is not UTF-8": (get(b"GET /api/v1/top%C3 HTTP/1.1", b"Host: a"), 400, "bad_path"),
    "a surrogate in the path": (get(b"GET /api/v1/users/%ED%A0%80/tweets HTTP/1.1", b"Host: a"), 400, "bad_path"),
    "version garbage": (get(b"GET / HTTP/1.1x", b"Host: a"), 400, "bad_request_line"),
    "a method that is no token": (get(b"GE[T / HTTP/1.1", b"Host: a"), 400, "bad_request_line"),
    "no method": (get(b" / HTTP/1.1", b"Host: a"), 400, "bad_request_line"),
    "two spaces": (get(b"GET  / HTTP/1.1", b"Host: a"), 400, "bad_request_line"),
    "NUL in the target": (get(b"GET /\0 HTTP/1.1", b"Host: a"), 400, "bad_request_line"),
    "raw UTF-8 in the target": (get("GET /ü HTTP/1.1".encode(), b"Host: a"), 400, "bad_request_line"),
    "fragment": (get(b"GET /#a HTTP/1.1", b"Host: a"), 400, "bad_request_line"),
    "bare CR": (get(b"GET / HTTP/1.1\rX: y", b"Host: a"), 400, "bad_request_line"),
    "bare LF": (b"GET / HTTP/1.1\nHost: a\n\r\n\r\n", 400, "bad_request_line"),
    "asterisk": (get(b"GET * HTTP/1.1", b"Host: a"), 400, "bad_target"),
    "authority": (get(b"CONNECT a:80 HTTP/1.1", b"Host: a"), 400, "bad_target"),
    "another scheme": (get(b"GET ftp://a/ HTTP/1.1", b"Host: a"), 400, "bad_target"),
    "broken IPv6 address": (get(b"GET http:// HTTP/1.1", b"Host: a"), 400, "bad_target"),
    "no colon": (get(b"GET / HTTP/1.1", b"Host: a", b"Name"), 400, "bad_header"),
    "space before the colon": (get(b"GET / HTTP/1.1", b"Host : a"), 400, "bad_header"),
    "no name": (get(b"GET / HTTP/1.1", b"Host: a", b": b"), 400, "bad_header"),
    "a second line": (get(b"GET / HTTP/1.1", b"Host: a", b"X: y", b" z"), 400, "bad_header"),
    "NUL in a value": (get(b"GET / HTTP/1.1", b"Host: a", b"X: \0"), 400, "bad_header"),
    "LF in a value": (get(b"GET / HTTP/1.1", b"Host: a", b"X: y\nZ: z"), 400, "bad_header"),
    "bytes in a name": (get(b"GET / HTTP/1.1", b"Host: a", b"\xff: b"), 400, "bad_header"),
    "no Host": (get(b"GET / HTTP/1.1"), 400, "host_missing"),
    "two Hosts": (get(b"GET / HTTP/1.1", b"Host: a", b"host: b"), 400, "bad_host"),
    "the same Host twice": (get(b"GET / HTTP/1.1", b"Host: a", b"Host: a"), 400, "bad_host"),
    "Host with a path": (get(b"GET / HTTP/1.1", b"Host: a/b"), 400, "bad_host"),
    "Host with a user": (get(b"GET / HTTP/1.1", b"Host: a@b"), 400, "bad_host"),
    "two lengths": (get(HEAD[:-2], b"Content-Length: 1", b"Content-Length: 2") + b"xx", 400, "bad_length"),
    "the same length twice": (get(HEAD[:-2], b"Content-Length: 1", b"Content-Length: 1"), 400, "bad_length"),
    "length below zero": (get(HEAD[:-2], b"Content-Length: -1"), 400, "bad_length"),
    "length with a sign": (get(HEAD[:-2], b"Content-Length: +1"), 400, "bad_length"),
    "length in words": (get(HEAD[:-2], b"Content-Length: one"), 400, "bad_length"),
    "no length": (get(HEAD[:-2], b"Content-Length:"), 400, "bad_length"),
    "length of other digits": (get(HEAD[:-2], b"Content-Length: \xb2"), 400, "bad_length"),
    "length and chunks": (get(HEAD[:-2], b"Content-Length: 5", b"Transfer-Encoding: chunked"), 400, "bad_framing"),
    "chunks and length": (get(HEAD[:-2], b"Transfer-Encoding: chunked", b"Content-Length: 5"), 400, "bad_framing"),
    "unknown coding": (get(HEAD[:-2], b"Transfer-Encoding: gzip"), 400, "bad_framing"),
    "coding before chunks": (get(HEAD[:-2], b"Transfer-Encoding: gzip, chunked"), 400, "bad_framing"),
    "chunks in chunks": (get(HEAD[:-2], b"Transfer-Encoding: chunked, chunked"), 400, "bad_framing"),
    "chunks twice": (get(HEAD[:-2], *[b"Transfer-Encoding: chunked"] * 2), 400, "bad_framing"),
    "empty coding": (get(HEAD[:-2], b"Transfer-Encoding:"), 400, "bad_framing"),
    "coding with a tab": (get(HEAD[:-2], b"Transfer-Encoding: \x0bchunked"), 400, "bad_header"),
    "chunks in HTTP/1.0": (get(b"POST / HTTP/1.0", b"Transfer-Encoding: chunked"), 400, "bad_framing"),
    "size that is no number": (CHUNKED + b"x\r\n", 400, "bad_chunk"),
    "size with a sign": (CHUNKED + b"+1\r\nx\r\n0\r\n\r\n", 400, "bad_chunk"),
    "size with a space after it": (CHUNKED + b"1 \r\nx\r\n0\r\n\r\n", 400, "bad_chunk"),
    "size with a prefix": (CHUNKED + b"0x1\r\nx\r\n0\r\n\r\n", 400, "bad_chunk"),
    "size ended by LF": (CHUNKED + b"1\nx\r\n0\r\n\r\n", 400, "bad_chunk"),
    "size with an LF": (CHUNKED + b"1\n\r\nx\r\n0\r\n\r\n", 400, "bad_chunk"),
    "LF in an extension": (CHUNKED + b"1;a\n\r\nx\r\n0\r\n\r\n", 400, "bad_chunk"),
    "line before the size": (CHUNKED + b"\r\n1\r\nx\r\n0\r\n\r\n", 400, "bad_chunk"),
    "chunk too long": (CHUNKED + b"1\r\nxy\r\n0\r\n\r\n", 400, "bad_chunk"),
    "endless extension": (CHUNKED + b"1;" + b"a" * 2000, 400, "bad_chunk"),
    "bad trailer": (CHUNKED + b"0\r\nno header\r\n\r\n", 400, "bad_chunk"),
    "endless trailer": (CHUNKED + b"0\r\nA: " + b"b" * 9000, 400, "bad_chunk"),
    "body too large": (get(HEAD[:-2], b"Content-Length: 131073") + BODY + b"x", 413, "too_large"),
    "length of thousands of digits": (get(HEAD[:-2], b"Content-Length: " + b"9" * 5000), 413, "too_large"),
    "chunk too large": (CHUNKED + b"FFFFFFFF\r\n", 413, "too_large"),
    "chunks too large": (CHUNKED + b"20000\r\n" + BODY + b"\r\n1\r\nx\r\n0\r\n\r\n", 413, "too_large"),
    "more chunk than body": (CHUNKED + (b"1;" + b"a" * 900 + b"\r\nx\r\n") * 1400, 413, "too_large"),
    "too large, but asks first": (
        get(HEAD[:-2], b"Expect: 100-continue", b"Content-Length: 99999999"),
        413,
        "too_large",
    ),
    "endless request line": (b"GET /" + b"a" * 40 * KIB, 431, "header_too_large"),
    "endless header": (b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"y" * 40 * KIB, 431, "header_too_large"),
    "endless headers": (b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: y\r\n" * 8 * KIB, 431, "header_too_large"),
    "a line that takes waitress minutes": (get(b"GET a://" + b"1" * 30000 + b" x"), 400, "bad_request_line"),
    "a header that takes waitress seconds": (get(GET[:-4], b"X:" + b" " * 30000 + b"\0"), 400, "bad_header"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_bad_request_is_refused_and_the_connection_closed(server: Server, echo: Echo, name: str) -> None:
    """Each is answered in the one shape of errors, the application never called, and nothing after it read."""
    raw, status, code = REFUSED[name]
    before = echo.calls
    with Wire(server.url) as wire:
        answer = wire.ask(raw + GET)
        assert (answer.status, answer.json["code"]) == (status, code)
        check_problem(answer)
        assert answer.headers["connection"] == "close"
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert wire.is_closed()
    assert echo.calls == before


TAKEN = {
    "plain": (GET, ("GET", "/", "", "")),
    "query": (get(b"GET /a%20b?c=%20&d=? HTTP/1.1", b"Host: a"), ("GET", "/a b", "c=%20&d=?", "")),
    "absolute": (get(b"GET http://b:80/a?c HTTP/1.1", b"Host: a"), ("GET", "/a", "c", "")),
    "absolute without a path": (get(b"GET HTTP://b HTTP/1.1", b"Host: a"), ("GET", "/", "", "")),
    "absolute with a query alone": (get(b"GET http://b?c HTTP/1.1", b"Host: a"), ("GET", "/", "c", "")),
    "asterisk": (get(b"OPTIONS * HTTP/1.1", b"Host: a"), ("OPTIONS", "*", "", "")),
    "a later minor version": (get(b"GET / HTTP/1.2", b"Host: a"), ("GET", "/", "", "")),
    "length with zeros before it": (get(HEAD[:-2], b"Content-Length: 000005") + b"hello", ("POST", "/p", "", "hello")),
    "unknown method": (get(b"BREW / HTTP/1.1", b"Host: a"), ("BREW", "/", "", "")),
    "small letters": (get(b"get / HTTP/1.1", b"Host: a"), ("get", "/", "", "")),
    "letters of a token": (get(b"Ge!#$%&'*+-.^_`|~09 / HTTP/1.1", b"Host: a"), ("Ge!#$%&'*+-.^_`|~09", "/", "", "")),
    "IPv6 host": (get(b"GET / HTTP/1.1", b"Host: [::1]:5000"), ("GET", "/", "", "")),
    "empty host": (get(b"GET / HTTP/1.1", b"Host:"), ("GET", "/", "", "")),
    "header in Latin-1": (get(b"GET / HTTP/1.1", b"Host: a", b"X: \xe9"), ("GET", "/", "", "")),
    "empty lines before": (b"\r\n\r\n" + GET, ("GET", "/", "", "")),
    "body": (get(HEAD[:-2], b"Content-Length: 5") + b"hello", ("POST", "/p", "", "hello")),
    "empty body": (get(HEAD[:-2], b"Content-Length: 0"), ("POST", "/p", "", "")),
    "largest body": (get(HEAD[:-2], b"Content-Length: 131072") + BODY, ("POST", "/p", "", BODY.decode())),
    "chunks": (CHUNKED + b"5\r\nhello\r\n6;a=b\r\n world\r\n0\r\n\r\n", ("POST", "/p", "", "hello world")),
    "largest chunk": (CHUNKED + b"20000\r\n" + BODY + b"\r\n0\r\n\r\n", ("POST", "/p", "", BODY.decode())),
    "many chunks": (CHUNKED + b"1\r\nx\r\n" * 9000 + b"00\r\n\r\n", ("POST", "/p", "", "x" * 9000)),
    "trailer": (CHUNKED + b"1\r\nx\r\n0\r\nA: b\r\nC: d\r\n\r\n", ("POST", "/p", "", "x")),
    "expects nothing": (get(b"GET / HTTP/1.1", b"Host: a", b"Expect: 100-continue"), ("GET", "/", "", "")),
}


CUTS = [(name, piece) for name, (raw, _) in TAKEN.items() for piece in (1, 7, 1 << 20) if len(raw) < piece * 10000]


@pytest.mark.parametrize(("name", "piece"), CUTS)
def test_a_good_request_reaches_the_application(server: Server, name: str, piece: int) -> None:
    """However the bytes are cut into packets, and the connection stays open for the next request."""
    raw, expected = TAKEN[name]
    with Wire(server.url) as wire:
        for _ in range(2):
            wire.send(*[raw[at : at + piece] for at in range(0, len(raw), piece)])
            answer = wire.find_answer()
            assert answer is not None
            assert tuple(answer.json.values()) == expected
            assert "connection" not in answer.headers
            assert "server" not in answer.headers


def test_a_header_with_an_underscore_does_not_pass_for_one_with_a_dash(server: Server) -> None:
    """`Content_Length` is no length: WSGI spells both alike."""
    with Wire(server.url) as wire:
        answer = wire.ask(get(HEAD[:-2], b"Content_Length: 5", b"Content-Length: 2") + b"hi")
        assert answer.json["body"] == "hi"


def test_requests_sent_at_once_are_answered_in_their_order(server: Server) -> None:
    """Pipelining: a hundred requests in one packet, a hundred answers; a bad one ends it."""
    raw = b"".join(get(b"GET /%d HTTP/1.1" % number, b"Host: a") for number in range(100))
    with Wire(server.url) as wire:
        wire.send(raw + b"bad\r\n\r\n" + GET)
        answers = [wire.find_answer() for _ in range(101)]
        assert [answer.json["path"] for answer in answers[:-1] if answer] == [f"/{number}" for number in range(100)]
        assert answers[-1] is not None
        assert answers[-1].status == 400
        assert wire.is_closed()


def test_http_1_0_needs_no_host_and_is_closed(server: Server) -> None:
    """Unless the client asks to keep the connection."""
    with Wire(server.url) as wire:
        for option in (b"Keep-Alive", b"keep-alive, TE"):
            answer = wire.ask(get(b"GET / HTTP/1.0", b"Connection: " + option))
            assert answer.headers["connection"] == "Keep-Alive"
        answer = wire.ask(b"GET / HTTP/1.0\r\n\r\n")
        assert (answer.version, answer.status) == ("HTTP/1.0", 200)
        assert wire.is_closed()


@pytest.mark.parametrize("option", [b"close", b"Close", b"keep-alive, close"])
def test_a_client_may_end_the_connection(server: Server, option: bytes) -> None:
    """`Connection: close` is answered and obeyed, also in a list."""
    with Wire(server.url) as wire:
        answer = wire.ask(get(GET[:-4], b"Connection: " + option))
        assert (answer.status, answer.headers["connection"]) == (200, "close")
        assert wire.is_closed()


def test_a_word_that_has_close_in_it_closes_nothing(server: Server) -> None:
    """`Connection` is a list of whole words."""
    with Wire(server.url) as wire:
        for _ in range(2):
            assert "connection" not in wire.ask(get(GET[:-4], b"Connection: x-close-not")).headers


@pytest.mark.parametrize("raw", ["body", "chunks"])
def test_a_client_that_asks_first_is_told_to_go_on(server: Server, raw: str) -> None:
    """`Expect: 100-continue` gets a 100 before the body is sent, and the answer after it."""
    header, _, body = TAKEN[raw][0].partition(b"\r\n\r\n")
    with Wire(server.url) as wire:
        assert wire.ask(get(header, b"Expect: 100-continue")).status == 100
        assert tuple(wire.ask(body).json.values()) == TAKEN[raw][1]


def test_a_refused_body_that_is_sent_all_the_same_does_not_destroy_the_answer(server: Server) -> None:
    """10 MB are refused by their length; the client that sends them first can still read why."""
    with Wire(server.url) as wire:
        wire.send(get(HEAD[:-2], b"Content-Length: 10000000"), *[BODY] * 77)
        answer = wire.find_answer()
        assert answer is not None
        assert answer.status == 413


def test_what_comes_after_a_refusal_is_thrown_away(server: Server, echo: Echo) -> None:
    """Also when it comes later: the client does not know where it stands either."""
    before = echo.calls
    with Wire(server.url) as wire, Wire(server.url) as other:
        assert wire.ask(b"bad\r\n\r\n").status == 400
        wire.send(GET)
        for _ in range(20):
            assert other.ask(GET).status == 200
    assert echo.calls == before + 20


def test_head_gets_no_body_when_it_is_refused(server: Server) -> None:
    """The headers are those of the problem, its length among them."""
    with Wire(server.url) as wire:
        answer = wire.ask(get(b"HEAD / HTTP/1.1"), "HEAD")
        assert answer.status == 400
        assert int(answer.headers["content-length"]) > 0
        check_problem(answer, head=True)
        assert wire.is_closed()


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_fault_of_the_application_is_logged_and_not_told(
    server: Server, method: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The client gets a fixed sentence, the log the cause."""
    with caplog.at_level(logging.ERROR), Wire(server.url) as wire:
        answer = wire.ask(get(method.encode() + b" /raise HTTP/1.1", b"Host: a"), method)
        assert answer.status == 500
        check_problem(answer, head=method == "HEAD")
        assert b"secret" not in answer.body
        assert wire.is_closed()
    assert "a secret of the application" in caplog.text


def test_a_refusal_is_told_of_before_it_is_sent(echo: Echo) -> None:
    """An answer that a client has is counted, however long that takes; here a thread writes it, and another sends."""
    seen: list[int] = []

    def refused(_method: str, status: int, _address: str) -> None:
        time.sleep(0.05)
        seen.append(status)

    with serving(echo, refused=refused) as server, Wire(server.url) as wire:
        assert wire.ask(get(b"GET /raise HTTP/1.1", b"Host: a")).status == 500
        assert seen == [500]


def test_urgent_data_is_ignored(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    """A client that sends some is answered as any other, where waitress would log it without end."""
    with caplog.at_level(logging.INFO), Wire(server.url) as wire:
        wire.socket.send(b"!", socket.MSG_OOB)
        assert wire.ask(GET).status == 200
    assert caplog.text == ""


def test_an_answer_goes_out_at_once(server: Server) -> None:
    """Header and body are sent together, so that a client that reads once has both."""
    with Wire(server.url) as wire:
        for _ in range(20):
            wire.send(GET)
            assert wire.socket.recv(4096).endswith(b"}")


def test_an_answer_that_is_not_taken_at_once_arrives_whole() -> None:
    """What the client has no room for yet is kept; the next answer follows it."""
    body = b"".join(b"%07d\n" % number for number in range(1_000_000))

    def application(_environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
        start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
        return [body]

    with serving(application) as server, Wire(server.url) as wire:
        wire.send(GET + GET)
        time.sleep(0.1)  # for the server to fill what the system keeps for a client
        answers = [wire.find_answer() for _ in range(2)]
    assert [answer is not None and answer.body == body for answer in answers] == [True, True]


@pytest.mark.parametrize("status", ["204 No Content", "304 Not Modified"])
def test_an_answer_without_a_body_leaves_the_connection_open(status: str) -> None:
    """It ends with its header, so the next request comes on the same connection, until the client has said the last."""

    def application(_environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
        start_response(status, [("Etag", '"a"')])
        return []

    with serving(application) as server, Wire(server.url) as wire:
        for _ in range(3):
            answer = wire.ask(GET)
            assert (answer.status, answer.headers.get("connection")) == (int(status[:3]), None)
            assert "transfer-encoding" not in answer.headers
        assert wire.ask(get(b"GET / HTTP/1.1", b"Host: a", b"Connection: close")).headers["connection"] == "close"
        assert wire.is_closed()
    with serving(application) as server, Wire(server.url) as wire:
        assert wire.ask(get(b"GET / HTTP/1.0")).headers["connection"] == "close"
        assert wire.is_closed()
