"""Fixtures of the formats: a browser, and the schemas of JUnit and SARIF."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from lxml import etree
from playwright import sync_api

from engines import missing
from paths import SHARED
from preflight.model.report import Report
from preflight.render import RenderOptions, renderer
from report_readers import Visit

PLAIN = RenderOptions()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    program = shutil.which("chromium")
    if program is None:
        missing("chromium is not installed")
    with sync_api.sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield running
        running.close()


@pytest.fixture
def visit(browser: Any, tmp_path: Path) -> Iterator[Callable[..., Visit]]:
    """Open a report, or a page, as the file that `check -f html:FILE` writes."""
    contexts = []

    def open_(
        report: Report | str, options: RenderOptions = PLAIN, **context_options: Any
    ) -> Visit:
        file = tmp_path / "report.html"
        text = report if isinstance(report, str) else renderer("html")(report, options)
        file.write_text(text, encoding="ascii")
        context = browser.new_context(**context_options)
        contexts.append(context)
        page = context.new_page()
        told = Visit(page, [], [], [])
        page.on("console", lambda message: told.console.append(message.text))
        page.on("pageerror", lambda fault: told.console.append(str(fault)))
        page.on("request", lambda request: told.requests.append(request.url))
        page.on("dialog", lambda dialog: (told.dialogs.append(dialog.message), dialog.dismiss()))
        page.goto(file.as_uri())
        return told

    yield open_
    for context in contexts:
        context.close()


JUNIT_SCHEMA = SHARED / "schemas/junit.xsd"


@pytest.fixture(scope="module")
def schema() -> etree.XMLSchema:
    if not JUNIT_SCHEMA.exists():
        missing(f"{JUNIT_SCHEMA} is not there: JUnit's schema comes beside the checkout")
    return etree.XMLSchema(etree.parse(JUNIT_SCHEMA))


SARIF_SCHEMA = SHARED / "schemas/sarif-2.1.0.json"


@pytest.fixture(scope="module")
def validator() -> jsonschema.Draft4Validator:
    """The standard's own schema, with the formats that its texts must have."""
    if not SARIF_SCHEMA.exists():
        missing(f"{SARIF_SCHEMA} is not there: SARIF's schema comes beside the checkout")
    schema = json.loads(SARIF_SCHEMA.read_text(encoding="utf-8"))
    return jsonschema.Draft4Validator(
        schema, format_checker=jsonschema.Draft4Validator.FORMAT_CHECKER
    )
