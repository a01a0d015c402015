"""The health answers while all is well; `test_ranking` has them without Redis."""

from tests.http.client import Client


def test_live(client: Client) -> None:
    """/livez is 200."""
    reply = client.get("/livez")
    assert (reply.status, reply.json()) == (200, {"status": "ok"})


def test_ready(client: Client) -> None:
    """/readyz is 200 when both parts answer, and says how far the index is behind."""
    client.tweet()
    reply = client.get("/readyz")
    assert (reply.status, reply.json()) == (200, {"store": True, "index": True, "lag": 0})
