"""The pages say what the code says: settings, error codes, paths, links, verbs and words of make."""

import ast
import re
import shlex
import subprocess
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import pytest

from app.cli.main import parser
from app.settings import Settings
from storage.index.keys import keys_of
from storage.sql.schema import metadata
from tests.system import FindProgram

ROOT = Path(__file__).resolve().parents[2]
PAGES = [
    page
    for pattern in ("*.md", "docs/*.md", "deploy/*.md", "tests/data/*.md", "bench/*.md")
    for page in sorted(ROOT.glob(pattern))
]
FOLDERS = ("app", "storage", "migrations", "tests", "bench", "deploy", "docs", "stubs", ".ci")
FILES = [f"/{file.relative_to(ROOT)}" for folder in FOLDERS for file in (ROOT / folder).rglob("*") if file.is_file()]
SUFFIXES = (".py", ".lua", ".md", ".tpl", ".js", ".css", ".yaml", ".conf", ".service", ".toml")
OF_OTHERS = {"POSTGRES_PASSWORD", "READ COMMITTED", "LOCAL_ONLY"}
"""Variables in capitals that are not the service's."""

every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def test_the_settings_are_those_of_the_code() -> None:
    """README's table has each setting with its default and its meaning, as app/settings.py has them, and no other."""
    rows = [
        f"| `{entry.name.upper()}` | {_code(entry.metadata['default'])} | {entry.metadata['help']} |"
        for entry in fields(Settings)
    ]
    table = _table_after(ROOT / "README.md", "| variable | default | meaning |")
    assert table == rows, "README's table must be:\n" + "\n".join(rows)


def _code(text: str) -> str:
    return f"`{text}`" if text else ""


def _table_after(page: Path, header: str) -> list[str]:
    """The rows of the table with that header."""
    lines = page.read_text().split("\n")
    first = lines.index(header) + 2
    return lines[first : lines.index("", first)]


def test_the_error_codes_are_those_of_the_code() -> None:
    """docs/api.md names each code with its status, as the code has them, and no other."""
    rows = _cells("| status | code | when |")
    documented = {(int(status), code.strip("`")) for status, codes, _ in rows for code in codes.split(", ")}
    found = {pair for file in _sources() for pair in _codes_in(ast.parse(file.read_text()))}
    assert documented == found


def test_the_codes_of_fields_are_those_of_the_code() -> None:
    """docs/api.md names each code that a fault in `errors` may have, and no other."""
    documented = {row[0].strip("`") for row in _cells("| code in `errors` | when |")}
    found = {code for file in _sources() for code in _field_codes_in(ast.parse(file.read_text()))}
    assert documented == found


def _cells(header: str) -> list[list[str]]:
    return [row.strip("| ").split(" | ") for row in _table_after(ROOT / "docs" / "api.md", header)]


def _sources() -> Iterator[Path]:
    return (ROOT / "app").rglob("*.py")


def _codes_in(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Status and code of each refusal that is written down, however it is made."""
    for call in _calls(tree):
        name, words = _name_of(call), _constants(call)
        if name in {"respond_problem", "ProblemSpec"} and isinstance(words[0], int) and isinstance(words[1], str):
            yield words[0], words[1]
        named = {word.arg: word.value.value for word in call.keywords if isinstance(word.value, ast.Constant)}
        if "status" in named and "code" in named:
            yield int(str(named["status"])), str(named["code"])


def _field_codes_in(tree: ast.AST) -> Iterator[str]:
    """The code of each `field_error`, and those that `_fault` returns."""
    for call in _calls(tree):
        words = _constants(call)
        if _name_of(call) == "field_error" and isinstance(words[1], str):
            yield words[1]
    for function in ast.walk(tree):
        if isinstance(function, ast.FunctionDef) and function.name == "_fault":
            returned = [node.value for node in ast.walk(function) if isinstance(node, ast.Return) and node.value]
            chosen = [value for value in returned if isinstance(value, ast.IfExp)]
            for value in [*returned, *(each.body for each in chosen), *(each.orelse for each in chosen)]:
                if isinstance(value, ast.Constant) and isinstance(value.value, str):
                    yield value.value


def _calls(tree: ast.AST) -> Iterator[ast.Call]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name))


def _name_of(call: ast.Call) -> str:
    return call.func.id if isinstance(call.func, ast.Name) else ""


def _constants(call: ast.Call) -> list[object]:
    """The first two arguments, None for what is worked out."""
    values: list[object] = [getattr(argument, "value", None) for argument in call.args[:2]]
    return [*values, None, None][:2]


def test_the_data_layout_is_that_of_the_code() -> None:
    """docs/design.md names each table and column, and each key in Redis, and no other key."""
    layout = (ROOT / "docs" / "design.md").read_text().partition("\n## Data layout\n")[2].partition("\n## ")[0]
    for table in metadata.tables.values():
        rows = [line for line in layout.splitlines() if line.startswith(f"| `{table.name}`")]
        assert rows, table.name
        text = layout.partition("\n\n| table |")[0] if table.name == "tweets" else rows[0]
        assert {f"`{column.name}`" for column in table.columns} - set(re.findall(r"`\w+`", text)) == set(), table.name
    keys = re.findall(r"^\| `(twitter:[^`]*)` \|", layout, re.MULTILINE)
    assert keys == [key.replace("{0:0}", "{S:P}") for key in keys_of("0", 0)]


@every_page
def test_each_link_leads_somewhere(page: Path) -> None:
    """A link to a file of the project, or to a heading in one, has its target."""
    for target in re.findall(r"\]\(([^)\s]+)\)", _prose(page)):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        linked = page.parent / path if path else page
        assert linked.exists(), target
        assert not anchor or anchor in _anchors(linked), target


def test_the_readme_leads_to_every_page() -> None:
    """Each page of docs/ is linked from README, under "Where to go next"."""
    links = re.findall(r"\]\(([^)\s]+)\)", _prose(ROOT / "README.md").partition("## Where to go next")[2])
    assert {str(page.relative_to(ROOT)) for page in (ROOT / "docs").glob("*.md")} <= set(links)


@every_page
def test_each_file_that_is_named_exists(page: Path) -> None:
    """A path or a file's name that stands as code is that of a file or folder; a test after `::` is in its file."""
    for named in _named_in(page):
        path, _, test = named.partition("::")
        assert _exists(path, page), named
        assert not test or f"def {test}(" in (ROOT / path).read_text(), named


def _exists(path: str, page: Path) -> bool:
    """Whether there is such a file or folder; one may be named by the end of its path alone."""
    here = (ROOT / path).exists() or (page.parent / path).exists()
    return here or any(file.endswith(f"/{path}") for file in FILES)


def _named_in(page: Path) -> list[str]:
    """What looks like a path of ours: it begins with a folder of ours, or has an ending of ours."""
    words = re.findall(r"[\w.\-/*]+(?:::\w+)?", " ".join(re.findall(r"`([^`\n]+)`", _prose(page))))
    words += re.findall(r"[\w.\-/]+\.(?:py|lua)\b", page.read_text())
    paths = [word for word in words if word.partition("/")[0] in FOLDERS and "/" in word and "*" not in word]
    return paths + [word for word in words if word.partition("::")[0].endswith(SUFFIXES) and "*" not in word]


@every_page
def test_each_command_and_target_is_one(page: Path) -> None:
    """Every `simple-twitter ...` is taken by the command line, and every `make ...` by the Makefile."""
    targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    inline = re.findall(r"`([^`\n]+)`", _prose(page))
    for line in [*inline, *(line for block in _command_blocks(page) for line in block.split("\n"))]:
        for typed in re.findall(r"(?:^|[\s(]|bin/)(?<!-[ugo] )simple-twitter ((?:--|[a-z]+(?: |$))[^|`;#)]*)", line):
            assert "COMMAND" in typed or _is_taken(typed), line
        for target in re.findall(r"(?:^|&& )make ([a-z]+)", line):
            assert target in targets, line


def _is_taken(typed: str) -> bool:
    """Whether the command line takes these words."""
    try:
        parser().parse_args(shlex.split(typed))
    except SystemExit as ended:
        return ended.code == 0
    return True


def _command_blocks(page: Path) -> list[str]:
    """What is meant to be copied into a shell."""
    return re.findall(r"^```sh\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)


@every_page
def test_commands_survive_being_pasted(page: Path) -> None:
    """
    A block of commands has no prompt, output or comment, and nothing that an interactive zsh takes for a pattern.

    Zsh reads `#` as a word there, refuses a `?` or `*` that matches no file, and replaces `!` by an earlier command.
    """
    assert "```console" not in page.read_text()
    assert not re.search(r"\n\n    \S", _prose(page)), "fence it: as sh what is to be copied, else as text"
    for block in _command_blocks(page):
        bare = re.sub(r"'[^']*'", "", block)
        assert "!" not in bare, block
        bare = re.sub(r'"(?:\\.|[^"\\])*"', "", bare)
        assert not re.search(r"[?*\[]|(?:^|\s)[#$](?:\s|$)|(?:^|\s)#", bare, re.MULTILINE), block
        assert "<" not in re.sub(r"<<?[-']*\w", "", bare), block


@pytest.mark.parametrize("shell", ["sh", "bash", "zsh"])
def test_commands_are_read_by_each_shell(shell: str, program: FindProgram) -> None:
    """Each block of commands is complete and right by the grammar of the shells that people have."""
    path = program(shell)
    for page in PAGES:
        for block in _command_blocks(page):
            read = subprocess.run([path, "-n"], input=block, capture_output=True, text=True, check=False)
            assert (read.returncode, read.stderr) == (0, ""), (page, block)


@every_page
def test_each_variable_is_a_setting(page: Path) -> None:
    """A name in capitals with a `_` in it that stands as code is a setting, or known to be of another program."""
    settings = {entry.name.upper() for entry in fields(Settings)}
    named = set(re.findall(r"`([A-Z]+(?:_[A-Z]+)+)(?:=[^`]*)?`", _prose(page)))
    assert named <= settings | OF_OTHERS


def _prose(page: Path) -> str:
    """The page without its blocks of code."""
    return re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)


def _anchors(page: Path) -> set[str]:
    """Where links into a page may lead: its headings, as GitHub spells them."""
    headings = re.findall(r"^#+ (.+)$", _prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
