"""Measurements: `python -m bench`, or `make bench`, compares the service with its limits on one machine."""
