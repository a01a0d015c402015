import socket
from collections.abc import MutableMapping
from typing import Any
from wsgiref.types import WSGIApplication

from waitress.adjustments import Adjustments
from waitress.wasyncore import dispatcher

class TcpWSGIServer(dispatcher):
    active_channels: Any
    adj: Adjustments
    application: WSGIApplication
    def __init__(
        self,
        application: WSGIApplication,
        sockets: MutableMapping[int, dispatcher],
        start: bool,
        sock: socket.socket,
        /,
        *,
        dispatcher: Any,
        bind_socket: bool,
        sockinfo: tuple[Any, ...],
        **kw: Any,
    ) -> None: ...
    def add_task(self, task: Any) -> None: ...
    def pull_trigger(self) -> None: ...

class BaseWSGIServer(dispatcher):
    def run(self) -> None: ...

def create_server(
    application: WSGIApplication,
    *,
    sockets: list[socket.socket],
    threads: int,
    asyncore_use_poll: bool,
    connection_limit: int,
) -> BaseWSGIServer: ...
