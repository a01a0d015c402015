"""The service: HTTP, pages, command line. Knows no SQL and no Redis; that is `storage`."""

__version__ = "0.2.0"
"""The version of the product, written here alone."""


class CommandError(Exception):
    """A command cannot do its work; the message is one sentence for a person, and says what to do."""
