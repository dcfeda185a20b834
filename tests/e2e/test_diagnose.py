"""`preflight diagnose` as a process: what it reads, what it says, how it ends."""

from __future__ import annotations

import gzip
import json
import os
import pty
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from engines import IMAGE, Engine
from paths import CASES

Run = Callable[..., "subprocess.CompletedProcess[str]"]

NEEDS = "Error: model requires more system memory (5.7 GiB) than is available (2.8 GiB)\n"
FULL = "write /x: no space left on device\n"
PLACE = {
    "type": "object",
    "required": ["file", "line", "time"],
    "properties": {
        "file": {"type": "string"},
        "line": {"type": "integer", "minimum": 1},
        "time": {"type": ["string", "null"]},
    },
    "additionalProperties": False,
}
FIX = {
    "type": "object",
    "required": ["text", "command", "url", "kind"],
    "properties": {
        "text": {"type": "string"},
        "command": {"type": ["string", "null"]},
        "url": {"type": ["string", "null"]},
        "kind": {"enum": ["edit", "command", "root", "destructive", "manual"]},
    },
    "additionalProperties": False,
}
FINDING = {
    "id": {"type": "string"},
    "title": {"type": "string"},
    "cause": {"type": "string"},
    "confidence": {"enum": ["certain", "likely", "possible"]},
    "count": {"type": "integer", "minimum": 1},
    "first": PLACE,
    "last": PLACE,
    "values": {"type": "object", "additionalProperties": {"type": "string"}},
    "fixes": {"type": "array", "items": FIX},
}
CONTRACT = {  # written from the contract, not from the code
    "type": "object",
    "required": ["schema", "lines", "findings"],
    "properties": {
        "schema": {"const": "preflight.diagnosis/1"},
        "lines": {"type": "integer", "minimum": 0},
        "findings": {
            "type": "array",
            "items": {
                "type": "object",
                "required": list(FINDING),
                "properties": FINDING,
                "additionalProperties": False,
            },
        },
    },
    "additionalProperties": False,
}


def normalize_document(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    """The JSON that was printed, held against the contract."""
    assert done.returncode in (0, 1), done.stderr
    document: dict[str, Any] = json.loads(done.stdout)
    jsonschema.validate(document, CONTRACT)
    assert done.returncode == (1 if document["findings"] else 0)
    return document


def finding_ids(done: subprocess.CompletedProcess[str]) -> list[str]:
    return [one["id"] for one in normalize_document(done)["findings"]]


def test_the_contracts_own_example(run_preflight: Run, tmp_path: Path) -> None:
    rows = ["all is well\n"] * 120_000
    for number in (12, 500, 88_104):
        rows[number - 1] = NEEDS
    (tmp_path / "api.log").write_text("".join(rows))
    done = run_preflight("diagnose", "api.log", "-f", "json", cwd=tmp_path)
    document = normalize_document(done)
    (one,) = document["findings"]
    assert (document["lines"], one["id"], one["confidence"], one["count"]) == (
        120_000, "model-needs-more-memory", "certain", 3
    )  # fmt: skip
    assert one["first"] == {"file": "api.log", "line": 12, "time": None}
    assert one["last"] == {"file": "api.log", "line": 88_104, "time": None}
    assert one["values"] == {"required": "5.7 GiB", "available": "2.8 GiB"}
    text = run_preflight("diagnose", "api.log", cwd=tmp_path)
    assert text.returncode == 1
    head = text.stdout.splitlines()
    assert head[0].startswith("api.log · 120,000 lines in ")
    assert head[2].startswith("✖ The model needs more memory than is available")
    assert head[2].endswith("certain · 3 times")
    assert head[3].split(maxsplit=5)[:5] == ["needs", "5.7", "GiB,", "had", "2.8"]
    assert head[3].endswith("line 12 … line 88,104")


def test_a_line_is_shown_without_the_time_that_stands_above_it(
    run_preflight: Run, tmp_path: Path
) -> None:
    (tmp_path / "a.log").write_text(f"2026-01-02T03:04:05.123456789Z {NEEDS}")
    shown = run_preflight("diagnose", "a.log", cwd=tmp_path).stdout.splitlines()
    at = shown.index("    2026-01-02T03:04:05Z")
    assert NEEDS.strip().startswith(shown[at + 1].strip().rstrip("…"))


@pytest.mark.parametrize("columns", [40, 80, 120])
def test_nothing_is_wider_than_the_terminal(
    run_preflight: Run, tmp_path: Path, columns: int
) -> None:
    (tmp_path / "a.log").write_text("x" * 500 + ": " + NEEDS + "2026-01-01T00:00:00Z " + FULL * 3)
    done = run_preflight("diagnose", "a.log", cwd=tmp_path, env={"COLUMNS": str(columns)})
    lines = done.stdout.splitlines()
    assert len(lines) > 10
    for line in lines:
        assert len(line) <= columns or line.lstrip().startswith("$ "), line


def test_a_clean_log(run_preflight: Run, tmp_path: Path) -> None:
    (tmp_path / "a.log").write_text("INFO: well\n")
    done = run_preflight("diagnose", "a.log", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[1] == "✔ No known error"
    assert (
        normalize_document(run_preflight("diagnose", "a.log", "-f", "json", cwd=tmp_path))["lines"]
        == 1
    )


def test_standard_input(run_preflight: Run, tmp_path: Path) -> None:
    for data in (
        NEEDS.encode(),
        gzip.compress(NEEDS.encode()),
        b"\xff\xfe" + NEEDS.encode("utf-16-le"),
    ):
        done = subprocess.run(
            [sys.executable, "-m", "preflight", "diagnose", "-", "-f", "json"],
            input=data, capture_output=True, timeout=60,
        )  # fmt: skip
        assert done.returncode == 1, done.stderr
        (one,) = json.loads(done.stdout)["findings"]
        assert one["first"] == {"file": "standard input", "line": 1, "time": None}


def rotate(folder: Path) -> None:
    """What logrotate leaves, in the order of its age."""
    for number, name in enumerate(
        ["api.log-20261001.gz", "api.log.10", "api.log.2.gz", "api.log.1"]
    ):
        data = f"2026-10-{number + 10}T00:00:00Z {FULL}".encode()
        (folder / name).write_bytes(gzip.compress(data) if name.endswith("gz") else data)
    (folder / "api.log").write_text(f"2026-10-20T00:00:00Z {FULL}")
    (folder / "api.log.bak").write_text(NEEDS)
    (folder / "other.log").write_text("fine\n")


def test_what_was_rotated_is_read_before_the_log(run_preflight: Run, tmp_path: Path) -> None:
    rotate(tmp_path)
    done = run_preflight("diagnose", "api.log", "-f", "json", cwd=tmp_path)
    (one,) = normalize_document(done)["findings"]
    assert (one["id"], one["count"]) == ("disk-full", 5)
    assert (one["first"]["file"], one["last"]["file"]) == ("api.log-20261001.gz", "api.log")
    assert "api.log: 5 logs, the oldest first" in done.stderr
    alone = normalize_document(
        run_preflight("diagnose", "api.log.2.gz", "-f", "json", cwd=tmp_path)
    )
    assert (alone["lines"], alone["findings"][0]["count"]) == (1, 1)


@pytest.mark.parametrize(
    "names",
    [("api.log", "api.log.1"), ("api.log.1", "api.log"), ("api.log", "api.log"), (".",)],
    ids=" ".join,
)
def test_a_log_counts_once_by_however_many_names(
    run_preflight: Run, tmp_path: Path, names: tuple[str, ...]
) -> None:
    (tmp_path / "api.log.1").write_text(NEEDS)
    (tmp_path / "api.log").write_text(NEEDS)
    (tmp_path / "current.log").symlink_to("api.log")
    document = normalize_document(run_preflight("diagnose", *names, "-f", "json", cwd=tmp_path))
    assert (document["lines"], document["findings"][0]["count"]) == (2, 2)


def test_a_folder_is_all_logs_in_it(run_preflight: Run, tmp_path: Path) -> None:
    rotate(tmp_path)
    os.mkfifo(tmp_path / "pipe.log")
    (tmp_path / "sub.log").mkdir()
    (tmp_path / "notes.md").write_text(NEEDS)
    done = run_preflight("diagnose", str(tmp_path), "-f", "json", timeout=30)
    document = normalize_document(done)
    assert (document["lines"], [one["id"] for one in document["findings"]]) == (6, ["disk-full"])
    text = run_preflight("diagnose", str(tmp_path))
    names = "".join(text.stdout.split())
    assert names.index("api.log-20261001.gz") < names.index("api.log.10") < names.index("2.gz")


def test_what_cannot_be_read(run_preflight: Run, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for arguments, message in (
        (["gone.log"], "cannot read gone.log: No such file or directory"),
        (["empty"], "empty contains no logs"),
        (["/dev/zero"], "cannot read /dev/zero: it is a device"),
        (["a\0b"], "cannot read"),
        ([], "no log given: specify files"),
        (["-", "-"], "standard input (-) is given twice"),
        (["-", "--facts", "-"], "standard input (-) is given twice"),
        (["x.log", "--lines", "0"], "--lines 0: expected 1 to"),
        (["--container", "x", "--since", "soon"], "--since 'soon' isn't a valid duration"),
        (["--container", "x", "--since", "0s"], "--since 0s: expected a duration longer than zero"),
        (["--compose", "--facts", "f.json"], "--facts can't be used with"),
        (["x.log", "-f", "xml"], "'xml' isn't one of 'text', 'json'"),
        (["x.log", "-r", "gone.yaml"], "cannot read the rule file"),
    ):
        if any("\0" in one for one in arguments):
            continue  # no process can be given one
        done = run_preflight("diagnose", *arguments, cwd=tmp_path)
        assert (done.returncode, done.stdout) == (2, ""), arguments
        assert message in done.stderr
        assert "Traceback" not in done.stderr


def test_what_holds_nothing_to_read_is_not_clean(run_preflight: Run, tmp_path: Path) -> None:
    (tmp_path / "a.log").write_bytes(b"\xfd7zXZ\x00" + b"x" * 100)
    (tmp_path / "b.log.gz").write_bytes(gzip.compress(b"x")[:10])
    (tmp_path / "well.log").write_text("well\n")
    for name, message in (
        ("a.log", "a.log: compressed with xz: decompress it first"),
        ("b.log.gz", "b.log.gz: truncated: read only up to the end"),
        ("/proc/self/mem", "/proc/self/mem: not read to the end: Input/output error"),
    ):
        done = run_preflight("diagnose", name, cwd=tmp_path)
        assert (done.returncode, done.stdout) == (2, ""), name
        assert message in done.stderr
    done = run_preflight("diagnose", ".", cwd=tmp_path)
    assert done.returncode == 0, "one of them could be read"
    assert "decompress it first" in done.stderr


def test_a_pipe_with_a_writer(run_preflight: Run, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)

    def write() -> None:
        time.sleep(0.5)
        with pipe.open("w") as file:
            file.write("x\n" * 100_000)
            file.flush()
            time.sleep(0.3)
            file.write(NEEDS)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        document = normalize_document(run_preflight("diagnose", "pipe", "-f", "json", cwd=tmp_path))
    finally:
        writer.join()
    assert (document["lines"], document["findings"][0]["first"]["line"]) == (100_001, 100_001)


def test_a_pipe_without_a_writer_is_not_waited_for(
    run_preflight: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("preflight.cli.streams._PIPE_WRITER_TIMEOUT_SECONDS", 0.1)
    os.mkfifo(tmp_path / "pipe")
    done = run_preflight("diagnose", "pipe", cwd=tmp_path, timeout=60)
    assert (done.returncode, done.stderr.strip()) == (
        2, "preflight: cannot read pipe: no program is writing to this pipe"
    )  # fmt: skip


def test_a_log_that_grows_is_read_to_where_it_was(run_preflight: Run, tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    log.write_text("x\n" * 1000)
    stop = threading.Event()

    def grow() -> None:
        with log.open("a") as file:
            while not stop.is_set():
                file.write("x" * 2**20 + "\n")

    writer = threading.Thread(target=grow)
    writer.start()
    try:
        assert run_preflight("diagnose", "a.log", cwd=tmp_path, timeout=60).returncode == 0
    finally:
        stop.set()
        writer.join()


def test_cut_off_gzip_is_said_and_used(run_preflight: Run, tmp_path: Path) -> None:
    rows = "".join(f"{NEEDS}{os.urandom(30).hex()}\n" for _ in range(2000)).encode()
    packed = gzip.compress(rows)
    (tmp_path / "a.log.gz").write_bytes(packed[: len(packed) // 2])
    done = run_preflight("diagnose", "a.log.gz", "-f", "json", cwd=tmp_path)
    assert 500 < normalize_document(done)["findings"][0]["count"] < 1500
    assert "a.log.gz: truncated: read only up to the end" in done.stderr


HOSTILE = "\x1b]0;owned\x07\x1b[2J[bold]x[/bold] \u202egnp.exe \x00\x9b31m"


def test_what_a_log_says_never_reaches_the_terminal(run_preflight: Run, tmp_path: Path) -> None:
    line = f"[1.000001] Memory cgroup out of memory: Killed process 7 ({HOSTILE}) {HOSTILE}\n"
    (tmp_path / "a.log").write_text(line)
    for more in ([], ["-f", "json"]):
        done = run_preflight("diagnose", "a.log", *more, cwd=tmp_path, env={"FORCE_COLOR": "1"})
        assert done.returncode == 1
        assert not any(c in done.stdout + done.stderr for c in "\x07\x00\x9b\u202e")
        shown = (
            done.stdout.replace("\x1b[", "", done.stdout.count("\x1b["))
            if not more
            else done.stdout
        )
        assert "\x1b" not in shown
        assert "]0;owned" in done.stdout
        assert "[bold]x[/bold]" in done.stdout, "markup is text"
    assert "\x1b[2J" not in run_preflight("diagnose", "a.log", cwd=tmp_path).stdout


def test_a_name_of_a_file_is_harmless_too(run_preflight: Run, tmp_path: Path) -> None:
    (tmp_path / "\x1b[31mx.log").write_text(FULL)
    (tmp_path / "\x1b[31mx.log.1").write_text(FULL)
    for done in (
        run_preflight("diagnose", str(tmp_path)),
        run_preflight("diagnose", str(tmp_path), "-f", "json"),
        run_preflight("diagnose", str(tmp_path / "\x1b[31mx.log.2")),
    ):
        assert "\x1b" not in done.stdout + done.stderr


def peak(arguments: list[str], folder: Path) -> tuple[int, int]:
    """Run the program; return its exit code and the most memory that one of its processes had."""
    code = (
        "import resource, subprocess, sys\n"
        "done = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL)\n"
        "print(done.returncode, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, sys.executable, "-m", "preflight", "diagnose", *arguments],
        capture_output=True, text=True, cwd=folder, timeout=300,
    )  # fmt: skip
    returned, size = map(int, done.stdout.split())
    return returned, size * 1024


@pytest.mark.skipif(sys.platform != "linux", reason="what ru_maxrss counts differs")
def test_memory_is_bounded_whatever_the_log_is(tmp_path: Path) -> None:
    with (tmp_path / "line.log").open("wb") as file:
        for _ in range(100):
            file.write(b"x" * 2**20)
        file.write(b" " + NEEDS.encode())
    with (tmp_path / "hits.log").open("wb") as file:
        for _ in range(100):
            file.write((NEEDS * 1000).encode())
    with gzip.open(tmp_path / "packed.gz", "wb", 1) as packed:
        for _ in range(100):
            packed.write(b"\0" * 2**20)
    for name, code in (("line.log", 1), ("hits.log", 1), ("packed.gz", 0)):
        returned, most = peak([name], tmp_path)
        assert returned == code, name
        assert most < 64 * 2**20, name


def test_without_hyperscan_it_is_slow_and_says_so(
    run_preflight: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.log").write_text(f"fine\n{NEEDS}fine\n{FULL}")
    fast = run_preflight("diagnose", "a.log", cwd=tmp_path)
    monkeypatch.setitem(sys.modules, "hyperscan", None)
    slow = run_preflight("diagnose", "a.log", "a.log", cwd=tmp_path)
    assert slow.stdout.splitlines()[1:] == fast.stdout.splitlines()[1:]
    assert slow.stderr.count("reading logs slowly: Hyperscan can't be loaded") == 1
    assert fast.stderr == ""


def test_interrupted(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    process = subprocess.Popen(
        [sys.executable, "-m", "preflight", "diagnose", str(tmp_path / "pipe")],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    time.sleep(1.5)
    process.send_signal(2)
    _, message = process.communicate(timeout=30)
    assert (process.returncode, message.strip()) == (130, "preflight: interrupted")


RULES = """\
version: 1
diagnoses:
  - id: endless
    title: Endless
    patterns: ['(x+x+)+y', 'marker (a|a)*b']
"""


def test_a_pattern_that_backtracks_for_ever_ends(run_preflight: Run, tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text(RULES)
    (tmp_path / "a.log").write_text(f"{'x' * 5000} y?\nmarker {'a' * 3000}\nmarker aaab\n" * 2)
    done = run_preflight(
        "diagnose", "a.log", "-r", "r.yaml", "-f", "json", cwd=tmp_path, timeout=60
    )
    (one,) = normalize_document(done)["findings"]
    assert (one["count"], one["first"]["line"], one["last"]["line"]) == (2, 3, 6)


def test_facts_are_joined(run_preflight: Run, tmp_path: Path) -> None:
    facts = CASES / "document-stack-on-desktop/facts.json"
    (tmp_path / "a.log").write_text(NEEDS)
    done = run_preflight("diagnose", "a.log", "--facts", str(facts), "-f", "json", cwd=tmp_path)
    found = {one["id"]: one for one in normalize_document(done)["findings"]}
    assert set(found) == {"model-needs-more-memory", "container-oom-killed"}
    fixes = " ".join(fix["text"] for fix in found["model-needs-more-memory"]["fixes"])
    assert (
        "In Docker Desktop, open Settings > Resources, set Memory to 8 GB or more (now 5.8 GiB)"
        in fixes
    )


def test_a_closed_pipe_is_not_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.log").write_text(NEEDS)
    script = f"({sys.executable} -m preflight diagnose a.log; echo $? >&2) | true"
    done = subprocess.run(["sh", "-c", script], stderr=subprocess.PIPE, text=True, cwd=tmp_path)
    assert done.stderr.strip() == "1"


def test_on_a_terminal_it_has_colour(tmp_path: Path) -> None:
    (tmp_path / "a.log").write_text(NEEDS)
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "preflight", "diagnose", "a.log"],
        stdout=theirs, stderr=subprocess.DEVNULL, cwd=tmp_path,
        env={k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "TERM")},
    )  # fmt: skip
    os.close(theirs)
    shown = b""
    while True:
        try:
            data = os.read(ours, 4096)
        except OSError:
            break
        if not data:
            break
        shown += data
    assert process.wait(30) == 1
    os.close(ours)
    assert b"\x1b[1;31m\xe2\x9c\x96\x1b[0m" in shown


# --- the engine ---------------------------------------------------------------------------------

PROJECT = f"""\
name: pfdiag
services:
  ollama:
    image: {IMAGE}
    network_mode: none
    labels: {{}}
"""
LABELS = ("--label", "com.docker.compose.project=pfdiag", "--label",
          "com.docker.compose.oneoff=False")  # fmt: skip


@pytest.fixture
def project(docker_engine: Engine, tmp_path: Path) -> Path:
    (tmp_path / "compose.yaml").write_text(PROJECT)
    return tmp_path


def _container(engine: Engine, name: str, script: str, *options: str) -> None:
    engine.docker("rm", "-f", name)
    engine.run(
        "--name", name, *LABELS, "--label", f"com.docker.compose.service={name.split('-')[1]}",
        *options, IMAGE, "sh", "-c", script,
    )  # fmt: skip
    engine.docker("wait", name)


def test_a_container_of_the_engine(
    run_preflight: Run, docker_engine: Engine, project: Path
) -> None:
    _container(docker_engine, "pfdiag-ollama-1", f"echo '{NEEDS.strip()}' >&2; echo fine")
    env = {"DOCKER_HOST": docker_engine.url}
    done = run_preflight(
        "diagnose", "--container", "pfdiag-ollama-1", "-f", "json", cwd=project, env=env
    )
    (one,) = normalize_document(done)["findings"]
    assert one["first"]["file"] == "pfdiag-ollama-1"
    assert one["first"]["time"].endswith("Z")
    gone = run_preflight("diagnose", "--container", "nobody", cwd=project, env=env)
    assert gone.returncode == 2
    assert "No such container: nobody" in gone.stderr
    docker_engine.docker("rm", "-f", "pfdiag-ollama-1")


def test_the_projects_containers(run_preflight: Run, docker_engine: Engine, project: Path) -> None:
    """One is killed at its limit and has no last words, the other says it all."""
    _container(
        docker_engine, "pfdiag-ollama-1",
        "sleep 0.2; head -c 200000000 /dev/zero | tail -c 100000000 | wc -c; cat /dev/zero | tail",
        "-m", "32m", "--memory-swap", "32m",
    )  # fmt: skip
    _container(docker_engine, "pfdiag-api-1", f"echo '{FULL.strip()}'; exit 3")
    env = {"DOCKER_HOST": docker_engine.url}
    try:
        done = run_preflight("diagnose", "--compose", "-f", "json", cwd=project, env=env)
        found = {one["id"]: one for one in normalize_document(done)["findings"]}
        assert found["disk-full"]["first"]["file"] == "pfdiag-api-1"
        state = docker_engine.docker(
            "inspect", "-f", "{{.State.OOMKilled}} {{.State.ExitCode}}", "pfdiag-ollama-1"
        )
        if state == "true 137":
            assert "container-oom-killed" in found
        since = run_preflight(
            "diagnose", "--container", "pfdiag-api-1", "--since", "1s", "-f", "json",
            cwd=project, env=env,
        )  # fmt: skip
        assert "disk-full" in finding_ids(since) or normalize_document(since)["lines"] == 0
    finally:
        docker_engine.docker("rm", "-f", "pfdiag-ollama-1", "pfdiag-api-1")


def test_a_bundle_is_read_with_its_facts(
    run_preflight: Run, docker_engine: Engine, project: Path
) -> None:
    _container(docker_engine, "pfdiag-ollama-1", f"echo '{NEEDS.strip()}'")
    env = {"DOCKER_HOST": docker_engine.url}
    try:
        made = run_preflight("bundle", "-o", "t.zip", "--yes", cwd=project, env=env)
        assert made.returncode == 0, made.stderr
    finally:
        docker_engine.docker("rm", "-f", "pfdiag-ollama-1")
    elsewhere = {"DOCKER_HOST": "unix:///nowhere"}
    done = run_preflight("diagnose", "t.zip", "-f", "json", cwd=project, env=elsewhere)
    (one,) = normalize_document(done)["findings"]
    assert one["first"]["file"] == "t.zip:logs/pfdiag-ollama-1.log"
    assert any("Docker has" in fix["text"] for fix in one["fixes"])
    (project / "half.zip").write_bytes((project / "t.zip").read_bytes()[:3000])
    half = run_preflight("diagnose", "half.zip", cwd=project)
    assert half.returncode == 2
    assert "not a bundle" in half.stderr


def test_a_bundle_without_logs_says_so(run_preflight: Run, tmp_path: Path) -> None:
    env = {"DOCKER_HOST": "unix:///nowhere"}
    made = run_preflight("bundle", "-o", "t.zip", "--yes", cwd=tmp_path, env=env)
    assert made.returncode == 0, made.stderr
    done = run_preflight("diagnose", "t.zip", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, ""), "nothing was read, so nothing is well"
    assert (
        "t.zip contains neither logs nor containers: create the bundle in the project's"
        in done.stderr
    )
    (tmp_path / "a.log").write_text("well\n")
    both = run_preflight("diagnose", "a.log", "t.zip", cwd=tmp_path)
    assert both.returncode == 0
    assert both.stdout.startswith("a.log · 1 line in ")
    assert "t.zip has no logs" in both.stderr


def test_no_engine_and_no_project(run_preflight: Run, tmp_path: Path) -> None:
    env = {"DOCKER_HOST": "unix:///nowhere/docker.sock"}
    done = run_preflight("diagnose", "--container", "x", cwd=tmp_path, env=env)
    assert done.returncode == 2
    assert "no socket at unix:///nowhere/docker.sock" in done.stderr
    none = run_preflight("diagnose", "--compose", cwd=tmp_path, env=env)
    assert none.returncode == 2
    assert "no compose file found" in none.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_a_log_that_never_ends_is_given_up_at_a_timeout_that_was_given(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.write(writing, b"a line\n")
    done = subprocess.run(
        [sys.executable, "-m", "preflight", "diagnose", "-", "--timeout", "0.5"],
        stdin=reading, capture_output=True, text=True, cwd=tmp_path, timeout=30,
    )  # fmt: skip
    os.close(writing)
    os.close(reading)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "preflight: the input could not be read within 0.5 s (--timeout)\n"
