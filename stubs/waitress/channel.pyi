import socket as _socket
from collections.abc import MutableMapping
from typing import Any

from waitress.adjustments import Adjustments
from waitress.parser import HTTPRequestParser
from waitress.wasyncore import dispatcher

class HTTPChannel(dispatcher):
    parser_class: type[HTTPRequestParser]
    addr: tuple[Any, ...]
    request: Any
    requests: Any
    sent_continue: bool
    server: Any
    def __init__(
        self,
        server: Any,
        sock: _socket.socket,
        addr: tuple[Any, ...],
        adj: Adjustments,
        map: MutableMapping[int, dispatcher],  # noqa: A002 # it is what waitress calls it
    ) -> None: ...
    def handle_write(self) -> None: ...
    def received(self, data: bytes) -> bool: ...
    def send_continue(self) -> None: ...
    def service(self) -> None: ...
