"""`rules test` and `rules validate` as processes: what they say, where, and by which exit code."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from lxml import etree

from engines import skip_or_fail
from paths import ROOT

SHARED = ROOT.parent / "shared"
TODAY = datetime.now(timezone.utc).date()

Run = Callable[..., subprocess.CompletedProcess[str]]

RULES = """\
version: 1
vars: {least: 10GB}
rules:
  - {id: memory, title: RAM, tags: [host], fact: host.memory.total, require: {at_least: "${least}"}}
  - {id: system, title: System, fact: host.os, recommend: {equals: linux}}
"""
FACTS: dict[str, Any] = {
    "schema": "preflight.facts/1",
    "measured_at": "2026-11-23T11:00:00Z",
    "facts": {"host": {"memory": {"total": 8_000_000_000}, "os": "linux"}},
}


def case(folder: Path, expected: Any, facts: Any = FACTS) -> Path:
    """Make a case folder; what is no text is written as JSON."""
    folder.mkdir(parents=True)
    for name, data in (("expected.json", expected), ("facts.json", facts)):
        (folder / name).write_text(data if isinstance(data, str) else json.dumps(data))
    return folder


@pytest.fixture
def cases(tmp_path: Path) -> Path:
    """A folder with a rule file and no case yet."""
    folder = tmp_path / "cases"
    folder.mkdir()
    (folder / "rules.yaml").write_text(RULES, encoding="utf-8")
    return folder


# rules test


def test_a_line_a_case_and_of_a_wrong_one_what_and_why(cases: Path, run_preflight: Run) -> None:
    case(cases / "good", {"memory": "fail", "system": "pass"})
    case(cases / "wrong", {"memory": "pass", "system": "pass"})
    done = run_preflight("rules", "test", "cases", cwd=cases.parent)
    assert done.returncode == 1
    assert done.stderr == ""
    assert done.stdout.splitlines() == [
        "  ✔ good   2 as expected",
        "  ✖ wrong  1 of 2 differ",
        "      memory: expected pass, found fail",
        "        RAM: 7.5 GiB, at least 10 GB (9.3 GiB) required",
        "",
        "FAIL  1 failed · 1 passed",
    ]
    quiet = run_preflight("rules", "test", "cases/good", "-q", cwd=cases.parent)
    assert (quiet.returncode, quiet.stdout) == (0, "PASS  1 passed\n")


def test_what_is_not_named_is_compared_only_exactly(cases: Path, run_preflight: Run) -> None:
    case(cases / "some", {"memory": "fail"})
    assert run_preflight("rules", "test", str(cases)).returncode == 0
    done = run_preflight("rules", "test", str(cases), "--exact")
    assert done.returncode == 1
    assert "system: expected nothing, found pass" in done.stdout
    assert run_preflight("rules", "test", str(cases), "--exact", "--only", "host").returncode == 0


def test_the_longer_form_judges_as_check_does(cases: Path, run_preflight: Run) -> None:
    facts = cases.parent / "facts.json"
    facts.write_text(json.dumps(FACTS))
    for number, (options, wanted) in enumerate(
        [
            ([], {"exit_code": 1}),
            (["--set", "least=1GB"], {"vars": {"least": "1GB"}, "exit_code": 0}),
            (["--set", "least=5B"], {"vars": {"least": "5B"}, "exit_code": 0}),
            (["--only", "system"], {"only": ["system"], "exit_code": 0}),
        ]
    ):
        check = run_preflight(
            "check", "--facts", str(facts), "-r", str(cases / "rules.yaml"), *options
        )
        assert check.returncode == wanted["exit_code"], check.stderr
        verdicts = {"memory": "fail"} if options == [] else {}
        folder = case(cases / f"c{number}", {"verdicts": verdicts, **wanted})
        done = run_preflight("rules", "test", str(folder), "-r", str(cases / "rules.yaml"))
        assert done.returncode == 0, done.stdout


def test_which_rule_file_is_taken(tmp_path: Path, run_preflight: Run) -> None:
    def rules(path: Path, name: str) -> Path:
        rule = f"{{id: {name}, title: T, fact: host.os, require: {{exists: true}}}}"
        text = f"version: 1\nrules: [{rule}]\n"
        path.write_text(text, encoding="utf-8")
        return path

    folder = case(tmp_path / "cases/one", {"any": "pass"})
    in_env = {"PREFLIGHT_RULES": str(rules(tmp_path / "env.yaml", "by-env"))}

    def taken(*options: str, env: dict[str, str] | None = None) -> str:
        done = run_preflight(
            "rules", "test", "cases", "-f", "json", *options, cwd=tmp_path, env=env or {}
        )
        return str(json.loads(done.stdout)["cases"][0]["rules"])

    assert taken() == "bundled"
    rules(tmp_path / "preflight.yaml", "by-folder")
    assert taken() == "preflight.yaml"
    assert taken(env=in_env) == in_env["PREFLIGHT_RULES"]
    rules(tmp_path / "cases/rules.yaml", "by-dir")
    assert taken(env=in_env) == "cases/rules.yaml"
    rules(folder / "rules.yaml", "by-case")
    assert taken(env=in_env) == "cases/one/rules.yaml"
    rules(tmp_path / "typed.yaml", "typed")
    assert taken("-r", "typed.yaml", env=in_env) == "typed.yaml"


def test_a_rule_file_is_read_once_for_all_cases(
    cases: Path, run_preflight: Run, tmp_path: Path
) -> None:
    if not os.path.exists("/dev/stdin"):
        pytest.skip("standard input has no name here")
    for number in range(20):
        case(cases / f"c{number}", {"memory": "fail"})
    rules = tmp_path / "piped.yaml"
    rules.write_text(RULES, encoding="utf-8")
    done = subprocess.run(
        f'cat "{rules}" | python -m preflight rules test "{cases}" -r /dev/stdin',
        shell=True, capture_output=True, text=True,
        env={**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
    )  # fmt: skip
    assert done.stdout.endswith("PASS  20 passed\n"), done.stdout + done.stderr


def test_json_tells_all_of_it(cases: Path, run_preflight: Run) -> None:
    case(cases / "good", {"memory": "fail"})
    case(cases / "off", {"memory": "pass", "memory/x": "skip"})
    case(cases / "bad", {"memry": "pass"})
    done = run_preflight("rules", "test", "cases", "-f", "json", cwd=cases.parent)
    assert done.returncode == 2
    document = json.loads(done.stdout)
    assert document["schema"] == "preflight.rules-test/1"
    assert document["summary"] == {"exit_code": 2, "cases": 3, "pass": 1, "fail": 1, "unknown": 1}
    bad, good, off = document["cases"]
    assert (good["verdict"], good["compared"], good["differences"]) == ("pass", 1, [])
    assert good["folder"] == os.path.join("cases", "good")
    assert bad["problems"] == [
        "cases/bad/expected.json: unknown rule 'memry', did you mean 'memory'?"
    ]
    assert off["differences"] == [
        {
            "name": "memory",
            "expected": "pass",
            "found": "fail",
            "message": "RAM: 7.5 GiB, at least 10 GB (9.3 GiB) required",
        },
        {"name": "memory/x", "expected": "skip", "found": None, "message": "found only memory"},
    ]


def test_junit_is_valid_and_counts(cases: Path, run_preflight: Run) -> None:
    if not (SHARED / "schemas/junit.xsd").exists():
        skip_or_fail("../shared/schemas/junit.xsd is not beside this checkout")
    case(cases / "good", {"memory": "fail"})
    case(cases / "off", {"memory": "pass"})
    case(cases / "bad\x1b[31m]]>&\n::error::x", "{")
    done = run_preflight("rules", "test", str(cases), "-f", "junit")
    assert done.returncode == 2
    root = etree.fromstring(done.stdout.encode())
    etree.XMLSchema(etree.parse(SHARED / "schemas/junit.xsd")).assertValid(root)
    (suite,) = root
    assert [suite.get(k) for k in ("tests", "failures", "errors")] == ["3", "1", "1"]
    (failure,) = root.iter("failure")
    assert failure.get("message").startswith("memory: expected pass, found fail; RAM: 7.5 GiB")


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "no expected": ({"expected.json": None}, "cannot read cases/a/expected.json: No such file"),
    "no facts": ({"facts.json": None}, "cannot read cases/a/facts.json: No such file"),
    "no JSON": ({"expected.json": "{"}, "cases/a/expected.json:1:2: not valid JSON"),
    "too large": (
        {"expected.json": " " * 2_000_000},
        "a/expected.json: the file is larger than 1 MiB",
    ),
    "no facts file": ({"facts.json": "{}"}, "cases/a/facts.json: not a preflight.facts file"),
    "unknown rule": ({"expected.json": '{"systm": "pass"}'}, "did you mean 'system'?"),
    "no verdict": ({"expected.json": '{"memory": "passed"}'}, "did you mean 'pass'?"),
    "bad rules": ({"rules.yaml": "version: 2"}, "cases/a/rules.yaml:1:10: expected 1"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_case_keeps_no_other_from_being_run(
    name: str, cases: Path, run_preflight: Run
) -> None:
    files, error = BAD[name]
    folder = case(cases / "a", {"memory": "fail"})
    case(cases / "b", {"memory": "pass"})
    case(cases / "c", {"memory": "fail"})
    for file, text in files.items():
        (folder / file).unlink(missing_ok=True)
        if text is not None:
            (folder / file).write_text(text)
    done = run_preflight("rules", "test", "cases", cwd=cases.parent)
    assert done.returncode == 2
    assert error in " ".join(done.stdout.split())
    assert done.stdout.endswith("\nFAIL  1 failed · 1 not judged · 1 passed\n")


def test_a_pipe_is_not_waited_for(
    cases: Path, run_preflight: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("preflight.cli.streams._PIPE_WRITER_TIMEOUT_SECONDS", 0.1)
    folder = case(cases / "a", {"memory": "fail"})
    (folder / "facts.json").unlink()
    os.mkfifo(folder / "facts.json")
    done = run_preflight("rules", "test", str(cases))
    assert done.returncode == 2
    assert "no program is writing to this pipe" in done.stdout


def test_links_that_lead_in_circles_are_no_cases(cases: Path, run_preflight: Run) -> None:
    case(cases / "a", {"memory": "fail"})
    (cases / "self").symlink_to("self")
    (cases / "up").symlink_to("..")
    (cases / "other").mkdir()
    (cases / "linked").symlink_to("a")
    done = run_preflight("rules", "test", str(cases))
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "PASS  2 passed")


def test_names_reach_the_terminal_harmless(cases: Path, run_preflight: Run) -> None:
    case(cases / "e\x1b[2J\u202e\n::error::x", {"memory": "pass"})
    (cases / "f\x1b[2J").mkdir()
    (cases / "f\x1b[2J" / "facts.json").write_text("{")
    case(cases / "g", '{"\\u001b[2J\\ud800": "pass"}')
    done = run_preflight("rules", "test", str(cases), "--exact", env={"FORCE_COLOR": ""})
    assert done.returncode == 2
    assert "\x1b" not in done.stdout + done.stderr
    assert "\u202e" not in done.stdout
    assert not [line for line in done.stdout.splitlines() if line.lstrip().startswith("::")]
    shown = json.loads(run_preflight("rules", "test", str(cases), "-f", "json").stdout)
    assert shown["cases"][0]["name"] == "e\x1b[2J\u202e\n::error::x"


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (("nowhere",), "cannot read nowhere: No such file or directory"),
        (("empty",), "empty contains no cases"),
        (("file",), "cannot read file: Not a directory"),
        (("empty", "-f", "jsn"), "'jsn' isn't one of 'text', 'json', 'junit'"),
        ((), "missing argument 'DIR'. See: preflight rules test --help"),
    ],
)
def test_usage(arguments: tuple[str, ...], error: str, tmp_path: Path, run_preflight: Run) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    done = run_preflight("rules", "test", *arguments, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert error in done.stderr


def test_variables_for_check_narrow_no_test(cases: Path, run_preflight: Run) -> None:
    case(cases / "a", {"memory": "pass"})
    done = run_preflight("rules", "test", str(cases), env={"PREFLIGHT_ONLY": "system"})
    assert done.returncode == 1


# rules validate


WAIVERS = RULES + "waivers:\n" + "".join(
    f"  - {{rule: {rule}, reason: r, owner: o, until: {until}{more}}}\n"
    for rule, until, more in (
        ("memory", TODAY + timedelta(days=100), ", accept: {at_least: 11GB}"),
        ("system", TODAY + timedelta(days=100), ""),
    )
)  # fmt: skip


def test_waivers_that_waive_what_passes(run_preflight: Run, tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text(WAIVERS)
    (tmp_path / "f.json").write_text(json.dumps(FACTS))
    done = run_preflight("rules", "validate", "r.yaml", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "r.yaml: 2 rules, no problems\n")
    done = run_preflight("rules", "validate", "r.yaml", "--facts", "f.json", cwd=tmp_path)
    passes = "r.yaml:8:5: the waiver of system isn't needed on these facts\n"
    assert (done.returncode, done.stdout) == (1, passes)
    check = run_preflight("check", "-r", "r.yaml", "--facts", "f.json", cwd=tmp_path)
    assert check.returncode == 1  # a file with such waivers is used all the same


def test_facts_that_are_none(run_preflight: Run, tmp_path: Path) -> None:
    (tmp_path / "f.json").write_text("{}")
    done = run_preflight("rules", "validate", "--facts", "f.json", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("preflight: f.json: not a preflight.facts file")


@pytest.mark.parametrize("days", [-30, -1, 0, 14])
def test_a_waiver_that_ended_or_soon_will_turns_no_hook_red(
    days: int, run_preflight: Run, tmp_path: Path
) -> None:
    until = TODAY + timedelta(days=days)
    text = f"waivers: [{{rule: memory, reason: r, owner: o, until: {until}}}]\n"
    (tmp_path / "r.yaml").write_text(RULES + text)
    done = run_preflight("rules", "validate", "r.yaml", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "r.yaml: 2 rules, no problems\n")
    assert done.stderr.startswith("preflight: note: r.yaml:6:11: the waiver of memory by o end")


def test_no_report_says_of_our_own_rules_that_the_document_has_them(run_preflight: Run) -> None:
    facts = str(ROOT / "tests/cases/linux-healthy/facts.json")
    done = run_preflight("check", "--facts", facts, "-f", "json")
    sources = {one["section"]: one["source"] for one in json.loads(done.stdout)["results"]}
    assert sources["Starting the stack"] == ""
    assert sources["Memory Allocation"] == "Memory Requirements and Resource Management"
    text = run_preflight("explain", "port-clash", "--facts", facts).stdout
    assert '  from    "Starting the stack"\n' in text


@pytest.mark.parametrize("command", ["test", "validate", "document"])
def test_help_has_an_example_and_the_exit_codes(command: str, run_preflight: Run) -> None:
    help_text = run_preflight("rules", command, "--help", env={"COLUMNS": "80"}).stdout
    assert f"Example: preflight rules {command} " in help_text
    assert "Exit code: 0 " in help_text
    assert max(map(len, help_text.splitlines())) <= 80


# rules document


def test_a_document_is_written_and_compared(run_preflight: Run, tmp_path: Path) -> None:
    (tmp_path / "preflight.yaml").write_text(RULES)
    run = partial(run_preflight, "rules", "document", cwd=tmp_path)
    shown, written = run(), run("-o", "d.md")
    assert (shown.returncode, written.returncode, written.stdout) == (0, 0, "")
    file = tmp_path / "d.md"
    assert file.read_text() == shown.stdout
    assert (run("--check", "d.md").returncode, run("--check", "d.md").stdout) == (0, "")
    file.write_bytes(shown.stdout.replace("\n", "\r\n").encode())
    assert run("--check", "d.md").returncode == 0

    lines = shown.stdout.splitlines()
    for changed, message in (
        ([*lines[:2], "x", *lines[3:]], f"d.md:3:1: expected {lines[2]!r}, found 'x'\n"),
        (lines[:2], f"d.md:3:1: expected {lines[2]!r}, found the end of the file\n"),
        ([*lines, "x"], f"d.md:{len(lines) + 1}:1: expected the end of the file, found 'x'\n"),
    ):
        file.write_text("".join(f"{line}\n" for line in changed))
        done = run("--check", "d.md")
        assert (done.returncode, done.stdout) == (1, message)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--check", "gone.md"), "gone.md"),
        (("--check", "binary.md"), "isn't UTF-8 text"),
        (("-o", "binary.md/d.md"), "binary.md/d.md"),
        (("-o", "a", "--check", "b"), "can't be used together"),
    ],
)
def test_a_document_that_cannot_be_used(
    arguments: tuple[str, ...], message: str, run_preflight: Run, tmp_path: Path
) -> None:
    (tmp_path / "binary.md").write_bytes(b"\xff\x00")
    done = run_preflight("rules", "document", *arguments, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr


# packs and profiles


def test_packs_are_listed_and_used_by_name(run_preflight: Run, tmp_path: Path) -> None:
    listed = run_preflight("rules", "packs", "-f", "json", cwd=tmp_path)
    packs = {pack["name"]: pack for pack in json.loads(listed.stdout)["packs"]}
    assert list(packs)[:2] == ["sentry", "elasticsearch"]
    assert packs["sentry"]["url"] in run_preflight("rules", "packs", cwd=tmp_path).stdout
    (tmp_path / "preflight.yaml").write_text("version: 1\nextends: [sentry, elasticsearch]\n")
    rules = json.loads(run_preflight("rules", "list", "-f", "json", cwd=tmp_path).stdout)
    ids = {rule["id"] for rule in rules["rules"]}
    assert {"sentry-memory", "elasticsearch-map-count", "docker-reachable"} <= ids


def test_a_profile_is_chosen_by_name_or_by_the_project(run_preflight: Run, tmp_path: Path) -> None:
    """The two sizes of Sentry, on a machine for the smaller one."""
    docker = {
        "reachable": True,
        "native": True,
        "engine": "docker",
        "version": "28.2.2",
        "memory": {"total": 8_000_000_000},
        "cpus": 2,
        "platform": "linux/arm64",
        "compose": {"version": "2.40.0"},
    }

    def check(*options: str, profiles: list[str] | None = None) -> Any:
        facts = {"docker": docker, "compose": {"profiles": profiles}, "host": {"os": "linux"}}
        (tmp_path / "facts.json").write_text(json.dumps({**FACTS, "facts": facts}))
        named = (
            "--rules",
            "sentry",
            "--facts",
            "facts.json",
            "--only",
            "sentry-memory,sentry-cores",
        )
        return run_preflight("check", *named, *options, cwd=tmp_path)

    assert check().returncode == 1
    by_name = check("--profile", "errors-only")
    assert by_name.returncode == 0
    assert ", profile errors-only · " in by_name.stdout.splitlines()[0]
    by_project = check(profiles=["errors-only"])
    assert by_project.returncode == 0
    assert ", profile errors-only · " in by_project.stdout.splitlines()[0]
    assert "Profile errors-only: compose.profiles contains errors-only." in by_project.stdout
    assert check("--profile", "errors-only", "--set", "sentry_memory=9GB").returncode == 1
    assert check("--profile", "feature-complete", profiles=["errors-only"]).returncode == 1
    facts = ("--rules", "sentry", "--facts", "facts.json")
    explained = run_preflight("explain", "sentry-cores", *facts, cwd=tmp_path).stdout
    assert "  asks    docker.cpus at least 2\n  profile errors-only\n" in explained
    unknown = check("--profile", "error-only")
    assert unknown.returncode == 2
    assert "unknown profile, did you mean 'errors-only'?" in unknown.stderr
