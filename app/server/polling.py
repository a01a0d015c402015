"""Which connections have something to do: a poll that is kept, where waitress asks every connection in every turn."""

import math
import select

from waitress import wasyncore


class PollSet(dict[int, wasyncore.dispatcher]):
    """
    All that waitress waits for, by file number: its map, and what each of them waits for.

    What one waits for is looked at when it comes, and after that only when it is marked as changed. Nothing here is
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

    def mark(self, number: int | None) -> None:
        """
        Look again at what *number* waits for before the next poll; None is one that is closed.

        May be called by any thread. One that must not wait for the next poll wakes the server, but afterwards.
        """
        if number is not None:
            self._changed.add(number)

    def poll(self, timeout_s: float) -> None:
        """Wait until something happens, at most *timeout_s*, and let those concerned handle it."""
        self._look_at_changed()
        happened = self._poll.poll(math.ceil(timeout_s * 1000))
        # Looked up before any is handled: a connection accepted now may have the number of one closed now.
        for number, events, one in [(number, events, self.get(number)) for number, events in happened]:
            self._changed.add(number)
            if one is not None and self.get(number) is one:
                wasyncore.readwrite(one, events)

    def _look_at_changed(self) -> None:
        changed, registered = self._changed, self._events
        while changed:  # other threads add to it at any time, and to look at the server may mark others
            number = changed.pop()
            events = _events(self.get(number))
            if events == registered.get(number, 0):
                continue
            if events:
                self._poll.register(number, events)
                registered[number] = events
            else:  # not with 0: that still tells of a client who has gone, again and again
                self._poll.unregister(number)
                del registered[number]


def _events(one: wasyncore.dispatcher | None) -> int:
    """What *one* waits for, as poll(2) says it; as waitress' own poll asks for it."""
    if one is None:
        return 0
    events = select.POLLIN | select.POLLPRI if one.readable() else 0
    return events | select.POLLOUT if one.writable() and not one.accepting else events
