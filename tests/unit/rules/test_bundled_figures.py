"""The bundled rules state the figures of the requirements document, section by section."""

from __future__ import annotations

from typing import Any

import pytest

from bundled_rules import bundled_rules
from preflight.model.conditions import SumOfBounds

MB, GB, MIB, GIB = 10**6, 10**9, 2**20, 2**30
RULESET = bundled_rules(known_errors=True)
RULES = {rule.id: rule for rule in RULESET.rules}

MINIMUM = "Minimum System Requirements"
ALLOCATION = "Memory Allocation"
DOCKER = "Docker Resource Configuration"
ENVIRONMENT = "Environment Variables for Memory Optimization"
FIGURES: list[tuple[str, str, str, str, Any]] = [
    (MINIMUM, "host-memory", "require", "at_least", 10 * GB),
    (MINIMUM, "host-memory", "recommend", "at_least", 12 * GB),
    (MINIMUM, "docker-memory", "require", "at_least", 8 * GB),
    (MINIMUM, "host-cpus", "recommend", "at_least", 4),
    (MINIMUM, "docker-cpus", "recommend", "at_least", 4),
    (MINIMUM, "host-disk", "require", "at_least", 20 * GB),
    (MINIMUM, "docker-disk", "require", "at_least", 20 * GB),
    (ALLOCATION, "memory-allocation", "require", "at_least", (6 * GB, 512 * MB, 2 * GB)),
    (ALLOCATION, "memory-allocation", "recommend", "at_least", (8 * GB, 2 * GB, 2 * GB)),
    (ALLOCATION, "api-memory-limit", "recommend", "at_least", 512 * MB),
    (DOCKER, "ollama-memory-limit", "require", "at_least", 6 * GIB),
    (DOCKER, "ollama-memory-limit", "recommend", "at_most", 8 * GIB),
    (DOCKER, "ollama-memory-limit-document", "recommend", "equals", 8 * GIB),
    (DOCKER, "ollama-memory-reservation", "recommend", "equals", 6 * GIB),
    (DOCKER, "ollama-cpu-limit", "recommend", "equals", 4),
    (DOCKER, "ollama-cpu-reservation", "recommend", "equals", 2),
    (DOCKER, "api-memory-limit-document", "recommend", "equals", 2 * GIB),
    (DOCKER, "api-memory-reservation", "recommend", "equals", 512 * MIB),
    (DOCKER, "api-cpu-limit", "recommend", "equals", 2),
    (DOCKER, "api-cpu-reservation", "recommend", "equals", 0.5),
    (ENVIRONMENT, "ollama-max-loaded-models", "recommend", "equals", 1),
    (ENVIRONMENT, "ollama-num-parallel", "recommend", "equals", 1),
    (ENVIRONMENT, "ollama-keep-alive", "recommend", "at_most", 300),
    (ENVIRONMENT, "python-unbuffered", "recommend", "equals", True),
    (ENVIRONMENT, "python-dont-write-bytecode", "recommend", "equals", True),
]


@pytest.mark.parametrize(("section", "rule_id", "key", "operator", "figure"), FIGURES)
def test_a_rule_states_the_figure_of_its_section(
    section: str, rule_id: str, key: str, operator: str, figure: Any
) -> None:
    rule = RULES[rule_id]
    assert (rule.section, rule.document) == (section, True)
    operands = {row.name: operand for row, operand in getattr(rule, key).tests}
    operand = operands[operator]
    assert (operand.parts if isinstance(operand, SumOfBounds) else operand) == figure


def test_the_models_need_what_the_document_says() -> None:
    assert {model.name: model.memory for model in RULESET.models} == {
        "phi:latest": 1.6 * GB,
        "gemma:2b": 1.4 * GB,
        "tinyllama:latest": 637 * MB,
        "mistral:7b-instruct-q4_0": 4 * GB,
    }


def test_the_errors_of_the_document_are_known() -> None:
    ids = {diagnosis.id for diagnosis in RULESET.diagnoses}
    assert {"model-needs-more-memory", "killed-at-container-limit"} <= ids
