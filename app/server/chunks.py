"""
A body in chunks (RFC 9112, section 7.1).

In place of waitress' receiver, which takes a bare LF as part of a chunk's size and skips empty lines before it.
"""

import re
from io import BytesIO
from typing import BinaryIO

from app.errors import Refusal
from app.server.answers import BODY_TOO_LARGE

_SIZE_LINE = re.compile(rb"([0-9A-Fa-f]{1,8})[ \t]*(?:;[\t\x20-\x7e\x80-\xff]{0,1000})?\r\n")
_TRAILER = re.compile(rb"(?:[!#$%&'*+\-.^_`|~0-9A-Za-z]+:[\t\x20-\x7e\x80-\xff]*\r\n)*\r\n")
_LONGEST_LINE = 1024
_LONGEST_TRAILER = 8192
_BAD_CHUNK = Refusal(400, "bad_chunk", "The chunks of the body cannot be told apart.")


class Chunks:
    """Takes in a chunked body of at most *largest* bytes; what waitress calls a receiver."""

    def __init__(self, largest: int) -> None:
        self.completed = False
        self.error: Refusal | None = None
        self._largest = largest
        self._body = BytesIO()
        self._waiting = b""  # not yet understood, for the end of it is missing
        self._ended = False  # the chunks; a trailer follows

    def __len__(self) -> int:
        return self._body.tell()

    def received(self, data: bytes) -> int:
        """Take in the next bytes; how many of *data* belong to this body. Sets `completed` or `error` at the end."""
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
            return self._wait(at, bad=b"\n" in waiting[at:] or len(waiting) - at > _LONGEST_LINE)
        start, size = size_line.end(), int(size_line[1], 16)
        end = start + size
        if size == 0:
            self._ended = True
            return start
        if len(self) + size > self._largest:
            self.error = BODY_TOO_LARGE
            return at
        if waiting[end : end + 2] != b"\r\n":
            return self._wait(at, bad=len(waiting) >= end + 2)
        self._body.write(waiting[start:end])
        return end + 2

    def _trailer(self, waiting: bytes, at: int) -> int:
        """Skip the headers after the last chunk: nothing here asks for them."""
        trailer = _TRAILER.match(waiting, at, at + _LONGEST_TRAILER)
        if trailer is None:
            return self._wait(at, bad=b"\r\n\r\n" in waiting[at:] or len(waiting) - at > _LONGEST_TRAILER)
        self.completed = True
        return trailer.end()

    def _wait(self, at: int, *, bad: bool) -> int:
        self.error = _BAD_CHUNK if bad else None
        return at

    def getfile(self) -> BinaryIO:
        """The body, to be read from its beginning."""
        self._body.seek(0)
        return self._body

    def getbuf(self) -> BinaryIO:
        """What is to be closed in the end."""
        return self._body
