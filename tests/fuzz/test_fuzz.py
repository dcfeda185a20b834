"""A short run of the fuzzing, the same each time, and what longer runs have found."""

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

from fuzz import PATIENCE, Worker, within
from preflight import check as pipeline
from preflight.cli.diagnose import build_report
from preflight.cli.redacting import build_redactor, redact_facts
from preflight.logs.log_searcher import LogSearcher
from preflight.model.facts import Facts
from preflight.model.problems import InputError
from preflight.snapshot.facts_file import read_snapshot
from preflight.snapshot.names import find_public_names

INPUTS = {"expected": 2000, "report": 500, "bundle": 500, "rules": 300, "compose": 300}
OTHER_INPUTS = 150
SUITE_INPUTS = 15  # what runs on every change; the rest runs at night


@pytest.fixture(autouse=True)
def _nothing_left() -> Iterator[None]:
    yield
    readers.leave_nothing()


@pytest.mark.parametrize("nightly", [False, pytest.param(True, marks=pytest.mark.nightly)])
@pytest.mark.parametrize("name", READERS)
def test_inputs_that_nobody_meant_end_in_a_report_or_a_refusal(name: str, nightly: bool) -> None:
    reader = READERS[name]
    inputs = Mutator(reader, Random(7)).inputs()
    read = 0
    count = INPUTS.get(name, OTHER_INPUTS) if nightly else SUITE_INPUTS
    for data in islice(inputs, count):
        with within(PATIENCE):
            read += is_read(reader, data)
    if nightly:
        assert read > len(reader.seeds()) / 2  # else nothing but the front door was tried


@pytest.mark.parametrize("name", READERS)
def test_good_inputs_are_read(name: str) -> None:
    seeds = READERS[name].seeds()
    assert sum(is_read(READERS[name], data) for data in seeds) >= 0.7 * len(seeds)


# --- what was found -------------------------------------------------------------------------------


def test_a_source_that_is_no_path_is_redacted_all_the_same() -> None:
    snapshot = json.loads((readers.TESTS / "golden/facts.json").read_bytes())
    snapshot["sources"] = {'"': "as joe@customer.example", "a..b": "x", "": "y"}
    facts = read_snapshot(json.dumps(snapshot).encode(), "facts.json")
    rules = readers.golden_rules()
    clean, _ = redact_facts(build_redactor(rules, facts), rules, facts)
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
def test_a_refusal_of_a_compose_file_has_an_end(data: bytes) -> None:
    is_read(READERS["compose"], data)  # a refusal that is too long would fail here


ODD = (None, 5, True, "", "\ud800", "8GB", 1e300, [], ["\ud800"], {}, {"\ud800": {"exit_code": 1}})


def _places(node: Any) -> Iterator[tuple[dict[str, Any], str]]:
    """Yield each mapping of a snapshot with each of its names, the inner ones first."""
    for name, inner in list(node.items()):
        if isinstance(inner, dict):
            yield from _places(inner)
        yield node, name


@pytest.mark.parametrize("step", [7, pytest.param(1, marks=pytest.mark.nightly)])
def test_a_fact_of_another_kind_stops_no_command(step: int) -> None:
    """A name that is no text in UTF-8 stopped diagnose, an alias that is no list the redaction."""
    snapshot, random = json.loads(readers.every_fact()), Random(7)
    for node, name in list(_places(snapshot["facts"]))[::step]:
        was = node[name]
        node[name] = random.choice(ODD)
        command = random.choice(readers.COMMANDS)
        command(read_snapshot(json.dumps(snapshot).encode(), "facts.json"))
        node[name] = was


@pytest.mark.parametrize("known_as", [5, True, "x", {"a": 1}])
def test_an_alias_that_is_no_list_is_no_name(known_as: object) -> None:
    service = {"image": "a/b:1", "known_as": known_as}
    assert list(find_public_names(Facts({"compose": {"services": {"api": service}}}))) == [
        "api", "a/b:1", "a", "b", "1",
    ]  # fmt: skip


def test_a_container_of_any_name_is_told_of() -> None:
    containers = {"\ud800": {"exit_code": 137, "oom_killed": True}}
    facts = Facts({"stack": {"containers": containers}})
    reader = LogSearcher(readers.bundled_rules().diagnoses)
    told = build_report(readers.bundled_rules(), reader, facts)
    assert "container-oom-killed" in {one.id for one in told.findings}


@pytest.mark.parametrize("value", [[], {}, 5, True, "x"])
def test_the_head_of_a_report_is_text_whatever_a_snapshot_has_there(value: object) -> None:
    facts = readers.golden_facts()
    host = {**facts.values["host"], "os": value}
    rules = readers.golden_rules()
    selection = pipeline.make_rule_selection(rules, (), (), strict=False)
    changed = facts._replace(values={**facts.values, "host": host})
    told = pipeline.check(rules, changed, selection, 0).host["os"]
    assert told == (value if isinstance(value, str) else None)


# --- the runner -----------------------------------------------------------------------------------


def _bent(data: bytes) -> None:
    """Read nothing, in every way in which a reader can be wrong."""
    if data == b"crash":
        raise KeyError(data)
    if data == b"hang":
        while True:
            pass
    if data == b"babble":
        raise InputError("one\ntwo")
    if data == b"silent":
        raise InputError
    if data == b"refused":
        raise InputError("no such thing")


def test_the_runner_finds_a_crash_a_hang_and_a_refusal_that_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fuzz.PATIENCE", 0.2)
    worker = Worker(Reader("bent", "text", _bent, list, list), tmp_path, 60)
    for data in (b"fine", b"refused", b"crash", b"hang", b"babble", b"silent", b"crash"):
        worker.try_one(data)
    assert worker.counts == {"inputs": 7, "read": 1, "faults": 4, "hangs": 1}
    kinds = sorted(key.split()[0] for key in worker.found)
    assert kinds == ["AssertionError", "AssertionError", "Hang", "KeyError"]
    assert {Path(file).read_bytes() for file in worker.found.values()} == {
        b"crash", b"hang", b"babble", b"silent",
    }  # fmt: skip


@pytest.mark.nightly
def test_the_command_prints_a_table_and_succeeds_where_nothing_is_found(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "tests/fuzz/fuzz.py", "--seconds", "0.5", "--only", "expected",
         "--engine", "chance", "--folder", str(tmp_path / "found")],
        capture_output=True, text=True, timeout=120, cwd=readers.ROOT,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    (row,) = [line for line in done.stdout.splitlines() if line.startswith("| expected")]
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert int(cells[1].replace(",", "")) > 10
    assert cells[-2:] == ["0", "0"]
