"""
Where a request begins and ends, and what is refused because that is not certain (RFC 9112).

The header part of waitress' parser and its receiver of chunks are replaced. The expressions of the former need time
that grows with the square of a hostile line (6 s for a request line of 8 KB, while all others wait), and both take
ambiguous framing, which proxies may read in another way: request smuggling.
"""

import re
import time
from io import BytesIO
from typing import Any, BinaryIO
from urllib.parse import unquote_to_bytes

from waitress.adjustments import Adjustments
from waitress.parser import HTTPRequestParser

from app.errors import BODY_LIMIT, BODY_TOO_LARGE, ProblemSpec

_BAD_CHUNK = ProblemSpec(400, "bad_chunk", "The body is not well-formed in chunks.")
_BAD_PATH = ProblemSpec(
    400, "bad_path", "The path is not UTF-8, begins with two slashes, or has a slash that is percent-encoded."
)
_BAD_REQUEST_LINE = ProblemSpec(400, "bad_request_line", "The request line is not of the form: GET /path HTTP/1.1")

_TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]"
# Only empty lines may stand before a request (RFC 9112, section 2.2).
_START = re.compile(rb"(?:\r\n)*(?:\r?\Z|(" + _TOKEN + rb"))")
# Linear in their input: no byte fits two neighbouring parts. Control characters, thus bare CR and LF, fit nowhere.
_REQUEST_LINE = re.compile(rb"(" + _TOKEN + rb"+) ([\x21\x22\x24-\x7e]+) HTTP/([0-9])\.[0-9]")
_ABSOLUTE_FORM = re.compile(rb"https?://[^/?]+([/?].*)?", re.IGNORECASE)
_HEADER = re.compile(rb"(" + _TOKEN + rb"+):([\t\x20-\x7e\x80-\xff]*)")
_HOST = re.compile(r"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9\-._~!$&'()*+;=%]*)(?::[0-9]*)?")  # no comma: that joins two

_SIZE_LINE = re.compile(rb"([0-9A-Fa-f]{1,8})(?:;[\t\x20-\x7e\x80-\xff]{0,1000})?\r\n")
_TRAILER = re.compile(rb"(?:" + _TOKEN + rb"+:[\t\x20-\x7e\x80-\xff]*\r\n)*\r\n")
_SIZE_LINE_LIMIT = 1024
_TRAILER_LIMIT = 8192


class StrictRequest(HTTPRequestParser):
    """
    A request that arrives. `started` is when its first byte did, in seconds of the monotonic clock.

    Headers are in `headers` by their names in capitals with underscores, repeated ones joined by a comma.
    """

    error: Any = None  # a ProblemSpec, or the error with a `code` that waitress itself has found
    body_rcv: "Body | None"
    command = ""  # for the response to a request line that cannot be read
    version = "1.1"
    path = query = request_uri = ""
    keeps_alive = False
    """Whether the client will use the connection again."""
    _has_begun = False

    def __init__(self, adj: Adjustments) -> None:
        super().__init__(adj)
        self.headers: dict[str, str] = {}
        self.started = time.monotonic()

    def received(self, data: bytes) -> int:
        """Take in the next bytes; how many of *data* belong to this request."""
        if not self._has_begun:
            # waitress strips any white space before the request line.
            start = _START.match(self.header_plus + data)
            if start is None:
                self.error, self.completed = _BAD_REQUEST_LINE, True
                return len(data)
            self._has_begun = start[1] is not None
        return super().received(data)

    def parse_header(self, header_plus: bytes) -> None:
        """Take in request line and headers, up to and with the empty line; sets `error` when they are refused."""
        request_line, *lines = header_plus.split(b"\r\n")
        self.error = self._read_request_line(request_line) or self._read_headers(lines[:-2]) or self._expect_body()

    def _read_request_line(self, line: bytes) -> ProblemSpec | None:
        match = _REQUEST_LINE.fullmatch(line)
        if match is None:
            return _BAD_REQUEST_LINE
        self.command = match[1].decode()
        if match[3] != b"1":
            return ProblemSpec(505, "version_not_supported", "This service speaks HTTP/1.1.")
        if line.endswith(b"0"):
            self.version = "1.0"  # any other minor version is answered as the highest known (RFC 9110, section 2.5)
        target = match[2]
        self.request_uri = target.decode()
        if not target.startswith(b"/") and not (target == b"*" and self.command == "OPTIONS"):
            absolute = _ABSOLUTE_FORM.fullmatch(target)  # is as good as its path (RFC 9112, section 3.2.2)
            if absolute is None:
                return ProblemSpec(400, "bad_target", "The target of the request is not a path.")
            target = b"/" + (absolute[1] or b"").removeprefix(b"/")
        path, _, query = target.partition(b"?")
        decoded = unquote_to_bytes(path)
        self.path, self.query = decoded.decode("latin-1"), query.decode()  # as WSGI has them
        is_bad = path.startswith(b"//") or b"%2f" in path.lower()  # a rule of a proxy for /metrics would not see it
        try:
            decoded.decode()
        except ValueError:
            is_bad = True
        return _BAD_PATH if is_bad else None

    def _read_headers(self, lines: list[bytes]) -> ProblemSpec | None:
        headers = self.headers
        for line in lines:
            match = _HEADER.fullmatch(line)
            if match is None:
                return ProblemSpec(400, "bad_header", "A header is not of the form: Name: value")
            name, value = match.groups()
            if b"_" in name:  # WSGI could not tell it from the one with a dash
                continue
            key = name.upper().replace(b"-", b"_").decode()
            text = value.strip(b" \t").decode("latin-1")
            headers[key] = f"{headers[key]}, {text}" if key in headers else text
        host = headers.get("HOST")
        if host is None and self.version == "1.1":
            return ProblemSpec(400, "host_missing", "A request needs a Host header.")
        if host is not None and not _HOST.fullmatch(host):
            return ProblemSpec(400, "bad_host", "The Host header is not one host and port.")
        self.keeps_alive = self.version == "1.1"
        if "CONNECTION" in headers:
            options = {option.strip() for option in headers["CONNECTION"].lower().split(",")}
            self.keeps_alive = "close" not in options and (self.keeps_alive or "keep-alive" in options)
        return None

    def _expect_body(self) -> ProblemSpec | None:
        headers = self.headers
        length, coding = headers.get("CONTENT_LENGTH"), headers.pop("TRANSFER_ENCODING", None)
        if coding is not None:
            if length is not None or self.version == "1.0" or coding.lower() != "chunked":
                return ProblemSpec(
                    400, "bad_framing", "Transfer-Encoding may only be chunked, without a Content-Length."
                )
            self.body_rcv = Body(None)
        elif length is not None:
            if not (length.isascii() and length.isdigit()):
                return ProblemSpec(400, "bad_length", "The Content-Length is not one whole number.")
            size = int(length.lstrip("0")[:20] or 0)  # so many digits are too many
            if size > BODY_LIMIT:
                return BODY_TOO_LARGE
            if size:
                self.body_rcv = Body(size)
        # Without a body no client waits for a 100; waitress would send it, and then wait for that body.
        if self.body_rcv is not None and self.version == "1.1" and headers.get("EXPECT", "").lower() == "100-continue":
            self.expect_continue = True
        return None


class Body:
    """
    A body in memory; what waitress calls a receiver, whose own may keep one in a file.

    It has *length* bytes or, for None, comes in chunks, of at most BODY_LIMIT bytes together (RFC 9112, section 7.1).
    """

    error: ProblemSpec | None = None

    def __init__(self, length: int | None) -> None:
        self.completed = False
        self._remaining = length
        self._body = BytesIO()
        self._waiting = b""  # incomplete, so not yet understood
        self._ended = False  # the chunks; a trailer follows

    def getfile(self) -> BinaryIO:
        """The body, to be read from its beginning."""
        self._body.seek(0)
        return self._body

    def received(self, data: bytes) -> int:
        """Take in the next bytes; how many of *data* belong to this body. Sets `completed` or `error` at the end."""
        if self._remaining is not None:
            taken = self._body.write(data[: self._remaining])
            self._remaining -= taken
            self.completed = not self._remaining
            return taken
        waiting, at = self._waiting + data, 0
        while not self.completed and self.error is None:
            next_at = self._trailer(waiting, at) if self._ended else self._chunk(waiting, at)
            if next_at == at:
                break
            at = next_at
        self._waiting = waiting[at:]
        return len(data) - len(self._waiting) if self.completed else len(data)

    def _chunk(self, waiting: bytes, at: int) -> int:
        """Take the chunk that starts at *at*; where the next one does, *at* again when it is not complete."""
        size_line = _SIZE_LINE.match(waiting, at)
        if size_line is None:
            return self._wait(at, bad=b"\n" in waiting[at:] or len(waiting) - at > _SIZE_LINE_LIMIT)
        start, size = size_line.end(), int(size_line[1], 16)
        end = start + size
        if size == 0:
            self._ended = True
            return start
        if self._body.tell() + size > BODY_LIMIT:
            self.error = BODY_TOO_LARGE
            return at
        if waiting[end : end + 2] != b"\r\n":
            return self._wait(at, bad=len(waiting) >= end + 2)
        self._body.write(waiting[start:end])
        return end + 2

    def _trailer(self, waiting: bytes, at: int) -> int:
        """Skip the headers after the last chunk: nothing here asks for them."""
        trailer = _TRAILER.match(waiting, at, at + _TRAILER_LIMIT)
        if trailer is None:
            return self._wait(at, bad=b"\r\n\r\n" in waiting[at:] or len(waiting) - at > _TRAILER_LIMIT)
        self.completed = True
        return trailer.end()

    def _wait(self, at: int, *, bad: bool) -> int:
        self.error = _BAD_CHUNK if bad else None
        return at
