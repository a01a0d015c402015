from collections import deque
from typing import Any

from waitress.channel import HTTPChannel

class ThreadedTaskDispatcher:
    queue: deque[HTTPChannel]
    threads: set[int]
    def add_task(self, task: HTTPChannel) -> None: ...
    def shutdown(self, cancel_pending: bool = True, timeout: float = 5) -> bool: ...

class Task:
    channel: Any
    content_length: int | None
    request: Any
    response_headers: list[tuple[str, str]]
    status: str
    def set_close_on_finish(self) -> None: ...
    def start(self) -> None: ...
    def write(self, data: bytes) -> None: ...

class ErrorTask(Task):
    def execute(self) -> None: ...

class WSGITask(Task):
    def execute(self) -> None: ...
