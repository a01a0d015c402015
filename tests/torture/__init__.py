"""The faults of `tests/faults`, for as long as one likes: `make torture`, or `python -m tests.torture --help`."""
