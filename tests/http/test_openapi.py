"""The description agrees with the routes, with the types and with the rules that are checked."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from app import __version__, errors
from app.http import pages, ranking, routes, schemas
from app.http.application import Application
from app.http.routes import build_description
from app.settings import Settings
from storage import Tweets
from tests.http.client import Client
from tests.http.conftest import SETTINGS

DOCUMENT: dict[str, Any] = json.loads(build_description(SETTINGS))
COMPONENTS: dict[str, dict[str, Any]] = DOCUMENT["components"]
PARAMETERS, SCHEMAS = COMPONENTS["parameters"], COMPONENTS["schemas"]
OPERATIONS = [
    (path, method, described) for path, methods in DOCUMENT["paths"].items() for method, described in methods.items()
]


def test_routes_and_description_agree(tweets: Tweets) -> None:
    """Every route but the pages is described, and every operation described has a route."""
    app = Application(tweets, SETTINGS)
    found = {
        (re.sub(r"<(\w+)>", r"{\1}", route.rule), route.method.lower())
        for route in app.routes
        if route.callback.__module__ != pages.__name__
    }

    assert found == {(path, method) for path, method, _ in OPERATIONS}
    assert len({described["operationId"] for _, _, described in OPERATIONS}) == len(OPERATIONS)


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


def parameters(described: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The parameters of an operation, by their names."""
    listed = [PARAMETERS[each["$ref"].rpartition("/")[2]] for each in described["parameters"]]
    return {each["name"]: each for each in listed}


def test_path_parameters_are_described() -> None:
    """Each `{name}` in a path is a required parameter of all its operations."""
    for path, _, described in OPERATIONS:
        in_path = [name for name, each in parameters(described).items() if each["in"] == "path" and each["required"]]
        assert in_path == re.findall(r"{(\w+)}", path)


DEFAULTS = {
    "get_chain": routes.CHAIN_LIMIT, "list_descendants": routes.PAGE_LIMIT, "list_changes": routes.PAGE_LIMIT,
    "get_top": ranking.LIMIT, "get_top_users": ranking.LIMIT,
}  # fmt: skip
"""How many rows a page has; those of all other lists are `LIST_LIMIT`."""


@pytest.mark.parametrize(
    ("path", "described"), [(path, found) for path, _, found in OPERATIONS if "limit" in parameters(found)]
)
def test_limits_are_those_of_the_routes(client: Client, path: str, described: dict[str, Any]) -> None:
    """A page may have as many rows as is described and no more, and the default is named."""
    limit = parameters(described)["limit"]
    largest = limit["schema"]["maximum"]
    target = path.format(tweet_id=client.tweet()["id"], user_name="ada") + "?window=1d&limit="
    target = target if "window" in parameters(described) else target.replace("window=1d&", "")

    assert [client.get(f"{target}{number}").status for number in (0, 1, largest, largest + 1)] == [422, 200, 200, 422]
    assert f" {DEFAULTS.get(described['operationId'], routes.LIST_LIMIT)} unless given" in limit["description"]


def test_windows_are_those_of_the_routes() -> None:
    """A window fits the pattern of the description exactly when it is one."""
    numbered = [f"{number}{unit}" for number in [*range(9000), 10_000, "01"] for unit in ("h", "d", "w", "m", "")]
    for text in [*numbered, *ranking.WINDOWS_MS, "Day", "1h\n", ""]:
        fits = re.fullmatch(PARAMETERS["window"]["schema"]["pattern"].strip("^$"), text) is not None
        assert (ranking.parse_window(text) is not None) == fits, text
    assert PARAMETERS["window"]["schema"] == PARAMETERS["needed_window"]["schema"]


def bare(schema: Any) -> Any:
    """What a value must be: *schema* without words and examples, in the dialect of JSON Schema."""
    if isinstance(schema, dict):
        words = ("description", "title", "examples", "default", "format")
        return {name: bare(value) for name, value in schema.items() if name not in words}
    if isinstance(schema, list):
        return [bare(value) for value in schema]
    return schema.replace(r"\Z", "$") if isinstance(schema, str) else schema


@pytest.mark.parametrize("kind", [schemas.NewTweet, schemas.NewRetweet])
def test_bodies_are_described_as_they_are_checked(kind: type[msgspec.Struct]) -> None:
    """Fields, ranges, lengths and patterns are those of the types, and the words those of a refusal."""
    described = SCHEMAS[kind.__name__]

    assert bare(described) == bare(msgspec.json.schema(kind)["$defs"][kind.__name__])
    assert described["required"] == [field.name for field in msgspec.structs.fields(kind) if field.required]
    for name, words in schemas.RULES.items():
        found = [text for text in texts(described["properties"][name], "description") if text == words]
        assert found or name == "count_retweet" or (kind, name) == (schemas.NewTweet, "retweet")
    assert f"more than {errors.BODY_LIMIT // 1024} KiB" in str(DOCUMENT["paths"]["/api/v1/tweet"])


def texts(schema: Any, name: str) -> Iterator[str]:
    """What stands under *name* anywhere in *schema*."""
    children = schema.values() if isinstance(schema, dict) else schema if isinstance(schema, list) else ()
    if isinstance(schema, dict) and isinstance(schema.get(name), str):
        yield schema[name]
    for child in children:
        yield from texts(child, name)


@pytest.mark.parametrize("field", ["user_name", "title", "body", "retweet", "count_retweet", "id"])
def test_every_tweet_is_described_alike(field: str) -> None:
    """A field of a tweet is of the same type wherever it is answered; in some it may be null, too."""
    nullable = bare(msgspec.json.schema(schemas.Tweet)["$defs"]["Tweet"]["properties"][field])
    kinds = [option for option in nullable.get("anyOf", [nullable]) if option != {"type": "null"}]
    base = bare(msgspec.json.schema(schemas.Base))
    found = [
        bare(schema["properties"][field])
        for name, schema in SCHEMAS.items()
        if field in schema.get("properties", {}) and name not in {"NewTweet", "NewRetweet", "Problem", "NotReady"}
    ]

    assert len(found) > 3
    for each in found:
        assert each in ({"anyOf": [*kinds, {"type": "null"}]}, *kinds) or (field == "count_retweet" and each == base)


def test_generators_can_use_it() -> None:
    """No field has a default, responses may have further keys, cursors are opaque, and codes may become more."""
    assert '"default"' not in json.dumps(SCHEMAS)
    closed = {name for name, found in SCHEMAS.items() if not found.get("additionalProperties", True)}
    assert closed == {"NewTweet", "NewRetweet"}
    assert PARAMETERS["cursor"]["schema"] == {"type": "string"}
    rows = (
        (Path(__file__).parents[2] / "docs" / "api.md").read_text().partition("| status | code |")[2].split("\n\n")[0]
    )
    assert SCHEMAS["Problem"]["properties"]["code"]["x-extensible-enum"] == sorted(
        set(re.findall(r"`([a-z_]+)`", re.sub(r"\|[^|]*\|$", "|", rows, flags=re.MULTILINE)))
    )


def test_no_pattern_is_in_the_dialect_of_python() -> None:
    r"""Every pattern ends in `$`, for `\Z` means the letter Z to JSON Schema."""
    patterns = re.findall(r'"pattern": "([^"]*)"', json.dumps(DOCUMENT))

    assert len(patterns) > 10
    assert all(pattern.endswith("$") and "Z" not in pattern[-3:-1] for pattern in patterns)


def check_keys(value: Any, schema: dict[str, Any], where: str) -> None:
    """Every object in *value* has the keys that *schema* names, in that order, and no other; lists are not empty."""
    if "$ref" in schema:
        schema = SCHEMAS[schema["$ref"].rpartition("/")[2]]
    if "anyOf" in schema and value is not None:
        schema = next(each for each in schema["anyOf"] if each.get("type") != "null")
        return check_keys(value, schema, where)
    if isinstance(value, dict):
        left_out = set(schema["properties"]) - set(schema["required"])
        assert [*value] == [name for name in schema["properties"] if name in value or name not in left_out], where
        for name, child in value.items():
            check_keys(child, schema["properties"][name], f"{where} {name}")
    if isinstance(value, list):
        assert value, where
        for child in value:
            check_keys(child, schema["items"], where)
    return None


def test_answers_have_the_keys_that_are_described(client: Client) -> None:
    """To the letter, where a generated client would pass over a key that is missing in the description."""
    root = client.tweet()
    child = client.retweet(root)
    client.call("DELETE", f"/api/v1/tweet/{client.retweet(child)['id']}")
    asked = {f"/api/v1/top{also}": "window=day" for also in ("", "/users")}
    seen = set()
    for path, method, described in OPERATIONS:
        if method == "get" and path != "/api/v1/openapi.json":
            target = path.format(tweet_id=root["id"], user_name="ada")
            for query in {"", asked.get(path, "")} - ({""} if path.endswith("/users") else set()):
                answered = described["responses"]["200"]["content"]["application/json"]["schema"]
                options = answered.get("anyOf", [answered])
                check_keys(client.get(f"{target}?{query}").json(), options[0 if query else -1], target)
            seen.add(path)
    check_keys(client.get("/nothing").json(), SCHEMAS["Problem"], "404")
    check_keys(client.post("/api/v1/tweet", {}).json(), SCHEMAS["Problem"], "422")
    assert len(seen) == 13


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
    fields = SCHEMAS["NewTweet"]["properties"]
    tweet = {name: fields[name]["examples"][0] for name in SCHEMAS["NewTweet"]["required"]}

    assert tweet == {"user_name": "ada", "title": "On counting", "body": "We count them all."}
    assert client.post("/api/v1/tweet", tweet).status == 201


@pytest.mark.parametrize("code", ["503", "500"])
def test_outage_is_described(code: str) -> None:
    """Every operation on tweets may answer 500 and 503, and 503 says when to ask again."""
    for path, _, described in OPERATIONS:
        answers = described["responses"]
        assert code in answers or path in {"/livez", "/readyz", "/api/v1/openapi.json"}
        assert code != "503" or code not in answers or "Retry-After" in answers[code]["headers"]


def test_docs_and_code_name_the_same_file() -> None:
    """The page of Swagger UI loads the description from where it is served."""
    script = Path(pages.__file__).parents[1] / "static" / "swagger.js"
    assert "openapi.json" in script.read_text()
