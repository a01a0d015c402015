"""Which connections have something to do: a poll that is kept, where waitress asks every connection in every turn."""

import math
import select
from collections.abc import Sequence

from waitress import wasyncore

Events = Sequence[tuple[int, int, wasyncore.dispatcher]]
"""File number, what poll(2) says has happened, and to whom."""


class Poller(dict[int, wasyncore.dispatcher]):
    """
    All that waitress waits for, by file number: its map, and the events that each of them waits for.

    A connection is asked for its events when it is added, after each event, and when `modify` names it. Nothing here is
    known to the kernel between two polls, so the number of a file that was closed may come again at any time.
    """

    def __init__(self) -> None:
        super().__init__()
        self._changed: set[int] = set()
        self._poll = select.poll()  # select(2), which waitress takes by default, ends at 1,024 files
        self._events: dict[int, int] = {}  # what is registered there

    def __setitem__(self, number: int, one: wasyncore.dispatcher) -> None:
        super().__setitem__(number, one)
        self._changed.add(number)

    def __delitem__(self, number: int) -> None:
        super().__delitem__(number)
        self._changed.add(number)

    def modify(self, number: int) -> None:
        """Ask the connection of this file number for its events before the next poll."""
        self._changed.add(number)

    def wait(self, timeout_s: float) -> Events:
        """Wait until something happens, at most *timeout_s*."""
        changed, registered = self._changed, self._events
        while changed:
            number = changed.pop()
            one = self.get(number)
            # Not for urgent data: it would be there again in every turn.
            events = 0
            if one:
                events = (select.POLLIN if one.readable() else 0) | (select.POLLOUT if one.writable() else 0)
            if events == registered.get(number, 0):
                continue
            if events:
                self._poll.register(number, events)
                registered[number] = events
            else:  # not with 0: that still tells of a client who has gone, again and again
                self._poll.unregister(number)
                del registered[number]
        # Looked up before any is handled: a connection accepted now may have the number of one closed now.
        happened = self._poll.poll(math.ceil(timeout_s * 1000))
        return [(number, events, self[number]) for number, events in happened]

    def handle(self, happened: Events) -> None:
        """Let each connection handle what happened to it."""
        for number, events, one in happened:
            if self.get(number) is one:
                self._changed.add(number)
                wasyncore.readwrite(one, events)
