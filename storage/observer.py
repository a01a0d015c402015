"""What storage tells of its own work to whoever wants to count it; it does not know who that is."""


class Observer:
    """
    Hears nothing; a subclass does.

    Calls come from any thread, in the midst of work: they must be quick, and must not raise.
    """

    def wrote(self, writes: int, waiting: int, took_s: float) -> None:
        """Hear of a batch: its writes, stored or refused, how many wait for the next one, and how long it took."""

    def rebuilt(self) -> None:
        """Hear that the ranking of a partition was built anew."""
