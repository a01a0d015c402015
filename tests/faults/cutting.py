"""A socket between client and server that cuts a connection when a chosen word passes, before or after its answer."""

import contextlib
import socket
import tempfile
import threading
from dataclasses import dataclass, field
from pathlib import Path

SOCKET = ".s.PGSQL.5432"


@dataclass
class _Pair:
    """The two ends of one connection, and whether the client is to hear nothing more."""

    client: socket.socket
    server: socket.socket
    muted: bool = False
    answered: threading.Event = field(default_factory=threading.Event)

    def cut(self) -> None:
        for end in (self.client, self.server):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


class CuttingProxy:
    """
    Listens in `folder` for what is meant for PostgreSQL's socket in *target*.

    Set `word` to cut the connections on which a client next sends it, `times` times; with `delivered` the server gets
    the word, and only its answer is lost.
    """

    def __init__(self, target: Path) -> None:
        self._target = target / SOCKET
        self._temporary = tempfile.TemporaryDirectory(prefix="cut-")
        self.folder = Path(self._temporary.name)
        self.word = b""
        self.delivered = False
        self.times = 1
        self.cuts = 0
        self._pairs: list[_Pair] = []
        self._listening = socket.socket(socket.AF_UNIX)
        self._listening.bind(str(self.folder / SOCKET))
        self._listening.listen()
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def close(self) -> None:
        """End all connections."""
        self._listening.shutdown(socket.SHUT_RDWR)
        self._threads[0].join()
        self._listening.close()
        for pair in self._pairs:
            pair.cut()
        for thread in self._threads[1:]:
            thread.join()
        for pair in self._pairs:
            pair.client.close()
            pair.server.close()
        self._temporary.cleanup()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                server = socket.socket(socket.AF_UNIX)
                pair = _Pair(client, server)
                self._pairs.append(pair)
                server.connect(str(self._target))
                for act in (self._ask, self._answer):
                    thread = threading.Thread(target=act, args=(pair,))
                    self._threads.append(thread)
                    thread.start()

    def _ask(self, pair: _Pair) -> None:
        with contextlib.suppress(OSError):
            while data := pair.client.recv(1 << 16):
                if self.word and self.word in data and self.cuts < self.times:
                    self.cuts += 1
                    if self.delivered:
                        pair.muted = True
                        pair.server.sendall(data)
                        pair.answered.wait()
                    break
                pair.server.sendall(data)
        pair.cut()

    @staticmethod
    def _answer(pair: _Pair) -> None:
        with contextlib.suppress(OSError):
            while data := pair.server.recv(1 << 16):
                if pair.muted:
                    break
                pair.client.sendall(data)
        pair.answered.set()
        pair.cut()
