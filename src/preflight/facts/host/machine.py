"""The machine this process runs on: memory, swap, CPU, system, and the limits on the process.

psutil doesn't know control groups, so their limits are read beside it.
"""

from __future__ import annotations

import os
import platform
import re
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from preflight.facts.collect.context import Engine, MeasureContext
from preflight.facts.engine.api import text_or_none
from preflight.facts.engine.locality import find_differing_info_key, is_in_container
from preflight.facts.host.kernel import Cgroups, explain_os_error, read_cpu_flags
from preflight.model.facts import Measured, Unknown, Value

SYSTEM_CONTAINERS = ("lxc", "lxc-libvirt", "openvz", "systemd-nspawn")
"""Containers that are machines: with an init system, where an engine can be installed."""

_OS_RELEASE_FILES = ("etc/os-release", "usr/lib/os-release")  # os-release(5): the first that exists
_KEYS = {"id": "ID", "version": "VERSION_ID", "name": "PRETTY_NAME"}
_MAX_FILE_BYTES = 2**16
_MAX_NAME_CHARS = 100
_VM_BY_VENDOR = {
    "KVM": "kvm",
    "OpenStack": "kvm",
    "KubeVirt": "kvm",
    "Amazon EC2": "amazon",
    "QEMU": "qemu",
    "VMware": "vmware",
    "VMW": "vmware",
    "innotek GmbH": "oracle",
    "VirtualBox": "oracle",
    "Xen": "xen",
    "Bochs": "bochs",
    "Parallels": "parallels",
    "BHYVE": "bhyve",
    "Hyper-V": "hyperv",
    "Apple Virtualization": "apple",
    "Google Compute Engine": "google",
}
_CONTAINER_BY_CGROUP = {
    "/kubepods": "kubernetes",
    "/docker[/-]": "docker",
    "/libpod": "podman",
    r"/lxc[./]": "lxc",
}


def measure(context: MeasureContext, root: Path = Path("/")) -> Iterator[Measured]:
    """Yield the host's facts; the hostname last, because a container asks the engine for it."""
    yield from _measure_memory(root)
    yield from _measure_cpu(root)
    yield _host_fact("os", "windows" if sys.platform == "win32" else sys.platform, "sys.platform")
    yield _host_fact("arch", platform.machine(), "platform.machine()")
    yield _host_fact("kernel", platform.release(), "platform.release()")
    yield from measure_distribution(root)
    yield measure_virtualization(root)
    inside, evidence = is_in_container(root)
    yield _host_fact("container", inside, evidence)
    name, source = _read_nonzero(platform.node, "platform.node()")
    engine = context.engine_or_unknown() if inside else None
    if isinstance(engine, Engine) and engine.api.endpoint.is_local:
        machine_name = text_or_none(engine.info.get("Name"))
        if machine_name and find_differing_info_key(engine.name, engine.info) is None:
            name, source = machine_name, "GET /info Name"
    yield _host_fact("hostname", name, source)


def _host_fact(name: str, value: Any, source: str) -> Measured:
    return Measured(("host", *name.split(".")), value, source)


def _measure_memory(root: Path) -> Iterator[Measured]:
    import psutil

    total, source = _read_nonzero(
        lambda: psutil.virtual_memory().total, "psutil.virtual_memory().total"
    )
    yield _host_fact("memory.total", total, source)
    available, source = _read_nonzero(
        lambda: psutil.virtual_memory().available, "psutil.virtual_memory().available"
    )
    if isinstance(total, int) and isinstance(available, int):
        arc = _read_arc_shrinkable(root)
        # a larger cache isn't counted in these figures: they are those of a container (lxcfs)
        if 0 < arc <= total - available:
            available, source = available + arc, f"{source} and what the ZFS ARC can give back"
    yield _host_fact("memory.available", available, source)
    limit, source = _read_cgroup_limit("memory", root)
    yield _host_fact("memory.limit", limit, source)
    source = "min(host.memory.total, host.memory.limit)"
    yield _host_fact("memory.usable", _lower_of_total_and_limit(total, limit), source)
    swap, source = _read_nonzero(psutil.swap_memory, "psutil.swap_memory()")
    for name in ("total", "free"):
        value = swap if isinstance(swap, Unknown) else getattr(swap, name) if swap.total else None
        yield _host_fact(f"swap.{name}", value, f"{source}.{name}")


def _measure_cpu(root: Path) -> Iterator[Measured]:
    import psutil

    physical = _read_nonzero(
        lambda: psutil.cpu_count(logical=False), "psutil.cpu_count(logical=False)"
    )
    yield _host_fact("cpu.physical", *physical)
    usable, source = _read_nonzero(psutil.cpu_count, "psutil.cpu_count()")
    yield _host_fact("cpu.logical", usable, source)
    if hasattr(os, "sched_getaffinity"):
        usable, source = len(os.sched_getaffinity(0)), "os.sched_getaffinity"
    quota, quota_source = _read_cgroup_limit("cpu", root)
    if isinstance(quota, int | float):
        source = f"min({source}, {quota_source})"
    yield _host_fact("cpu.flags", read_cpu_flags(root), "/proc/cpuinfo")
    yield _host_fact("cpu.usable", _lower_of_total_and_limit(usable, quota), source)


def _read_nonzero(read: Callable[[], Any], source: str) -> tuple[Any | Unknown, str]:
    """Return a figure and its source; zero and None are unknown, and so is one that fails."""
    try:
        value = read()
    except Exception as error:  # noqa: BLE001 - psutil raises what its parsing of /proc meets
        return Unknown(f"{source} failed: {type(error).__name__}: {error}", "error"), source
    return value or Unknown(f"{source} reports {value or 'nothing'}"), source


def _read_cgroup_limit(controller: str, root: Path) -> tuple[float | Unknown | None, str]:
    if not sys.platform.startswith("linux"):
        return Unknown("only Linux has control groups", "unsupported"), ""
    try:
        return Cgroups(root).limit(controller)
    except OSError as error:
        return explain_os_error(error), ""


def _lower_of_total_and_limit(
    total: float | Unknown, limit: float | Unknown | None
) -> float | Unknown:
    """Return the lower of both; the total where the system has no control groups."""
    if isinstance(total, Unknown) or limit is None:
        return total
    if isinstance(limit, Unknown):
        return total if limit.kind == "unsupported" else limit
    return min(total, limit)


def _read_arc_shrinkable(root: Path) -> int:
    """Return the bytes that the ZFS cache gives back under pressure; Linux counts them as used."""
    try:
        text = (root / "proc/spl/kstat/zfs/arcstats").read_text(encoding="ascii")
        figures = dict(re.findall("^(size|c_min) +4 +([0-9]+)$", text, re.MULTILINE))
        return max(0, int(figures["size"]) - int(figures["c_min"]))
    except (OSError, KeyError):
        return 0


# --- distribution and virtualization: names and order of evidence as in systemd-detect-virt(1) ---


def measure_distribution(root: Path) -> Iterator[Measured]:
    """Yield `host.distribution.*`; in an application container they would be its image's."""
    values: dict[str, Value | Unknown] = dict.fromkeys(_KEYS)
    source = ""
    kind = find_container_kind(root)
    if not sys.platform.startswith("linux"):
        values = dict.fromkeys(values, Unknown("only Linux has distributions", "unsupported"))
    elif kind and kind not in SYSTEM_CONTAINERS:
        reason = "inside a container os-release is the image's, not the machine's"
        values = dict.fromkeys(values, Unknown(reason, "unsupported"))
    else:
        release, source = _read_os_release(root)
        for name, key in _KEYS.items():
            if isinstance(release, Unknown):
                values[name] = release
            else:
                values[name] = release.get(key, "linux" if key == "ID" else None)
    for name, value in values.items():
        yield Measured(("host", "distribution", name), value, source)


def _read_os_release(root: Path) -> tuple[Mapping[str, str] | Unknown, str]:
    for name in _OS_RELEASE_FILES:
        try:
            with open(root / name, encoding="utf-8", errors="replace") as file:
                return parse_os_release(file.read(_MAX_FILE_BYTES)), f"/{name}"
        except FileNotFoundError:
            continue
        except OSError as error:
            return explain_os_error(error), ""
    return Unknown("neither /etc/os-release nor /usr/lib/os-release exists"), ""


def parse_os_release(text: str) -> dict[str, str]:
    """Return the assignments of an os-release file; lines that aren't any are left out."""
    values = {}
    for line in text.splitlines():
        match = re.fullmatch(r"\s*([A-Z][A-Z0-9_]*)=(.*)", line)
        if match is None:
            continue
        try:
            words = shlex.split(match[2])
        except ValueError:  # a quotation mark that isn't closed
            continue
        if len(words) == 1 and words[0]:
            values[match[1]] = words[0][:_MAX_NAME_CHARS]
    return values


def measure_virtualization(root: Path) -> Measured:
    """Return `host.virtualization`: the container, else the virtual machine, else `none`."""
    path = ("host", "virtualization")
    if not sys.platform.startswith("linux"):
        return Measured(path, Unknown("only measured on Linux", "unsupported"))
    kernel = _read(root / "proc/sys/kernel/osrelease")
    if kind := find_container_kind(root):
        return Measured(path, kind, "the signs of a container")
    if "microsoft" in kernel.lower():
        return Measured(path, "wsl", "/proc/sys/kernel/osrelease")
    folder = root / "sys/class/dmi/id"
    for name in ("product_name", "sys_vendor", "board_vendor", "bios_vendor", "product_version"):
        text = _read(folder / name).strip()
        for vendor, kind in _VM_BY_VENDOR.items():
            if text.startswith(vendor):
                return Measured(path, kind, f"/sys/class/dmi/id/{name}")
    vendor, product = (_read(folder / name).strip() for name in ("sys_vendor", "product_name"))
    if (vendor, product) == ("Microsoft Corporation", "Virtual Machine"):
        return Measured(path, "hyperv", "/sys/class/dmi/id/product_name")
    if hypervisor := _read(root / "sys/hypervisor/type").strip():
        return Measured(path, hypervisor[:_MAX_NAME_CHARS], "/sys/hypervisor/type")
    flags = re.search(r"^flags\s*:(.*)$", _read(root / "proc/cpuinfo"), re.MULTILINE)
    if flags and "hypervisor" in flags[1].split():
        return Measured(path, "vm-other", "the flag hypervisor in /proc/cpuinfo")
    if not flags and not vendor:
        return Measured(path, Unknown("neither firmware nor CPU flags say what this machine is"))
    return Measured(path, "none", "firmware and CPU flags")


def find_container_kind(root: Path) -> str:
    """Return the kind of container that this process is in, such as lxc; "" outside of any."""
    if (root / "proc/vz").exists() and not (root / "proc/bc").exists():
        return "openvz"
    if not is_in_container(root)[0]:
        return ""
    if text := _read(root / "run/systemd/container").strip() or os.environ.get("container", ""):  # noqa: SIM112 - its name
        return "podman" if text == "oci" else text[:_MAX_NAME_CHARS]
    for file, kind in ((".dockerenv", "docker"), ("run/.containerenv", "podman")):
        if (root / file).exists():
            return kind
    cgroups = _read(root / "proc/self/cgroup")
    kinds = (kind for pattern, kind in _CONTAINER_BY_CGROUP.items() if re.search(pattern, cgroups))
    return next(kinds, "kubernetes" if "KUBERNETES_SERVICE_HOST" in os.environ else "other")


def _read(path: Path) -> str:
    """Return the text of a small file, "" where it can't be read."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read(_MAX_FILE_BYTES)
    except OSError:
        return ""
