"""Errors have one shape, wherever they arise, and every answer has the headers that keep a browser safe."""

import logging

import pytest
from bottle import HTTPError

from app.errors import INTERNAL, problem_for
from app.http.application import Application
from app.http.responses import respond_error
from storage import Tweets, errors
from tests.http.client import Client
from tests.http.conftest import SETTINGS

REFUSALS = {
    "/nothing": 404,
    "/api/v1/tweet/x": 404,
    "/api/v1/tweet": 405,
    "/%FF": 404,
    "/api/v1/top?limit=0": 422,
}


@pytest.mark.parametrize(("target", "status"), REFUSALS.items())
def test_shape(client: Client, target: str, status: int) -> None:
    """An error is problem+json: type, title, status, code and detail, in that order, and nothing is cached of it."""
    reply = client.get(target)

    assert reply.status == reply.json()["status"] == status
    assert list(reply.json())[:5] == ["type", "title", "status", "code", "detail"]
    assert set(reply.json()) - {"type", "title", "status", "code", "detail"} <= {"errors"}
    assert (reply.headers["content-type"], reply.headers["cache-control"]) == ("application/problem+json", "no-store")


@pytest.mark.parametrize(
    "target",
    [*REFUSALS, "/", "/api/v1/", "/livez", "/readyz", "/api/v1/top", "/api/v1/openapi.json", "/static/page.css"],
)
def test_security_headers(client: Client, target: str) -> None:
    """Every answer forbids guessing its type, and has a content-security-policy that starts from nothing."""
    headers = client.get(target).headers

    assert (headers["x-content-type-options"], headers["referrer-policy"]) == ("nosniff", "no-referrer")
    assert headers["content-security-policy"].startswith("default-src 'none'")


KINDS = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.StorageError)]


EXPECTED = {
    errors.TweetNotFound: 404, errors.TweetDeleted: 410, errors.ChainTooLong: 409, errors.KeyReused: 422,
    errors.Overloaded: 503, errors.StoreUnavailable: 503, errors.IndexUnavailable: 503, errors.Retryable: 503,
    errors.StoreFull: 507, errors.WindowTooLarge: 422, errors.CascadeTooLarge: 422, errors.OtherTimeline: 410,
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_table(kind: type[errors.StorageError]) -> None:
    """Each error of storage has its status, a kind without one that of the kind it is of, and else it is 500."""

    class Special(kind):  # type: ignore[valid-type,misc]  # a kind that the table does not name
        pass

    expected = next((status for known, status in EXPECTED.items() if issubclass(kind, known)), 500)
    assert problem_for(kind()).status == problem_for(Special()).status == expected
    assert (respond_error(kind()).get_header("Retry-After") is None) == (expected != 503)


@pytest.fixture
def broken(tweets: Tweets) -> Application:
    """The application, to which a test adds routes that raise."""
    app = Application(tweets, SETTINGS)
    assert isinstance(app, Application)
    return app


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_what_is_raised_is_answered(broken: Application, method: str, caplog: pytest.LogCaptureFixture) -> None:
    """An error that nothing expects is 500 in a fixed sentence; its cause is in the log and not in the answer."""

    @broken.get("/broken")
    def fail() -> None:
        raise RuntimeError("the secret cause")

    with caplog.at_level(logging.ERROR):
        reply = Client(broken).call(method, "/broken")

    assert reply.status == 500
    assert "the secret cause" in caplog.text
    assert (b"secret" in reply.body, reply.body == b"") == (False, method == "HEAD")
    if method == "GET":
        assert (reply.json()["code"], reply.json()["detail"]) == ("internal_error", INTERNAL.detail)
    assert reply.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("kind", [errors.Overloaded, errors.StoreUnavailable, errors.IndexUnavailable])
def test_overload_says_when_to_ask_again(broken: Application, kind: type[errors.Retryable]) -> None:
    """503 comes with Retry-After."""

    @broken.get("/broken")
    def fail() -> None:
        raise kind

    reply = Client(broken).get("/broken")
    assert (reply.status, reply.headers["retry-after"]) == (503, "1")


def test_errors_of_bottle_are_problems(broken: Application) -> None:
    """An HTTPError that a route raises or returns never becomes Bottle's page of HTML."""

    @broken.get("/raised")
    def raise_it() -> None:
        raise HTTPError(404, "<b>")

    @broken.get("/returned")
    def return_it() -> HTTPError:
        return HTTPError(404, "<b>")

    for target in ("/raised", "/returned"):
        reply = Client(broken).get(target)
        assert (reply.status, reply.json()["status"], b"<b>" in reply.body) == (404, 404, False)


def test_no_error_of_the_api_is_a_page(client: Client) -> None:
    """No refusal below /api is HTML, whatever the caller accepts; anywhere else it is for a browser."""
    for target in REFUSALS:
        expected = "application/problem+json" if target.startswith("/api/") else "text/html; charset=utf-8"
        assert client.get(target, HTTP_ACCEPT="text/html").headers["content-type"] == expected
