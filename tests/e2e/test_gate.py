"""What a deploy job stands on: exit codes for every verdict and option, waivers, waiting."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import psutil
import pytest

from engines import Engine
from preflight.render import FORMATS

Run = Callable[..., subprocess.CompletedProcess[str]]
PREFLIGHT = [sys.executable, "-m", "preflight"]
TODAY = datetime.now(timezone.utc).date()
TOMORROW = TODAY + timedelta(days=1)  # a waiver until then holds even if the run passes midnight

OUTCOMES = {
    "pass": "require: {at_least: 1B}",
    "fail": "require: {at_least: 9GB}",
    "warn": "recommend: {at_least: 9GB}",
    "unknown": "require: {at_least: {fact: host.memory.limit}}",
    "advice-unknown": "recommend: {at_least: {fact: host.memory.limit}}",
    "skip": "require: {at_least: 9GB}, when: {host.os: plan9}",
    "waived": "require: {at_least: 9GB}",
    "expired": "require: {at_least: 9GB}",
    "below-accept": "require: {at_least: 9GB}",
    "unknown-waived": "require: {at_least: {fact: host.memory.limit}}",
    "advice-waived": "recommend: {at_least: 9GB}",
}
WAIVERS = {
    "waived": f"until: {TOMORROW}",
    "expired": f"until: {TODAY - timedelta(days=1)}",
    "below-accept": f"until: {TOMORROW}, accept: {{at_least: 8.5GB}}",
    "unknown-waived": f"until: {TOMORROW}",
    "advice-waived": f"until: {TOMORROW}",
}
CODES = {
    "pass": (0, 0),
    "fail": (1, 1),
    "warn": (0, 1),
    "unknown": (3, 3),
    "advice-unknown": (0, 3),
    "skip": (0, 0),
    "waived": (0, 0),
    "expired": (1, 1),
    "below-accept": (1, 1),
    "unknown-waived": (3, 3),
    "advice-waived": (0, 0),
}
"""By outcome: the exit code without and with --strict."""

FACTS: dict[str, Any] = {
    "schema": "preflight.facts/1",
    "preflight": "1.0.0",
    "measured_at": "2026-11-23T11:00:00Z",
    "facts": {"host": {"memory": {"total": 8_000_000_000}, "os": "linux"}},
    "sources": {"host.memory.total": "somewhere"},
    "unknown": {"host.memory.limit": {"reason": "closed", "kind": "permission"}},
}


def rules(outcome: str) -> str:
    text = (
        "version: 1\nrules:\n"
        f"  - {{id: {outcome}, title: T, fact: host.memory.total, {OUTCOMES[outcome]}}}\n"
    )
    if outcome in WAIVERS:
        text += f"waivers: [{{rule: {outcome}, reason: r, owner: o, {WAIVERS[outcome]}}}]\n"
    return text


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "facts.json").write_text(json.dumps(FACTS), encoding="utf-8")
    return tmp_path


ALL = [part for name in FORMATS for part in ("-f", f"{name}:out/{name}")]


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("options", [[], ["-q"], ["-v"], ALL, ["--wait"]], ids=str)
@pytest.mark.parametrize("outcome", OUTCOMES)
def test_the_exit_code_of_every_verdict_with_every_option(
    outcome: str, options: list[str], strict: bool, folder: Path, run_preflight: Run
) -> None:
    (folder / "preflight.yaml").write_text(rules(outcome), encoding="utf-8")
    env = {"PREFLIGHT_STRICT": "1"} if strict else {}
    if options == ["--wait"]:  # a snapshot doesn't change: from the environment it means nothing
        options, env = [], {**env, "PREFLIGHT_WAIT": "60"}
    done = run_preflight("check", "--facts", "facts.json", *options, cwd=folder, env=env)
    assert done.returncode == CODES[outcome][strict], done.stdout + done.stderr
    assert done.stderr == ""
    if options is ALL:
        assert done.stdout == ""
        assert sorted(os.listdir(folder / "out")) == sorted(FORMATS)
        summary = json.loads((folder / "out/json").read_text())["summary"]
        assert summary["exit_code"] == done.returncode


# selection and settings, as options and as variables


@pytest.mark.parametrize(
    ("options", "env"),
    [
        (["--only", "a", "--only", "c"], {}),
        (["--skip", "b"], {}),
        ([], {"PREFLIGHT_ONLY": "a c"}),
        ([], {"PREFLIGHT_SKIP": "b"}),
        (["--only", "a", "--only", "c"], {"PREFLIGHT_ONLY": "b"}),
        ([], {"PREFLIGHT_ONLY": "tagged"}),
        ([], {"PREFLIGHT_ONLY": "", "PREFLIGHT_SKIP": "b", "PREFLIGHT_STRICT": ""}),
    ],
)
def test_selection_by_option_and_by_variable(
    options: list[str], env: dict[str, str], folder: Path, run_preflight: Run
) -> None:
    judged = "fact: host.memory.total, require: {at_least: 1B}"
    (folder / "preflight.yaml").write_text(
        f"version: 1\nrules:\n  - {{id: a, title: A, tags: [tagged], {judged}}}\n"
        f"  - {{id: b, title: B, {judged}}}\n  - {{id: c, title: C, tags: [tagged], {judged}}}\n"
    )
    done = run_preflight(
        "check", "--facts", "facts.json", "-f", "json", *options, cwd=folder, env=env
    )
    assert [one["id"] for one in json.loads(done.stdout)["results"]] == ["a", "c"]


@pytest.mark.parametrize(
    ("options", "env", "code"),
    [
        ([], {}, 1),
        (["--set", "least=1GB"], {}, 0),
        ([], {"PREFLIGHT_SET": "least=1GB other=x"}, 0),
        (["--set", "least=1GB"], {"PREFLIGHT_SET": "least=99GB"}, 0),
    ],
)
def test_vars_by_option_and_by_variable(
    options: list[str], env: dict[str, str], code: int, folder: Path, run_preflight: Run
) -> None:
    (folder / "preflight.yaml").write_text(
        "version: 1\nvars: {least: 9GB, other: y}\nrules:\n"
        "  - {id: a, title: A, fact: host.memory.total, require: {at_least: '${least}'}}\n"
    )
    done = run_preflight("check", "--facts", "facts.json", *options, cwd=folder, env=env)
    assert done.returncode == code, done.stderr


@pytest.mark.parametrize(
    ("env", "message"),
    [
        ({"PREFLIGHT_STRICT": "perhaps"}, "'perhaps' isn't a valid boolean"),
        ({"PREFLIGHT_TIMEOUT": "soon"}, "'soon' isn't a number"),
        ({"PREFLIGHT_WAIT": "-1"}, "--wait -1: expected 0 to 86400 seconds"),
        ({"PREFLIGHT_WAIT": "nan"}, "--wait nan: expected 0 to 86400 seconds"),
        ({"PREFLIGHT_FORMAT": "text xml:o.xml"}, "unknown format 'xml'"),
        ({"PREFLIGHT_SET": "least"}, "--set least: expected NAME=VALUE"),
        ({"PREFLIGHT_ONLY": "dokcer"}, "no rule has this id or tag, did you mean 'docker'?"),
    ],
)
def test_a_variable_that_can_not_be_read_is_usage(
    env: dict[str, str], message: str, folder: Path, run_preflight: Run
) -> None:
    done = run_preflight("check", "--facts", "facts.json", cwd=folder, env=env)
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr


@pytest.mark.parametrize(
    "option",
    [
        ["--path", "/"],
        ["--compose-file", "x.yaml"],
        ["--docker-host", "unix:///x"],
        ["--context", "x"],
        ["--timeout", "3"],
        ["--wait", "3"],
    ],
)
@pytest.mark.parametrize("command", ["check", "facts", "models"])
def test_with_a_snapshot_an_option_of_measuring_is_a_mistake(
    command: str, option: list[str], folder: Path, run_preflight: Run
) -> None:
    if command != "check" and option[0] == "--wait":
        return
    done = run_preflight(command, "--facts", "facts.json", *option, cwd=folder)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        f"preflight: {option[0]} can't be used with --facts: nothing is measured then\n"
    )


def test_variables_of_measuring_mean_nothing_to_a_snapshot(
    folder: Path, run_preflight: Run
) -> None:
    env = {"PREFLIGHT_PATH": "/none", "PREFLIGHT_TIMEOUT": "1", "DOCKER_HOST": "tcp://x:1"}
    done = run_preflight("check", "--facts", "facts.json", "--only", "host", cwd=folder, env=env)
    assert done.returncode in (0, 1, 3), done.stderr
    assert done.stderr == ""


# waiting

ANSWERS = """
version: 1
rules:
  - {id: docker-reachable, title: Engine, fact: docker.reachable, require: {equals: true}}
"""


def start(*arguments: str, cwd: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*PREFLIGHT, "check", *arguments], cwd=cwd, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def first_line(process: subprocess.Popen[str]) -> str:
    """Wait until it has measured once, and tells so."""
    assert process.stderr is not None
    return process.stderr.readline()


def test_waiting_ends_as_soon_as_it_passes(
    docker_engine: Engine, clean_environment: Path, tmp_path: Path
) -> None:
    (tmp_path / "preflight.yaml").write_text(ANSWERS)
    later = tmp_path / "d.sock"
    waiting = start(
        "--docker-host", f"unix://{later}", "--wait", "120", "-f", "json", "-f", "text:r.txt",
        cwd=tmp_path,
    )  # fmt: skip
    line = first_line(waiting)
    assert line.startswith("preflight: not yet: Engine: no; again in 1 s, ")
    assert not (tmp_path / "r.txt").exists()
    later.symlink_to(docker_engine.url.removeprefix("unix://"))
    out, err = waiting.communicate(timeout=60)
    assert waiting.returncode == 0, err
    report = json.loads(out)  # one document, the last
    assert (report["summary"]["verdict"], report["engine"]["reachable"]) == ("pass", True)
    assert report["summary"]["seconds"] >= 1
    assert "PASS" in (tmp_path / "r.txt").read_text()


def test_the_last_verdict_counts_when_the_time_is_over(
    clean_environment: Path, tmp_path: Path
) -> None:
    (tmp_path / "preflight.yaml").write_text(ANSWERS)
    waiting = start("--docker-host", "unix:///none.sock", "--wait", "3", cwd=tmp_path)
    out, err = waiting.communicate(timeout=60)
    assert waiting.returncode == 1
    assert out.count("FAIL  1 failed") == 1
    assert err.count("preflight: not yet: ") >= 2  # after the first, and after a pause of a second


def test_what_passes_is_not_waited_for(clean_environment: Path, tmp_path: Path) -> None:
    (tmp_path / "preflight.yaml").write_text(ANSWERS.replace("true", "false"))
    waiting = start("--docker-host", "unix:///none.sock", "--wait", "9999", cwd=tmp_path)
    out, err = waiting.communicate(timeout=60)
    assert (waiting.returncode, err) == (0, "")
    assert "PASS" in out


def test_bad_input_is_not_waited_for(clean_environment: Path, tmp_path: Path) -> None:
    waiting = start("--compose-file", "none.yaml", "--wait", "9999", cwd=tmp_path)
    out, err = waiting.communicate(timeout=60)
    assert (waiting.returncode, out) == (2, "")
    assert err.count("\n") == 1


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
@pytest.mark.parametrize(
    ("sent", "code", "message"),
    [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")],
)
def test_waiting_is_interrupted_cleanly(
    sent: signal.Signals, code: int, message: str, clean_environment: Path, tmp_path: Path
) -> None:
    (tmp_path / "preflight.yaml").write_text(ANSWERS)
    waiting = start(
        "--docker-host", "unix:///none.sock", "--wait", "600", "-f", "text", "-f", "json:r.json",
        cwd=tmp_path,
    )  # fmt: skip
    first_line(waiting)
    waiting.send_signal(sent)
    out, err = waiting.communicate(timeout=10)
    assert (waiting.returncode, out) == (code, "")
    assert err == f"preflight: {message}\n"
    assert os.listdir(tmp_path) == ["home", "preflight.yaml"] or not (tmp_path / "r.json").exists()


WHILE_IT_SPEAKS = """
import io, os, signal, sys
class Interrupted(io.RawIOBase):
    once = [signal.SIGINT]
    def writable(self):
        return True
    def write(self, data):
        while self.once:  # it comes while the stream is being written to
            signal.raise_signal(self.once.pop())
        return os.write(2, data)
sys.stderr = io.TextIOWrapper(io.BufferedWriter(Interrupted()), write_through=True)
sys.argv = ["preflight", "check", "--docker-host", "unix:///none.sock", "--wait", "600"]
from preflight.cli import main
main()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_interrupted_while_it_speaks(clean_environment: Path, tmp_path: Path) -> None:
    (tmp_path / "preflight.yaml").write_text(ANSWERS)
    done = subprocess.run(
        [sys.executable, "-c", WHILE_IT_SPEAKS], cwd=tmp_path, capture_output=True, text=True,
        timeout=60,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (130, "")
    assert done.stderr.startswith("preflight: interrupted\n")


INTERRUPTED_BY = {
    "starting the worker": (
        "from preflight.facts.collect import worker_process\n"
        "def start_worker(): signal.raise_signal(signal.SIGINT)\n"
        "worker_process.start_worker = start_worker\n"
    ),
    "importing": (
        "import builtins\n"
        "real = builtins.__import__\n"
        "def meanwhile(name, *rest):\n"
        "    if name == 'preflight.cli.app': signal.raise_signal(signal.SIGINT)\n"
        "    return real(name, *rest)\n"
        "builtins.__import__ = meanwhile\n"
    ),
    "ending": "import atexit\natexit.register(signal.raise_signal, signal.SIGINT)\n",
}


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
@pytest.mark.parametrize("moment", INTERRUPTED_BY)
def test_interrupted_before_and_after_it_handles_signals(
    moment: str, clean_environment: Path, tmp_path: Path
) -> None:
    (tmp_path / "preflight.yaml").write_text(ANSWERS)
    script = (
        "import signal, sys\n"
        # a shell script ignores interrupts for what it runs in the background, as this suite may be
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        f"{INTERRUPTED_BY[moment]}"
        "sys.argv = ['preflight', 'check', '--docker-host', 'unix:///none.sock']\n"
        "from preflight.cli import main\nmain()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == (1 if moment == "ending" else 130)  # the report was written whole
    assert "Traceback" not in done.stderr


WHILE_IT_WRITES = """
import os, signal, sys
function = sys.argv.pop(1)
real = getattr(os, function)
def meanwhile(*arguments, **more):
    done = real(*arguments, **more)
    if function == "fsync" or ".out.json." in str(arguments[0]):
        try:
            signal.raise_signal(signal.SIGTERM)
        except SystemExit:
            if function != "fsync":
                raise
            raise TypeError("what code in C makes of it") from None
    return done
setattr(os, function, meanwhile)
from preflight.cli import main
main()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
@pytest.mark.parametrize("function", ["open", "fsync", "replace"])
def test_terminated_while_it_writes_it_leaves_no_half_of_a_file(
    clean_environment: Path, tmp_path: Path, function: str
) -> None:
    (tmp_path / "preflight.yaml").write_text(ANSWERS)
    (tmp_path / "facts.json").write_text('{"schema": "preflight.facts/1", "facts": {}}')
    check = ["check", "--facts", "facts.json", "-f", "json:out/out.json"]
    done = subprocess.run(
        [sys.executable, "-c", WHILE_IT_WRITES, function, *check],
        cwd=tmp_path, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (143, "preflight: terminated\n")
    assert os.listdir(tmp_path / "out") == ["out.json"] * (function == "replace")


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_terminated_while_it_measures_it_leaves_no_reader(
    clean_environment: Path, tmp_path: Path, name: str
) -> None:
    import socket

    place = tmp_path / "s.sock"
    with socket.socket(socket.AF_UNIX) as silent:  # accepts, and never answers
        silent.bind(str(place))
        silent.listen()
        process = start("--docker-host", f"unix://{place}", "--timeout", "60", cwd=tmp_path)
        connection, _ = silent.accept()  # the reader asks: measuring has begun
        children = psutil.Process(process.pid).children(recursive=True)
        assert children
        time.sleep(0.3)
        process.send_signal(getattr(signal, name))
        out, err = process.communicate(timeout=10)
        connection.close()
    ended = 128 + getattr(signal, name)
    assert (process.returncode, out, err) == (ended, "", "preflight: terminated\n")
    _, alive = psutil.wait_procs(children, timeout=5)
    assert not alive
