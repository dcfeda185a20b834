"""Several machines in each format, as the format's own readers see them."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import html5lib
import jsonschema
import pytest
from lxml import etree
from prometheus_client.parser import text_string_to_metric_families

from conftest import _missing
from preflight.model.fleet import Fleet, Standing, standing
from preflight.model.report import Exit, Report
from preflight.render import RENDERERS
from preflight.render.hosts import writer
from preflight.render.look import Look, clean
from reports import HOSTILE, made, poisoned

SCHEMAS = Path(__file__).parents[2].parent / "shared/schemas"
LOST = "unreachable: host key changed"
ACTS = re.compile("[^\\n -~\xa0-\u2027\u202f-\ud7ff\ue000-\U0010ffff]|[\u2066-\u2069\ufeff]")
Hosts = dict[str, "Report | str"]


def well() -> Report:
    """A report of a machine with nothing to do."""
    report = made()
    passed = tuple(one for one in report.results if one.verdict == "pass")
    return report._replace(results=passed, counts=Counter({"pass": len(passed)}))


HOSTS: Hosts = {"gpu-03": made(), "web-01": well(), "edge-7": LOST, "gpu-04": made()}


def fleet(hosts: Hosts, unusable: int = Exit.UNDECIDED) -> Fleet:
    stand = [
        Standing(name, "unknown", unusable=one) if isinstance(one, str) else standing(name, one)
        for name, one in hosts.items()
    ]
    return Fleet(f"{len(hosts)} hosts · golden", stand, 1.25, unusable)


def shown(name: str, hosts: Hosts, look: Look | None = None) -> str:
    out = writer(name, look or Look())
    pieces = [out.host(host, one) for host, one in hosts.items()]
    return "".join([*pieces, *out.end(fleet(hosts))])


def read_json(text: str) -> dict[str, bool]:
    """Return whether each host is well, as JSON tells it."""
    document = json.loads(text)
    assert document["schema"] == "preflight.fleet/1"
    assert document["summary"]["hosts"] == len(document["hosts"])
    return {
        name: "results" in one and one["summary"]["exit_code"] == 0
        for name, one in document["hosts"].items()
    }


def read_junit(text: str) -> dict[str, bool]:
    root = etree.fromstring(text.encode("ascii"))
    schema = SCHEMAS / "junit.xsd"
    if not schema.exists():
        _missing(f"{schema} is not there")
    etree.XMLSchema(etree.parse(schema)).assertValid(root)
    wells: dict[str, bool] = {}
    for suite in root:
        red = suite.find("testcase/failure") is not None or suite.find("testcase/error") is not None
        wells[suite.get("hostname")] = wells.get(suite.get("hostname"), True) and not red
    assert len({(s.get("id"), s.get("package")) for s in root}) == len(root)
    return wells


def read_tap(text: str) -> dict[str, bool]:
    program = shutil.which("tap-parser")
    if program is None:
        _missing("tap-parser is not installed")
    done = subprocess.run([program, "-j", "0"], input=text.encode(), capture_output=True)
    events = json.loads(done.stdout)
    points = [event[1] for event in events if event[0] == "assert"]
    wells = {one["name"].partition(":")[0].removesuffix("."): one["ok"] for one in points}
    assert (done.returncode == 0) == all(wells.values())
    return wells


def read_prometheus(text: str) -> dict[str, bool]:
    families = {one.name: one for one in text_string_to_metric_families(text)}
    wells = {
        one.labels["host"]: one.value == 1 for one in families["preflight_host_reached"].samples
    }
    for one in families["preflight_exit_code"].samples:
        wells[one.labels["host"]] = wells[one.labels["host"]] and one.value == 0
    for family in families.values():
        assert all("host" in sample.labels for sample in family.samples)
    return wells


READERS: dict[str, Callable[[str], dict[str, bool]]] = {
    "json": read_json,
    "junit": read_junit,
    "tap": read_tap,
    "prometheus": read_prometheus,
}


@pytest.mark.parametrize("name", READERS)
def test_readers_see_which_host_is_well(name: str) -> None:
    assert READERS[name](shown(name, HOSTS)) == {
        "gpu-03": False, "web-01": True, "edge-7": False, "gpu-04": False,
    }  # fmt: skip
    assert READERS[name](shown(name, {"web-01": well()})) == {"web-01": True}


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize("kind", HOSTILE)
def test_no_hosts_name_nor_what_it_sends_breaks_a_reader(name: str, kind: str) -> None:
    text = HOSTILE[kind]
    hosts: Hosts = {f"a{text[:500]}": made(), "b": poisoned(text), f"c{text[:500]}": text}
    assert list(READERS[name](shown(name, hosts)).values()) == [False, False, False]


@pytest.mark.parametrize("name", RENDERERS)
@pytest.mark.parametrize("kind", HOSTILE)
def test_nothing_foreign_acts(name: str, kind: str) -> None:
    text = HOSTILE[kind]
    out = shown(name, {text: made(), f"{text}2": text, "c": poisoned(text)}, Look(verbose=True))
    assert ACTS.search(out) is None
    assert all(not row.lstrip().startswith(("##[", "::stop")) for row in out.splitlines())


def test_no_two_test_cases_have_one_name() -> None:
    root = etree.fromstring(shown("junit", HOSTS).encode("ascii"))
    names = [(case.get("classname"), case.get("name")) for case in root.iter("testcase")]
    assert len(set(names)) == len(names)


def test_sarif_is_sarif_and_tells_the_hosts_apart() -> None:
    log = json.loads(shown("sarif", HOSTS))
    schema = next(iter(SCHEMAS.glob("sarif*.json")), None)
    if schema is None:
        _missing("SARIF's schema is not there")
    jsonschema.Draft7Validator(json.loads(schema.read_text())).validate(log)
    (run,) = log["runs"]
    marks = [json.dumps(one["partialFingerprints"]) for one in run["results"]]
    assert len(set(marks)) == len(marks)
    told = " ".join(one["message"]["text"] for one in run["results"])
    assert "gpu-03" in told
    assert LOST in told
    assert "web-01" not in told
    assert run["invocations"][0]["exitCode"] == 1


def test_annotations_name_the_host() -> None:
    rows = shown("github", HOSTS).splitlines()
    assert any(row.startswith("::error") and "gpu-03" in row for row in rows)
    assert any("edge-7" in row and LOST in row for row in rows)
    assert not any("web-01" in row for row in rows)


@pytest.mark.parametrize("name", ["text", "markdown", "html"])
def test_what_two_hosts_lack_is_said_once_with_both(name: str) -> None:
    text = shown(name, HOSTS)
    if name == "html":
        text = "\n".join(html5lib.parse(text).itertext())
    fault = standing("x", made()).faults[0]
    to_do = text[text.index("To do") :]
    if name == "html":
        to_do = to_do[: to_do.index("Hosts\n")]
    assert to_do.count(clean(fault.message)[:30]) == 1
    assert re.search(r"gpu-03, +gpu-04", to_do)
    assert "2 of 4" in to_do
    assert LOST in text
    assert "1 not reached" in text


@pytest.mark.parametrize("columns", [60, 80, 120])
@pytest.mark.parametrize("verbose", [False, True])
def test_the_table_fits_the_terminal(columns: int, verbose: bool) -> None:
    hosts: Hosts = {**HOSTS, "a-host-with-quite-a-long-name.example.internal": made(), "日本": LOST}
    for row in shown("text", hosts, Look(width=columns, verbose=verbose)).splitlines():
        assert len(row) <= columns or row.lstrip().startswith("$ ")


def test_the_worst_come_first_and_the_signs_stand_under_their_columns() -> None:
    rows = shown("text", HOSTS, Look(width=80)).splitlines()
    assert rows[1].split()[:2] == ["?", "edge-7"]
    assert rows[2].split()[:2] == ["✖", "gpu-03"]
    assert rows[4].split() == ["✔", "1", "more"]
    at = rows[0].index("host", rows[0].index("golden")) + 1
    assert rows[2][at] in "✔✖▲?"


@pytest.mark.parametrize(
    ("hosts", "unusable", "code"),
    [
        ({"a": well()}, Exit.UNDECIDED, 0),
        ({"a": well(), "b": LOST}, Exit.UNDECIDED, 3),
        ({"a": made(), "b": LOST}, Exit.UNDECIDED, 1),
        ({"a": made(), "b": "no JSON"}, Exit.USAGE, 2),
    ],
)
def test_the_exit_code_of_all(hosts: Hosts, unusable: int, code: int) -> None:
    assert fleet(hosts, unusable).exit_code == code


def test_none_at_all() -> None:
    for name in RENDERERS:
        assert shown(name, {}) is not None
    assert json.loads(shown("json", {}))["hosts"] == {}


def sizes(name: str, count: int) -> Any:
    return len(shown(name, {f"host-{n}": made() for n in range(count)}))


@pytest.mark.parametrize("name", ["text", "markdown"])
def test_many_hosts_make_no_endless_text(name: str) -> None:
    assert sizes(name, 3000) < 400_000 if name == "text" else sizes(name, 3000) < 65_536
