import threading
from collections.abc import Callable
from typing import Any

from waitress.parser import HTTPRequestParser
from waitress.task import ErrorTask, WSGITask
from waitress.wasyncore import dispatcher

class HTTPChannel(dispatcher):
    task_class: Callable[[Any, Any], WSGITask]
    error_task_class: type[ErrorTask]
    parser_class: type[HTTPRequestParser]
    close_when_flushed: bool
    last_activity: float
    outbuf_lock: threading.Condition
    request: Any
    requests: Any
    requests_lock: threading.Lock
    server: Any
    total_outbufs_len: int
    will_close: bool
    def handle_write(self) -> None: ...
    def received(self, data: bytes) -> bool: ...
    def service(self) -> None: ...
    def write_soon(self, data: bytes) -> int: ...
    def _flush_exception(self, flush: Callable[..., bool | None] | None) -> object: ...
    def _flush_some(self, do_close: bool = True) -> bool: ...
    def _flush_some_if_lockable(self, do_close: bool = True) -> None: ...
