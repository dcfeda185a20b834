"""`preflight check` as a process: exit codes, streams, files, bad input."""

from __future__ import annotations

import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest

import program

HERE = Path(__file__).parent
PREFLIGHT = [sys.executable, "-m", "preflight"]
RULES = """
version: 1
rules:
  - {id: required, title: Memory, tags: [a], fact: host.memory.total, require: {at_least: 10GB}}
  - {id: advised, title: Cores, tags: [b], fact: host.cpu.logical, recommend: {at_least: 4}}
"""


def run(
    *arguments: str, cwd: Path, env: dict[str, str] | None = None, input: str = ""
) -> subprocess.CompletedProcess[str]:
    unset = {name: None for name in os.environ if name.startswith(("PREFLIGHT_", "DOCKER_"))}
    return program.run(*arguments, cwd=cwd, env={**unset, **(env or {})}, input=input)


def start(*arguments: str, cwd: Path, **extra: object) -> subprocess.CompletedProcess[str]:
    """Run it as a process of its own."""
    return subprocess.run(
        [*PREFLIGHT, *arguments], capture_output=True, text=True, cwd=cwd, timeout=60,
        **extra,  # type: ignore[call-overload]
    )  # fmt: skip


def snapshot(memory: float | None, cores: int | None) -> str:
    unknown = {"reason": "nobody looked", "kind": "unavailable"}
    return json.dumps(
        {
            "schema": "preflight.facts/1",
            "preflight": "1.0.0",
            "measured_at": "2026-11-23T11:00:00Z",
            "facts": {
                "host": {
                    **({"memory": {"total": memory}} if memory is not None else {}),
                    **({"cpu": {"logical": cores}} if cores is not None else {}),
                }
            },
            "sources": {},
            "unknown": {
                **({"host.memory.total": unknown} if memory is None else {}),
                **({"host.cpu.logical": unknown} if cores is None else {}),
            },
        }
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "preflight.yaml").write_text(RULES, encoding="utf-8")
    return tmp_path


@pytest.mark.parametrize(
    ("memory", "cores", "options", "code", "verdict"),
    [
        (12e9, 4, [], 0, "pass"),
        (12e9, 2, [], 0, "warn"),
        (12e9, 2, ["--strict"], 1, "fail"),
        (8e9, 4, [], 1, "fail"),
        (8e9, None, ["--strict"], 1, "fail"),
        (None, 4, [], 3, "unknown"),
        (None, 2, ["--strict"], 1, "fail"),
        (12e9, None, [], 0, "warn"),
        (12e9, None, ["--strict"], 3, "unknown"),
        (8e9, 4, ["--only", "b"], 0, "pass"),
        (8e9, 4, ["--skip", "required"], 0, "pass"),
        (None, None, ["--only", "advised"], 0, "warn"),
    ],
)
def test_exit_codes(
    folder: Path,
    memory: float | None,
    cores: int | None,
    options: list[str],
    code: int,
    verdict: str,
) -> None:
    facts = folder / "facts.json"
    facts.write_text(snapshot(memory, cores), encoding="utf-8")
    done = run("check", "--facts", "facts.json", "-f", "json", *options, cwd=folder)
    summary = json.loads(done.stdout)["summary"]
    assert (done.returncode, summary["exit_code"], summary["verdict"]) == (code, code, verdict)
    assert done.stderr == ""


def test_a_report_on_a_snapshot_says_so_and_of_when(folder: Path) -> None:
    (folder / "facts.json").write_text(snapshot(12e9, 4), encoding="utf-8")
    words = "Judged from a snapshot of 2026-11-23 11:00 UTC, not measured now"
    for format_ in ("text", "markdown", "html"):
        done = run("check", "--facts", "facts.json", "-f", format_, cwd=folder)
        assert words in done.stdout, format_
        assert "snapshot of" not in run("check", "-f", format_, cwd=folder).stdout, format_


@pytest.mark.parametrize("format_", ["text", "markdown", "tap", "github"])
def test_where_warnings_fail_the_report_says_that_strict_makes_them(
    folder: Path, format_: str
) -> None:
    (folder / "facts.json").write_text(snapshot(12e9, 2), encoding="utf-8")
    check = partial(run, "check", "--facts", "facts.json", "-q", "-f", format_, cwd=folder)
    assert "warnings count as failures (--strict)" in check("--strict").stdout
    assert "--strict" not in check().stdout
    (folder / "facts.json").write_text(snapshot(8e9, 4), encoding="utf-8")
    assert "--strict" not in check("--strict").stdout, "it fails without it too"


def test_what_to_run_next_needs_a_compose_file(folder: Path) -> None:
    arguments = ("check", "-r", "general", "--only", "docker-reachable", "--facts", "-")
    facts = {"docker": {"reachable": True}, "compose": {"files": None, "services": None}}
    for files in (None, ["compose.yaml"]):
        facts["compose"] = {"files": files, "services": files and {"a": {}}}
        text = json.dumps({"schema": "preflight.facts/1", "facts": facts})
        done = run(*arguments, cwd=folder, input=text)
        assert done.returncode == 0
        assert ("\nNext: docker compose up -d\n" in done.stdout) is bool(files)
    facts["compose"]["project"] = "shop"
    facts["docker"] |= {"swarm": {"stack": "stack"}}
    text = json.dumps({"schema": "preflight.facts/1", "facts": facts})
    done = run(*arguments, cwd=folder, input=text)
    assert "\nNext: docker stack deploy -c compose.yaml shop\n" in done.stdout


def test_standard_input_is_a_snapshot(folder: Path) -> None:
    done = run("check", "--facts", "-", "-f", "json", cwd=folder, input=snapshot(8e9, 4))
    assert done.returncode == 1
    assert json.loads(done.stdout)["rules"]["source"] == "preflight.yaml"


def test_the_same_snapshot_gives_the_same_report_but_for_its_time(folder: Path) -> None:
    outputs = []
    for _ in range(2):
        done = run("check", "--facts", "-", "-f", "json", cwd=folder, input=snapshot(8e9, 4))
        report = json.loads(done.stdout)
        report["summary"]["seconds"] = None
        outputs.append(report)
    assert outputs[0] == outputs[1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["check", "--only", "requird"], "did you mean 'required'?"),
        (["check", "--skip", "nothing-near"], "no rule has this id or tag"),
        (["check", "--only", "REQUIRED"], "did you mean 'required'?"),
        (["check", "--only", "docker-reachable"], "which 'extends: ["),
        (["explain", "docker-reachable"], "which 'extends: ["),
        (["check", "--json"], "no such option: --json, did you mean '-f json'? See: "),
        (["rules", "list", "--json"], "did you mean '-f json'?"),
        (
            ["check", "-r", "preflght.yaml"],
            "No such file or directory, did you mean 'preflight.yaml'?",
        ),
        (["check", "-r", "defualt"], "did you mean 'default'?"),
        (["check", "-r", "preflght.yml"], "did you mean 'preflight.yaml'?"),  # rather than a socket
        (["check", "--compose-file", "preflght.yaml"], "did you mean 'preflight.yaml'?"),
        (["check", "--only", "required,bord"], "--only bord: no rule has this id or tag"),
        (["check", "--only", ""], "--only : no rule has this id or tag"),
        (["check", "--only", "required", "--skip", "r*"], "no rule is left to judge"),
        (["check", "--skip", "*"], "no rule is left to judge"),
        (["check", "-f", "jsn"], "did you mean 'json'?"),
        (["check", "-f", "json", "-f", "text"], "standard output is already used"),
        (["check", "-f", "json:x", "-f", "text:./x"], "./x is already used"),
        (["check", "--set", "nothing"], "expected NAME=VALUE"),
        (["check", "--set", "nothing=1"], "unknown var"),
        (["check", "--timeout", "0"], "--timeout 0"),
        (["check", "--timeout", "nan"], "--timeout nan"),
        (["check", "--timeout", "soon"], "soon"),
        (["check", "-r", "missing.yaml"], "missing.yaml: No such file"),
        (["check", "-r", "."], "Is a directory"),
        (["check", "--facts", "missing.json"], "missing.json: No such file"),
        (["check", "--context", "nope"], "context 'nope' (--context) doesn't exist"),
        (["check", "--docker-host", "garbage"], "'garbage' isn't a valid engine address"),
        (["check", "--docker-host", "unix:///x", "--context", "y"], "can't be used together"),
        (["explain", "requird"], "did you mean 'required'?"),
        (["facts", "-f", "xml"], "'xml' isn't one of 'text', 'json'"),
        (["schema", "fact"], "'fact' isn't one of 'rules', 'facts'"),
        (["rules", "list", "-f", "xml"], "'xml' isn't one of 'text', 'json'"),
        (["chekc"], "chekc"),
        (["check", "--strickt"], "--strickt"),
    ],
)
def test_usage_errors_are_one_message_and_exit_2(
    folder: Path, arguments: list[str], message: str
) -> None:
    os.mkfifo(folder / "preflight.yml")
    done = run(*arguments, cwd=folder)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize("arguments", [[], ["check", "--only"], ["check"], ["check", "-r"]])
@pytest.mark.parametrize("command", ["##vso[task.complete]", "##[error]", "##teamcity[x]"])
def test_an_error_has_no_command_for_a_ci_system(
    folder: Path, arguments: list[str], command: str
) -> None:
    done = run(*arguments, command, cwd=folder)
    assert done.returncode == 2
    assert command not in done.stderr
    assert command[3:] in done.stderr


def test_several_names_are_separated_by_commas_and_spaces(folder: Path) -> None:
    def judged(**env: str) -> list[str]:
        done = run("check", "--facts", "-", "-f", "json", *arguments, cwd=folder, env=env,
                   input=snapshot(8e9, 4))  # fmt: skip
        return [result["id"] for result in json.loads(done.stdout)["results"]]

    arguments = ["--only", "advised, required"]
    assert judged() == ["required", "advised"]
    arguments = []
    assert judged(PREFLIGHT_ONLY="advised,required") == ["required", "advised"]
    assert judged(PREFLIGHT_SKIP="adv*") == ["required"]


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ("version: 1\n", "the file contains no rules"),
        ("version: 1\nrules: []\n", "the file contains no rules"),
        (RULES.replace("title:", "enabled: false, title:"), "no rule is left to judge"),
    ],
)
def test_a_check_of_nothing_never_passes(folder: Path, rules: str, message: str) -> None:
    (folder / "preflight.yaml").write_text(rules, encoding="utf-8")
    done = run("check", cwd=folder)
    assert (done.returncode, done.stdout) == (2, "")
    assert f"preflight.yaml: {message}" in done.stderr


def test_a_bad_rule_file_prints_all_its_problems(folder: Path) -> None:
    (folder / "preflight.yaml").write_text(
        "version: 1\nrules:\n  - {id: A, title: x, fact: host.memry.total, requir: {}}\n",
        encoding="utf-8",
    )
    done = run("check", cwd=folder)
    assert done.returncode == 2
    lines = done.stderr.splitlines()
    assert all("preflight.yaml:3:" in line for line in lines)
    assert len(lines) >= 2
    validated = run("rules", "validate", cwd=folder)
    assert validated.returncode == 1
    assert [f"preflight: {line}" for line in validated.stdout.splitlines()] == lines


def test_reports_go_to_files_whole_and_the_folder_is_made(folder: Path) -> None:
    done = run(
        "check", "--facts", "-", "-f", "text", "-f", "json:out/deep/report.json",
        cwd=folder, input=snapshot(8e9, 4),
    )  # fmt: skip
    assert done.returncode == 1
    assert "FAIL" in done.stdout
    assert json.loads((folder / "out/deep/report.json").read_text())["summary"]["fail"] == 1
    assert os.listdir(folder / "out/deep") == ["report.json"]


def test_an_unwritable_file_is_reported_and_the_others_are_written(folder: Path) -> None:
    (folder / "taken").mkdir()
    done = run(
        "check", "--facts", "-", "-f", "json:taken", "-f", "json:good.json", "-f", "text",
        cwd=folder, input=snapshot(12e9, 4),
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr == "preflight: cannot write taken: it is a folder\n"
    assert json.loads((folder / "good.json").read_text())["summary"]["verdict"] == "pass"
    assert "PASS" in done.stdout


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_under_standard_output_is_one_line(folder: Path) -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [*PREFLIGHT, "check", "--facts", "-"],
            input=snapshot(12e9, 4), stdout=full, stderr=subprocess.PIPE, text=True, cwd=folder,
        )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr == "preflight: cannot write to standard output: No space left on device\n"


@pytest.mark.skipif(sys.platform == "win32", reason="pipes of POSIX")
def test_a_closed_pipe_keeps_the_exit_code_of_the_verdict(folder: Path) -> None:
    read, write = os.pipe()
    os.close(read)
    try:
        done = subprocess.run(
            [*PREFLIGHT, "check", "--facts", "-", "-v"],
            input=snapshot(8e9, 4).encode(), stdout=write, stderr=subprocess.PIPE, cwd=folder,
        )  # fmt: skip
    finally:
        os.close(write)
    assert (done.returncode, done.stderr) == (1, b"")


def test_a_closed_standard_output_is_not_an_error(folder: Path) -> None:
    line = " ".join([*PREFLIGHT, "check", "--facts", "facts.json", ">&-"])
    (folder / "facts.json").write_text(snapshot(8e9, 4), encoding="utf-8")
    done = subprocess.run(["sh", "-c", line], capture_output=True, text=True, cwd=folder)
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "")


@pytest.mark.skipif(sys.platform == "win32", reason="pipes of POSIX")
def test_streams_that_do_not_wait_lose_nothing(folder: Path) -> None:
    many = "".join(
        f"  - {{id: r{n}, title: T, fact: host.os, require: {{equals: x}}}}\n" for n in range(500)
    )
    (folder / "preflight.yaml").write_text(f"version: 1\nrules:\n{many}", encoding="utf-8")
    pipes = [os.pipe() for _ in range(2)]
    (of_input, into), (out_of, of_output) = pipes
    for end in (of_input, of_output):
        os.set_blocking(end, False)
    with subprocess.Popen(
        [*PREFLIGHT, "check", "--facts", "-", "-f", "json"], cwd=folder, stdin=of_input,
        stdout=of_output,
    ):  # fmt: skip
        os.close(of_input)
        os.close(of_output)
        time.sleep(1)  # by now it would have read nothing
        with open(into, "wb") as sending:
            sending.write(snapshot(8e9, 4).encode())
        time.sleep(1)  # by now it would have written what a pipe holds
        with open(out_of, encoding="utf-8") as receiving:
            assert len(json.load(receiving)["results"]) == 500


def shell(line: str, folder: Path) -> tuple[int, str, str]:
    """Run a line of bash in which `preflight` is the program."""
    line = f'preflight() {{ {shlex.join(PREFLIGHT)} "$@"; }}; {line}'
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, cwd=folder)
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize("command", ["check --facts -", "diff - preflight.yaml", "diagnose -"])
def test_a_closed_standard_input_is_one_line(folder: Path, command: str) -> None:
    expected = (2, "", "preflight: standard input is closed\n")
    assert shell(f"preflight {command} <&-", folder) == expected


def test_a_closed_standard_error_leaves_standard_output_to_data(folder: Path) -> None:
    (folder / "facts.json").write_text(snapshot(8e9, 4), encoding="utf-8")
    facts = "preflight facts --facts facts.json --no-redact -f json"
    code, data, _ = shell(f"{facts} 2>&-", folder)
    assert (code, json.loads(data)["schema"]) == (0, "preflight.facts/1")
    assert shell("preflight check --nonsense 2>&-", folder) == (2, "", "")


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("preflight check --nonsense 2>&1 | true", 2),
        ("preflight check --nonsense 2>/dev/full | true", 2),
        ("preflight check --help | true", 0),
        ("preflight --version | true", 0),
        ("preflight --version >/dev/full | true", 2),
    ],
)
def test_the_exit_code_is_the_same_where_nobody_reads(folder: Path, line: str, code: int) -> None:
    assert shell(f"{line}; exit ${{PIPESTATUS[0]}}", folder)[0] == code


@pytest.mark.parametrize(
    ("environ", "colored"),
    [
        ({}, False),
        ({"FORCE_COLOR": "1"}, True),
        ({"FORCE_COLOR": "1", "NO_COLOR": "1"}, False),
        ({"TERM": "dumb"}, False),
    ],
)
def test_color_follows_the_environment(
    folder: Path, environ: dict[str, str], colored: bool
) -> None:
    env = {"NO_COLOR": "", "FORCE_COLOR": "", **environ}
    done = run("check", "--facts", "-", cwd=folder, input=snapshot(8e9, 4), env=env)
    assert ("\x1b[" in done.stdout) is colored


def test_ascii_where_the_output_can_show_no_more(folder: Path) -> None:
    env = {"PYTHONIOENCODING": "ascii", "LC_ALL": "C"}
    done = start("check", "--facts", "-", cwd=folder, input=snapshot(8e9, 4), env=env)
    assert done.stdout.isascii()
    assert "FAIL   Memory" in done.stdout


def test_interrupt_is_130_and_says_so(folder: Path) -> None:
    place = str(folder / "s.sock")
    with socket.socket(socket.AF_UNIX) as silent:  # accepts, and never answers
        silent.bind(place)
        silent.listen()
        process = subprocess.Popen(
            [*PREFLIGHT, "check", "--docker-host", f"unix://{place}", "--timeout", "30"],
            cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        connection, _ = silent.accept()  # the reader asks: measuring has begun
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=10)
        connection.close()
    assert (process.returncode, out, err) == (130, "", "preflight: interrupted\n")


def test_no_home_and_a_read_only_folder_are_no_fault(folder: Path) -> None:
    read_only = Path("/proc/self" if os.path.isdir("/proc/self") else "/")
    done = program.run("check", "-f", "json", cwd=read_only, env={"HOME": None})
    assert done.returncode in (0, 1, 3), done.stderr
    assert json.loads(done.stdout)["rules"]["source"] == "bundled"


def test_a_fault_of_the_program_is_one_line_and_70(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("boom")

    monkeypatch.setattr("preflight.cli.check.judge_facts", broken)
    for option in ([], ["--debug"]):
        done = run(*option, "check", "--facts", "-", input=snapshot(12e9, 4), cwd=folder)
        assert ("Traceback" in done.stderr) is bool(option)
        assert "boom" in done.stderr
        if not option:
            assert done.returncode == 70
            assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("option", [[], ["--debug"]])
def test_a_fault_of_the_program_shows_no_secret(
    folder: Path, option: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError(f"no user at {os.environ['DB_PASSWORD']}")

    monkeypatch.setattr("preflight.cli.check.judge_facts", broken)
    done = run(
        *option, "check", "--facts", "-", input=snapshot(12e9, 4), cwd=folder,
        env={"DB_PASSWORD": "hunter2-s3cret"},
    )  # fmt: skip
    assert done.returncode == 70
    assert "no user at (DB_PASSWORD, hidden)" in done.stderr
    assert "hunter2" not in done.stderr + done.stdout


def test_without_a_worker_process_the_check_is_undecided(folder: Path) -> None:
    code = (
        "import os, subprocess\n"
        "def full(*_, **__): raise BlockingIOError(11, 'Resource temporarily unavailable')\n"
        "os.fork = subprocess.Popen.__init__ = full\n"
        "from preflight.cli import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "check", "-f", "json"],
        capture_output=True, text=True, cwd=folder,
    )  # fmt: skip
    report = json.loads(done.stdout)
    assert (done.returncode, report["summary"]["unknown"]) == (3, 2)
    assert "Resource temporarily unavailable" in report["results"][0]["message"]


def test_environment_variables_stand_for_options(folder: Path) -> None:
    env = {"PREFLIGHT_FORMAT": "json", "PREFLIGHT_ONLY": "a b", "PREFLIGHT_STRICT": "1"}
    done = run("check", "--facts", "-", cwd=folder, input=snapshot(12e9, 2), env=env)
    report = json.loads(done.stdout)
    assert [result["id"] for result in report["results"]] == ["required", "advised"]
    assert done.returncode == 1


def test_set_overrides_a_var(folder: Path) -> None:
    rules = RULES.replace("version: 1", "version: 1\nvars: {least: 10GB}").replace(
        "at_least: 10GB", "at_least: '${least}'"
    )
    (folder / "preflight.yaml").write_text(rules, encoding="utf-8")
    done = run("check", "--facts", "-", "--set", "least=9GB", cwd=folder, input=snapshot(9.5e9, 4))
    assert done.returncode == 0, done.stdout


def test_python_dash_m_takes_no_module_of_the_current_folder(folder: Path) -> None:
    for name in ("yaml", "argparse", "hashlib", "docker"):
        (folder / f"{name}.py").write_text("raise SystemExit('taken from the project')")
    done = start("check", "--facts", "-", "-f", "json", cwd=folder, input=snapshot(12e9, 4))
    assert (done.returncode, done.stderr) == (0, "")


def test_python_dash_m_and_the_script_are_one_program() -> None:
    script = Path(sys.executable).with_name("preflight")
    by_module = subprocess.run([*PREFLIGHT, "--version"], capture_output=True, text=True)
    by_script = subprocess.run([script, "--version"], capture_output=True, text=True)
    assert by_module.stdout == by_script.stdout
    assert by_module.stdout.startswith("preflight ")


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("preflight check --only docker-r", "docker-reachable"),
        ("preflight check --skip mem", "memory"),
        ("preflight explain host-m", "host-memory"),
        ("preflight check -f js", "json"),
    ],
)
def test_completion_offers_ids_tags_and_formats(tmp_path: Path, words: str, offered: str) -> None:
    env = {
        "_PREFLIGHT_COMPLETE": "complete_bash",
        "COMP_WORDS": words,
        "COMP_CWORD": str(len(words.split()) - 1),
    }
    script = str(Path(sys.executable).with_name("preflight"))
    done = subprocess.run(
        [script], capture_output=True, text=True, cwd=tmp_path, env={**os.environ, **env}
    )
    assert offered in done.stdout.split()
    assert (done.returncode, done.stderr) == (0, "")


def test_what_nobody_measures_is_unknown_with_the_nearest_name(tmp_path: Path) -> None:
    (tmp_path / "compose.yaml").write_text("services: {db: {image: 'postgres:16'}}\n")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        (tmp_path / "preflight.yaml").write_text(
            f"""
version: 1
rules:
  - {{id: port, title: Port, fact: host.ports.{port}.free, require: {{equals: true}}}}
  - {{id: image, title: Image, fact: compose.services.postgres.image, require: {{exists: false}}}}
  - {{id: disk, title: Disk, fact: host.disk.free, require: {{at_least: 1B}}}}
"""
        )
        done = run("check", "-f", "json", "--path", "new/models", cwd=tmp_path)
    report = json.loads(done.stdout)
    verdicts = {result["id"]: result["verdict"] for result in report["results"]}
    assert verdicts == {"port": "fail", "image": "unknown", "disk": "pass"}
    assert "no service 'postgres': did you mean 'db'?" in report["results"][1]["message"]
    path = tmp_path / "new/models"
    assert report["notes"] == [f"{path} doesn't exist yet: its disk was judged at {tmp_path}."]
    done = run("check", "--only", "port,image", "--path", "new/models", cwd=tmp_path)
    assert "doesn't exist yet" not in done.stdout
    done = run("check", "--only", "disk", "--path", "new/models", cwd=tmp_path)
    assert f"{path} doesn't exist yet" in " ".join(done.stdout.split())


EMBEDDED = """\
services:
  db: {image: "postgres:16", environment: {POSTGRES_PASSWORD: hunter2}}
x-preflight:
  version: 1
  name: shop
  rules:
    - {id: ram, title: RAM, fact: host.memory.total, require: {at_least: 1B}}
"""


def test_a_compose_file_may_hold_the_rules(tmp_path: Path) -> None:
    """They come after a rule file of the folder, and before the bundled rules."""
    (tmp_path / "compose.yaml").write_text(EMBEDDED)

    def rules_of(*arguments: str, env: dict[str, str] | None = None) -> tuple[str, str]:
        done = run("check", "-f", "json", *arguments, cwd=tmp_path, env=env)
        rules = json.loads(done.stdout)["rules"]
        return rules["name"], rules["source"]

    assert rules_of() == ("shop", "x-preflight in compose.yaml")
    assert rules_of("-r", "general") == ("general", "bundled")
    (tmp_path / "other.yaml").write_text(EMBEDDED.replace("shop", "other"))
    typed = ("--compose-file", "compose.yaml", "--compose-file", "other.yaml")
    assert rules_of(*typed) == ("other", "x-preflight in other.yaml")
    named = {"COMPOSE_FILE": "other.yaml"}
    assert rules_of(env=named) == ("other", "x-preflight in other.yaml")
    assert rules_of(env={"PREFLIGHT_RULES": "other.yaml"}) == ("other", "other.yaml")
    below = tmp_path / "below"
    below.mkdir()
    done = run("rules", "list", "-f", "json", cwd=below)
    assert json.loads(done.stdout)["name"] == "shop"
    (tmp_path / "preflight.yaml").write_text(RULES)
    assert rules_of() == ("preflight", "preflight.yaml")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (EMBEDDED.replace("at_least", "at_leas"), "compose.yaml:7:64: unknown condition 'at_leas'"),
        (EMBEDDED[: EMBEDDED.index("  version")], "compose.yaml:3:1: x-preflight is empty"),
        (EMBEDDED.replace("version: 1", "version: 2"), "compose.yaml:4:12: "),
    ],
)
def test_problems_of_rules_in_a_compose_file_have_its_line(
    text: str, problem: str, tmp_path: Path
) -> None:
    (tmp_path / "compose.yaml").write_text(text)
    done = run("check", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert problem in done.stderr
    assert run("rules", "validate", cwd=tmp_path).returncode == 1
