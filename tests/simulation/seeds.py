"""The seeds that every run of the tests simulates. A seed that failed becomes a line of `FOUND`."""


def is_on_postgresql(seed: int) -> bool:
    """Whether the log of that simulation is on PostgreSQL; it takes four times as long."""
    return seed % 20 == 19


FOUND: dict[int, str] = {
    3991: "the judge asked while a call from before the end of the faults still hung",
    4556: "two looks of each host fall into one second of idling",
    5724: "a host that was killed logged that its files are closed",
}
"""Seeds above the first ones, each with what it has found."""

FIXED = [*(seed for seed in range(312) if not is_on_postgresql(seed)), *FOUND]

ON_POSTGRESQL = [19, 79, 139, 199]
"""A few on PostgreSQL besides: in three of them statements wait for a lock of another host."""
