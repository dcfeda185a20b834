"""Every small condition and `when` against Kleene's tables: min, max and 2 - x over 0, 1 and 2."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from preflight.evaluate.judge import judge_rules
from preflight.model.facts import FactCatalogue, FactDeclaration, Facts, Unknown
from preflight.rules.load import load_ruleset

TRUTHS = {"true": 2, "unknown": 1, "false": 0, "absent": 0}
CATALOGUE = FactCatalogue([FactDeclaration(f"host.{name}", "text", "") for name in (*TRUTHS, "x")])
VALUES = {"host": {"true": "x", "false": "y", "absent": None, "x": "x"}}
FACTS = Facts(VALUES, {}, {"host.unknown": Unknown("not measured")})
FLAT: list[Any] = [
    (operator, *leaves)
    for operator in ("all_of", "any_of")
    for count in (1, 2, 3)
    for leaves in itertools.product(TRUTHS, repeat=count)
]
NESTED = [("any_of", one, ("not", two)) for one in FLAT[:20] for two in FLAT[-20:]]
CONDITIONS = [*TRUTHS, *FLAT, *(("not", inner) for inner in [*TRUTHS, *FLAT]), *NESTED]


def written(tree: Any) -> str:
    if isinstance(tree, str):
        return f"{{equals: {{fact: host.{tree}}}}}"
    operator, *parts = tree
    inner = ", ".join(map(written, parts))
    return f"{{{operator}: {inner}}}" if operator == "not" else f"{{{operator}: [{inner}]}}"


def truth(tree: Any) -> int:
    if isinstance(tree, str):
        return TRUTHS[tree]
    operator, *parts = tree
    truths = [truth(part) for part in parts]
    return 2 - truths[0] if operator == "not" else {"all_of": min, "any_of": max}[operator](truths)


def verdicts(keys: list[str]) -> list[str]:
    rules = "".join(f"  - {{id: r{n}, title: T, {text}}}\n" for n, text in enumerate(keys))
    text = f"version: 1\nrules:\n{rules}".encode()
    report = judge_rules(load_ruleset("r.yaml", lambda _: text, CATALOGUE), FACTS, CATALOGUE)
    return [result.verdict for result in report.results]


def test_a_condition() -> None:
    keys = [f"fact: host.x, require: {written(tree)}" for tree in CONDITIONS]
    wanted = [("fail", "unknown", "pass")[truth(tree)] for tree in CONDITIONS]
    assert len(wanted) > 700
    assert verdicts(keys) == wanted


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_the_lines_of_a_when_in_every_order(count: int) -> None:
    orders = list(itertools.permutations(TRUTHS, count))
    lines = (", ".join(f"host.{name}: {{equals: x}}" for name in order) for order in orders)
    keys = [f"when: {{{line}}}, fact: host.x, require: {{equals: x}}" for line in lines]
    wanted = [("skip", "unknown", "pass")[min(TRUTHS[name] for name in order)] for order in orders]
    assert verdicts(keys) == wanted
