"""Programs of the system that tests run when they are there; at the end of a test run it says which those were."""

import os
import shutil
from collections.abc import Callable

import pytest
from _pytest.terminal import TerminalReporter

FOUND, MISSED = "system program found", "system program missed"

FindProgram = Callable[[str], str]


@pytest.fixture
def program(record_property: Callable[[str, object], None]) -> FindProgram:
    """Where a program is; a test whose program is missing is skipped, and says so."""

    def find(name: str) -> str:
        path = shutil.which(name, path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin")
        record_property(MISSED if path is None else FOUND, name)
        if path is None and os.environ.get("CI"):
            pytest.fail(f"there is no {name} here, where each test must run")
        if path is None:
            pytest.skip(f"there is no {name} here; tests/install_system_packages.sh installs it")
        return path

    return find


def pytest_terminal_summary(terminalreporter: TerminalReporter) -> None:
    """Print which programs took part in the run."""
    names: dict[str, set[str]] = {FOUND: set(), MISSED: set()}
    for report in (each for reports in terminalreporter.stats.values() for each in reports):
        for kind, name in getattr(report, "user_properties", ()):
            names.get(kind, set()).add(name)
    for kind, found in names.items():
        if found:
            terminalreporter.write_line(f"{kind}: {', '.join(sorted(found))}")
