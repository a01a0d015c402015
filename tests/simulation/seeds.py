"""The seeds that every run of the tests simulates. A seed that failed becomes a line of `FOUND`."""


def is_on_postgresql(seed: int) -> bool:
    """Whether the log of that simulation is on PostgreSQL; it takes four times as long."""
    return seed % 20 == 19


FOUND: dict[int, str] = {}
"""Seeds above the first ones, each with what it has found."""

FIXED = [*(seed for seed in range(317) if not is_on_postgresql(seed)), *FOUND]

ON_POSTGRESQL = [19, 79, 139, 199]
"""A few on PostgreSQL besides: in three of them statements wait for a lock of another host."""
