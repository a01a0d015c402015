"""What the server asks of those who run it, and tells them."""


class Hooks:
    """Each may be called by any thread of the server; none may wait, or raise."""

    def refused(self, method: str, status: int) -> None:
        """Hear of an answer that the application did not make; *method* is "" if unknown."""

    def is_quick(self, method: str, path: str) -> bool:  # noqa: ARG002  # no request is, unless somebody says so
        """Whether the application answers such a request without waiting, itself or by a Begun: it needs no thread."""
        return False

    def pause(self) -> None:
        """Hear that the server has done all that there was to do, and waits for more."""

    def tick(self) -> None:
        """Do what is to be done about once a second."""
