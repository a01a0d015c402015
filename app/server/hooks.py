"""What the server asks of the application beside responses, and reports to it."""


class Hooks:
    """Each is called by the event loop; none may wait, or raise."""

    def refused(self, method: str, status: int, address: str) -> None:
        """Hear of a response that the application did not make; *method* is "" if unknown."""

    def on_idle(self) -> None:
        """Hear that a turn of the loop ends: everything that there was to do is done or begun."""

    def tick(self) -> None:
        """Do what is to be done about once a second."""
