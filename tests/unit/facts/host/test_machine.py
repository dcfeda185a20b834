"""The host's figures held against the kernel's own files and other programs; then the faults."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from preflight.facts.collect.context import MeasurementContext
from preflight.facts.collect.measurement import MeasurementOptions
from preflight.facts.collect.worker import run_probe
from preflight.facts.engine import host_visibility as inside
from preflight.facts.host import disk
from preflight.facts.host import machine as host
from preflight.facts.host.proc_and_cgroups import SystemMemory, read_memory
from preflight.facts.table import PROBES, Probe
from preflight.model.facts import Facts, Unknown, build_facts

GiB = 2**30
Run = Callable[..., "subprocess.CompletedProcess[str]"]
linux = pytest.mark.skipif(sys.platform != "linux", reason="held against Linux's own files")
HOST, DISK = (
    next(probe for probe in PROBES if probe.module == name)
    for name in ("host.machine", "host.disk")
)


def snapshot(run: Run, *arguments: str, **how: Any) -> dict[str, Any]:
    done = run("facts", "-f", "json", *arguments, **how)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    read: dict[str, Any] = json.loads(done.stdout)
    return read


def here(root: Path = Path("/")) -> dict[str, Any]:
    """Return the host's facts by dotted path, measured in this process."""
    return {
        ".".join(one.path): one.value
        for one in host.measure_machine(MeasurementContext(MeasurementOptions()), root)
    }


def meminfo() -> dict[str, int]:
    lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    return {line.split(":")[0]: int(line.split()[1]) * 1024 for line in lines}


def said(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


# --- this machine -----------------------------------------------------------------------------


@linux
def test_memory_and_swap_are_what_the_kernel_says(run_preflight: Run) -> None:
    facts = snapshot(run_preflight)["facts"]["host"]
    kernel = meminfo()
    assert facts["memory"]["total"] == kernel["MemTotal"]
    assert facts["memory"]["available"] == pytest.approx(kernel["MemAvailable"], rel=0.1)
    assert facts["memory"]["usable"] <= facts["memory"]["total"]
    assert facts["swap"]["total"] == (kernel["SwapTotal"] or None)
    if kernel["SwapTotal"]:
        assert facts["swap"]["free"] == pytest.approx(kernel["SwapFree"], rel=0.1)


@linux
def test_the_system_is_what_uname_says(run_preflight: Run) -> None:
    facts = snapshot(run_preflight)["facts"]["host"]
    assert facts["os"] == "linux"
    assert [facts["kernel"], facts["arch"]] == said("uname", "-rm").split()
    assert facts["hostname"] == "<host-1>"
    shown = json.loads(run_preflight("facts", "-f", "json", "--no-redact").stdout)
    assert shown["facts"]["host"]["hostname"] == said("uname", "-n")


@linux
def test_cpus_are_counted_and_the_affinity_holds(run_preflight: Run) -> None:
    facts = snapshot(run_preflight)["facts"]["host"]["cpu"]
    cpuinfo = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    assert facts["logical"] == cpuinfo.count("processor\t:")
    assert 1 <= facts["physical"] <= facts["logical"]
    assert facts["usable"] <= int(said("nproc"))
    first = str(min(os.sched_getaffinity(0)))
    bound = snapshot(run_preflight, prefix=("taskset", "-c", first))
    assert bound["facts"]["host"]["cpu"]["logical"] == facts["logical"]
    assert bound["facts"]["host"]["cpu"]["usable"] == min(1, facts["usable"])
    assert "affinity" in bound["sources"]["host.cpu.usable"] or facts["usable"] < 1


# --- /proc/meminfo that says little -----------------------------------------------------------

WITHOUT = {
    "empty": ("", {"total", "available", "usable"}),
    "garbage": ("garbage\n\n\x00\n", {"total", "available", "usable"}),
    "no figures": ("MemTotal: lots kB\n", {"total", "available", "usable"}),
    "total only": ("MemTotal: 8000000 kB\n", {"total", "available", "usable"}),
    "zero": ("MemTotal: 0 kB\nMemFree: 0 kB\n", {"total", "available", "usable"}),
    "nothing available": (
        "MemTotal: 8000000 kB\nMemFree: 0 kB\nMemAvailable: 0 kB\n",
        {"available"},
    ),
}


@linux
@pytest.mark.parametrize("case", WITHOUT)
def test_a_broken_meminfo_costs_only_what_it_would_have_said(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, case: str
) -> None:
    text, lost = WITHOUT[case]
    proc = tmp_path / "proc"
    proc.mkdir()
    (proc / "meminfo").write_text(text)
    (proc / "vmstat").write_text("pswpin 0\npswpout 0\n")
    monkeypatch.setattr(psutil, "PROCFS_PATH", str(proc))
    monkeypatch.setattr(host, "read_memory", lambda root: read_memory(tmp_path))
    facts = here()
    memory = {name for name in facts if name.startswith("host.memory.")}
    unknown = {name: facts[name] for name in memory if isinstance(facts[name], Unknown)}
    assert set(unknown) == {f"host.memory.{name}" for name in lost}
    for why in unknown.values():
        assert why.reason.startswith("/proc/meminfo ")
        assert why.kind in ("error", "unavailable")
    if "total" not in lost:
        assert facts["host.memory.total"] == 8_000_000 * 1024
    assert facts["host.cpu.usable"] > 0
    assert facts["host.hostname"]


# --- faults -----------------------------------------------------------------------------------


def broken(*args: object, **kwargs: object) -> Any:
    raise RuntimeError("broken")


def refused(*args: object, **kwargs: object) -> Any:
    raise PermissionError(13, "Permission denied")


def nothing(*args: object, **kwargs: object) -> Any:
    return None


def zero(*args: object, **kwargs: object) -> Any:
    return SystemMemory(0, 0)


FAULTS = {
    "none": [],
    "no memory": [(host, "read_memory", broken)],
    "no swap": [(host, "read_swap", broken)],
    "no cpus": [(os, "sysconf", broken), (host, "count_cores", broken)],
    "cpus not said": [(os, "sysconf", nothing), (host, "count_cores", nothing)],
    "memory zero": [(host, "read_memory", zero)],
    "no affinity": [(os, "sched_getaffinity", broken)],
    "no platform": [(os, "uname", broken)],
    "platform not said": [(os, "uname", lambda: os.uname_result(["Linux", "", "", "", ""]))],
    "no statvfs": [(os, "statvfs", broken)],
    "no stat": [(os, "stat", refused)],
    "no container marks": [(inside, "_find_container_marker", broken)],
}


def delivered(probe: Probe, context: MeasurementContext) -> Facts:
    """Run a probe as the worker does; every declared fact is then known or unknown, not both."""
    lines = list(run_probe(probe, context))
    known = [one.path for one in lines if not isinstance(one.value, Unknown)]
    assert len(known) == len(set(known)), "measured twice"
    facts = build_facts(lines, measured_at="", version="")
    assert {*facts.sources, *facts.unknown} == {fact.path for fact in probe.facts}
    assert not {*facts.sources} & {*facts.unknown}
    assert all(why.reason for why in facts.unknown.values())
    assert all(facts.sources.values()), facts.sources
    return facts


@pytest.mark.parametrize("system", ["linux", "darwin", "win32"])
@pytest.mark.parametrize("fault", FAULTS)
def test_every_declared_fact_is_delivered_once_whatever_fails(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, system: str, fault: str
) -> None:
    with monkeypatch.context() as patch:
        pretend(patch, system)
        for where, name, fake in FAULTS[fault]:
            patch.setattr(where, name, fake, raising=False)
        facts = delivered(HOST, MeasurementContext(MeasurementOptions(str(tmp_path))))
        on_disk = delivered(DISK, MeasurementContext(MeasurementOptions(str(tmp_path))))
    if fault not in {"no memory", "memory zero"}:
        assert facts.get(("host", "memory", "total")) == psutil.virtual_memory().total
    if "cpu" not in fault:
        assert facts.get(("host", "cpu", "logical")) == psutil.cpu_count()
    if "stat" not in fault and "marks" not in fault:
        assert on_disk.get(("host", "disk", "total")) > 0


def pretend(patch: pytest.MonkeyPatch, system: str) -> None:
    """Let this be another system, as far as the probes can see."""
    patch.setattr(sys, "platform", system)
    if system == "linux":
        return
    patch.delattr(os, "sched_getaffinity", raising=False)
    if system == "win32":
        patch.delattr(os, "statvfs", raising=False)
        patch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(total=9, free=4))


@pytest.mark.parametrize(("system", "name"), [("darwin", "darwin"), ("win32", "windows")])
def test_what_only_linux_has_is_unsupported_elsewhere(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, system: str, name: str
) -> None:
    pretend(monkeypatch, system)
    facts = here()
    assert facts["host.os"] == name
    assert facts["host.memory.limit"].kind == "unsupported"
    assert facts["host.memory.usable"] == facts["host.memory.total"] > 0
    assert facts["host.cpu.usable"] == facts["host.cpu.logical"] > 0
    on_disk = {
        one.path[-1]: one.value
        for one in disk.measure_disk(
            MeasurementContext(MeasurementOptions(str(tmp_path))), tmp_path
        )
    }
    for linuxs in ("filesystem", "kind"):
        assert on_disk[linuxs].kind == "unsupported"


def test_one_figure_that_fails_leaves_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "count_cores", broken)
    facts = here()
    assert facts["host.cpu.logical"] == psutil.cpu_count()
    assert "RuntimeError: broken" in facts["host.cpu.physical"].reason
    assert facts["host.cpu.usable"] > 0


def test_no_swap_is_absent_and_not_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "read_swap", zero)
    facts = here()
    assert facts["host.swap.total"] is None
    assert facts["host.swap.free"] is None


def test_swap_that_is_full_is_zero_and_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "read_swap", lambda root: SystemMemory(GiB, 0))
    assert (here()["host.swap.total"], here()["host.swap.free"]) == (GiB, 0)


# --- container --------------------------------------------------------------------------------

OVERLAY = "600 500 0:99 / / rw,relatime - overlay overlay rw,lowerdir=/a\n"
DISK_ROOT = "27 1 254:0 / / rw,relatime - ext4 /dev/vda rw\n"
BTRFS_ROOT = "600 500 0:31 /docker/btrfs/subvolumes/1 / rw - btrfs /dev/sda2 rw\n"


@pytest.mark.parametrize(
    ("files", "inside"),
    [
        pytest.param({"proc/self/mountinfo": DISK_ROOT}, False, id="plain host"),
        pytest.param({}, False, id="nothing is readable"),
        pytest.param({".dockerenv": "", "proc/self/mountinfo": OVERLAY}, True, id="docker"),
        pytest.param({".dockerenv": "", "proc/self/mountinfo": DISK_ROOT}, False, id="microVM"),
        pytest.param({".dockerenv": "", "proc/self/mountinfo": BTRFS_ROOT}, True, id="btrfs"),
        pytest.param({".dockerenv": ""}, True, id="docker without mountinfo"),
        pytest.param({"run/.containerenv": "", "proc/self/mountinfo": OVERLAY}, True, id="podman"),
        pytest.param({"run/systemd/container": "lxc\n"}, True, id="lxc, by systemd"),
        pytest.param(
            {
                "proc/self/cgroup": "4:memory:/kubepods/burstable/pod1/2\n",
                "proc/self/mountinfo": OVERLAY,
            },
            True,
            id="kubernetes, v1",
        ),
        pytest.param(
            {"proc/self/cgroup": "0::/kubepods.slice/a\n", "proc/self/mountinfo": OVERLAY},
            True,
            id="kubernetes, v2",
        ),
        pytest.param({"proc/self/cgroup": "0::/user.slice/user-1000.slice\n"}, False, id="a login"),
        pytest.param({"proc/self/cgroup": "garbage\xff"}, False, id="garbage"),
    ],
)
def test_container(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, files: dict[str, str], inside: bool
) -> None:
    for name in ("container", "KUBERNETES_SERVICE_HOST"):
        monkeypatch.delenv(name, raising=False)
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, encoding="latin-1")
    assert here(tmp_path)["host.container"] is inside


def test_systemd_runs_where_its_folder_is(tmp_path: Path) -> None:
    assert here(tmp_path)["host.systemd"] is False
    (tmp_path / "run/systemd/system").mkdir(parents=True)
    assert here(tmp_path)["host.systemd"] is True


def test_container_by_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    assert here(tmp_path)["host.container"] is True


# --- ZFS --------------------------------------------------------------------------------------


def arcstats(root: Path, size: object, least: object) -> Path:
    file = root / "proc/spl/kstat/zfs/arcstats"
    file.parent.mkdir(parents=True)
    file.write_text(
        "13 1 0x01 147 39984 4171 30\nname                            type data\n"
        f"hits                            4    1\nc_min                           4    {least}\n"
        f"size                            4    {size}\n"
    )
    return root


@pytest.mark.parametrize(
    ("size", "least", "available"),
    [
        pytest.param(8 * GiB, GiB, 11 * GiB, id="gives back all above its minimum"),
        pytest.param(GiB, 2 * GiB, 4 * GiB, id="below its minimum"),
        pytest.param(64 * GiB, GiB, 4 * GiB, id="of the machine around a container"),
        pytest.param("x", GiB, 4 * GiB, id="garbage"),
    ],
)
def test_what_the_zfs_cache_gives_back_is_available(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, size: object, least: object, available: int
) -> None:
    memory = SystemMemory(16 * GiB, 4 * GiB)
    monkeypatch.setattr(host, "read_memory", lambda root: memory)
    assert here(arcstats(tmp_path, size, least))["host.memory.available"] == available
