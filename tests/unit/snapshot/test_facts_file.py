"""The snapshot file: what is written is read again, and what isn't one is refused in one line."""

from __future__ import annotations

import json
import math
import re
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from preflight import check as pipeline
from preflight.cli.listings import load_json_schema
from preflight.model.facts import (
    MAX_SNAPSHOT_BYTES,
    UNKNOWN_KINDS,
    Facts,
    FileLine,
    Measured,
    Unknown,
    build_facts,
    split_fact_path,
)
from preflight.model.problems import InputError
from preflight.snapshot.facts_file import format_snapshot, read_snapshot
from schemas import published

Run = Callable[..., "subprocess.CompletedProcess[str]"]
GOOD: dict[str, Any] = {
    "schema": "preflight.facts/1",
    "preflight": "1.0.0",
    "measured_at": "2026-11-23T11:00:00Z",
    "facts": {"host": {"memory": {"total": 25276518400, "limit": None}, "cpu": {"usable": 0.5}}},
    "sources": {"host.memory.total": "psutil.virtual_memory().total"},
    "places": {},
    "unknown": {"docker.memory.total": {"reason": "permission denied", "kind": "permission"}},
}


def load(snapshot: object) -> Facts:
    return read_snapshot(json.dumps(snapshot).encode(), "facts.json")


def refusal(data: bytes) -> str:
    """Return the one line that says why; it names the file and fits a terminal."""
    with pytest.raises(InputError) as refused:
        read_snapshot(data, "facts.json")
    (problem,) = refused.value.problems
    assert str(problem).startswith("facts.json:")
    assert len(str(problem)) < 300
    assert "\n" not in str(problem)
    return str(problem)


# --- there and back ---------------------------------------------------------------------------

NAMES = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | NAMES
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=6,
)  # fmt: skip
UNKNOWN = st.builds(Unknown, NAMES, st.sampled_from(UNKNOWN_KINDS))


@given(
    st.dictionaries(NAMES, VALUES), st.dictionaries(NAMES, NAMES), st.dictionaries(NAMES, UNKNOWN)
)
def test_what_is_dumped_is_loaded(
    values: dict[str, Any], sources: dict[str, str], unknown: dict[str, Unknown]
) -> None:
    facts = Facts(values, sources, unknown, "2026-11-23T11:00:00Z", "1.0.0")
    assert load(json.loads(format_snapshot(facts))) == facts
    assert read_snapshot(format_snapshot(facts).encode(), "x") == facts
    published("facts").validate(json.loads(format_snapshot(facts)))


def test_facts_without_anything_else_survive() -> None:
    assert read_snapshot(format_snapshot(Facts({})).encode(), "f.json") == Facts({})


def test_figures_absence_and_unknown_survive() -> None:
    facts = load(GOOD)
    assert facts.get(("host", "memory", "total")) == 25276518400
    assert facts.get(("host", "memory", "limit")) is None
    assert facts.get(("docker", "memory", "total")) == Unknown("permission denied", "permission")
    assert isinstance(facts.get(("host", "os")), Unknown)
    assert json.loads(format_snapshot(facts)) == GOOD


def test_names_with_dots_and_surrogates_survive() -> None:
    measured = [
        Measured(("compose", "services", 'a.b"c', "image"), "x:\udcff", "cli"),
        Measured(("compose", "services", "d.e", "image"), Unknown("no", "error")),
    ]
    facts = build_facts(measured, measured_at="2026-11-23T11:00:00Z", version="1.0.0")
    assert load(json.loads(format_snapshot(facts))) == facts


def test_only_schema_and_facts_are_needed_and_a_byte_order_mark_is_fine() -> None:
    data = b"\xef\xbb\xbf" + b'{"schema": "preflight.facts/1", "facts": {}}'
    assert read_snapshot(data, "facts.json") == Facts({}, {}, {}, "", "")


# --- what is no snapshot ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "not valid JSON"),
        (b"   \n", "not valid JSON"),
        (b"version: 1\nrules: []\n", "not valid JSON"),
        (b"\x7fELF\x02\x01\x01\x00\xff\xfe\xfd", "not valid JSON"),
        (b"PK\x03\x04\x14\x00\x00\x00", "not a bundle"),
        (b"\xff\xff\xff", "not valid JSON"),
        (b'{"schema": "preflight.facts/1", "facts": {}', "not valid JSON"),
        (b'{"schema": "preflight.facts/1", "facts": {}} x', "not valid JSON"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"a":' * 10_000 + b"1" + b"}" * 10_000, "nested too deeply"),
        (b'{"schema": "preflight.facts/1", "facts": {}, "more": NaN}', "'more' is NaN"),
        (b"null", "not a preflight.facts file"),
        (b"[]", "not a preflight.facts file"),
        (b'"preflight.facts/1"', "not a preflight.facts file"),
        (b"{}", "it has no schema"),
    ],
    ids=lambda value: value if isinstance(value, str) else ascii(value[:12]),
)
def test_what_is_no_snapshot_at_all(data: bytes, why: str) -> None:
    assert why in refusal(data)
    assert "preflight facts -o FILE" in refusal(data) or data.startswith(b"PK")


@pytest.mark.parametrize(
    "figure",
    [b"NaN", b"Infinity", b"-Infinity", b"1e400", b"-1e400", b"9" * 400, b"-" + b"9" * 5000],
    ids=lambda figure: figure[:9].decode(),
)
@pytest.mark.parametrize("place", [b'{"host": %s}', b'{"a": [[1, {"b": %s}]]}'])
def test_figures_that_are_none(figure: bytes, place: bytes) -> None:
    data = b'{"schema": "preflight.facts/1", "facts": %s}' % (place % figure)
    assert "facts.json" in refusal(data)


@pytest.mark.parametrize(
    "data",
    [b'{"schema": "preflight.facts/1", "schema": "x", "facts": {}}',
     b'{"schema": "preflight.facts/1", "facts": {"a": [{"b": 1, "c": 2, "b": 3}]}}'],
)  # fmt: skip
def test_a_key_that_is_there_twice_is_refused_with_its_path(data: bytes) -> None:
    assert re.search("'(schema|facts.a\\[0\\].b)' is defined twice", refusal(data))


@pytest.mark.parametrize("key", ["total", "available", "usable"])
@pytest.mark.parametrize("value", [-1, -0.5])
def test_a_negative_size_is_refused_with_its_path(key: str, value: float) -> None:
    facts = {"host": {"memory": {key: value}}}
    line = refusal(json.dumps({**GOOD, "facts": facts}).encode())
    assert f"'facts.host.memory.{key}' must not be negative" in line


def test_the_largest_figure_is_one() -> None:
    huge = {"a": int(1e308), "b": 1.7e308, "c": -1e308}
    assert load({**GOOD, "facts": huge}).values == huge


@pytest.mark.parametrize("depth", [60, 500])
@pytest.mark.parametrize("shape", ['{"a":', "["])
def test_nesting_that_no_probe_makes(depth: int, shape: str) -> None:
    close = "}" if shape == '{"a":' else "]"
    nested = f'{{"a": {shape * depth}1{close * depth}}}'
    assert "nested" in refusal(b'{"schema": "preflight.facts/1", "facts": %s}' % nested.encode())


def test_a_name_as_long_as_the_file_takes_no_time_for_each_below_it() -> None:
    names = {"k" * 4_000_000: dict.fromkeys(map(str, range(200_000)), 0)}
    began = time.process_time()
    assert "more than 4096 characters" in refusal(json.dumps({**GOOD, "facts": names}).encode())
    assert time.process_time() - began < 5


WRONG = ["text", 1, 1.5, True, None, [], [1], {"a": 1}]


def misfits(*fits: type) -> list[Any]:
    return [value for value in WRONG if type(value) not in fits]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("schema", value) for value in misfits()),
        *(("facts", value) for value in misfits(dict)),
        *(("preflight", value) for value in misfits(str)),
        *(("measured_at", value) for value in misfits(str)),
        *(("sources", value) for value in misfits()),
        *(("unknown", value) for value in misfits()),
        *(("unknown", {"host.os": value}) for value in misfits()),
        *(("unknown", {"host.os": {"reason": value, "kind": "error"}}) for value in misfits(str)),
        *(("unknown", {"host.os": {"reason": "x", "kind": value}}) for value in misfits()),
    ],
    ids=ascii,
)
def test_a_wrong_type_at_any_place(name: str, value: object) -> None:
    snapshot = {**GOOD, name: value}
    assert re.search(
        "not a (preflight.facts file|snapshot): ", refusal(json.dumps(snapshot).encode())
    )
    with pytest.raises(jsonschema.ValidationError):  # the published schema agrees
        published("facts").validate(snapshot)


def test_facts_cannot_be_missing() -> None:
    assert "facts is missing" in refusal(b'{"schema": "preflight.facts/1"}')


@pytest.mark.parametrize("number", ["2", "10", "99"])
def test_a_newer_program_made_it(number: str) -> None:
    line = refusal(json.dumps({"schema": f"preflight.facts/{number}", "new": 1}).encode())
    assert line == (
        f"facts.json: schema preflight.facts/{number} is newer than preflight.facts/1:"
        " update preflight"
    )


@pytest.mark.parametrize(
    "name",
    ["preflight.report/1", "preflight.facts", "preflight.facts/", "preflight.facts/00",
     "preflight.facts/-1", "preflight.facts/1.0", "preflight.facts/²", "preflight.facts/x",
     "preflight.facts/" + "9" * 5000, "\x1b[31m\n::error::" * 50],
    ids=lambda name: ascii(name[:24]),
)  # fmt: skip
def test_another_schema(name: str) -> None:
    assert "its schema is" in refusal(json.dumps({**GOOD, "schema": name}).encode())


def test_too_large() -> None:
    assert "larger than 64 MiB" in refusal(b" " * (MAX_SNAPSHOT_BYTES + 1))


def test_too_many_values() -> None:
    values = b"0," * 1_000_000
    assert "more than 1,000,000 values" in refusal(b'{"a": [' + values + b"0]}")


def test_hostile_names_do_not_reach_the_line_as_they_are() -> None:
    name = "\x1b]0;x\x07\n::error::" + "x" * 500
    for facts in ({name: math.inf}, {name: {name: 10**400}}):
        assert "\x1b" not in refusal(json.dumps({**GOOD, "facts": facts}).encode())


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_nothing_but_a_refusal_comes_of_anything_else(data: bytes) -> None:
    with pytest.raises(InputError):
        read_snapshot(data, "facts.json")


@given(VALUES.map(lambda value: json.dumps({**GOOD, "facts": {"a": value}})), st.data())
def test_a_damaged_file_is_read_or_refused(text: str, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(text)))
    cut = text[:at] + data.draw(st.text(max_size=3)) + text[at + data.draw(st.integers(0, 3)) :]
    try:
        read_snapshot(cut.encode(errors="surrogatepass"), "facts.json")
    except InputError:
        pass


# --- through the program ----------------------------------------------------------------------


def test_the_schema_is_a_valid_one() -> None:
    jsonschema.Draft202012Validator.check_schema(load_json_schema("facts"))
    unknown = load_json_schema("facts")["properties"]["unknown"]["additionalProperties"]
    assert unknown["properties"]["kind"]["enum"] == list(UNKNOWN_KINDS)


def test_a_real_snapshot_validates_and_each_declared_fact_stands_once(
    run_preflight: Run, tmp_path: Path
) -> None:
    done = run_preflight("facts", "-f", "json")
    snapshot = json.loads(done.stdout)
    checker = jsonschema.FormatChecker()
    jsonschema.Draft202012Validator(load_json_schema("facts"), format_checker=checker).validate(
        snapshot
    )
    facts = read_snapshot(done.stdout.encode(), "facts.json")
    for name in pipeline.build_catalogue().names():
        if "*" in name:
            continue
        known = name in facts.sources
        assert known is not (name in facts.unknown), name
        assert known is not isinstance(facts.get(split_fact_path(name)), Unknown), name
    file = tmp_path / "facts.json"
    assert run_preflight("facts", "-o", str(file)).stdout == ""
    assert set(json.loads(file.read_text())) == set(snapshot)
    again = run_preflight("facts", "-f", "json", "--facts", str(file))
    assert json.loads(again.stdout) == json.loads(file.read_text())


@pytest.mark.parametrize(
    "data", [b"", b"\x00\xff", b"[" * 99_999, b'{"schema": "preflight.facts/2"}']
)
def test_the_program_says_so_in_one_line_and_exits_2(
    run_preflight: Run, tmp_path: Path, data: bytes
) -> None:
    file = tmp_path / "facts.json"
    file.write_bytes(data)
    for command in ("check", "facts"):
        done = run_preflight(command, "--facts", str(file))
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.count("\n") == 1
        assert str(file) in done.stderr


def test_a_report_is_no_snapshot(run_preflight: Run, tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    run_preflight("check", "-f", f"json:{report}")
    done = run_preflight("check", "--facts", str(report))
    assert done.returncode == 2
    assert "preflight.report/1" in done.stderr


@pytest.mark.parametrize(
    "value", ["lots", True, [], {}, {"total": 1}, 1e308, 10**300, "\ud800\x1b"]
)
def test_figures_of_the_wrong_kind_are_judged_without_a_fault(
    run_preflight: Run, tmp_path: Path, value: object
) -> None:
    file = tmp_path / "facts.json"
    facts = {"host": {"memory": value, "os": value, "disk": {"free": value, "total": value}},
             "docker": {"memory": {"total": value, "usable": value}, "cpus": value,
                        "reachable": value, "version": value}}  # fmt: skip
    file.write_text(json.dumps({**GOOD, "facts": facts, "unknown": {}}))
    for arguments in (["check"], ["check", "-v", "-f", "json"], ["facts"], ["facts", "-f", "json"]):
        done = run_preflight(*arguments, "--facts", str(file))
        assert done.returncode in (0, 1, 3), done.stderr
        assert done.stderr == "" or "Traceback" not in done.stderr


def test_a_snapshot_of_1_0_0_has_its_places_in_the_texts_of_its_sources() -> None:
    old = {key: value for key, value in GOOD.items() if key != "places"}
    old["sources"] = {"a": "in /srv/a: b/c.yaml:30; more", "b": "in o.yaml:7", "c": "in a file"}
    facts = load(old)
    assert facts.places == {"a": FileLine("/srv/a: b/c.yaml", 30), "b": FileLine("o.yaml", 7)}
    assert load(json.loads(format_snapshot(facts))) == facts


@pytest.mark.parametrize("place", [[], ["a"], ["a", 0], ["a", True], [1, 1], "a:1", {"a": 1}, None])
def test_a_place_is_a_file_and_a_line(place: object) -> None:
    with pytest.raises(InputError, match=r"places\.host\.memory\.total: must be \[file, line\]"):
        load({**GOOD, "places": {"host.memory.total": place}})
