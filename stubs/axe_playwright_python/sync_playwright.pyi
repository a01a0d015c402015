# The part of axe-playwright-python that the browser tests use, typed; the package says nothing of its types.

from playwright.sync_api import Page

class AxeResults:
    violations_count: int
    def generate_report(self) -> str: ...

class Axe:
    def run(self, page: Page, context: dict[str, list[str]] | None = None) -> AxeResults: ...
