"""The documentation: its examples work, its tables are the code's, its links lead somewhere."""

from __future__ import annotations

import io
import re
import subprocess
import sys

import pytest

from bundled_rules import bundled_rules
from paths import PAGES, ROOT
from preflight import check as pipeline
from preflight.cli.diagnose import build_log_report
from preflight.cli.streams import read_rule_file
from preflight.logs.log_searcher import LogSearcher
from preflight.model.rules import BUNDLED_FILE_BY_SET, RuleSet

TEXTS = {str(page.relative_to(ROOT)): page.read_text(encoding="utf-8") for page in PAGES}
EXAMPLES = [
    (name, block)
    for name, text in TEXTS.items()
    for block in re.findall(
        r"```ya?ml\n((?:# preflight\.yaml\n)?version: 1\n.*?)```", text, re.DOTALL
    )
]
SECTIONS = (
    "Minimum System Requirements",
    "Memory Allocation",
    "Docker Resource Configuration",
    "Environment Variables for Memory Optimization",
    "Troubleshooting Memory Issues",
    "Model Alternatives for Lower Memory",
    "Monitoring and Maintenance",
    "Production Recommendations",
    "Starting the stack",
)


def _load(example: str, overrides: dict[str, str] | None = None) -> RuleSet:
    """Load one of the pages' rule files."""

    def read(name: str) -> bytes:
        return read_rule_file(name) if name in BUNDLED_FILE_BY_SET else example.encode()

    return pipeline.load_ruleset("preflight.yaml", read, overrides)


def _example(word: str) -> str:
    (block,) = {block for _, block in EXAMPLES if word in block}
    return block


@pytest.mark.parametrize("example", [block for _, block in EXAMPLES])
def test_every_rule_file_of_the_pages_is_valid(example: str) -> None:
    assert _load(example).rules


def test_the_example_overrides_a_bundled_rule() -> None:
    rules = {rule.id: rule for rule in _load(_example("docker-share"), {"data": "80GB"}).rules}
    assert rules["host-disk"].require is not None
    assert rules["host-disk"].require.tests[0][1] == 80 * 10**9
    assert {"kernel", "docker-share", "host-memory"} <= rules.keys()


@pytest.mark.parametrize(("times", "found"), [(2, []), (3, ["pool-exhausted"])])
def test_the_example_of_a_known_error_finds_it(times: int, found: list[str]) -> None:
    rules = _load(_example("pool-exhausted"))
    reader = LogSearcher(rules.diagnoses)
    line = "2026-01-01 10:0{}:00 ERROR QueuePool limit of size 5 overflow 10 reached\n"
    log = "".join(line.format(minute) for minute in range(times))
    reader.add_log("api.log", io.BytesIO(log.encode()))
    findings = build_log_report(rules, reader).findings
    assert [finding.id for finding in findings] == found
    assert all(finding.figures == "5 connections" for finding in findings)


def test_the_tables_are_those_of_the_code() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / ".ci/docs.py", "--check"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_every_command_that_the_pages_name_exists() -> None:
    blocks = [
        block
        for text in TEXTS.values()
        for block in re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
    ]
    named = set(re.findall(r"\bpreflight ([a-z]+)", "\n".join(blocks)))
    done = subprocess.run(
        [sys.executable, "-m", "preflight", "--help"], capture_output=True, text=True
    )
    assert named <= set(re.findall(r"^ +([a-z]+) ", done.stdout, re.M))


def test_the_readme_is_short() -> None:
    assert len(TEXTS["README.md"].splitlines()) <= 300


@pytest.mark.parametrize("page", sorted(TEXTS))
def test_every_link_to_a_file_leads_to_one(page: str) -> None:
    for target in re.findall(r"\]\((?!https?://|#)([^)#]+)", TEXTS[page]):
        assert (ROOT / page).parent.joinpath(target).exists(), target


@pytest.mark.parametrize("page", sorted(TEXTS))
def test_every_test_that_a_page_names_exists(page: str) -> None:
    for name in re.findall(r"`((?:tests|src|\.ci)/[\w./-]+)`", TEXTS[page]):
        assert (ROOT / name).exists(), name


def test_every_section_of_the_document_has_rules() -> None:
    rules = bundled_rules().rules
    assert list(dict.fromkeys(rule.section for rule in rules)) == list(SECTIONS)
    production = [rule for rule in rules if rule.section == "Production Recommendations"]
    assert not any(rule.enabled for rule in production)
    assert all("production" in rule.tags for rule in production)
    start = [rule for rule in rules if rule.section == "Starting the stack"]
    assert all("start" in rule.tags for rule in start)
