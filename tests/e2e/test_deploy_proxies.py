"""The proxies of deploy/, each with our configuration between a client and copies of the service."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from socketserver import ThreadingMixIn
from urllib.parse import urlsplit
from wsgiref.simple_server import WSGIServer, make_server
from wsgiref.types import StartResponse, WSGIEnvironment

import pytest

from tests.e2e import commands
from tests.e2e.commands import done
from tests.e2e.deployed import caddy, free_port, nginx, short_folder
from tests.e2e.server_wire import Answer, Wire, check_problem
from tests.e2e.server_wire import serving as serving_wsgi
from tests.system import FindProgram

Proxy = Callable[..., AbstractContextManager[int]]
"""Called with the ports of copies of the service; in its context, the port that it listens on."""


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder for a server."""
    with short_folder() as made:
        yield made


class ThreadingServer(ThreadingMixIn, WSGIServer):
    """Keeps no connection waiting for another one."""

    daemon_threads = True


@dataclass
class Copy:
    """Lives, and answers everything but /livez with *status*. Keeps what it was asked."""

    status: str = "503 Service Unavailable"
    asked: list[WSGIEnvironment] = field(default_factory=list)

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
        """Answer without a body."""
        environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        lives = environ["PATH_INFO"] == "/livez"
        if not lives:
            self.asked.append(environ)
        start_response("200 OK" if lives else self.status, [("Content-Length", "0"), ("Retry-After", "1")])
        return []


@contextmanager
def unguarded(copy: Copy) -> Iterator[int]:
    """Serve *copy*; its port. Not by the service's own server, which refuses by itself what no proxy should pass on."""
    with make_server("127.0.0.1", 0, copy, ThreadingServer) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture(params=[nginx, caddy], ids=["nginx", "caddy"])
def proxy(request: pytest.FixtureRequest, program: FindProgram, folder: Path) -> Proxy:
    """Each proxy."""
    path = program(request.param.__name__)
    return lambda *copies: request.param(path, folder, *copies)


def ask(port: int, method: str, path: str, body: object = None, headers: str = "") -> Answer:
    """What the server at *port* answers to one request."""
    content = b"" if body is None else json.dumps(body).encode()
    head = f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n{headers}"
    with Wire(f"http://127.0.0.1:{port}") as wire:
        return wire.ask(f"{head}Content-Length: {len(content)}\r\n\r\n".encode() + content, method)


def port_of(url: str) -> int:
    """The port in *url*."""
    port = urlsplit(url).port
    assert port is not None
    return port


def open_to_all(data_dir: Path) -> AbstractContextManager[commands.Service]:
    """A service that takes writes through a proxy though it has no token."""
    return commands.serving(data_dir, ALLOW_ANONYMOUS_WRITES="1")


TWEET = {"user_name": "ann", "title": "Title", "body": "Body"}


def test_proxy_passes_on_what_can_be_done(proxy: Proxy, data_dir: Path) -> None:
    """Posts and pages go through a proxy as they are, each of them once."""
    with (
        open_to_all(data_dir) as service,
        proxy(port_of(service.url), port_of(service.url)) as port,
    ):
        posted = [ask(port, "POST", "/api/v1/tweet", TWEET) for _ in range(6)]
        assert [answer.status for answer in posted] == [201] * 6
        page = ask(port, "GET", "/")
        assert page.status == 200
        assert page.body.count(b"<article") == 6
        assert "content-security-policy" in page.headers
        assert ask(port, "GET", f"/api/v1/tweet/{posted[0].json['id']}").json == posted[0].json
        assert ask(port, "GET", "/api/v1/tweet/0").json["code"] == "tweet_not_found"
    assert len(done(data_dir, "export").splitlines()) == 6


def test_proxy_repeats_no_post(proxy: Proxy, data_dir: Path) -> None:
    """A POST that a copy has refused goes back to the client with its Retry-After, and is not sent to another copy."""
    full = Copy()
    with open_to_all(data_dir) as service, serving_wsgi(full) as other:
        with proxy(port_of(service.url), port_of(other.url)) as port:
            posts = [ask(port, "POST", "/api/v1/tweet", TWEET) for _ in range(12)]
        refused = [answer for answer in posts if answer.status == 503]
        asked = [each for each in full.asked if each["REQUEST_METHOD"] == "POST"]
        assert len(refused) == len(asked) > 0
        assert all(answer.headers["retry-after"] == "1" for answer in refused)
    assert len(done(data_dir, "export").splitlines()) == 12 - len(refused)


def test_nginx_asks_another_copy_for_a_page(program: FindProgram, folder: Path, data_dir: Path) -> None:
    """A GET that one copy answers 503 is asked of the other."""
    full = Copy()
    with open_to_all(data_dir) as service, serving_wsgi(full) as other:
        with nginx(program("nginx"), folder, port_of(service.url), port_of(other.url)) as port:
            assert [ask(port, "GET", "/").status for _ in range(6)] == [200] * 6
        assert full.asked


def test_proxy_says_itself_who_asks(proxy: Proxy) -> None:
    """What a client says of where it comes from never reaches the service."""
    copy = Copy("200 OK")
    names = ("X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host", "Forwarded")
    forged = "".join(f"{name}: 6.6.6.6\r\n" for name in names)
    with unguarded(copy) as other, proxy(other, other) as port:
        assert ask(port, "GET", "/forged", headers=forged).status == 200
    (asked,) = copy.asked
    assert asked["HTTP_X_FORWARDED_FOR"] == "127.0.0.1"
    assert not any("6.6.6.6" in str(value) for value in asked.values())


def test_nginx_passes_over_a_copy_that_is_away(program: FindProgram, folder: Path) -> None:
    """What cannot reach one copy goes to the other, a POST too, and arrives once."""
    copy = Copy("201 Created")
    with serving_wsgi(copy) as other:
        with nginx(program("nginx"), folder, free_port(), port_of(other.url)) as port:
            assert [ask(port, "POST", "/", TWEET).status for _ in range(4)] == [201] * 4
        assert len(copy.asked) == 4


def test_caddy_passes_over_a_copy_that_is_away(program: FindProgram, folder: Path) -> None:
    """Before a health check has seen that a copy is away, a GET goes to the other, and no POST arrives twice."""
    copy = Copy("200 OK")
    with serving_wsgi(copy) as other:
        with caddy(program("caddy"), folder, free_port(), port_of(other.url), checks=False) as port:
            assert [ask(port, "GET", "/").status for _ in range(4)] == [200] * 4
            posts = [ask(port, "POST", "/", TWEET).status for _ in range(4)]
        assert set(posts) <= {200, 502}  # see the Caddyfile
        assert len(copy.asked) == 4 + posts.count(200)


def test_proxy_refuses_as_the_service_does(proxy: Proxy) -> None:
    """A body of 128 KiB is passed on; a larger one is 413 in the shape of all errors, and is not."""
    copy = Copy("201 Created")
    with unguarded(copy) as other, proxy(other, other) as port:
        large = ask(port, "POST", "/api/v1/tweet", {**TWEET, "body": "x" * 140_000})
        assert large.status == 413
        check_problem_of_proxy(large)
        allowed = {**TWEET, "body": "x" * (131_072 - len(json.dumps({**TWEET, "body": ""})))}
        assert ask(port, "POST", "/api/v1/tweet", allowed).status == 201
        assert [asked["CONTENT_LENGTH"] for asked in copy.asked] == ["131072"]


def test_proxy_keeps_the_numbers_inside(proxy: Proxy) -> None:
    """No client of the proxy reads /metrics, however it is spelled."""
    copy = Copy("200 OK")
    with unguarded(copy) as other, proxy(other, other) as port:
        for path in ("/metrics", "/metrics?a=b", "//metrics", "/%6detrics", "/a/../metrics"):
            hidden = ask(port, "GET", path)
            assert hidden.status == 404, path
            check_problem_of_proxy(hidden)
    assert copy.asked == []


def test_proxy_says_that_the_service_is_away(proxy: Proxy) -> None:
    """Without any copy the answer is 502 or 503 in the shape of all errors, and says when to ask again."""
    with proxy(free_port(), free_port()) as port:
        away = ask(port, "GET", "/")
    assert away.status in (502, 503)
    assert away.headers["retry-after"] == "1"
    check_problem_of_proxy(away)


def check_problem_of_proxy(answer: Answer) -> None:
    """As `check_problem`, but for the name of the server, which a proxy may say."""
    answer.headers.pop("server", None)
    check_problem(answer)


REFUSED_BY_NGINX = {
    "no Host": (b"GET / HTTP/1.1\r\n\r\n", 400),
    "a bad header": (b"GET / HTTP/1.1\r\nHost: a\r\nbad header: x\r\n\r\n", 400),
    "a bad request line": (b"get / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "two lengths": (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
    "an unknown coding": (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n", 501),
    "TRACE": (b"TRACE / HTTP/1.1\r\nHost: a\r\n\r\n", 405),
    "a long path": (b"GET /" + b"a" * 40_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 414),
    "a long header": (b"GET / HTTP/1.1\r\nHost: a\r\nA: " + b"a" * 40_000 + b"\r\n\r\n", 431),
}


@pytest.mark.parametrize("name", REFUSED_BY_NGINX)
def test_what_nginx_refuses_has_the_shape_of_all_errors(name: str, program: FindProgram, folder: Path) -> None:
    """Problem+json under the service's own headers, whatever it is; a header of 20,000 bytes is passed on."""
    request, status = REFUSED_BY_NGINX[name]
    copy = Copy("200 OK")
    with unguarded(copy) as other, nginx(program("nginx"), folder, other, other) as port:
        with Wire(f"http://127.0.0.1:{port}") as wire:
            refused = wire.ask(request)
        assert refused.status == status
        check_problem_of_proxy(refused)
        assert ask(port, "GET", "/", headers=f"A: {'a' * 20_000}\r\n").status == 200
