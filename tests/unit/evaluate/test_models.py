"""Which models fit a budget, in which order, and what is said of the one that is configured."""

from __future__ import annotations

from typing import Any

import pytest

from preflight.evaluate.models import list_models_by_fit
from preflight.model.explanations import ModelFit
from preflight.model.facts import Facts, Unknown
from preflight.model.rules import LanguageModel

GB = 10**9
MODELS = (
    LanguageModel("small", 1 * GB, "runs anywhere"),
    LanguageModel("large", 9 * GB),
    LanguageModel("medium", 4 * GB),
)
WHY = Unknown("nobody knows the limit")


def facts(unknown: dict[str, Unknown] | None = None, **model: Any) -> Facts:
    return Facts({"model": model}, {"model.budget": "ollama's limit"}, unknown or {})


def test_the_largest_that_fits_comes_first_and_one_of_the_budgets_size_fits() -> None:
    found = list_models_by_fit(MODELS, facts(budget=4 * GB))
    assert (found.budget, found.budget_source) == (4 * GB, "ollama's limit")
    assert found.models == (
        ModelFit("medium", 4 * GB, True, False),
        ModelFit("small", 1 * GB, True, False, "runs anywhere"),
        ModelFit("large", 9 * GB, False, False),
    )


@pytest.mark.parametrize("unknown", [{"model.budget": WHY}, {"model": WHY}])
def test_where_the_budget_is_not_known_nothing_is_said_to_fit(unknown: dict[str, Unknown]) -> None:
    found = list_models_by_fit(MODELS, Facts({}, {}, unknown))
    assert (found.budget, found.budget_source) == (None, WHY.reason)
    assert [(one.name, one.fits) for one in found.models] == [
        ("large", None), ("medium", None), ("small", None)
    ]  # fmt: skip


def test_the_configured_one_is_marked_in_the_list_by_the_name_it_has_there() -> None:
    found = list_models_by_fit(
        MODELS, facts(budget=4 * GB, name="small:latest", listed="small", memory=GB)
    )
    assert [one.name for one in found.models if one.configured] == ["small"]
    assert len(found.models) == len(MODELS)


@pytest.mark.parametrize(
    ("known", "memory", "fits", "note"),
    [
        ({"memory": 2 * GB, "estimated": False}, 2 * GB, True, ""),
        ({"memory": 2 * GB, "estimated": True}, 2 * GB, True, "estimated"),
        ({"memory": 5 * GB}, 5 * GB, False, ""),
        ({}, None, None, "size unknown"),
    ],
)
def test_a_configured_one_that_no_rule_lists_is_added(
    known: dict[str, Any], memory: int | None, fits: bool | None, note: str
) -> None:
    found = list_models_by_fit(MODELS, facts(budget=4 * GB, name="own", **known))
    assert ModelFit("own", memory, fits, True, note) in found.models
    assert len(found.models) == len(MODELS) + 1


def test_of_two_that_fit_alike_the_one_of_known_size_comes_first() -> None:
    found = list_models_by_fit(
        (LanguageModel("small", GB),), facts({"model.budget": WHY}, name="own")
    )
    assert [one.name for one in found.models] == ["small", "own"]


def test_one_that_needs_nothing_is_the_smallest() -> None:
    found = list_models_by_fit(
        (LanguageModel("none", 0), LanguageModel("byte", 1)), facts(budget=GB)
    )
    assert [one.name for one in found.models] == ["byte", "none"]


def test_without_a_configured_model_only_the_list_is_told() -> None:
    for given in (facts(budget=GB), Facts({}, {}, {"model.name": WHY})):
        assert not any(one.configured for one in list_models_by_fit(MODELS, given).models)
