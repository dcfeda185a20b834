"""`preflight fix`: what it writes is taken by the real Compose, and passes."""

from __future__ import annotations

import json
import os
import shlex
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from compose_projects import CASES as COMPOSE_CASES
from compose_projects import ask_compose, compose_program
from engine_server import INFO, engine, listening

Run = Callable[..., "subprocess.CompletedProcess[str]"]

COMPOSE = """\
services:
  db:
    image: postgres:17
    environment: {PGDATA: /data}
    deploy:
      resources:
        limits: {cpus: '8', memory: 5G}
        reservations: {memory: 6G}
  cache:
    image: redis:7
    mem_limit: 64m
    mem_reservation: 128m
    cpus: 16
    deploy: {resources: {limits: {cpus: '16', memory: 64m}}}
"""
RULES = """\
version: 1
name: own
extends: [general]
rules:
  - id: data-folder
    title: Data folder
    for_each: compose.services
    when: {known_as: {contains: postgres}}
    fact: environment.PGDATA
    require: {one_of: [/var/lib/pg$1]}
"""
OWN = ("--only", "data-folder,limits")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "compose.yaml").write_text(COMPOSE)
    (folder / "preflight.yaml").write_text(RULES)
    return folder


@pytest.fixture
def program(run_preflight: Run, project: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    """The program beside the real Compose and an engine of four CPUs and 16 GB."""
    folder = str(Path(compose_program()).parent)
    info = {**INFO, "MemTotal": 16 * 10**9, "SwapLimit": True}
    with listening(project.parent / "engine.sock", engine(info)) as url:
        monkeypatch.setenv("DOCKER_HOST", url)
        monkeypatch.setenv("PATH", folder, prepend=":")
        yield lambda *arguments: run_preflight(*arguments, cwd=project)


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_what_fails_passes_with_the_override(program: Run, project: Path) -> None:
    before = files_of(project)
    assert program("check", *OWN).returncode == 1
    done = program("fix", *OWN, "-o", "compose.fix.yaml")
    assert (done.returncode, done.stderr) == (0, "")
    assert "Wrote compose.fix.yaml: 5 failing checks pass with it." in done.stdout
    *_, check, start = done.stdout.splitlines()
    assert start.strip() == "$ docker compose -f compose.yaml -f compose.fix.yaml up -d"
    assert {name: files_of(project)[name] for name in before} == before

    config, complaint = ask_compose(project, ["compose.yaml", "compose.fix.yaml"])
    assert config, complaint
    db, cache = config["services"]["db"], config["services"]["cache"]
    assert db["deploy"]["resources"]["limits"]["cpus"] == 4
    assert db["deploy"]["resources"]["reservations"]["memory"] == str(5 * 2**30)
    assert db["environment"] == {"PGDATA": "/var/lib/pg$1"}
    assert (cache["cpus"], cache["mem_reservation"]) == (4, str(64 * 2**20))
    assert cache["deploy"]["resources"]["limits"] == {"cpus": 4, "memory": str(64 * 2**20)}

    program_name, *arguments = check.strip().removeprefix("$ ").split()
    assert program_name == "preflight"
    again = program(*arguments, *OWN, "-f", "json")
    verdicts = {(r["id"], r["item"]): r["verdict"] for r in json.loads(again.stdout)["results"]}
    assert [key for key in verdicts if verdicts[key] == "unknown"] == []
    assert again.returncode == 0
    assert verdicts["cpu-limit-within-docker", "cache"] == "pass"
    assert verdicts["data-folder", "db"] == "pass"


def test_the_next_command_names_the_files_that_were_judged(program: Run, project: Path) -> None:
    assert program("fix", *OWN, "-o", "compose fix.yaml").returncode == 0
    both = ("--compose-file", "compose.yaml", "--compose-file", "compose fix.yaml")
    done = program("check", "-r", "default", "--only", "cpu-limit-within-docker", *both)
    assert "\nNext: docker compose -f compose.yaml -f 'compose fix.yaml' up -d\n" in done.stdout


def test_commands_of_a_check_name_its_files_and_its_engine(program: Run, project: Path) -> None:
    """What is pasted has to reach the project that was judged."""
    (project / "compose.yaml").rename(project / "other file.yaml")
    (project / "mine.yaml").write_text(
        "version: 1\nrules:\n"
        "- id: a\n  title: A\n  fact: host.os\n  require: {equals: plan9}\n"
        "  fixes:\n"
        '  - {text: Do it, command: "docker compose up -d\\ndocker stats\\necho docker compose"}\n'
        "  - {text: Or that}\n"
    )
    given = ("--compose-file", "other file.yaml", "--docker-host", "unix:///x y")
    done = program("check", "-r", "mine.yaml", "-f", "json", *given)
    (result,) = json.loads(done.stdout)["results"]
    completed, missing = (fix["command"] for fix in result["fixes"])
    assert completed.splitlines() == [
        "docker --host 'unix:///x y' compose -f 'other file.yaml' up -d",
        "docker --host 'unix:///x y' stats",
        "echo docker compose",
    ]
    assert missing is None


def test_commands_that_tell_more_judge_the_same(program: Run, project: Path) -> None:
    (project / "compose.yaml").rename(project / "other file.yaml")
    given = ("-r", "default", "--compose-file=other file.yaml", "--set", "system_overhead=1GB")
    done = program("check", *given, "--only", "cpu-limit-within-docker")
    shown = " ".join(done.stdout.split())
    options = "--rules default --compose-file 'other file.yaml' --set system_overhead=1GB"
    assert f"preflight explain cpu-limit-within-docker {options} · preflight fix {options}" in shown
    arguments = shlex.split(f"explain cpu-limit-within-docker {options}")
    assert "✖ cache: " in program(*arguments).stdout


def test_without_a_file_it_is_shown_and_nothing_is_written(program: Run, project: Path) -> None:
    before = files_of(project)
    done = program("fix", *OWN)
    assert done.returncode == 0
    assert done.stdout.startswith("# By preflight fix: 5 failing checks pass with this file.\n")
    assert 'mem_reservation: "64M"  # was 128 MiB: memory-reservation-within-limit' in done.stdout
    assert done.stderr == "preflight: to write it, add: -o compose.fix.yaml\n"
    assert files_of(project) == before


def test_a_snapshot_is_mended_the_same_way(program: Run, project: Path) -> None:
    shown = program("fix", *OWN).stdout
    assert program("facts", "-o", "facts.json").returncode == 0
    (project / "compose.yaml").unlink()
    assert program("fix", *OWN, "--facts", "facts.json").stdout == shown


def test_in_a_swarm_only_what_it_reads_is_changed(program: Run, project: Path) -> None:
    assert program("facts", "-o", "facts.json").returncode == 0
    snapshot = json.loads((project / "facts.json").read_text())
    snapshot["facts"]["docker"]["swarm"]["stack"] = "stack"
    snapshot["unknown"].pop("docker.swarm.stack", None)
    (project / "facts.json").write_text(json.dumps(snapshot))
    done = program("fix", *OWN, "--facts", "facts.json")
    assert done.returncode == 1
    assert "#   docker stack deploy -c compose.yaml -c FILE project\n" in done.stdout
    assert "mem_reservation" not in done.stdout  # a Swarm ignores it
    assert "128 MiB" in done.stderr
    assert 'memory: "5G"  # was 6 GiB' in done.stdout


def test_a_port_that_is_taken_gets_another_number(
    run_preflight: Run, tmp_path: Path, free_ports: int
) -> None:
    taken = free_ports
    text = f"services: {{web: {{image: nginx, ports: ['127.0.0.1:{taken}:80', '99']}}}}\n"
    (tmp_path / "compose.yaml").write_text(text)
    with socket.create_server(("127.0.0.1", taken)):
        done = run_preflight("fix", "--only", "port-free", "-o", "f.yaml", cwd=tmp_path)
        assert (done.returncode, done.stderr) == (0, "")
        config, complaint = ask_compose(tmp_path, ["compose.yaml", "f.yaml"])
        assert config, complaint
        first, second = config["services"]["web"]["ports"]
        assert taken < int(first["published"]) <= taken + 20
        assert (first["host_ip"], first["target"], second["target"]) == ("127.0.0.1", 80, 99)
        both = ("--compose-file", "compose.yaml", "--compose-file", "f.yaml")
        path = f"{Path(compose_program()).parent}:{os.environ['PATH']}"
        again = run_preflight(
            "check", "--only", "port-free", *both, cwd=tmp_path, env={"PATH": path}
        )
        assert again.returncode == 0, again.stdout


@pytest.fixture
def free_ports() -> int:
    """A port that is free, and the next one too."""
    for _ in range(100):
        with socket.create_server(("127.0.0.1", 0)) as server:
            number: int = server.getsockname()[1]
            with suppress(OSError), socket.create_server(("127.0.0.1", number + 1)):
                return number
    pytest.fail("no two free ports beside each other")


def test_no_file_is_replaced_unasked(program: Run, project: Path) -> None:
    file = project / "mine.yaml"
    file.write_text("mine\n")
    done = program("fix", *OWN, "-o", "mine.yaml")
    assert done.returncode == 2
    assert done.stderr == (
        "preflight: mine.yaml already exists: choose another name, or replace it with --force\n"
    )
    assert file.read_text() == "mine\n"
    done = program("fix", *OWN, "-o", "compose.yaml", "--force")
    assert done.returncode == 2
    assert (project / "compose.yaml").read_text() == COMPOSE
    assert program("fix", *OWN, "-o", "mine.yaml", "--force").returncode == 0
    assert "services:\n" in file.read_text()
    done = program("fix", *OWN, "-o", "/proc/nowhere/x.yaml")
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1


def test_what_no_override_fixes_is_named_with_its_fix(program: Run, project: Path) -> None:
    more = "  - {id: ram, title: RAM, fact: docker.memory.total, require: {at_least: 1TB},\n"
    more += "     fixes: [{text: 'Give Docker {expected}.'}]}\n"
    (project / "preflight.yaml").write_text(RULES + more)
    done = program("fix", "--only", "ram")
    assert (done.returncode, done.stdout) == (1, "")
    assert [line.strip() for line in done.stderr.splitlines()] == [
        "Not fixed by an override:",
        "✖ RAM: 14.9 GiB, at least 1 TB (931.3 GiB) required",
        "Give Docker 1 TB.",
    ]
    done = program("fix", "--only", "ram,data-folder")
    assert done.returncode == 1
    assert "PGDATA" in done.stdout


@pytest.mark.parametrize("files", [{}, {"compose.yaml": "services: {}\n"}])
def test_nothing_fails(run_preflight: Run, tmp_path: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    done = run_preflight("fix", "--only", "limits", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr == "preflight: no check fails: nothing to fix\n"


def test_a_broken_compose_file_is_bad_input(run_preflight: Run, tmp_path: Path) -> None:
    (tmp_path / "compose.yaml").write_text("services: [\n")
    done = run_preflight("fix", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert "compose.yaml:2:1: " in done.stderr


CASES = sorted(path.parent for path in COMPOSE_CASES.glob("*/compose.yaml"))
RANK_BY_VERDICT = {"pass": 0, "waived": 0, "skip": 1, "warn": 1, "unknown": 2, "fail": 3}


@pytest.mark.nightly
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_every_project_of_the_tests_on_a_small_engine(
    case: Path, run_preflight: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is written is taken by Compose, and no check gets worse with it."""
    override = tmp_path / "override.yaml"
    monkeypatch.setenv("PATH", str(Path(compose_program()).parent), prepend=":")
    with listening(tmp_path / "engine.sock", engine({**INFO, "NCPU": 1, "MemTotal": 7e8})) as url:
        monkeypatch.setenv("DOCKER_HOST", url)

        def run(command: str, *arguments: str) -> subprocess.CompletedProcess[str]:
            return run_preflight(command, "-r", "general", "--strict", *arguments, cwd=case)

        def verdicts(*files: str) -> dict[tuple[str, str | None], str]:
            named = [f"--compose-file={file}" for file in files]
            report = json.loads(run("check", "-f", "json", *named).stdout)
            return {(r["id"], r["item"]): r["verdict"] for r in report["results"]}

        done = run("fix", "--compose-file=compose.yaml", "-o", str(override))
        assert done.returncode in (0, 1, 2)
        if not override.exists():
            return
        before, after = verdicts("compose.yaml"), verdicts("compose.yaml", str(override))
    config, complaint = ask_compose(case, ["compose.yaml", str(override)])
    assert config, complaint
    worse = {
        key: (before.get(key), verdict)
        for key, verdict in after.items()
        if verdict != "skip" and RANK_BY_VERDICT[verdict] > RANK_BY_VERDICT[before.get(key, "skip")]
    }
    assert worse == {}
    passing = [key for key in before if before[key] in ("warn", "fail") and after[key] == "pass"]
    assert passing
