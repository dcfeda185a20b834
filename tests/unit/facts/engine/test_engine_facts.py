"""What an engine reports about itself, and the memory that it leaves for a stack."""

from __future__ import annotations

import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from docker_facts import facts_of
from engine_server import VERSION, engine, listening
from paths import SHARED
from preflight.facts.collect import context
from preflight.facts.engine import engine_facts
from preflight.facts.engine.engine_facts import parse_engine_info, read_memory_available_to_stack
from preflight.facts.engine.host_visibility import HostVisibility
from preflight.facts.host import machine as host_machine
from preflight.facts.host.machine import read_available_host_memory
from preflight.facts.host.proc_and_cgroups import CgroupLimit, Cgroups, SystemMemory
from preflight.model.facts import Unknown

GIB = 2**30
ENGINES = SHARED / "cases/engines"
needs_cases = pytest.mark.skipif(not ENGINES.is_dir(), reason="the shared cases aren't there")


def reported(info: dict[str, Any], name: str) -> Any:
    facts = {fact.path: fact.value for fact in parse_engine_info({}, info)}
    return facts[("docker", *name.split("."))]


# --- what it reports ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "confined"),
    [
        (["name=apparmor", "name=seccomp,profile=builtin", "name=cgroupns"],
         {"apparmor", "seccomp"}),
        (["name=seccomp,profile=unconfined", "name=selinux"], {"selinux"}),
        (["name=userns", "name=seccomp,profile=/etc/docker/seccomp.json"], {"userns", "seccomp"}),
        (["seccomp", "apparmor"], {"apparmor", "seccomp"}),  # before Docker 1.13
        ([], set()),
    ],
)  # fmt: skip
def test_what_confines_containers(options: list[str], confined: set[str]) -> None:
    names = ("selinux", "apparmor", "seccomp", "userns")
    info = {"SecurityOptions": options}
    assert {name for name in names if reported(info, f"security.{name}")} == confined
    for unreported in ({}, {"SecurityOptions": None}):
        assert isinstance(reported(unreported, "security.seccomp"), Unknown)


def test_the_snap_is_known_by_its_folder() -> None:
    root = "/var/snap/docker/common/var-lib-docker"
    assert reported({"DockerRootDir": root}, "snap") is True
    assert reported({"DockerRootDir": "/var/lib/docker"}, "snap") is False
    assert isinstance(reported({}, "snap"), Unknown)


@pytest.mark.parametrize("value", [False, True])
def test_a_windows_engine_says_nothing_of_the_limits_of_linux(value: bool) -> None:
    keys = ("MemoryLimit", "SwapLimit", "CpuCfsQuota")
    windows = {"OSType": "windows", "SecurityOptions": [], **dict.fromkeys(keys, value)}
    assert reported(windows, "limits.memory") is reported(windows, "limits.cpus") is True
    for name in ("limits.swap", "security.seccomp", "security.apparmor"):
        assert isinstance(reported(windows, name), Unknown), name
    linux = {**windows, "OSType": "linux"}
    assert reported(linux, "limits.memory") is reported(linux, "limits.swap") is value


def read_case(file: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    case = json.loads(file.read_text(encoding="utf-8"))
    info = case.get("info", case)
    return info, case.get("version") or {**VERSION, "Version": info.get("ServerVersion", "20.10")}


@needs_cases
@pytest.mark.parametrize("name", [file.name for file in sorted(ENGINES.glob("*.json"))])
def test_the_engines_of_the_shared_cases(name: str, tmp_path: Path) -> None:
    info, version = read_case(ENGINES / name)
    rows = map(json.loads, (SHARED / "cases/index.jsonl").read_text("utf-8").splitlines())
    (row,) = (row for row in rows if row["input"].endswith(f"engines/{name}"))
    with listening(tmp_path / "s", engine(info, version)) as url:
        facts = facts_of(url)

    def known(name: str) -> Any:
        value = facts.get(("docker", *name.split(".")))
        return None if isinstance(value, Unknown) else value

    if isinstance(expected := row["got"], dict):
        assert known("engine") == expected["engine"]
        assert known("cpus") == expected["cpus"]
        assert known("memory.total") == expected["memory"]
    assert known("native") is False
    if info.get("OSType") != "windows":
        for fact, key in (("memory", "MemoryLimit"), ("cpus", "CpuCfsQuota")):
            value = False if info.get("CgroupDriver") == "none" else info.get(key)
            assert known(f"limits.{fact}") == value
    root = info.get("DockerRootDir")
    assert known("snap") is (root.startswith("/var/snap/") if root else None)
    for hidden in ("memory.available", "memory.high", "cpus_limit"):
        assert f"docker.{hidden}" in facts.unknown, hidden


# --- memory -------------------------------------------------------------------------------------


class Containers:
    """An engine with containers of project shop, each in a cgroup by its id."""

    def __init__(self, *ids: str) -> None:
        self._ids = ids

    def running_containers(self) -> list[dict[str, Any]]:
        labels = {"com.docker.compose.project": "shop"}
        return [{"Id": name, "State": "running", "Labels": labels} for name in self._ids]

    def inspect(self, container: str) -> dict[str, Any]:
        return {"State": {"Pid": 7}, "HostConfig": {"CgroupParent": ""}}


def machine(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


V2 = {
    "proc/self/mountinfo": "1 0 0:1 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n",
    "proc/self/cgroup": "0::/user.slice\n",
    "proc/7/cgroup": "0::/system.slice/docker-abc.scope\n",
    "sys/fs/cgroup/system.slice/memory.current": f"{6 * GIB}\n",
    "sys/fs/cgroup/system.slice/docker-abc.scope/memory.current": f"{5 * GIB}\n",
    # a model that is mapped: most of its pages are active
    "sys/fs/cgroup/system.slice/docker-abc.scope/memory.stat":
        f"anon {GIB}\nactive_file {3 * GIB}\ninactive_file {GIB // 2}\n"
        f"slab_reclaimable {GIB // 2}\n",
    "sys/fs/cgroup/system.slice/docker-abc.scope/memory.events": "oom_kill 0\n",
}  # fmt: skip
V1 = {
    "proc/self/mountinfo": "1 0 0:1 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n",
    "proc/self/cgroup": "4:memory:/user.slice\n",
    "proc/7/cgroup": "4:memory:/system.slice/abc\n",
    "sys/fs/cgroup/memory/system.slice/memory.usage_in_bytes": f"{6 * GIB}\n",
    "sys/fs/cgroup/memory/system.slice/abc/memory.usage_in_bytes": f"{5 * GIB}\n",
    "sys/fs/cgroup/memory/system.slice/abc/memory.stat":
        f"active_file 1\ntotal_active_file {3 * GIB}\ntotal_inactive_file {GIB}\n",
    "sys/fs/cgroup/memory/system.slice/abc/memory.oom_control": "oom_kill 0\n",
}  # fmt: skip


@pytest.mark.parametrize("files", [V1, V2], ids=["v1", "v2"])
@pytest.mark.parametrize(
    ("limit", "project", "available"),
    [
        (None, None, 10 * GIB),
        (None, "other", 10 * GIB),
        (None, "shop", 11 * GIB),  # 10 with the page cache, and what isn't page cache
        (8 * GIB, None, 2 * GIB),
        (8 * GIB, "shop", 7 * GIB),  # all of it goes when the containers are recreated
        (5 * GIB, "shop", 5 * GIB),  # never above the limit
    ],
)
def test_page_cache_of_the_stack_counts_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, str], limit: int | None,
    project: str | None, available: int,
) -> None:  # fmt: skip
    memory = SystemMemory(16 * GIB, 10 * GIB)
    monkeypatch.setattr(host_machine, "read_memory", lambda root: memory)
    root = machine(tmp_path, files)
    api: Any = Containers("abc")
    value, source = read_memory_available_to_stack(api, "/system.slice", limit, project, root)
    assert value == available
    assert ("this stack" in source) is (project == "shop")


@pytest.mark.parametrize(
    ("name", "gib"), [("H01", 4.0), ("H02", 1.1), ("H03", 42.0)], ids=["H01", "H02", "H03"]
)
def test_the_memory_of_the_shared_cases(
    name: str, gib: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A guest's figures leave out its host's ZFS cache; on the host itself it is available."""
    root = SHARED / "cases/host" / name
    if not root.is_dir():
        pytest.skip("the shared cases aren't there")
    host, _ = read_available_host_memory(root)
    api: Any = Containers()
    docker, _ = read_memory_available_to_stack(api, "/", None, None, root)
    assert isinstance(host, int)
    assert host == docker == pytest.approx(gib * GIB, abs=0.05 * GIB)


def test_the_limits_of_the_shared_cases(monkeypatch: pytest.MonkeyPatch) -> None:
    root = SHARED / "cases/host"
    if not root.is_dir():
        pytest.skip("the shared cases aren't there")
    assert Cgroups(root / "H08").limit("memory").value == 16 * GIB
    high = Cgroups(root / "H07").limit("high")
    assert high.value == 2 * GIB
    assert re.search("user.slice/memory.high$", high.source)
    assert Cgroups(root / "H07").limit("memory").value is None
    assert Cgroups(root / "H08").limit("high").value is None  # v1 doesn't throttle


@pytest.mark.parametrize("high", [2 * GIB, None])
def test_where_containers_are_throttled_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, high: int | None
) -> None:
    visible = HostVisibility(None, None, None, lambda _: None)
    monkeypatch.setattr(context, "find_host_visibility", lambda *_: visible)
    limits = {
        "memory": CgroupLimit(4 * GIB, "/x.slice/memory.max"),
        "high": CgroupLimit(high, "/x.slice/memory.high"),
        "cpu": CgroupLimit(1.5, "/x.slice/cpu.max"),
    }
    monkeypatch.setattr(engine_facts, "find_containers_cgroup", lambda *_: "/x.slice")
    cgroups = SimpleNamespace(
        limit=lambda kind, _: limits[kind],
        memory_usage=lambda _: 0,
    )
    monkeypatch.setattr(engine_facts, "Cgroups", lambda *_: cgroups)
    with listening(tmp_path / "s", engine({"MemTotal": 8 * GIB, "OSType": "linux"})) as url:
        facts = facts_of(url)
    memory = facts.values["docker"]["memory"]
    assert (memory["limit"], memory["usable"], memory["high"]) == (4 * GIB, 4 * GIB, high)
    assert facts.values["docker"]["cpus_limit"] == 1.5
    assert memory["available"] <= memory["usable"]
    source = facts.sources["docker.memory.usable"]
    assert ("/x.slice/memory.high throttles" in source) is (high is not None)
