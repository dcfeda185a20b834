from __future__ import annotations

import pytest

from contexts import without_engine
from preflight.facts.compose.project import Project
from preflight.facts.networks_and_volumes import measure_networks_and_volumes
from preflight.model.facts import Unknown

DOWN = Unknown("connection refused", "refused")


@pytest.mark.parametrize("external", ["first", "second", None])
def test_what_needs_the_engine_does_not_depend_on_the_order_of_names(external: str | None) -> None:
    networks = {name: {"external": name == external} for name in ("first", "second")}
    services = {"api": {"image": "alpine", "networks": dict.fromkeys(networks)}}
    config = {"services": services, "networks": networks}
    project = Project("shop", "/shop", ("compose.yaml",), "cli", config)
    facts = {
        fact.path: fact.value
        for fact in measure_networks_and_volumes(without_engine(project), project)
    }
    exists = {path[2]: value for path, value in facts.items() if path[3] == "exists"}
    assert exists == (dict.fromkeys(networks, DOWN) if external else {})
    assert facts["start", "networks", "first", "name"] == (
        "first" if external == "first" else "shop_first"
    )
