"""Events come to those that wait for them, and to no others."""

import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from waitress import wasyncore

from app.server.poller import Poller

PATIENCE_S = 30


class End(wasyncore.dispatcher):
    """One end of a connection: reads one byte when there is one, and says so."""

    def __init__(self, sock: socket.socket, polled: Poller, on_read: Callable[["End"], None]) -> None:
        super().__init__(sock, polled)
        self._on_read = on_read
        self.waits = True
        self.events = 0

    def readable(self) -> bool:
        """Whether it waits for a byte."""
        return self.waits

    def writable(self) -> bool:
        """It never has anything to send."""
        return False

    def handle_read(self) -> None:
        """Take the byte."""
        self.events += 1
        self.socket.recv(1)
        self._on_read(self)


class Ends:
    """Ends with their others, in a poll set; `read` are those that have read, in this order."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self.polled = Poller()
        self.others: dict[End, socket.socket] = {}
        self.read: list[End] = []

    def open(self, on_read: Callable[[End], None] | None = None) -> End:
        """A new one."""
        return self.add(*socket.socketpair(), on_read)

    def add(self, ours: socket.socket, theirs: socket.socket, on_read: Callable[[End], None] | None = None) -> End:
        """Take in a pair of sockets."""
        end = End(ours, self.polled, on_read or self.read.append)
        self.others[end] = self._stack.enter_context(theirs)
        self._stack.callback(end.close)
        return end

    def poll_until_read(self, end: End) -> None:
        """Poll once; meanwhile, not at once, *end* gets something to read, which must be what ends the poll."""
        timer = threading.Timer(0.1, self.others[end].sendall, [b"a"])
        timer.start()
        try:
            self.polled.handle(self.polled.wait(PATIENCE_S))
        finally:
            timer.join()
        assert self.read == [end]


@pytest.fixture
def ends() -> Iterator[Ends]:
    """None yet."""
    with ExitStack() as stack:
        yield Ends(stack)


def test_who_waits_is_told_each_time(ends: Ends) -> None:
    """Without being marked in between."""
    end = ends.open()
    for _ in range(3):
        ends.poll_until_read(end)
        ends.read.clear()


def test_who_was_taken_out_wakes_nobody(ends: Ends) -> None:
    """Even when its file is open still, or the number is another file's by then."""
    gone, end = ends.open(), ends.open()
    ends.others[gone].sendall(b"a")
    ends.polled.handle(ends.polled.wait(0))
    assert ends.read == [gone]
    ends.read.clear()
    ends.polled.handle(ends.polled.wait(0))
    ends.others[gone].sendall(b"b")
    assert gone._fileno is not None
    del ends.polled[gone._fileno]
    ends.poll_until_read(end)


def test_who_waits_for_nothing_is_not_told_that_the_other_has_gone(ends: Ends) -> None:
    """Only once it waits again: until then the poll would not wait any more."""
    silent, end = ends.open(), ends.open()
    ends.polled.handle(ends.polled.wait(0))
    silent.waits = False
    ends.polled.modify(silent.socket.fileno())
    ends.others[silent].close()
    ends.poll_until_read(end)
    ends.polled.handle(ends.polled.wait(0))
    assert ends.read == [end]
    silent.waits = True
    ends.polled.modify(silent.socket.fileno())
    ends.polled.handle(ends.polled.wait(0))
    assert ends.read == [end, silent]


def test_who_has_the_number_of_one_just_closed_gets_nothing_of_it(ends: Ends) -> None:
    """Two have something to read; the first to hear of it closes the other, and a new one gets its number."""
    made: list[End] = []

    def replace(first: End) -> None:
        other = two[1] if first is two[0] else two[0]
        number = other._fileno
        assert number is not None
        ours, theirs = socket.socketpair()
        other.close()
        os.dup2(ours.fileno(), number)
        ours.close()
        made.append(ends.add(socket.socket(fileno=number), theirs))

    two = [ends.open(replace), ends.open(replace)]
    for end in two:
        ends.others[end].sendall(b"a")
    ends.polled.handle(ends.polled.wait(PATIENCE_S))
    assert [sum(end.events for end in two), len(made)] == [1, 1]
    ends.poll_until_read(made[0])
