"""
The HTTP server: waitress, made strict about what a request is and how long it may take.

It knows WSGI, deferred responses and the shape of an error, and nothing of tweets.
"""

import socket

from app import CommandError
from app.server.server import Limits, Server, url_of

__all__ = ["Limits", "Server", "open_socket", "url_of"]

_BACKLOG = 1024
"""Connections that the kernel keeps until they are accepted (listen(2)); it lowers this to its own limit."""


def open_socket(host: str, port: int) -> socket.socket:
    """A socket bound to *host* and *port* and listening; port 0 takes a free one. Raises CommandError."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, _, _, _, address = min(found, key=lambda entry: entry[0] != socket.AF_INET)  # "localhost" has two
        return socket.create_server(address[:2], family=family, backlog=_BACKLOG)
    except (OSError, UnicodeError) as error:
        reason = str(getattr(error, "strerror", None) or error).partition(" (while")[0]  # the address stands here
        raise CommandError(
            f"Cannot listen on port {port} of {host} ({reason}): set HOST to an address of this machine, such as "
            "127.0.0.1, and PORT to a free port, of 1024 or more."
        ) from error
