from typing import Any

from waitress.adjustments import Adjustments

def unquote_bytes_to_wsgi(bytestring: bytes) -> str: ...

class HTTPRequestParser:
    body_rcv: Any
    chunked: bool
    command: str
    completed: bool
    content_length: int
    error: Any
    expect_continue: bool
    headers: dict[str, str]
    path: str
    query: str
    request_uri: str
    url_scheme: str
    version: str
    def __init__(self, adj: Adjustments) -> None: ...
    def parse_header(self, header_plus: bytes) -> None: ...
