"""The action of GitHub: its steps run as the runner runs them, on a clean copy of the project."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml

from documentation import ROOT, assert_valid, clean_copy, find_program, run, snippet

FOLDER = ".github/actions/preflight"
ACTION = yaml.safe_load((ROOT / FOLDER / "action.yml").read_text(encoding="utf-8"))

GOOD = "version: 1\nname: mine\nrules:\n  - {id: os, title: System, fact: host.os, require: %s}\n"
INPUTS = sorted(name.replace("-", "_") for name in ACTION["inputs"].keys() - {"python"})
PASSES, FAILS = GOOD % "{exists: true}", GOOD % "{equals: plan9}"
HOSTILE = [
    '"; touch owned; "',
    "'; touch owned; '",
    "$(touch owned)",
    "`touch owned`",
    "a\n$(touch owned)\nb",
    "--rules=/etc/passwd",
    "| touch owned &",
    "${{ github.token }}\\",
]


class Ended(NamedTuple):
    """What a job sees of the action."""

    exit_code: int
    log: str
    outputs: Mapping[str, str]
    summary: str

    @property
    def commands(self) -> list[str]:
        """The lines that the runner obeys: none between stop-commands and its word."""
        obeyed, word = [], None
        for line in map(str.strip, self.log.splitlines()):
            if word is not None:
                word = None if line == f"::{word}::" else word
            elif line.startswith("::"):
                obeyed.append(line)
                word = line.removeprefix("::stop-commands::") if "stop-commands" in line else None
        return obeyed


def _expand(text: str, inputs: Mapping[str, str], steps: Mapping[str, Mapping[str, str]]) -> str:
    """Put values into `${{ }}`, in one go as the runner does; an input without a value is blank."""

    def value(match: re.Match[str]) -> str:
        scope, *names = match[1].split(".")
        if scope == "inputs":
            return inputs.get(names[0], ACTION["inputs"][names[0]].get("default", ""))
        assert (scope, names[1]) == ("steps", "outputs"), match[0]
        return steps[names[0]].get(names[2], "")

    return re.sub(r"\$\{\{ *([a-z.-]+) *\}\}", value, text)


class Runner:
    """A runner's folders and files; the program is the one that the tests run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.action = clean_copy(folder / "_actions") / FOLDER
        self.temp = folder / "temp files"
        self.temp.mkdir()
        self.steps: dict[str, Mapping[str, str]] = {"install": {"python": sys.executable}}

    def step(self, index: int, inputs: Mapping[str, str], cwd: Path) -> Ended:
        """Run a step in the shell that GitHub documents for `shell: bash`."""
        step = ACTION["runs"]["steps"][index]
        files = {name: self.folder / name for name in ("GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY")}
        for file in files.values():
            file.write_text("")
        script = self.folder / "script.sh"
        script.write_text(step["run"])
        env = {name: _expand(text, inputs, self.steps) for name, text in step["env"].items()}
        env |= {name: str(file) for name, file in files.items()}
        env |= {"RUNNER_TEMP": str(self.temp), "GITHUB_ACTION_PATH": str(self.action)}
        bash = (find_program("bash"), "--noprofile", "--norc", "-eo", "pipefail", str(script))
        done = run(*bash, cwd=cwd, env={**env, "GITHUB_ACTIONS": "true", "CI": "true"})
        lines = files["GITHUB_OUTPUT"].read_text(encoding="utf-8").splitlines()
        outputs = dict(line.split("=", 1) for line in lines)
        self.steps[step["id"]] = outputs
        summary = files["GITHUB_STEP_SUMMARY"].read_text(encoding="utf-8")
        return Ended(done.returncode, done.stdout + done.stderr, outputs, summary)

    def check(self, cwd: Path, **inputs: str) -> Ended:
        """Run the second step; the action's outputs are looked up as action.yml says."""
        named = {name.replace("_", "-"): value for name, value in inputs.items()}
        assert named.keys() <= ACTION["inputs"].keys()
        ended = self.step(1, named, cwd)
        outputs = {
            name: _expand(one["value"], named, self.steps)
            for name, one in ACTION["outputs"].items()
        }
        return ended._replace(outputs=outputs)


@pytest.fixture(scope="module")
def runner(tmp_path_factory: pytest.TempPathFactory) -> Runner:
    """A runner on which preflight is installed."""
    return Runner(tmp_path_factory.mktemp("runner"))


@pytest.fixture
def workspace(clean_environment: Path, tmp_path: Path) -> Path:
    """The folder of a job, with a name that a careless script would split."""
    folder = tmp_path / "my work"
    folder.mkdir()
    (folder / "passes.yaml").write_text(PASSES)
    (folder / "fails it.yaml").write_text(FAILS)
    return folder


def test_the_action_obeys_githubs_schema() -> None:
    assert_valid("vendor.github-actions", ROOT / FOLDER / "action.yml")


def test_no_script_holds_an_expression() -> None:
    steps = ACTION["runs"]["steps"]
    assert not [step["run"] for step in steps if "${{" in step["run"]]
    used = "".join(text for step in steps for text in step["env"].values())
    assert set(re.findall(r"inputs\.([a-z-]+)", used)) == ACTION["inputs"].keys()


def test_the_readmes_workflow_obeys_githubs_schema_and_the_action(tmp_path: Path) -> None:
    file = tmp_path / "preflight.yml"
    file.write_text(snippet(".github/workflows/preflight.yml"))
    assert_valid("vendor.github-workflows", file)
    (job,) = yaml.safe_load(file.read_text())["jobs"].values()
    (step,) = [one for one in job["steps"] if FOLDER in one["uses"]]
    assert step["with"].keys() <= ACTION["inputs"].keys()
    used = re.findall(rf"steps\.{step['id']}\.outputs\.([a-z-]+)", file.read_text())
    assert used
    assert set(used) <= ACTION["outputs"].keys()


@pytest.mark.nightly
def test_the_first_step_installs_what_the_second_runs(runner: Runner, workspace: Path) -> None:
    installed = dict(runner.steps)
    ended = runner.step(0, {"python": sys.executable}, workspace)
    assert ended.exit_code == 0, ended.log
    assert Path(ended.outputs["python"]).is_relative_to(runner.temp)
    assert runner.check(workspace, rules="passes.yaml").exit_code == 0
    runner.steps = installed


def test_it_passes(runner: Runner, workspace: Path) -> None:
    ended = runner.check(workspace, rules="passes.yaml")
    assert ended.exit_code == 0, ended.log
    assert "mine" in ended.log
    report = Path(ended.outputs["report"])
    assert report.is_relative_to(runner.temp)
    assert ended.outputs == {"verdict": "pass", "exit-code": "0", "report": str(report)}
    assert [one["id"] for one in json.loads(report.read_text())["results"]] == ["os"]
    assert "System" in ended.summary
    assert not [line for line in ended.commands if line.startswith("::error")]


def test_it_fails_with_preflights_code_and_says_it_where_people_look(
    runner: Runner, workspace: Path
) -> None:
    ended = runner.check(workspace, rules="fails it.yaml", sarif="out/a.sarif", junit="a b.xml")
    assert ended.exit_code == 1, ended.log
    assert ended.outputs["verdict"] == "fail"
    assert ended.outputs["exit-code"] == "1"
    assert [line for line in ended.commands if line.startswith("::error") and "System" in line]
    assert "System" in ended.summary
    assert json.loads((workspace / "out/a.sarif").read_text())["version"] == "2.1.0"
    assert (workspace / "a b.xml").read_text().startswith("<?xml")


def test_two_uses_in_a_job_keep_both_reports(runner: Runner, workspace: Path) -> None:
    first = runner.check(workspace, rules="passes.yaml").outputs["report"]
    second = runner.check(workspace, rules="fails it.yaml").outputs["report"]
    reports = [json.loads(Path(file).read_text()) for file in (first, second)]
    assert [report["summary"]["verdict"] for report in reports] == ["pass", "fail"]


@pytest.mark.parametrize(
    "inputs",
    [{"rules": "nowhere.yaml"}, {"rules": "passes.yaml", "args": "--nonsense"}],
    ids=str,
)
def test_usage_errors_exit_with_2_and_a_message(
    runner: Runner, workspace: Path, inputs: dict[str, str]
) -> None:
    ended = runner.check(workspace, **inputs)
    assert ended.exit_code == 2, ended.log
    assert ended.outputs == {"verdict": "", "exit-code": "2", "report": ""}
    assert [line for line in ended.commands if line.startswith("::error title=preflight::")]


def test_a_python_that_is_not_there_fails_the_first_step(runner: Runner, workspace: Path) -> None:
    installed = dict(runner.steps)
    ended = runner.step(0, {"python": '/nowhere/python"; touch owned; "'}, workspace)
    runner.steps = installed
    assert ended.exit_code != 0
    assert not list(workspace.glob("owned"))


def test_inputs_reach_preflight(runner: Runner, workspace: Path) -> None:
    rules = PASSES.replace("rules:", "vars: {a: 1, b: 1}\nrules:").replace(
        "title: System", "title: 'A ${a} ${b}', tags: [x, y]"
    )
    (workspace / "preflight.yaml").write_text(
        rules
        + "  - {id: warned, title: W, tags: [z], fact: host.os, recommend: {equals: plan9}}\n"
        + "  - {id: out, title: O, tags: [z], fact: host.os, require: {equals: plan9}}\n"
    )
    inputs = {"only": "x\nz\n", "skip": "out", "set": "a=2\n\n  b=3\n", "args": "--verbose"}
    ended = runner.check(workspace, **inputs)
    assert ended.exit_code == 0, ended.log
    assert ended.outputs["verdict"] == "warn"
    ended = runner.check(
        workspace, **inputs, strict="true", path=str(workspace), timeout="20", wait="0"
    )
    assert ended.exit_code == 1, ended.log


def test_compose_files_come_one_a_line(runner: Runner, workspace: Path) -> None:
    files = ["a b.yaml", "$(touch owned).yaml"]
    for name in files:
        (workspace / name).write_text("services: {x: {image: x}}\n")
    (workspace / "preflight.yaml").write_text(PASSES.replace("host.os", "compose.files"))
    ended = runner.check(workspace, compose_file="\r\n".join(["", *files, ""]))
    assert ended.exit_code == 0, ended.log
    (result,) = json.loads(Path(ended.outputs["report"]).read_text())["results"]
    assert [Path(one).name for one in result["actual"]] == files


@pytest.mark.parametrize(
    "hostile",
    ["".join(HOSTILE), *(pytest.param(one, marks=pytest.mark.nightly) for one in HOSTILE)],
)
def test_nothing_is_run_where_every_input_is_hostile(
    runner: Runner, workspace: Path, hostile: str
) -> None:
    ended = runner.check(workspace, **dict.fromkeys(INPUTS, hostile))
    assert ended.exit_code == 2, ended.log
    assert not [*workspace.rglob("owned"), *runner.folder.rglob("owned")]


@pytest.mark.nightly
@pytest.mark.parametrize("name", INPUTS)
def test_nothing_in_an_input_is_run(runner: Runner, workspace: Path, name: str) -> None:
    inputs = {"rules": "passes.yaml", name: "\n".join(HOSTILE)}
    ended = runner.check(workspace, **inputs)
    assert ended.exit_code == int(ended.outputs["exit-code"])
    assert not [*workspace.rglob("owned"), *runner.folder.rglob("owned")]


def test_the_runner_obeys_nothing_that_a_rule_says(runner: Runner, workspace: Path) -> None:
    text = "::error::owned ::stop-commands::x ::add-mask::1 ##[error]owned %0A::warning::owned"
    rule = {"id": "os", "title": f"A\n{text}", "fact": "host.os", "require": {"equals": "plan9"}}
    rule |= {"error": text, "why": text, "fixes": [{"text": text * 9, "command": text}]}
    rules = {"version": 1, "name": text, "rules": [rule]}
    (workspace / "preflight.yaml").write_text(json.dumps(rules))
    ended = runner.check(workspace)
    assert ended.exit_code == 1, ended.log
    assert "::add-mask::" in ended.log
    kinds = {line.split("::")[1].split(" ")[0] for line in ended.commands}
    assert kinds == {"stop-commands", "error"}
    assert not [line for line in ended.commands if line.startswith("::error::")]
