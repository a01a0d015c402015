"""The description agrees with the routes, with the types and with the rules that are checked."""

import json
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

from app import __version__
from app.errors import Problem
from app.http import pages, schemas
from app.http.application import create_app
from app.http.openapi import HEADERS, OPERATIONS, PARAMETERS, build_description
from app.settings import Settings
from storage import Tweets
from tests.http.client import Client
from tests.http.conftest import SETTINGS

DOCUMENT: dict[str, Any] = json.loads(build_description(SETTINGS))


def test_routes_and_description_agree(tweets: Tweets) -> None:
    """Every route but the pages is described, and every operation described has a route."""
    app = create_app(tweets, SETTINGS)
    routes = {
        (route.method.lower(), re.sub(r"<(\w+)>", r"{\1}", route.rule))
        for route in app.routes
        if route.callback.__module__ != pages.__name__
    }
    described = {(method, path) for path, methods in DOCUMENT["paths"].items() for method in methods}

    assert routes == described
    assert len(OPERATIONS) == len(described)


def test_served(client: Client) -> None:
    """The description is served as it was built, and not again to who has it."""
    reply = client.get("/api/v1/openapi.json")

    assert reply.json() == DOCUMENT
    assert DOCUMENT["info"]["version"] == __version__
    assert client.get("/api/v1/openapi.json", HTTP_IF_NONE_MATCH=reply.headers["etag"]).status == 304


def test_every_reference_leads_somewhere() -> None:
    """Each `$ref` names a component that is there, and no component is there for nothing."""
    named = set(re.findall(r'"\$ref": ?"#/components/(\w+/[\w-]+)"', json.dumps(DOCUMENT)))
    named |= {f"securitySchemes/{name}" for name in re.findall(r'{"(\w+)": \[\]}', json.dumps(DOCUMENT))}
    there = {f"{kind}/{name}" for kind, components in DOCUMENT["components"].items() for name in components}

    assert named == there
    assert {*PARAMETERS, *HEADERS} <= {name.split("/")[1] for name in there}


def test_path_parameters_are_described() -> None:
    """Each `{name}` in a path is a required parameter of all its operations."""
    for path, methods in DOCUMENT["paths"].items():
        for described in methods.values():
            listed = [PARAMETERS[each["$ref"].rpartition("/")[2]] for each in described["parameters"]]
            in_path = [each["name"] for each in listed if each["in"] == "path" and each["required"]]
            assert in_path == re.findall(r"{(\w+)}", path)


def schema(name: str) -> dict[str, Any]:
    found: dict[str, Any] = DOCUMENT["components"]["schemas"][name]
    return found


def test_bodies_are_described_with_their_limits() -> None:
    """The schemas of bodies say required fields, ranges, lengths and patterns, and that there are no other fields."""
    new, retweet = schema("NewTweet"), schema("NewRetweet")

    assert new["required"] == ["user_name", "title", "body"]
    assert retweet["required"] == ["user_name", "retweet"]
    assert new["additionalProperties"] is retweet["additionalProperties"] is False
    name, title, body = (new["properties"][field] for field in ("user_name", "title", "body"))
    assert (name["maxLength"], title["maxLength"], body["maxLength"]) == (64, 280, 10_000)
    assert name["pattern"] == "^(?!\\.+$)[A-Za-z0-9_.-]+$"
    count = new["properties"]["count_retweet"]["anyOf"][0]
    assert (count["minimum"], count["maximum"]) == (0, 1_000_000_000_000)
    assert list(schema("Tweet")["properties"]) == list(schemas.Tweet.__struct_fields__)


def test_generators_can_use_it() -> None:
    """No field has a default, responses may have further keys, cursors are opaque, and codes may become more."""
    assert '"default"' not in json.dumps(DOCUMENT["components"]["schemas"])
    closed = {
        name for name, found in DOCUMENT["components"]["schemas"].items() if not found.get("additionalProperties", True)
    }
    assert closed == {"NewTweet", "NewRetweet"}
    assert PARAMETERS["cursor"]["schema"] == {"type": "string"}
    rows = (
        (Path(__file__).parents[2] / "docs" / "api.md").read_text().partition("| status | code |")[2].split("\n\n")[0]
    )
    assert schema("Problem")["properties"]["code"]["x-extensible-enum"] == sorted(
        set(re.findall(r"`([a-z_]+)`", re.sub(r"\|[^|]*\|$", "|", rows, flags=re.MULTILINE)))
    )


def test_no_pattern_is_in_the_dialect_of_python() -> None:
    r"""Every pattern ends in `$`, for `\Z` means the letter Z to JSON Schema."""
    patterns = re.findall(r'"pattern": "([^"]*)"', json.dumps(DOCUMENT))

    assert len(patterns) > 10
    assert all(pattern.endswith("$") and "Z" not in pattern[-3:-1] for pattern in patterns)


def test_an_answer_fits_its_description(client: Client) -> None:
    """What is answered can be read back by the very types of the description, to the letter."""
    root = client.tweet()
    path = f"/api/v1/tweet/{client.retweet(root)['id']}"
    kinds: dict[str, type[msgspec.Struct]] = {
        path: schemas.Tweet,
        f"{path}/chain": schemas.Chain,
        f"{path}/retweets": schemas.TweetList,
        f"{path}/rank": schemas.Rank,
        "/api/v1/top": schemas.Top,
        "/api/v1/tweets": schemas.TweetList,
        "/livez": schemas.Live,
        "/readyz": schemas.Ready,
        "/nothing": Problem,
    }
    for target, kind in kinds.items():
        body = client.get(target).body
        assert msgspec.json.encode(msgspec.json.decode(body, type=kind)) == body


def test_settings_are_told() -> None:
    """The description names the limit that this service was started with."""
    few = Settings.from_environment({"MAX_ANCESTORS": "7"})
    assert "at most 7 ancestors" in " ".join(json.loads(build_description(few))["info"]["description"].split())


def test_repeating_is_told_as_in_the_docs() -> None:
    """The description says of repeating a call after 503 what docs/api.md says, word for word."""
    docs = " ".join((Path(__file__).parents[2] / "docs" / "api.md").read_text().split())
    said = re.findall(r"Every 503 [^.]*\. After `store_unavailable`[^.]*\.", docs)

    assert len(said) == 1
    assert said[0] in " ".join(DOCUMENT["info"]["description"].split())


def test_the_example_of_a_body_is_one_that_may_be_posted(client: Client) -> None:
    """A required text has an example, as Swagger UI shows it, and what they give together is a good tweet."""
    fields = schema("NewTweet")["properties"]
    tweet = {name: fields[name]["examples"][0] for name in schema("NewTweet")["required"]}

    assert tweet == {"user_name": "ada", "title": "On counting", "body": "We count them all."}
    assert client.post("/api/v1/tweet", tweet).status == 201


@pytest.mark.parametrize("code", ["503", "500"])
def test_outage_is_described(code: str) -> None:
    """Every operation on tweets may answer 500 and 503, and 503 says when to ask again."""
    for operation in OPERATIONS:
        answers = DOCUMENT["paths"][operation.path][operation.method]["responses"]
        assert code in answers or operation.tag in {"health", "api"}
        assert code != "503" or code not in answers or "Retry-After" in answers[code]["headers"]


def test_docs_and_code_name_the_same_file() -> None:
    """The page of Swagger UI loads the description from where it is served."""
    script = Path(pages.__file__).parents[1] / "static" / "swagger.js"
    assert "openapi.json" in script.read_text()
