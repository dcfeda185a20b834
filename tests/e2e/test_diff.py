"""`preflight diff` and `check --facts DIR` as processes: inputs of every kind, codes, formats."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from paths import CASES
from preflight.snapshot.bundle import BundleMember, build_bundle

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def files(tmp_path: Path, run_preflight: Run) -> Path:
    """Good and bad as snapshot, bundle and report."""
    folder = tmp_path / "files"
    folder.mkdir()
    for name, case in (("good", "linux-healthy"), ("bad", "all-bad")):
        data = (CASES / case / "facts.json").read_bytes()
        (folder / f"{name}.json").write_bytes(data)
        report = folder / f"{name}-report.json"
        run_preflight("check", "--facts", f"{name}.json", "-f", f"json:{report}", cwd=folder)
        parts = [
            BundleMember("facts.json", "", data),
            BundleMember("report.json", "", report.read_bytes()),
        ]
        (folder / f"{name}.zip").write_bytes(build_bundle(parts, "1.0.0", "", {}))
    return folder


def change(run: Run, folder: Path, before: str, after: str) -> dict[str, Any]:
    done = run("diff", before, after, "-f", "json", cwd=folder)
    document: dict[str, Any] = json.loads(done.stdout)
    assert done.returncode == (1 if document["facts"] or document["verdicts"] else 0)
    assert set(document) == {"schema", "facts", "verdicts"}
    assert document["schema"] == "preflight.diff/1"
    assert all(set(one) == {"path", "before", "after"} for one in document["facts"])
    assert all(set(one) == {"id", "item", "before", "after"} for one in document["verdicts"])
    return document


@pytest.mark.parametrize("before", ["good.json", "good.zip", "good-report.json"])
@pytest.mark.parametrize("after", ["bad.json", "bad.zip", "bad-report.json"])
def test_every_kind_against_every_kind(
    run_preflight: Run, files: Path, before: str, after: str
) -> None:
    document = change(run_preflight, files, before, after)
    first = document["verdicts"][0]
    assert (first["before"], first["after"]) == ("pass", "fail")
    one = {"path": "host.memory.total", "before": 16000000000, "after": 6000000000}
    assert one in document["facts"]
    done = run_preflight("diff", before, after, cwd=files)
    assert ("report against a snapshot" in done.stderr) == (
        before.endswith("report.json") != after.endswith("report.json")
    )


@pytest.mark.parametrize("one", ["good.json", "bad.zip", "bad-report.json"])
def test_nothing_changed(run_preflight: Run, files: Path, one: str) -> None:
    assert change(run_preflight, files, one, one) == {
        "schema": "preflight.diff/1", "facts": [], "verdicts": [],
    }  # fmt: skip
    assert run_preflight("diff", one, one, cwd=files).stdout.endswith("Nothing changed\n")


def test_the_text_fits_the_terminal_and_names_the_worst_first(
    run_preflight: Run, files: Path
) -> None:
    done = run_preflight("diff", "good.json", "bad.zip", cwd=files)
    lines = done.stdout.splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[0] == "good.json → bad.zip"
    assert "pass → fail" in lines[3]
    assert any(line.split() == ["host.memory.total", "16", "GB", "→", "6", "GB"] for line in lines)
    assert lines[-1].startswith("8 worse · ")


def test_an_engine_that_came_up_has_made_nothing_worse(run_preflight: Run, tmp_path: Path) -> None:
    snapshot = json.loads((CASES / "linux-healthy/facts.json").read_text())
    snapshot["facts"]["docker"]["limits"]["memory"] = False
    (tmp_path / "up.json").write_text(json.dumps(snapshot))
    shutil.copy(CASES / "docker-permission/facts.json", tmp_path / "down.json")
    up = run_preflight("diff", "down.json", "up.json", cwd=tmp_path)
    lines = up.stdout.splitlines()
    assert "worse" not in up.stdout
    assert lines[3].split()[-3:] == ["skip", "→", "warn"]
    assert lines[-1].startswith("1 new problem · ")
    assert up.stdout.count("not set") < 5, "one line has all that is known not to be there"
    assert "    skip → pass: RAM for Docker, " in up.stdout
    down = run_preflight("diff", "up.json", "down.json", cwd=tmp_path).stdout.splitlines()
    assert down[-1].startswith("1 worse · 6 no longer judged · "), "Docker is what got worse"


def test_a_project_that_went_away_takes_no_page(run_preflight: Run) -> None:
    """What each service passed is one line; so is what is skipped now."""
    before, after = (
        CASES / name / "facts.json" for name in ("document-stack-on-desktop", "all-bad")
    )
    shown = run_preflight("diff", str(before), str(after), cwd=CASES).stdout
    assert "not there → skip" not in shown
    assert shown.count("pass → not there: ") == 1
    assert shown.splitlines().index("Facts") < 40


def test_facts_that_are_unknown_for_one_reason_take_a_few_lines(
    run_preflight: Run, tmp_path: Path
) -> None:
    variables = {f"A{number}": str(number) for number in range(60)}
    lost = {f"env.{name}": {"reason": "no engine", "kind": "error"} for name in variables}
    for name, own in (("a", {"facts": {"env": variables}}), ("b", {"unknown": lost})):
        text = json.dumps({"schema": "preflight.facts/1", "facts": {}, **own})
        (tmp_path / f"{name}.json").write_text(text)
    shown = run_preflight("diff", "a.json", "b.json", cwd=tmp_path).stdout
    assert " and 52 more: unknown now no engine 60 facts changed" in " ".join(shown.split())


def test_names_of_facts_are_whole(run_preflight: Run, tmp_path: Path) -> None:
    """Facts of one container differ in the last segment, which a cut would take."""
    for name, usage, state in (("a.json", 1, "running"), ("b.json", 2, "exited")):
        facts = {"state": state, "memory": {"usage": usage * 10**8, "limit": usage * 10**9}}
        containers = {"a-project-of-some-length-ollama-1": facts}
        snapshot = {"schema": "preflight.facts/1", "facts": {"stack": {"containers": containers}}}
        (tmp_path / name).write_text(json.dumps(snapshot))
    shown = run_preflight("diff", "a.json", "b.json", cwd=tmp_path).stdout
    for last in ("state", "memory.usage", "memory.limit"):
        assert f"stack.containers.a-project-of-some-length-ollama-1.{last}" in shown


def test_other_rules_give_other_verdicts(run_preflight: Run, files: Path) -> None:
    (files / "mine.yaml").write_text(
        "version: 1\nname: mine\nrules:\n"
        "- {id: ram, title: RAM, fact: host.memory.total, require: {at_least: 10GB}}\n"
    )
    done = run_preflight(
        "diff", "good.json", "bad.json", "-r", "mine.yaml", "-f", "json", cwd=files
    )
    assert json.loads(done.stdout)["verdicts"] == [
        {"id": "ram", "item": None, "before": "pass", "after": "fail"}
    ]


def _actual(value: bytes) -> bytes:
    """Return a report of one result that is about this figure."""
    one = b'{"id": "a", "title": "", "message": "", "fact": "a", "verdict": "pass", "actual": %s}'
    return b'{"schema": "preflight.report/1", "results": [%s]}' % (one % value)


@pytest.mark.parametrize(
    "data",
    [b"", b"{}", b"[]", b"\xff", b'{"schema": "preflight.report/1"}',
     b'{"schema": "preflight.report/2", "results": []}',
     b'{"schema": "preflight.report/0", "results": []}',
     b'{"schema": "preflight.report/1", "results": 5}',
     b'{"schema": "preflight.report/1", "results": [{"id": 1}]}',
     (b'{"schema": "preflight.report/1", "results": [{"id": "a", "title": "", "message": "",\n'
     b'"fact": "a", "verdict": "maybe"}]}'),
     b'{"schema": "preflight.report/1", "results": [], "x": NaN}',
     _actual(b"[" * 600 + b"]" * 600), _actual(b"1e999"),
     b'{"schema": "preflight.report/1", "results": ' + b"[" * 10_000,
     b'{"schema": "preflight.facts/2"}', b"PK\x03\x04"],
    ids=lambda data: ascii(data[:50]),
)  # fmt: skip
def test_what_cannot_be_compared(run_preflight: Run, files: Path, data: bytes) -> None:
    (files / "odd").write_bytes(data)
    for arguments in (("odd", "good.json"), ("good.json", "odd")):
        done = run_preflight("diff", *arguments, cwd=files)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.count("\n") == 1
        assert "odd" in done.stderr


def test_usage(run_preflight: Run, files: Path) -> None:
    for arguments in ((), ("good.json",), ("-", "-"), ("good.json", "none.json"),
                      ("good.json", "bad.json", "-f", "junit")):  # fmt: skip
        assert run_preflight("diff", *arguments, cwd=files).returncode == 2


# --- a folder of snapshots --------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path, files: Path) -> Path:
    place = tmp_path / "snaps"
    place.mkdir()
    for name in ("all-bad", "just-under-8-gb", "linux-healthy", "podman-native", "remote-engine"):
        shutil.copy(CASES / name / "facts.json", place / f"{name}.json")
    shutil.copy(files / "good.zip", place)
    (place / "notes.txt").write_text("not looked at")
    return place


def test_a_folder_is_judged_as_each_of_it_is(
    run_preflight: Run, folder: Path, tmp_path: Path
) -> None:
    done = run_preflight("check", "--facts", "snaps", "-f", "json", cwd=tmp_path)
    document = json.loads(done.stdout)
    assert done.returncode == document["summary"]["exit_code"] == 1
    assert document["schema"] == "preflight.fleet/1"
    assert sorted(document["hosts"]) == sorted(
        p.name for p in folder.iterdir() if p.suffix != ".txt"
    )
    for name, report in document["hosts"].items():
        alone = run_preflight("check", "--facts", f"snaps/{name}", "-f", "json", cwd=tmp_path)
        single = json.loads(alone.stdout)
        assert report["results"] == single["results"]
        report["summary"]["seconds"] = single["summary"]["seconds"]
        assert report == single
    verdicts = [one["summary"]["verdict"] for one in document["hosts"].values()]
    for verdict in ("pass", "warn", "fail", "unknown"):
        assert document["summary"][verdict] == verdicts.count(verdict)


def test_a_folder_as_text(run_preflight: Run, folder: Path, tmp_path: Path) -> None:
    done = run_preflight("check", "--facts", "snaps", cwd=tmp_path)
    assert done.returncode == 1
    lines = done.stdout.splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[0].startswith("6 snapshots of snaps · ollama-api-stack")
    assert [line.split()[1] for line in lines[1:4]] == [
        "all-bad.json", "just-under-8-gb.json", "podman-native.json",
    ]  # fmt: skip
    assert lines[4:6] == ["  ▲ 1 more with warnings; -v lists them", "  ✔ 2 more"]
    assert done.stdout.count("RAM for Docker  ") == 1, "the same fault is said once"
    assert "all-bad.json, just-under-8-gb.json" in done.stdout
    both = run_preflight(
        "check", "--facts", "snaps", "-f", "text", "-f", "json:o/x.json", cwd=tmp_path
    )
    assert both.stdout.splitlines()[:5] == lines[:5]
    assert json.loads((tmp_path / "o" / "x.json").read_text())["summary"]["hosts"] == 6


def test_a_file_that_isnt_a_snapshot_is_reported_beside_the_others(
    run_preflight: Run, folder: Path, tmp_path: Path
) -> None:
    (folder / "odd.json").write_bytes(b'{"a": NaN}')
    done = run_preflight("check", "--facts", "snaps", cwd=tmp_path)
    assert done.returncode == 2
    assert "odd.json" in done.stdout.splitlines()[1]
    assert "1 unusable · 3 failed" in done.stdout
    document = json.loads(
        run_preflight("check", "--facts", "snaps", "-f", "json", cwd=tmp_path).stdout
    )
    assert "NaN" in document["hosts"]["odd.json"]["unreachable"]


@pytest.mark.parametrize(("name", "code"), [("linux-healthy", 0), ("memtotal-unknown", 3)])
def test_the_exit_code_of_all(run_preflight: Run, tmp_path: Path, name: str, code: int) -> None:
    (tmp_path / "s").mkdir()
    shutil.copy(CASES / name / "facts.json", tmp_path / "s" / "a.json")
    shutil.copy(CASES / "linux-healthy" / "facts.json", tmp_path / "s" / "b.json")
    assert run_preflight("check", "--facts", "s", cwd=tmp_path).returncode == code


def test_a_folder_without_snapshots_and_formats_of_one_machine(
    run_preflight: Run, folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "none").mkdir()
    for arguments, words in (
        (("--facts", "none"), "contains no snapshots"),
        (("--facts", "snaps", "--path", "/"), "--path"),
        (("--facts", "snaps", "-f", "text", "-f", "json"), "already used"),
    ):
        done = run_preflight("check", *arguments, cwd=tmp_path)
        assert (done.returncode, done.stdout) == (2, "")
        assert words in done.stderr


# --- two folders ------------------------------------------------------------------------------


@pytest.fixture
def days(tmp_path: Path) -> Path:
    """Two days of three hosts: one got worse, one is as it was, one went and another came."""
    for day, cases in (
        ("mon", {"a": "linux-healthy", "b": "linux-healthy", "gone": "podman-native"}),
        ("tue", {"a": "linux-healthy", "b": "all-bad", "[red]new": "podman-native"}),
    ):
        (tmp_path / day).mkdir()
        for name, case in cases.items():
            shutil.copy(CASES / case / "facts.json", tmp_path / day / f"{name}.json")
        (tmp_path / day / ".half.json").write_text("not looked at")
    return tmp_path


def test_folders_are_compared_host_by_host_as_each_file_is(run_preflight: Run, days: Path) -> None:
    done = run_preflight("diff", "mon", "tue", "-f", "json", cwd=days)
    document = json.loads(done.stdout)
    alone = change(run_preflight, days, "mon/b.json", "tue/b.json")
    assert done.returncode == 1
    assert document == {
        "schema": "preflight.fleet-diff/1",
        "hosts": {"b.json": {"facts": alone["facts"], "verdicts": alone["verdicts"]}},
        "gone": ["gone.json"],
        "new": ["[red]new.json"],
        "unusable": {},
        "same": 1,
    }


def test_folders_as_text(run_preflight: Run, days: Path) -> None:
    done = run_preflight("diff", "mon", "tue", cwd=days)
    lines = done.stdout.splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[:3] == ["mon → tue", "  gone  gone.json", "  new  [red]new.json"]
    assert lines[-1] == "1 worse · 1 gone · 1 new · 1 as before"
    same = run_preflight("diff", "mon", "mon", cwd=days)
    assert (same.returncode, same.stdout) == (0, "mon → mon\n\n3 as before\n")


def test_the_host_that_got_worst_stands_first(run_preflight: Run, days: Path) -> None:
    facts = json.loads((days / "tue" / "a.json").read_text())
    facts["facts"]["host"]["memory"]["total"] = 1
    (days / "tue" / "a.json").write_text(json.dumps(facts))
    done = run_preflight("diff", "mon", "tue", "-f", "json", cwd=days)
    assert list(json.loads(done.stdout)["hosts"]) == ["b.json", "a.json"]


def test_a_file_that_cannot_be_compared_keeps_no_other_from_it(
    run_preflight: Run, days: Path
) -> None:
    (days / "mon" / "a.json").write_text("[")
    done = run_preflight("diff", "mon", "tue", "-f", "json", cwd=days)
    document = json.loads(done.stdout)
    assert done.returncode == 2
    assert list(document["hosts"]) == ["b.json"]
    assert document["unusable"]["a.json"].startswith("mon/a.json:1:2: not valid JSON")
    assert done.stderr.count("\n") == 1


def test_what_are_no_two_folders(run_preflight: Run, days: Path) -> None:
    (days / "empty").mkdir()
    for arguments, error in (
        (("mon", "tue/a.json"), "must both be folders or both be files"),
        (("mon", "-"), "must both be folders or both be files"),
        (("mon", "empty"), "empty contains no snapshots"),
        (("mon", "tue", "-r", "none.yaml"), "none.yaml"),
    ):
        done = run_preflight("diff", *arguments, cwd=days)
        assert (done.returncode, done.stdout) == (2, ""), arguments
        assert error in done.stderr
        assert done.stderr.count("\n") == 1


def test_a_folder_names_the_rules_that_its_snapshots_were_judged_by(
    run_preflight: Run, tmp_path: Path
) -> None:
    """No service runs Ollama: the rules for it don't apply."""
    db = {"image": "postgres:17", "limits": {"cpus": 2.0}}
    compose = {"files": ["compose.yaml"], "services": {"db": db}}
    facts = {"compose": compose, "docker": {"cpus": 2}, "ollama": {"service": None}}
    (tmp_path / "snaps").mkdir()
    for name in ("a", "b"):
        text = json.dumps({"schema": "preflight.facts/1", "facts": facts})
        (tmp_path / "snaps" / f"{name}.json").write_text(text)
        facts["docker"]["cpus"], db["limits"] = 3, {"cpus": 2.5}
    done = run_preflight("check", "--facts", "snaps", cwd=tmp_path)
    assert done.stdout.startswith("2 snapshots of snaps · general ")
    done = run_preflight("diff", "snaps/a.json", "snaps/b.json", cwd=tmp_path)
    assert re.search(r"db\.limits\.cpus +2 → 2\.5\n", done.stdout)
