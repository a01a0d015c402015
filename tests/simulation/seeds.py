"""The seeds that every run of the tests simulates. A seed that failed becomes a line of `FOUND`."""

FOUND: dict[int, str] = {}
"""Seeds above the first ones, each with what it has found."""

KNOWN: dict[int, str] = {}
"""Seeds that fail by a fault that is known and not yet removed, each with that fault."""

FIXED = [seed for seed in [*range(300), *FOUND] if seed not in KNOWN]
