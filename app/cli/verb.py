"""What a verb is, and the error of one that cannot do what it was asked."""

from argparse import Namespace
from collections.abc import Callable, Mapping

from app.settings import Settings

Verbs = Mapping[str, Callable[[Namespace, Settings], int]]
"""The verbs of a module; each gives the exit code."""


class Refused(Exception):
    """A verb cannot do its work; the message is one sentence for a person, and says what to do."""
