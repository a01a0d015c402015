"""A connection to PostgreSQL whose waits end. Imported when it is used, as its driver takes 60 ms."""

from typing import Any

import psycopg

ANSWER_WITHIN_S = 15.0
"""Longer than the server lets a statement take: only one that does not answer at all is given up."""

LOOK_EVERY_S = 0.1
"""As in the driver: how soon a Ctrl-C is heeded."""


class BoundedConnection(psycopg.Connection[Any]):
    """
    Gives up a server that keeps the connection and says nothing, as one does that was stopped or whose disk hangs.

    It is closed then, and raises an OperationalError. With `at_length` set it waits as long as it takes.
    """

    at_length = False

    def wait(self, gen: Any, interval: float = LOOK_EVERY_S, timeout: float | None = None) -> Any:
        """As the driver's own, with our bound where it gives none."""
        if timeout is None and not self.at_length:
            timeout = ANSWER_WITHIN_S
        try:
            return super().wait(gen, interval, timeout)
        except psycopg.OperationalError as error:
            if error.sqlstate is None:  # not of the server's saying
                self.close()
            _shorten(error)
            raise
        except psycopg.Error as error:
            _shorten(error)
            raise


def _shorten(error: psycopg.Error) -> None:
    """Leave its primary message alone: DETAIL and CONTEXT quote rows, which do not belong in a log."""
    if error.diag.message_primary:
        error.args = (error.diag.message_primary,)
