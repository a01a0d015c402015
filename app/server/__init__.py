"""
The HTTP server: waitress, made strict about what a request is and how long it may take.

It knows WSGI, deferred responses and the shape of an error, and nothing of tweets. `serve` is for a process, `Server`
for a thread.
"""

import errno
import socket
from collections.abc import Callable
from contextlib import closing
from wsgiref.types import WSGIApplication

from app.server.server import Hooks, Limits, Server, url_of
from app.signals import stopping_with

__all__ = ["CannotServe", "Hooks", "Limits", "Server", "open_socket", "serve", "url_of"]

_BACKLOG = 1024
"""Connections that the kernel keeps until they are accepted (listen(2)); it lowers this to its own limit."""


class CannotServe(Exception):
    """The address cannot be listened on; the message is one sentence for a person, and says what to do."""


def serve(
    application: WSGIApplication,
    listening: socket.socket,
    on_ready: Callable[[str], None],
    *,
    hooks: Hooks | None = None,
    limits: Limits | None = None,
) -> None:
    """
    Answer requests with *application* until SIGTERM, SIGINT or SIGHUP, then those already received, and return.

    Takes at most 15 s to return; a second signal ends the process at once. Call it in the main thread. *on_ready* gets
    the address, as in "http://127.0.0.1:5000/", once connections are taken. *listening*, as `open_socket` gives it, is
    closed at the end. For *hooks* and *limits* see Server.
    """
    with closing(Server(application, listening, hooks=hooks, limits=limits)) as server, stopping_with(server.stop):
        on_ready(server.url)
        server.run()


def open_socket(host: str, port: int) -> socket.socket:
    """A socket bound to *host* and *port* and listening; port 0 takes a free one. Raises CannotServe."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, _, _, _, address = min(found, key=lambda entry: entry[0] != socket.AF_INET)  # "localhost" has two
        return socket.create_server(address[:2], family=family, backlog=_BACKLOG)
    except (OSError, UnicodeError) as error:
        raise CannotServe(_advice(error, host, port)) from error


def _advice(error: Exception, host: str, port: int) -> str:
    number = error.errno if isinstance(error, OSError) else None
    if number == errno.EADDRINUSE:
        return f"Port {port} of {host} is taken: stop the program that has it, or set PORT to a free one."
    if number in (errno.EACCES, errno.EPERM):
        return f"Port {port} of {host} needs a permission that this user does not have: set PORT to 1024 or more."
    if number == errno.EADDRNOTAVAIL or isinstance(error, (socket.gaierror, UnicodeError)):
        return f"{host!r} is no address of this machine: set HOST to one, such as 127.0.0.1."
    return f"Cannot listen on port {port} of {host} ({error}): set HOST and PORT to an address that can be used."
