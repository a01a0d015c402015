"""What lies between the service and its Redis, when it is not as it should be: a Unix socket that loses and delays."""

import random
import selectors
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Self

Handled = Callable[[bytes], list[bytes] | None]
"""What becomes of the bytes of an answer: they go on in these pieces, or not at all, and the connection ends."""


class Proxy:
    """A socket at *path* whose connections lead to the one at *goal*; how answers come through is set by its acts."""

    def __init__(self, path: Path, goal: Path) -> None:
        self._path, self._goal = path, goal
        self._handle: Handled = lambda answer: [answer]
        self._delay_s = 0.0
        self._stopping = False
        self._listening = socket.socket(socket.AF_UNIX)
        self._listening.bind(str(path))
        self._listening.listen(128)
        self._threads: list[threading.Thread] = []
        self.lost = 0
        self._accepting = threading.Thread(target=self._accept)
        self._accepting.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping = True
        with socket.socket(socket.AF_UNIX) as last:  # wakes the one who accepts
            last.connect(str(self._path))
        self._accepting.join()
        for thread in self._threads:
            thread.join()
        self._listening.close()

    def pass_on(self) -> None:
        """From now on be as if nothing lay between."""
        self._handle, self._delay_s = (lambda answer: [answer]), 0.0

    def lose(self, share: float, seed: int) -> None:
        """Lose *share* of all answers, their connections with them: the server has done what it was asked."""
        rng = random.Random(seed)

        def handle(answer: bytes) -> list[bytes] | None:
            if rng.random() >= share:
                return [answer]
            self.lost += 1
            return None

        self._handle = handle

    def cut(self, seed: int) -> None:
        """Let answers come in pieces of one to three bytes, each for itself; some end in the midst of one."""
        rng = random.Random(seed)

        def handle(answer: bytes) -> list[bytes] | None:
            pieces = []
            while answer:
                size = rng.randint(1, 3)
                pieces.append(answer[:size])
                answer = answer[size:]
            if rng.random() < 0.2:
                self.lost += 1
                return [*pieces[: len(pieces) // 2], b""]
            return pieces

        self._handle = handle

    def delay(self, seconds: float) -> None:
        """Let each answer come so much later."""
        self._delay_s = seconds

    def _accept(self) -> None:
        while True:
            client, _ = self._listening.accept()
            if self._stopping:
                client.close()
                return
            thread = threading.Thread(target=self._serve, args=(client,))
            self._threads.append(thread)
            thread.start()

    def _serve(self, client: socket.socket) -> None:
        with client, socket.socket(socket.AF_UNIX) as server, selectors.DefaultSelector() as ready:
            try:
                server.connect(str(self._goal))
                ready.register(client, selectors.EVENT_READ)
                ready.register(server, selectors.EVENT_READ)
                while not self._stopping and self._turn(ready, client, server):
                    pass
            except OSError:
                return  # one side has gone: the other one sees it now

    def _turn(self, ready: selectors.BaseSelector, client: socket.socket, server: socket.socket) -> bool:
        """Pass on what has come; False when the connection is to end."""
        for key, _ in ready.select(0.1):
            content = key.fileobj.recv(65536)  # type: ignore[union-attr]  # both are sockets
            if not content:
                return False
            if key.fileobj is client:
                server.sendall(content)
            elif not self._answer(client, content):
                return False
        return True

    def _answer(self, client: socket.socket, content: bytes) -> bool:
        if self._delay_s:
            time.sleep(self._delay_s)
        pieces = self._handle(content)
        for piece in pieces or ():
            if not piece:
                return False
            client.sendall(piece)
        return pieces is not None
