from typing import Any

from waitress.adjustments import Adjustments

class HTTPRequestParser:
    body_rcv: Any
    completed: bool
    error: Any
    expect_continue: bool
    header_plus: bytes
    headers_finished: bool
    def __init__(self, adj: Adjustments) -> None: ...
    def parse_header(self, header_plus: bytes) -> None: ...
    def received(self, data: bytes) -> int: ...
