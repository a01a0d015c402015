"""The service: HTTP, pages, command line. Knows no SQL and no Redis; that is `storage`."""

__version__ = "0.2.0"
"""The version of the product, written here alone."""
