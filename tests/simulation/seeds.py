"""The seeds that every run of the tests simulates. A seed that failed becomes a line of `FOUND`."""


def is_on_postgresql(seed: int) -> bool:
    """Whether the log of that simulation is on PostgreSQL; it takes twice as long."""
    return seed % 10 == 9


FOUND: dict[int, str] = {}
"""Seeds above the first ones, each with what it has found."""

FIXED = [*(seed for seed in range(333) if not is_on_postgresql(seed)), *FOUND]

ON_POSTGRESQL = [9, 39, 89, 99]
"""A few on PostgreSQL besides: in three of them a statement waits for a lock of another host."""
