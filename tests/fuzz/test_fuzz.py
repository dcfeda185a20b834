"""A short fuzzing run with a fixed seed, and regression tests of what longer runs found."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any

import pytest
import readers
from mutation import Mutator
from readers import READERS, Reader, is_read

from fuzz import MAX_CPU_SECONDS, Worker, limit_cpu
from preflight import check as pipeline
from preflight.cli.diagnose import build_log_report
from preflight.cli.redacting import build_redactor, redact_facts_keeping_verdicts
from preflight.logs.log_searcher import LogSearcher
from preflight.model.facts import Facts
from preflight.model.problems import InputError
from preflight.snapshot.facts_file import read_snapshot
from preflight.snapshot.redacted_names import find_unredacted_names

NIGHTLY_INPUTS = {"expected": 2000, "report": 500, "bundle": 500, "rules": 300, "compose": 300}
OTHER_NIGHTLY_INPUTS = 150
INPUTS = 15  # on every change


@pytest.fixture(autouse=True)
def _remove_files() -> Iterator[None]:
    yield
    readers.remove_files()


@pytest.mark.parametrize("nightly", [False, pytest.param(True, marks=pytest.mark.nightly)])
@pytest.mark.parametrize("name", READERS)
def test_every_input_ends_in_a_report_or_a_readable_error(name: str, nightly: bool) -> None:
    reader = READERS[name]
    inputs = Mutator(reader, Random(7)).inputs()
    accepted = 0
    count = NIGHTLY_INPUTS.get(name, OTHER_NIGHTLY_INPUTS) if nightly else INPUTS
    for data in islice(inputs, count):
        with limit_cpu(MAX_CPU_SECONDS):
            accepted += is_read(reader, data)
    if nightly:
        assert accepted > len(reader.seeds()) / 2  # else only the first checks were reached


@pytest.mark.parametrize("name", READERS)
def test_valid_inputs_are_accepted(name: str) -> None:
    seeds = READERS[name].seeds()
    assert sum(is_read(READERS[name], data) for data in seeds) >= 0.7 * len(seeds)


# --- regressions ----------------------------------------------------------------------------------


def test_a_source_of_an_invalid_path_is_redacted() -> None:
    snapshot = json.loads((readers.TESTS / "golden/facts.json").read_bytes())
    snapshot["sources"] = {'"': "as joe@customer.example", "a..b": "x", "": "y"}
    facts = read_snapshot(json.dumps(snapshot).encode(), "facts.json")
    rules = readers.golden_rules()
    clean, _ = redact_facts_keeping_verdicts(build_redactor(rules, facts), rules, facts)
    assert clean.sources == {'"': "as <email-1>", "a..b": "x", "": "y"}


@pytest.mark.parametrize(
    "data",
    [
        b"include: [" + b"shared" * 10_000 + b".yaml]\nservices: {a: {image: b}}",
        b"services: {a: {image: b, extends: {service: " + b"x" * 100_000 + b"}}}",
        b"services: {a: {image: b, env_file: {path: [" + b"x" * 100_000 + b"]}}}",
        b"services: {a: {image: '${" + b"x" * 100_000 + b"'}}",
    ],
)
def test_errors_about_compose_files_are_short(data: bytes) -> None:
    is_read(READERS["compose"], data)  # fails if the error is too long


ODD_VALUES = (
    None,
    5,
    True,
    "",
    "\ud800",
    "8GB",
    1e300,
    [],
    ["\ud800"],
    {},
    {"\ud800": {"exit_code": 1}},
)


def _walk_entries(node: Any) -> Iterator[tuple[dict[str, Any], str]]:
    """Yield each mapping of a snapshot with each of its names, inner ones first."""
    for name, inner in list(node.items()):
        if isinstance(inner, dict):
            yield from _walk_entries(inner)
        yield node, name


@pytest.mark.parametrize("step", [7, pytest.param(1, marks=pytest.mark.nightly)])
def test_facts_of_the_wrong_type_crash_no_command(step: int) -> None:
    """A name with a lone surrogate crashed diagnose, an alias that isn't a list the redaction."""
    snapshot, random = json.loads(readers.snapshot_of_every_fact()), Random(7)
    for node, name in list(_walk_entries(snapshot["facts"]))[::step]:
        value = node[name]
        node[name] = random.choice(ODD_VALUES)
        command = random.choice(readers.COMMANDS)
        command(read_snapshot(json.dumps(snapshot).encode(), "facts.json"))
        node[name] = value


@pytest.mark.parametrize("known_as", [5, True, "x", {"a": 1}])
def test_aliases_that_are_not_a_list_are_ignored(known_as: object) -> None:
    service = {"image": "a/b:1", "known_as": known_as}
    assert list(find_unredacted_names(Facts({"compose": {"services": {"api": service}}}))) == [
        "api", "a/b:1", "a", "b", "1",
    ]  # fmt: skip


def test_a_container_name_with_a_lone_surrogate_is_reported() -> None:
    containers = {"\ud800": {"exit_code": 137, "oom_killed": True}}
    facts = Facts({"stack": {"containers": containers}})
    reader = LogSearcher(readers.bundled_rules().diagnoses)
    report = build_log_report(readers.bundled_rules(), reader, facts)
    assert "container-oom-killed" in {finding.id for finding in report.findings}


@pytest.mark.parametrize("value", [[], {}, 5, True, "x"])
def test_the_os_in_a_report_is_text_or_null(value: object) -> None:
    facts = readers.golden_facts()
    host = {**facts.values["host"], "os": value}
    rules = readers.golden_rules()
    selection = pipeline.make_rule_selection(rules, (), (), strict=False)
    changed = facts._replace(values={**facts.values, "host": host})
    os_name = pipeline.check(rules, changed, selection, 0).host["os"]
    assert os_name == (value if isinstance(value, str) else None)


# --- the runner -----------------------------------------------------------------------------------


def _read_wrongly(data: bytes) -> None:
    """Behave in every way in which a reader can be wrong."""
    if data == b"crash":
        raise KeyError(data)
    if data == b"hang":
        while True:
            pass
    if data == b"two lines":
        raise InputError("one\ntwo")
    if data == b"no message":
        raise InputError
    if data == b"refused":
        raise InputError("not found")


def test_the_runner_finds_crashes_hangs_and_unreadable_errors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fuzz.MAX_CPU_SECONDS", 0.2)
    worker = Worker(Reader("wrong", "text", _read_wrongly, list, list), tmp_path, 60)
    for data in (b"fine", b"refused", b"crash", b"hang", b"two lines", b"no message", b"crash"):
        worker.try_input(data)
    assert worker.counts == {"inputs": 7, "read": 1, "faults": 4, "hangs": 1}
    kinds = sorted(key.split()[0] for key in worker.files_by_fault)
    assert kinds == ["AssertionError", "AssertionError", "Hang", "KeyError"]
    assert {Path(file).read_bytes() for file in worker.files_by_fault.values()} == {
        b"crash", b"hang", b"two lines", b"no message",
    }  # fmt: skip


@pytest.mark.nightly
def test_the_command_prints_a_table_and_succeeds_without_faults(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "tests/fuzz/fuzz.py", "--seconds", "3", "--only", "expected",
         "--engine", "random", "--folder", str(tmp_path / "faults")],
        capture_output=True, text=True, timeout=120, cwd=readers.ROOT,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    (row,) = [line for line in done.stdout.splitlines() if line.startswith("| expected")]
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert int(cells[1].replace(",", "")) > 10
    assert cells[-2:] == ["0", "0"]
