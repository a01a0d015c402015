import socket
from typing import Any
from wsgiref.types import WSGIApplication

from waitress.adjustments import Adjustments
from waitress.channel import HTTPChannel
from waitress.task import ThreadedTaskDispatcher
from waitress.wasyncore import dispatcher

class TcpWSGIServer(dispatcher):
    active_channels: Any
    adj: Adjustments
    channel_class: type[HTTPChannel]
    effective_host: str
    effective_port: str
    in_connection_overflow: bool
    task_dispatcher: ThreadedTaskDispatcher
    def __init__(
        self,
        application: WSGIApplication,
        *,
        _sock: socket.socket,
        bind_socket: bool,
        sockinfo: tuple[Any, ...],
        **kw: Any,
    ) -> None: ...
    def add_task(self, task: Any) -> None: ...
    def maintenance(self, now: float) -> None: ...
    def pull_trigger(self) -> None: ...
    def run(self) -> None: ...

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
