"""docs/operations.md promises nothing without a test."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "operations.md").read_text()
NAMED = re.compile(r"`(tests/[a-z0-9_/]+\.py)::(\w+)`")


def test_every_promise_has_its_test() -> None:
    """Each row of a fault names at least one test, and every test that the page names is there."""
    promises = PAGE.partition("\n## Promises\n")[2].partition("\n## ")[0]
    rows = [row for row in promises.splitlines() if row.startswith("| ") and not row.startswith(("| fault", "| ---"))]
    assert len(rows) > 60
    assert [row for row in rows if not NAMED.search(row.rpartition(" | ")[2])] == []
    tests = {file: defined_in(file) for file, _ in NAMED.findall(PAGE)}
    assert [f"{file}::{test}" for file, test in NAMED.findall(PAGE) if test not in tests[file]] == []
    assert PAGE.count("::test_") == len(NAMED.findall(PAGE)), "name each test with its file"


def defined_in(file: str) -> set[str]:
    """The functions of that file."""
    tree = ast.parse((ROOT / file).read_text())
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def test_every_part_of_the_torture_is_described() -> None:
    """The page has a row for each part of `make torture`, and no other."""
    words = re.search(r"^    names = (\(.*\))$", (ROOT / "tests/torture/__main__.py").read_text(), re.MULTILINE)
    assert words
    table = PAGE.partition("\n## Torture\n")[2].partition("\nWhat came of them")[0]
    described = re.findall(r"^\| ([a-z-]+) \|", table, re.MULTILINE)
    assert described[2:] == list(ast.literal_eval(words[1]))
