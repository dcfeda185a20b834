"""Fixtures of the formats: a browser, and the schemas of JUnit and SARIF."""

from __future__ import annotations

import json

import jsonschema
import pytest
from lxml import etree

from engines import skip_or_fail
from paths import SHARED
from preflight.render import RenderOptions

PLAIN = RenderOptions()


JUNIT_SCHEMA = SHARED / "schemas/junit.xsd"


@pytest.fixture(scope="module")
def schema() -> etree.XMLSchema:
    if not JUNIT_SCHEMA.exists():
        skip_or_fail(f"{JUNIT_SCHEMA} is not there: JUnit's schema comes beside the checkout")
    return etree.XMLSchema(etree.parse(JUNIT_SCHEMA))


SARIF_SCHEMA = SHARED / "schemas/sarif-2.1.0.json"


@pytest.fixture(scope="module")
def validator() -> jsonschema.Draft4Validator:
    """The standard's own schema, with the formats that its texts must have."""
    if not SARIF_SCHEMA.exists():
        skip_or_fail(f"{SARIF_SCHEMA} is not there: SARIF's schema comes beside the checkout")
    schema = json.loads(SARIF_SCHEMA.read_text(encoding="utf-8"))
    return jsonschema.Draft4Validator(
        schema, format_checker=jsonschema.Draft4Validator.FORMAT_CHECKER
    )
