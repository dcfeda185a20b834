"""The advice of the bundled rules, machine by machine; then every fix on every machine.

A fix is wrong where it can't be carried out or changes nothing: a program that the machine doesn't
have, a value that is set already, a file that isn't the project's.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

import pytest

from bundled_rules import bundled_rules
from paths import ROOT
from preflight import check as pipeline
from preflight.evaluate.diagnoses import diagnose as find_causes
from preflight.evaluate.judge import judge_rules
from preflight.model.diagnosis import KnownErrorFinding, LogPosition, LogSearchResult
from preflight.model.facts import Facts, Unknown
from preflight.model.quantities import parse_bytes
from preflight.model.report import Report, ResolvedFix, Result
from preflight.model.rules import RuleSet
from preflight.snapshot.facts_file import read_snapshot
from solved_facts import solve

CASES = ROOT / "tests/cases"
GIB = 2**30
DESKTOP_STACK, LINUX, DOWN = "document-stack-on-desktop", "linux-healthy", "docker-permission"
COMMUNITY = "Docker Engine - Community"


@cache
def rules(name: str) -> RuleSet:
    return bundled_rules(name, known_errors=True)


def machine(case: str, **changes: Any) -> Facts:
    """Return the facts of a case, some of them others: `host__os=...`; None is absent."""
    snapshot = json.loads((CASES / case / "facts.json").read_text(encoding="utf-8"))
    snapshot = copy.deepcopy(snapshot)
    for path, value in changes.items():
        *above, last = path.split("__")
        node = snapshot["facts"]
        for segment in above:
            if not isinstance(node.get(segment), dict):
                node[segment] = {}
            node = node[segment]
        name = ".".join((*above, last))
        for unknown in [key for key in snapshot["unknown"] if f"{name}.".startswith(f"{key}.")]:
            del snapshot["unknown"][unknown]
        node[last] = value
    return read_snapshot(json.dumps(snapshot).encode(), "facts.json")


def judge(facts: Facts, name: str = "default") -> Report:
    ruleset = rules(name)
    facts = pipeline.add_derived_facts(facts, ruleset)
    return judge_rules(ruleset, facts, pipeline.build_catalogue())


def advice(facts: Facts, rule: str, name: str = "default") -> str:
    """Return all that a rule advises on a machine."""
    results = [result for result in judge(facts, name).results if result.id == rule]
    fixes = [fix for result in results for fix in result.fixes]
    assert fixes, [(result.verdict, result.message) for result in results]
    return "\n".join(f"{fix.text}\n{fix.command or ''}\n{fix.url or ''}" for fix in fixes)


def unreachable(**changes: Any) -> Facts:
    problem = {"docker__problem__kind": "unavailable", "docker__problem__reason": "no socket"}
    local = {"docker__local": True, "docker__endpoint": "unix:///var/run/docker.sock"}
    return machine(DOWN, **{**problem, **local, **changes})


def without_compose(distribution: str, version: str | None, **changes: Any) -> Facts:
    system = {
        "docker__compose__version": None,
        "compose__files": ["compose.yaml"],
        "host__os": "linux",
        "host__kernel": "6.1.0",
        "docker__engine": "docker",
        "host__distribution": {"id": distribution, "version": version, "name": distribution},
    }
    return machine(DESKTOP_STACK, **{**system, **changes})


# --- each was seen wrong ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("facts", "command"),
    [
        (without_compose("debian", "13", docker__edition=None), "apt-get install docker-compose"),
        (
            without_compose("debian", "12", docker__edition=COMMUNITY),
            "apt-get install docker-compose-plugin",
        ),
        (
            without_compose("ubuntu", "24.04", docker__edition=None),
            "apt-get install docker-compose-v2",
        ),
        (
            without_compose("rocky", "9", docker__edition=COMMUNITY),
            "dnf install docker-compose-plugin",
        ),
        (without_compose("fedora", "42", docker__edition=None), "dnf install docker-compose\n"),
        (without_compose("alpine", "3.22", docker__edition=None), "apk add docker-cli-compose"),
        (without_compose("arch", None, docker__edition=None), "pacman -S docker-compose"),
        (without_compose("debian", "12", docker__edition=None), "install-the-plugin-manually"),
    ],
)
def test_compose_is_installed_from_where_the_engine_came(facts: Facts, command: str) -> None:
    advised = advice(facts, "compose-installed")
    assert command in advised
    assert "docker-compose-plugin" not in advised or "plugin" in command


@pytest.mark.parametrize(
    "facts",
    [
        without_compose("nixos", "25.05", docker__edition=None),
        without_compose("debian", "13"),  # who built the engine isn't known
        without_compose("amzn", "2023", docker__edition=COMMUNITY),
    ],
)
def test_where_no_package_is_known_the_page_is_named(facts: Facts) -> None:
    advised = advice(facts, "compose-installed")
    assert "https://docs.docker.com/compose/install/" in advised
    assert "sudo" not in advised


def test_an_update_of_compose_is_advised_by_the_same_means() -> None:
    old = {"docker__compose__version": "2.5.0", "compose__needs__met": False}
    needs = {"compose__needs__version": "2.24.0", "compose__needs__feature": "!reset"}
    facts = without_compose("debian", "12", **old, **needs, docker__edition=COMMUNITY)
    assert "--only-upgrade docker-compose-plugin" in advice(facts, "compose-version")
    facts = without_compose("debian", "12", **old, **needs, docker__edition=None)
    assert "sudo" not in advice(facts, "compose-version")


@pytest.mark.parametrize(
    ("changes", "words", "command"),
    [
        ({"docker__endpoint": "unix:///run/x.sock"}, "where no engine is listening",
         "unset DOCKER_HOST"),
        ({"docker__endpoint": "tcp://10.0.0.9:2375", "docker__local": False},
         "Check that this host is up", "unset DOCKER_HOST"),
        ({"docker__endpoint": "tcp://10.0.0.9:2375", "host__os": "windows"}, "Docker Desktop",
         "Remove-Item Env:DOCKER_HOST"),
    ],
)  # fmt: skip
def test_a_dead_docker_host_is_unset_or_corrected(
    changes: dict[str, Any], words: str, command: str
) -> None:
    facts = unreachable(env__DOCKER_HOST=changes["docker__endpoint"], **changes)
    advised = advice(facts, "docker-reachable")
    assert words in advised
    assert command in advised
    assert "systemctl" not in advised


def test_a_proxy_that_refuses_is_to_be_corrected() -> None:
    reason = "tcp://10.0.0.9:2375: the proxy 10.0.0.1:3128 returned status 502"
    endpoint = {"docker__endpoint": "tcp://10.0.0.9:2375", "docker__local": False}
    facts = unreachable(docker__problem__reason=reason, **endpoint)
    assert "add the engine's host to NO_PROXY" in advice(facts, "docker-reachable")


def test_a_remote_engine_that_refuses_has_no_group_to_join() -> None:
    endpoint = {"docker__endpoint": "tcp://10.0.0.9:2375", "docker__local": False}
    facts = unreachable(docker__problem__kind="permission", **endpoint)
    advised = advice(facts, "docker-reachable")
    assert "Ask its administrator for access" in advised
    assert "usermod" not in advised


def test_a_wrong_docker_host_too() -> None:
    reason = "DOCKER_HOST 'foo' isn't a valid engine address: expected unix:///PATH"
    facts = unreachable(docker__problem__reason=reason, docker__problem__kind="invalid")
    assert "unset DOCKER_HOST" in advice(facts, "docker-reachable")
    reason = "--docker-host 'foo' isn't a valid engine address: expected unix:///PATH"
    facts = unreachable(docker__problem__reason=reason, docker__problem__kind="invalid")
    assert "unset DOCKER_HOST" not in advice(facts, "docker-reachable")


@pytest.mark.parametrize(
    ("named_by", "os_name", "command"),
    [
        ("DOCKER_CONTEXT", "linux", "unset DOCKER_CONTEXT"),
        ("DOCKER_CONTEXT", "windows", "Remove-Item Env:DOCKER_CONTEXT"),
        ("currentContext in config.json", "linux", "docker context use default"),
    ],
)
def test_a_context_is_corrected_where_it_is_named(
    named_by: str, os_name: str, command: str
) -> None:
    """`docker context use` changes nothing while DOCKER_CONTEXT is set."""
    reason = f"context 'x' ({named_by}) doesn't exist; available contexts: default"
    facts = unreachable(
        docker__problem__reason=reason, docker__problem__kind="error", host__os=os_name
    )
    advised = advice(facts, "docker-reachable")
    assert command in advised
    assert ("docker context use" in advised) is (command == "docker context use default")


def test_another_engine_is_named_by_the_address_where_it_was_found() -> None:
    found = ["unix:///home/ann/.colima/default/docker.sock", "unix:///run/podman/podman.sock"]
    facts = unreachable(docker__candidates=found, docker__alternative_endpoint=found[0])
    advised = advice(facts, "docker-reachable")
    assert f"preflight check --docker-host {found[0]}\n" in f"{advised}\n"
    assert ", ".join(found) in advised


@pytest.mark.parametrize("endpoint", ["unix:///var/run/docker.sock", "unix:///run/docker.sock"])
def test_a_docker_host_that_is_the_default_is_left_alone(endpoint: str) -> None:
    facts = unreachable(env__DOCKER_HOST=endpoint, docker__endpoint=endpoint)
    assert "systemctl enable --now docker" in advice(facts, "docker-reachable")


def test_without_systemd_the_engine_is_started_by_another_init_system() -> None:
    facts = unreachable(host__os="linux", host__systemd=False)
    advised = advice(facts, "docker-reachable")
    assert "sudo service docker start" in advised
    assert "systemctl" not in advised


@pytest.mark.parametrize("kind", ["lxc", "openvz", "systemd-nspawn"])
def test_a_system_container_has_an_engine_of_its_own(kind: str) -> None:
    facts = unreachable(host__container=True, host__virtualization=kind)
    advised = advice(facts, "docker-reachable")
    assert "install Docker in the container" in advised
    assert "-v /var/run/docker.sock" not in advised
    denied = unreachable(
        host__container=True, host__virtualization=kind, docker__problem__kind="permission"
    )
    assert "usermod -aG docker" in advice(denied, "docker-reachable")


def test_an_application_container_gets_the_engine_of_its_host() -> None:
    facts = unreachable(host__container=True, host__virtualization="docker")
    assert "-v /var/run/docker.sock" in advice(facts, "docker-reachable")


def test_an_engine_in_a_vm_that_has_no_known_name_is_said_to_be_one() -> None:
    """So it is with Lima, minikube, and any other whose memory is less than the machine's."""
    facts = machine(
        LINUX,
        host__memory__total=25 * 10**9,
        docker__memory={"total": 4.1e9, "usable": 4.1e9, "limit": None},
        docker__native=False,
    )
    advised = advice(facts, "docker-memory")
    assert "a VM that has 3.8 GiB of this machine's 23.3 GiB of memory" in advised
    assert "give it at least 8 GB of memory" in advised
    whole = machine(
        LINUX,
        host__memory__total=4.1e9,
        docker__memory={"total": 4.1e9, "usable": 4.1e9, "limit": None},
    )
    assert "can already use all of the machine's RAM" in advice(whole, "docker-memory")


@pytest.mark.parametrize("limit", [2, None])
def test_cpu_limits_that_are_low_enough_are_not_to_be_lowered(limit: float | None) -> None:
    limits = {f"compose__services__{name}__limits__cpus": limit for name in ("ollama", "api")}
    report = judge(machine(DESKTOP_STACK, docker__cpus=2, docker__engine="docker", **limits))
    advised = [fix.text for result in report.results for fix in result.fixes]
    assert not [text for text in advised if "ower" in text and "limits.cpus" in text]
    assert not [text for text in advised if "CPU limits" in text]


def test_every_unused_image_is_removed_where_that_is_what_is_offered() -> None:
    facts = machine(LINUX, docker__disk={"free": 10**9, "reclaimable": 5 * 10**9, "root": "/d"})
    (result,) = (result for result in judge(facts).results if result.id == "docker-disk")
    (fix,) = result.fixes
    assert "docker image prune -a" in str(fix.command)
    assert "system prune" not in str(fix.command), "that removes dangling images only"
    assert fix.kind == "destructive"


@pytest.mark.parametrize(("gpus", "verdict"), [(-1, "warn"), (1, "warn"), (None, "fail")])
def test_a_model_that_may_use_a_gpu_is_a_recommendation(gpus: int | None, verdict: str) -> None:
    facts = machine(
        DESKTOP_STACK,
        model__name="mistral:7b-instruct-q4_0",
        compose__services__ollama__gpus=gpus,
        compose__services__ollama__limits__memory=2 * GIB,
    )
    results = {
        result.id: result for result in judge(facts).results if result.id.startswith("model-fits")
    }
    judged = {id_: result for id_, result in results.items() if result.verdict != "skip"}
    (result,) = judged.values()
    assert result.verdict == verdict
    if gpus is not None:
        assert "this is only a recommendation" in result.why


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"host__os": "darwin"}, "On a Mac, containers can't use the GPU"),
        ({"host__os": "windows", "host__kernel": "10"}, "only on Windows, with the WSL 2 backend"),
        ({"docker__engine": "docker", "host__os": "linux"}, "NVIDIA Container Toolkit"),
        ({"docker__engine": "podman", "host__os": "linux"}, "nvidia-ctk cdi generate"),
    ],
)
def test_a_gpu_by_platform(changes: dict[str, Any], words: str) -> None:
    facts = machine(
        DESKTOP_STACK, docker__gpus=False, compose__services__ollama__gpus=-1, **changes
    )
    assert words in advice(facts, "gpus")


def test_sums_over_nothing_are_skipped() -> None:
    nothing = {"memory": 0, "cpus": 0}
    facts = machine(DESKTOP_STACK, compose__total={"limits": nothing, "reservations": nothing})
    for name in ("default", "general"):
        for result in judge(facts, name).results:
            if result.fact.startswith("compose.total."):
                assert result.verdict == "skip", result.id


@pytest.mark.parametrize(
    ("files", "verdict", "words"),
    [
        (None, "pass", ""),
        (["/srv/nginx.conf"], "warn", "Create /srv/nginx.conf before the first start"),
        (["/var/run/docker.sock"], "warn", "Mount this engine's socket instead (unix://"),
    ],
)
def test_folders_that_docker_creates_are_wanted_and_files_are_not(
    files: list[str] | None, verdict: str, words: str
) -> None:
    start = {"mounts_created": ["/srv/data", *(files or ())], "files_created": files}
    facts = machine(DESKTOP_STACK, start__services={"ollama": start})
    (result,) = (r for r in judge(facts, "general").results if r.id == "bind-mounts-created")
    assert result.verdict == verdict
    assert words in "".join(fix.text for fix in result.fixes)


def test_a_missing_socket_is_not_to_be_created() -> None:
    start = {"mounts_missing": ["/var/run/docker.sock"]}
    facts = machine(DESKTOP_STACK, start__services={"ollama": start})
    advised = advice(facts, "bind-mounts")
    assert "Mount this engine's socket instead" in advised
    assert "Create" not in advised


# --- every fix on every machine ---------------------------------------------------------------

VARIANTS: dict[str, dict[str, Any]] = {
    "debian 12": {"host__distribution": {"id": "debian", "version": "12", "name": "Debian 12"}},
    "alpine": {"host__distribution": {"id": "alpine", "version": "3.22", "name": "Alpine"}},
    "mac": {
        "host__os": "darwin", "host__kernel": "24.1.0", "docker__engine": "docker-desktop",
        "docker__native": False,
    },
    "windows": {
        "host__os": "windows", "host__kernel": "10", "docker__engine": "docker-desktop",
        "docker__native": False,
    },
    "lxc": {"host__container": True, "host__virtualization": "lxc"},
    "docker host": {
        "env__DOCKER_HOST": "unix:///run/x.sock", "docker__endpoint": "unix:///run/x.sock",
    },
    "small": {
        "host__memory": {"total": 4e9, "usable": 4e9, "available": 1e9},
        "docker__memory": {"total": 4e9, "usable": 4e9, "available": 1e9, "limit": None},
        "host__cpu": {"logical": 2, "usable": 1, "physical": 1},
        "docker__cpus": 2,
        "host__disk__free": 1e9,
        "docker__disk": {"free": 1e9, "reclaimable": 5e9, "root": "/var/lib/docker"},
    },
    "other file": {"compose__files": ["stack.yml"]},
    "wrong context": {
        "docker__problem": {
            "kind": "error", "reason": "context 'x' (DOCKER_CONTEXT) doesn't exist"
        },
    },
    "wrong context on windows": {
        "docker__problem": {
            "kind": "error", "reason": "context 'x' (DOCKER_CONTEXT) doesn't exist"
        },
        "host__os": "windows",
    },
    "inactive profile": {
        "start__services__ollama__conflict": "on undefined x; its profile is not active: full"
    },
    "no limits": {
        f"compose__services__{name}__{key}": {"memory": None, "cpus": None}
        for name in ("ollama", "api") for key in ("limits", "reservations")
    },
    "ollama killed": {
        "stack__containers": {
            "ollama-1": {"service": "ollama", "oom_killed": True, "memory": {"limit": 8 * GIB}}
        },
        "model__name": "phi:latest",
        "compose__services__ollama__limits__memory": 8 * GIB,
    },
    "renamed": {
        "compose__services": {"llm": {"known_as": ["llm"], "limits": {"memory": GIB}}},
        "stack__containers": {"llm-1": {"service": "llm", "oom_killed": True, "restarting": True}},
        "ollama__service": "llm",
    },
    "large limits": {
        f"compose__services__{name}__{key}": {"memory": 64 * GIB, "cpus": 64}
        for name in ("ollama", "api") for key in ("limits", "reservations")
    },
}  # fmt: skip
PROGRAMS = {  # where each can be run; what isn't here can't be advised
    "alpine": "apk rc-update rc-service addgroup",
    "debian ubuntu raspbian": "apt-get",
    "fedora rhel centos rocky almalinux": "dnf",
    "arch": "pacman",
    "systemd": "systemctl journalctl loginctl timedatectl oomctl usermod newgrp",
    "linux": "free dmesg sysctl ss ipcs quota nvidia-ctk dockerd findmnt modprobe mount swapoff"
    " service aa-remove-unknown",
    "linux darwin": "df grep sed chmod chown stat tee printf unset export",
    "linux windows": "nvidia-smi",
    "windows": "Remove-Item net",
    "windows wsl": "wsl",
    "darwin linux": "colima",
    "podman": "podman",
    "linux darwin windows": "docker preflight git curl kubectl cp ls cat echo mkdir rmdir ssh-add",
}
FILE = re.compile(r"\b(?<!PATH/)(?:docker-)?compose\.ya?ml\b|\bdocker-stack\.ya?ml\b")
CHANGE = re.compile(
    r"\b(Raise|Lower)\b[^.;:]*? to '?([0-9]+(?:\.[0-9]+)? ?[kKMGT]?i?B?)'?(?= |[.,;:(]|$)"
)
LOGS = re.compile(r"docker compose logs(?: --\w+(?: [0-9]+)?)* ((?![0-9]+$)[\w-]+)$", re.MULTILINE)
MODEL = re.compile(r"(?:\bmodel \(|OLLAMA_MODEL=)([a-z][^ ).]*)")
RAISED = re.compile(r"\bRaise\b[^.;:]*? from ([0-9.]+ ?\w+) to ([0-9.]+ ?\w+)")
NO_VALUE = re.compile(
    r"\b(?:now|above|below|from|to|of|than|has) (?:not set|none|unknown|yes|no)\b"
)


def systems(facts: Facts) -> set[str]:
    """Return the words that say what a machine is; none where its system isn't known."""
    os_, kernel, engine, distribution = (
        str(value) if isinstance(value := facts.get(path), str) else ""
        for path in (
            ("host", "os"), ("host", "kernel"), ("docker", "engine"),
            ("host", "distribution", "id"),
        )
    )  # fmt: skip
    if not os_:
        return set()
    words = {os_, distribution, engine, "wsl" if "icrosoft" in kernel else ""}
    words |= {"systemd"} if os_ == "linux" and distribution != "alpine" else set()
    return words - {""}


def problems(result: Result, fix: ResolvedFix, facts: Facts) -> Iterator[str]:
    """Yield what is wrong with a fix on a machine."""
    yield from _problems_of_command(fix.command or "", systems(facts))
    words = f"{fix.text}\n{fix.command or ''}"
    files = facts.get(("compose", "files"))
    own = {file.rpartition("/")[2] for file in files} if isinstance(files, list) else set()
    yield from (f"names {name}, which isn't the project's" for name in {*FILE.findall(words)} - own)
    for name in MODEL.findall(words):
        if name == facts.get(("model", "name")):
            yield f"offers {name}, which is used already"
    services = facts.get(("compose", "services"))
    for name in LOGS.findall(words):
        if not isinstance(services, Mapping) or name not in services:
            yield f"reads the log of {name}, which isn't a service"
    if re.search(r"(?<![{$])\{[a-z_.]+\}", words):
        yield "has a placeholder left"
    if NO_VALUE.search(words):
        yield "names a value that isn't there"
    for before, after in RAISED.findall(fix.text):
        if _number(before) >= _number(after):
            yield f"says to raise {before} to {after}"
        usable = facts.get(("docker", "memory", "usable"))
        if isinstance(usable, int | float) and _number(after) > 1.1 * usable:
            yield f"says to raise it to {after} where Docker has {usable}"
    if result.fact:
        yield from _problems_of_change(fix.text, result.actual)
        desktops = {"docker-desktop", "darwin", "windows", "wsl"} & systems(facts)
        if "Docker Desktop" in fix.text.partition("to use Docker Desktop")[0] and not desktops:
            yield "names Docker Desktop where there is none"


def _problems_of_command(command: str, machine: set[str]) -> Iterator[str]:
    for line in filter(None, command.splitlines()):
        for part in re.split(r" \| | && |; ", re.sub("'[^']*'", "''", line)):
            program = re.sub(r"^(?:sudo |[A-Z_]+=\S+ )+", "", part).split()[0]
            allowed = {
                system
                for names, programs in PROGRAMS.items()
                if program in programs.split()
                for system in names.split()
            }
            if machine and not allowed & machine:
                yield f"{program} doesn't exist on {machine}"


def _problems_of_change(text: str, actual: object) -> Iterator[str]:
    for verb, bound in CHANGE.findall(text):
        value = _number(bound)
        if not isinstance(actual, int | float):
            yield f"says {verb} where nothing is set"
        elif (value <= actual) if verb == "Raise" else (value >= actual):
            yield f"says {verb} to {bound} where it is {actual}"


def _number(text: str) -> float:
    """Return a number, or bytes as Compose reads them where they have a short unit."""
    if re.fullmatch("[0-9.]+", text):
        return float(text)
    size = re.sub("([kKMGT])$", r"\1iB", text)
    return float(parse_bytes(size))


@cache
def machines() -> Mapping[str, Facts]:
    names = sorted(folder.name for folder in CASES.iterdir() if (folder / "facts.json").exists())
    every = {name: machine(name) for name in names}
    for case in (DESKTOP_STACK, LINUX, DOWN, "podman-native", "all-bad"):
        for name, changes in VARIANTS.items():
            every[f"{case}, {name}"] = machine(case, **changes)
    return every


@pytest.mark.parametrize("name", ["default", "general"])
def test_every_fix_holds_on_every_machine(name: str) -> None:
    wrong, count = [], 0
    for title, facts in machines().items():
        for result in judge(facts, name).results:
            assert not (result.fixes and result.verdict in ("pass", "skip"))
            for fix in result.fixes:
                count += 1
                wrong += [f"{title}: {result.id}: {problem}: {fix.text} {fix.command}"
                          for problem in problems(result, fix, facts)]  # fmt: skip
    assert count > 100
    assert not wrong, "\n".join(wrong[:40])


NAMED = {"env__DOCKER_HOST": "unix:///run/x.sock", "compose__services__ollama__image": "x"}
DEBIAN = {"host__distribution": {"id": "debian", "version": "12", "name": "Debian 12"}}
BASES = {
    "linux": machine(LINUX, **NAMED, **DEBIAN),
    "mac": machine(DESKTOP_STACK, **NAMED),
    "windows": machine(DESKTOP_STACK, **NAMED, host__os="windows", host__kernel="10"),
}


@pytest.mark.parametrize("name", ["default", "general"])
def test_every_fix_holds_where_it_is_shown(name: str) -> None:
    """On facts that meet its own conditions, whatever else the machine is."""
    ruleset, catalogue = rules(name), pipeline.build_catalogue()
    wrong, shown, missing = [], 0, []
    for rule in ruleset.rules:
        for fix in rule.fixes:
            alone = rule._replace(fixes=(fix,), needs=(), enabled=True)
            only = ruleset._replace(rules=(alone,), extended=(), applies=((),), waivers=())
            before = shown
            for title, base in BASES.items():
                facts = solve(rule, fix, base, catalogue)
                if facts and {"windows", "colima"} <= systems(facts):
                    continue  # there is no Colima for Windows
                results = judge_rules(only, facts, catalogue).results if facts else ()
                for result, resolved in ((r, f) for r in results for f in r.fixes):
                    shown += 1
                    assert facts
                    wrong += [f"{title}: {rule.id}: {problem}: {resolved.text} {resolved.command}"
                              for problem in problems(result, resolved, facts)]  # fmt: skip
            if shown == before:
                missing.append(f"{rule.id}: {fix.text}")
    assert not wrong, "\n".join(wrong)
    fixes = sum(len(rule.fixes) for rule in ruleset.rules)
    assert len(missing) <= fixes // 20, "\n".join(missing)


def test_every_fix_of_a_known_error_holds_on_every_machine() -> None:
    """Each by its own example, in a log that is named after no service."""
    ruleset, wrong, count = rules("default"), [], 0
    catalogue = pipeline.build_catalogue()
    titles = [
        title for title in machines() if title.startswith((f"{DESKTOP_STACK}, ", f"{LINUX}, "))
    ]
    for diagnosis in ruleset.diagnoses:
        matches = [
            match
            for pattern in diagnosis.patterns
            for example in diagnosis.examples
            if (match := re.search(pattern, example, re.IGNORECASE))
        ]
        assert matches, diagnosis.id
        values = {
            name: text for match in matches for name, text in match.groupdict().items() if text
        }
        place = LogPosition("a.log", 1)
        contents = LogSearchResult(
            ("a.log",), 1, (KnownErrorFinding(diagnosis.id, 1, place, place, values),)
        )
        alone = ruleset._replace(diagnoses=(diagnosis._replace(unless=(), report=True),))
        for title in titles:
            facts = machines()[title]
            for finding in find_causes(alone, contents, facts, catalogue).findings:
                result = Result(finding.id, None, "", "fail", "required")
                for fix in finding.fixes:
                    count += 1
                    wrong += [
                        f"{finding.id}: {problem} ({title}): {fix.text} {fix.command}"
                        for problem in problems(result, fix, facts)
                        # errors of Podman and of Docker Desktop say themselves where they are
                        if not re.match("(?:podman|wsl) doesn't", problem)
                    ]
    assert count > 2000
    assert not wrong, "\n".join(dict.fromkeys(wrong))


@pytest.mark.parametrize(
    ("text", "command", "problem"),
    [
        ("Lower it to '2'.", None, "says Lower to 2 where it is 2"),
        ("Raise the limit of api to 1.", None, "says Raise to 1 where it is 2"),
        ("Lower the limits in docker-compose.yml.", None, "isn't the project's"),
        ("Start it.", "sudo systemctl start docker", "systemctl doesn't exist on"),
        ("Set it (now not set).", None, "a value that isn't there"),
        ("In Docker Desktop, Settings.", None, "Docker Desktop where there is none"),
        ("Set {actual}.", None, "a placeholder left"),
        ("Install it.", "brew install docker", "brew doesn't exist on"),
    ],
)
def test_what_is_wrong_with_a_fix_is_found(text: str, command: str | None, problem: str) -> None:
    facts = machine(LINUX, compose__files=["stack.yml"], host__distribution__id="alpine")
    result = Result("r", None, "R", "fail", "required", fact="x", actual=2)
    (only,) = problems(result, ResolvedFix(text, command), facts)
    assert problem in only


def test_an_engine_that_had_no_time_is_not_called_a_wrong_docker_host() -> None:
    """Only an engine that was asked and didn't answer says anything about the address."""
    address = "tcp://10.0.0.9:2375"
    facts = Facts(
        {
            "docker": {"endpoint": address, "local": False, "problem": {"kind": "timeout"}},
            "env": {"DOCKER_HOST": address},
        },
        unknown={"docker.reachable": Unknown("Docker did not answer within 0.1 s", "timeout")},
    )
    (result,) = [result for result in judge(facts).results if result.id == "docker-reachable"]
    assert result.verdict == "unknown"
    assert [fix.text[:15] for fix in result.fixes] == ["Allow more time"]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ('service "a" depends on undefined service "b"', "define it"),
        ("…; service b is in the file, but its profile is not active: full", "COMPOSE_PROFILES"),
    ],
)
def test_a_dependency_whose_profile_is_not_active_is_activated(words: str, expected: str) -> None:
    facts = machine(DESKTOP_STACK, start__services__ollama__conflict=words)
    advised = advice(facts, "compose-conflict")
    assert [text in advised for text in ("define it", "COMPOSE_PROFILES")].count(True) == 1
    assert expected in advised
