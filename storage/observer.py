"""What storage reports of its own work, for metrics; it does not know who records it."""


class Observer:
    """
    No-op; subclass it to collect metrics.

    Calls come from any thread, in the midst of work: they must be quick, and must not raise.
    """

    def wrote(self, writes: int, waiting: int, took_s: float) -> None:
        """Record a batch: its writes, stored or refused, how many wait for the next one, and how long it took."""

    def rebuilt(self) -> None:
        """Record that the ranking of a partition was rebuilt."""
