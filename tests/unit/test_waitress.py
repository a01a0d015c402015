"""What is used of waitress beyond its documented interface is there, and is used by waitress as before."""

import ast
import inspect
import socket
import textwrap

import pytest
import waitress.channel
import waitress.parser
import waitress.server
import waitress.wasyncore
from waitress.channel import HTTPChannel
from waitress.parser import HTTPRequestParser
from waitress.server import BaseWSGIServer

from app.server import Server, open_socket
from tests.e2e.server_apps import Echo

ADVICE = "compare app/server with this version of waitress, and see the table in docs/design.md"

SERVER = {"active_channels", "add_task", "adj", "close", "handle_accept", "pull_trigger", "socket"}
CHANNEL = {"handle_close", "handle_write", "parser_class", "received", "request", "requests", "send_continue",
           "sent_continue", "server", "service", "socket"}  # fmt: skip
PARSER = {"body_rcv", "completed", "error", "expect_continue", "header_plus", "headers_finished", "parse_header",
          "received"}  # fmt: skip
SETTINGS = {"clear_untrusted_proxy_headers", "log_socket_errors", "max_request_body_size", "max_request_header_size",
            "outbuf_high_watermark", "outbuf_overflow"}  # fmt: skip


def test_every_name_in_use_is_there() -> None:
    """A server, a channel and a parser have each name that app/server takes from them."""
    server = Server(Echo(), open_socket("127.0.0.1", 0))
    ours, theirs = socket.socketpair()
    try:
        channel = HTTPChannel(server, ours, ("", 0), server.adj, server.files)
        for one, names in ((server, SERVER), (channel, CHANNEL), (HTTPRequestParser(server.adj), PARSER)):
            missing = {name for name in names if not hasattr(one, name)}
            assert not missing, f"waitress has no {missing} in its {type(one).__name__} any more: {ADVICE}"
        unknown = {name for name in SETTINGS if not hasattr(server.adj, name)}
        assert not unknown, f"waitress has no settings {unknown} any more: {ADVICE}"
        channel.handle_close()
    finally:
        theirs.close()
        server.close()


@pytest.mark.parametrize(
    ("function", "parameters"),
    [
        (
            BaseWSGIServer.__init__,
            ["application", "map", "_start", "_sock", "dispatcher", "adj", "sockinfo", "bind_socket"],
        ),
        (HTTPChannel.__init__, ["server", "sock", "addr", "adj", "map"]),
        (HTTPRequestParser.__init__, ["adj"]),
        (HTTPRequestParser.parse_header, ["header_plus"]),
        (waitress.wasyncore.readwrite, ["obj", "flags"]),
    ],
)
def test_signatures_are_the_same(function: object, parameters: list[str]) -> None:
    """What is called, or replaced, takes the same parameters."""
    assert callable(function)
    found = [name for name in inspect.signature(function).parameters if name not in ("self", "kw")]
    assert found == parameters, f"waitress has changed {function}: {ADVICE}"


def calls(name: str, module: object) -> set[str]:
    """The functions of *module* that call something of that name."""
    tree = ast.parse(inspect.getsource(module))  # type: ignore[arg-type]
    return {
        function.name
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef)
        for call in ast.walk(function)
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and call.func.attr == name
    }


def test_only_what_is_replaced_may_wait() -> None:
    """Waitress waits in one method alone, which two call: one is replaced, and the other is never called."""
    wait = "_flush_outbufs_below_high_watermark"
    assert calls("wait", waitress.channel) == {wait}, f"waitress waits elsewhere: {ADVICE}"
    assert calls(wait, waitress.channel) == {"service", "write_soon"}, f"waitress waits for other reasons: {ADVICE}"
    assert calls("write_soon", waitress.channel) == calls("service", waitress.channel) - {"service"} == set()
    received = ast.unparse(ast.parse(textwrap.dedent(inspect.getsource(HTTPChannel.received))))
    assert "self.server.add_task(self)" in received, f"waitress hands a request over in another way: {ADVICE}"
