"""Requests made from the description, good and bad: the service answers as the description says, and never with 5xx."""

import json
from typing import Any

import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.config import SchemathesisConfig
from schemathesis.specs.openapi.checks import positive_data_acceptance

from app.http.routes import build_description
from tests.http.client import Client
from tests.http.conftest import SETTINGS

CONFIG = SchemathesisConfig.from_dict(
    {
        "seed": 1,
        # Its coverage phase spends minutes on texts of exactly 10,000 characters; `test_bodies` has those.
        "operations": [{"include-method": "POST", "phases": {"coverage": {"enabled": False}}}],
    }
)
api = schemathesis.openapi.from_dict(json.loads(build_description(SETTINGS)), config=CONFIG)


@api.parametrize()
@settings(max_examples=30, suppress_health_check=list(HealthCheck))
def test_operation(case: schemathesis.Case[Any], client: Client) -> None:
    """An operation answers what is described, takes what fits its schema and refuses what does not."""
    response = case.call(app=client.app)
    excluded: list[Any] = [positive_data_acceptance] if is_beyond_the_schema(case, response) else []
    case.validate_response(response, excluded_checks=excluded, transport_kwargs={"app": client.app})


def is_beyond_the_schema(case: schemathesis.Case[Any], response: schemathesis.Response) -> bool:
    """
    Whether it was refused for what JSON Schema cannot say.

    That is: a key used before, or 1.0, which is an integer there; a cursor of no list or of another database; a window
    that ends at no whole hour, or comes with parameters of the whole ranking.
    """
    if response.status_code not in {410, 422}:
        return False
    refusal = response.json()
    if refusal["code"] == "invalid_query":
        return {fault["field"] for fault in refusal["errors"]} <= {"until", "cursor", "window"}
    if refusal["code"] == "invalid_body":
        body: Any = case.body
        faulty = [fault["field"] for fault in refusal["errors"]]
        return faulty == ["count_retweet"] and isinstance(body["count_retweet"], float)
    return refusal["code"] in {"key_reused", "other_timeline"}
