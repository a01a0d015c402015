"""
Where a request begins and ends, and what is refused because that is not certain (RFC 9112).

The header part of waitress' parser is replaced. Its expressions need time that grows with the square of a hostile line
(6 s for a request line of 8 KB, while nobody else is served), and it takes ambiguous framing, which proxies may read
in another way: request smuggling.
"""

import re
import time

from waitress.adjustments import Adjustments
from waitress.buffers import OverflowableBuffer
from waitress.parser import HTTPRequestParser, unquote_bytes_to_wsgi
from waitress.receiver import FixedStreamReceiver

from app.errors import Refusal
from app.server.answers import BODY_TOO_LARGE, WaitressError
from app.server.chunks import Chunks

LARGEST_BODY = 64 * 1024

# Linear in their input: no byte fits two neighbouring parts. Control characters, thus bare CR and LF, fit nowhere.
_REQUEST_LINE = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+) ([\x21\x22\x24-\x7e]+) HTTP/(1\.[01])")
_ABSOLUTE_FORM = re.compile(rb"https?://[^/?]+([/?].*)?", re.IGNORECASE)
_HEADER = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+):([\t\x20-\x7e\x80-\xff]*)")
_HOST = re.compile(r"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9\-._~!$&'()*+;=%]*)(?::[0-9]*)?")  # no comma: that joins two
_LENGTH = re.compile(r"[0-9]+")


class _Refused(Exception):
    """The header cannot be accepted; `refusal` is the answer."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(code)
        self.refusal = Refusal(400, code, detail)


class StrictRequest(HTTPRequestParser):
    """
    A request that arrives. `started` is when its first byte did, in seconds since 1970.

    Headers are in `headers` by their names in capitals with underscores, repeated ones joined by a comma.
    """

    error: Refusal | WaitressError | None = None
    at_once = False
    """Whether the thread that runs the server calls the application, which then must not wait."""
    command = ""  # for the answer to a request line that cannot be read
    version = "1.1"

    def __init__(self, adj: Adjustments) -> None:
        super().__init__(adj)
        self.started = time.time()
        self.url_scheme = "http"

    def parse_header(self, header_plus: bytes) -> None:
        """Take in request line and headers, up to and with the empty line; sets `error` when they are refused."""
        request_line, *lines = header_plus.split(b"\r\n")
        try:
            self._read_request_line(request_line)
            self._read_headers(lines[:-2])
            self._check_host()
            self._expect_body()
        except _Refused as refused:
            self.error = refused.refusal

    def _read_request_line(self, line: bytes) -> None:
        match = _REQUEST_LINE.fullmatch(line)
        if match is None:
            raise _Refused("bad_request_line", "The request line is not of the form: GET /path HTTP/1.1")
        self.command = match[1].decode()
        self.version = match[3].decode()
        self.request_uri = match[2].decode()
        path, _, query = _origin_form(match[2]).partition(b"?")
        self.path = unquote_bytes_to_wsgi(path)
        self.query = query.decode()

    def _read_headers(self, lines: list[bytes]) -> None:
        headers = self.headers
        for line in lines:
            match = _HEADER.fullmatch(line)
            if match is None:
                raise _Refused("bad_header", "A header is not of the form: Name: value")
            name, value = match.groups()
            if b"_" in name:  # WSGI could not tell it from the one with a dash
                continue
            key = name.upper().replace(b"-", b"_").decode()
            text = value.strip(b" \t").decode("latin-1")
            headers[key] = f"{headers[key]}, {text}" if key in headers else text
        if "close" in headers.get("CONNECTION", "").lower():  # waitress looks for this one word alone
            headers["CONNECTION"] = "close"

    def _check_host(self) -> None:
        host = self.headers.get("HOST")
        if host is None and self.version == "1.1":
            raise _Refused("host_missing", "A request needs a Host header.")
        if host is not None and not _HOST.fullmatch(host):
            raise _Refused("bad_host", "The Host header is not one host and port.")

    def _expect_body(self) -> None:
        length, coding = self.headers.get("CONTENT_LENGTH"), self.headers.pop("TRANSFER_ENCODING", None)
        if coding is not None:
            if length is not None or self.version == "1.0" or coding.lower() != "chunked":
                raise _Refused("bad_framing", "Transfer-Encoding may only be: chunked, without a Content-Length.")
            self.chunked = True
            self.body_rcv = Chunks(LARGEST_BODY)
        elif length is not None:
            self._expect_bytes(length)
        # Without a body nobody waits for a 100; waitress would send it, and then wait for that body.
        self.expect_continue = (
            self.body_rcv is not None
            and self.version == "1.1"
            and self.headers.get("EXPECT", "").lower() == "100-continue"
        )

    def _expect_bytes(self, length: str) -> None:
        if not _LENGTH.fullmatch(length):
            raise _Refused("bad_length", "The Content-Length is not one whole number.")
        if len(length) > len(str(LARGEST_BODY)) or int(length) > LARGEST_BODY:  # nobody pads it with zeros
            self.error = BODY_TOO_LARGE
        elif int(length):
            self.content_length = int(length)
            self.body_rcv = FixedStreamReceiver(self.content_length, OverflowableBuffer(LARGEST_BODY))


def _origin_form(target: bytes) -> bytes:
    """*target* from its path on, which an absolute one is as good for (RFC 9112, section 3.2.2). Raises _Refused."""
    if target.startswith(b"/"):
        return target
    match = _ABSOLUTE_FORM.fullmatch(target)
    if match is None:
        raise _Refused("bad_target", "The target of the request is not a path.")
    return b"/" + (match[1] or b"").removeprefix(b"/")
