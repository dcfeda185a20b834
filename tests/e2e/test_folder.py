"""`preflight check --facts DIR` in every format, as a process: names, places, faults, codes."""

from __future__ import annotations

import json
import os
import shutil
import struct
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from paths import CASES
from preflight.evaluate import judge
from preflight.render import FORMATS
from preflight.snapshot.bundle import BundleMember, build_bundle

Run = Callable[..., subprocess.CompletedProcess[str]]
FAILING, WELL = "all-bad", "linux-healthy"
TOO_LONG = "a" * 200
NAMES = ("plain", "a\nb", "::error::owned", "\x1b[31mred", '"q"\\', "<b>&", "# SKIP", TOO_LONG)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of one snapshot that fails, one that passes, and one that is none."""
    place = tmp_path / "snaps"
    place.mkdir()
    shutil.copy(CASES / FAILING / "facts.json", place / "bad.json")
    shutil.copy(CASES / WELL / "facts.json", place / "well.json")
    (place / "odd.json").write_text("{", encoding="ascii")
    return place


def machines(name: str, text: str) -> set[str]:
    """Return the machines that a reader of the format finds."""
    if name == "json":
        return set(json.loads(text)["hosts"])
    if name == "junit":
        return {suite.attrib["hostname"] for suite in ET.fromstring(text)}
    if name == "sarif":
        (run,) = json.loads(text)["runs"]
        return {one["message"]["text"].partition(": ")[0] for one in run["results"]}
    if name == "prometheus":
        families = text_string_to_metric_families(text)
        return {one.labels["host"] for family in families for one in family.samples}
    return {one for one in ("bad.json", "odd.json", "well.json") if one in text}


def test_every_format_at_once_and_each_alone(
    run_preflight: Run, folder: Path, tmp_path: Path
) -> None:
    every = [part for name in FORMATS for part in ("-f", f"{name}:out/{name}")]
    done = run_preflight("check", "--facts", "snaps", "-v", *every, cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (2, "", "")
    for name in FORMATS:
        text = (tmp_path / "out" / name).read_text(encoding="utf-8")
        alerts = name in ("sarif", "github")  # of what is well they say nothing
        well = set() if alerts else {"well.json"}
        assert machines(name, text) == {"bad.json", "odd.json"} | well, name
        alone = run_preflight("check", "--facts", "snaps", "-v", "-f", name, cwd=tmp_path)
        assert alone.returncode == 2
        assert machines(name, alone.stdout) == machines(name, text)


def test_a_bundle_that_cannot_be_used_leaves_the_others_judged(
    run_preflight: Run, folder: Path, tmp_path: Path
) -> None:
    member = BundleMember("facts.json", "facts", (folder / "well.json").read_bytes())
    bundle = build_bundle([member], "1.0.0", "2026-11-23T11:00:00Z", {})
    (folder / "good.zip").write_bytes(bundle)
    for number, offset in enumerate((2**64 - 1, 2**63, 2**63 - 1, 2**32)):
        record = struct.pack("<4sQHHLLQQQQ", b"PK\x06\x06", 44, 45, 45, 0, 0, 2, 2, 110, offset)
        locator = struct.pack("<4sLQL", b"PK\x06\x07", 0, len(bundle) - 22, 1)
        data = bundle[:-22] + record + locator + bundle[-22:]
        (folder / f"huge-{number}.zip").write_bytes(data)
    done = run_preflight("check", "--facts", "snaps", "-f", "json", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (2, "")
    hosts = json.loads(done.stdout)["hosts"]
    assert hosts["good.zip"]["summary"]["verdict"] == hosts["well.json"]["summary"]["verdict"]
    for number in range(4):
        assert hosts[f"huge-{number}.zip"]["unreachable"].startswith("not a bundle: ")


def test_a_snapshot_that_takes_too_long_to_judge_leaves_the_others_judged(
    run_preflight: Run, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(judge, "MAX_RESULTS", 200)
    snapshot = json.loads((folder / "well.json").read_text())
    snapshot["facts"]["compose"]["services"] = {f"s{number}": {} for number in range(300)}
    (folder / "odd.json").write_text(json.dumps(snapshot))
    done = run_preflight("check", "--facts", "snaps", "-f", "json", cwd=tmp_path)
    hosts = json.loads(done.stdout)["hosts"]
    assert (done.returncode, hosts["well.json"]["summary"]["verdict"]) == (2, "pass")
    assert hosts["odd.json"]["unreachable"].startswith("rule ")


def test_a_file_of_any_name_is_a_machine(run_preflight: Run, tmp_path: Path) -> None:
    place = tmp_path / "snaps"
    place.mkdir()
    for name in NAMES:
        shutil.copy(CASES / WELL / "facts.json", place / f"{name}.json")
    with open(os.fsencode(place) + b"/\xff\xfe.json", "wb") as file:
        file.write(b"{}")
    every = [part for name in FORMATS for part in ("-f", f"{name}:out/{name}")]
    done = run_preflight("check", "--facts", "snaps", *every, cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    document = json.loads((tmp_path / "out/json").read_text(encoding="ascii"))
    assert set(document["hosts"]) == set(os.listdir(place))
    assert [n for n, one in document["hosts"].items() if "unreachable" in one] == [
        "\udcff\udcfe.json"
    ]
    assert len(machines("prometheus", (tmp_path / "out/prometheus").read_text("utf-8"))) == 9


def test_github_also_appends_the_summary(run_preflight: Run, folder: Path, tmp_path: Path) -> None:
    summary = tmp_path / "summary.md"
    summary.write_text("before\n", encoding="utf-8")
    done = run_preflight(
        "check", "--facts", "snaps", "-f", "github", cwd=tmp_path,
        env={**os.environ, "GITHUB_STEP_SUMMARY": str(summary)},
    )  # fmt: skip
    assert done.stdout.count("::error ") > 1
    before, title, *_ = summary.read_text(encoding="utf-8").splitlines()
    assert (before, title) == ("before", "## ✖ preflight: FAIL")


@pytest.mark.parametrize("place", ["snaps/bad.json", "./snaps/../snaps/odd.json", "rules.yaml"])
def test_nothing_is_written_over_what_is_read(
    run_preflight: Run, folder: Path, tmp_path: Path, place: str
) -> None:
    (tmp_path / "rules.yaml").write_text("version: 1\nextends: [default]\nrules: []\n")
    before = (tmp_path / place).read_bytes()
    done = run_preflight(
        "check", "--facts", "snaps", "-r", "rules.yaml", "-f", f"json:{place}", cwd=tmp_path
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert "is also an input" in done.stderr
    assert (tmp_path / place).read_bytes() == before


def test_unwritable_files_are_reported_and_the_others_written(
    run_preflight: Run, folder: Path, tmp_path: Path
) -> None:
    (folder / "odd.json").unlink()
    done = run_preflight(
        "check", "--facts", "snaps", "-f", "json:snaps", "-f", "junit:out.xml", "-f", "text",
        cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr == "preflight: cannot write snaps: it is a folder\n"
    assert done.stdout.splitlines()[-1].startswith("FAIL  1 failed · 1 passed")
    assert machines("junit", (tmp_path / "out.xml").read_text()) == {"bad.json", "well.json"}


def test_a_closed_pipe_is_not_an_error(folder: Path, tmp_path: Path) -> None:
    (folder / "odd.json").unlink()
    for number in range(30):
        os.link(folder / "bad.json", folder / f"bad-{number}.json")
    process: subprocess.Popen[Any] = subprocess.Popen(
        [sys.executable, "-m", "preflight", "check", "--facts", "snaps", "-f", "json"],
        cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    process.stdout.read(10)
    process.stdout.close()
    assert process.stderr is not None
    with process.stderr as talk:
        assert talk.read() == b""
    assert process.wait(60) == 1


@pytest.mark.parametrize("arguments", [("-f", "txt"), ("-f", "text", "-f", "json")])
def test_formats_are_refused_before_anything_is_judged(
    run_preflight: Run, folder: Path, tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    done = run_preflight("check", "--facts", "snaps", *arguments, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert "--format" in done.stderr
