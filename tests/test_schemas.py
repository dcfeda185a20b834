"""Every report, snapshot and rule file of the tests, held against the published schemas."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from paths import PAGES, ROOT
from preflight import check as pipeline
from preflight.cli.streams import read_rule_file
from preflight.evaluate.judge import RuleSelection
from preflight.model.rules import BUNDLED_FILE_BY_SET, DEFAULT_RULE_SET
from preflight.render import RenderOptions, load_renderer
from preflight.snapshot.facts_file import format_snapshot, read_snapshot
from schemas import published, sealed

SNAPSHOTS = sorted(ROOT.glob("tests/**/facts.json"))
RULES = sorted({ROOT / "rules.yaml", *ROOT.glob("tests/**/rules.yaml")})


def names(paths: list[Path]) -> list[str]:
    return [str(path.relative_to(ROOT)) for path in paths]


@pytest.mark.parametrize("name", names(RULES))
def test_a_rule_file(name: str) -> None:
    published("rules").validate(_yaml(ROOT / name))


def _yaml(path: Path) -> Any:
    """YAML with its days as text, as JSON and editors have them."""
    data = yaml.safe_load(path.read_text(encoding="utf-8"))
    return json.loads(json.dumps(data, default=str))


@pytest.mark.parametrize("begins", ["version: 1\nname: my-stack\n", "# preflight.yaml\nversion"])
def test_the_rule_files_of_the_pages(begins: str) -> None:
    text = "".join(page.read_text(encoding="utf-8") for page in PAGES)
    (example,) = re.findall(rf"```ya?ml\n({begins}.*?)```", text, re.DOTALL)
    published("rules").validate(json.loads(json.dumps(yaml.safe_load(example), default=str)))
    data = {
        "x.yaml": example.encode(),
        **{name: read_rule_file(name) for name in BUNDLED_FILE_BY_SET},
    }
    assert pipeline.load_ruleset("x.yaml", data.__getitem__).waivers[0].owner == "ops"


@pytest.mark.parametrize("name", names(SNAPSHOTS))
def test_a_snapshot_and_the_report_on_it(name: str) -> None:
    data = (ROOT / name).read_bytes()
    facts = read_snapshot(data, name)
    written = json.loads(format_snapshot(facts))
    folder = (ROOT / name).parent

    def read(file: str) -> bytes:
        return read_rule_file(file) if file in BUNDLED_FILE_BY_SET else (folder / file).read_bytes()

    is_case = (folder / "rules.yaml").exists()  # else a snapshot alone, as that of a guide
    rules = pipeline.load_ruleset("rules.yaml" if is_case else DEFAULT_RULE_SET, read)
    everything = RuleSelection(only=rules.tags() + [rule.id for rule in rules.rules])
    report = pipeline.check(rules, pipeline.add_derived_facts(facts, rules), everything, 0.0)
    as_json = json.loads(load_renderer("json")(report, RenderOptions()))
    for kind, one in (("facts", written), ("report", as_json)):
        published(kind).validate(one)
        sealed(kind).validate(one)


@pytest.mark.parametrize("kind", ["rules", "facts", "report", "fleet"])
def test_a_schema_names_its_version(kind: str) -> None:
    schema = published(kind).schema
    assert schema["$id"] == f"urn:preflight.{kind}:1"
    assert schema["title"] == f"preflight.{kind}/1"


def test_later_keys_break_nobody() -> None:
    report = json.loads((ROOT / "tests/golden/report.json").read_text(encoding="utf-8"))
    report["results"][0]["later"] = report["later"] = 1
    published("report").validate(report)
    assert list(sealed("report").iter_errors(report))
