"""The machine this process runs on: memory, swap, CPU, system, and the limits on the process."""

import os
import re
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from preflight.facts.collect.context import Engine, MeasurementContext
from preflight.facts.engine.api import LazyValue
from preflight.facts.engine.host_visibility import (
    find_current_container,
    find_engine_info_mismatch,
    is_in_container,
)
from preflight.facts.host.proc_and_cgroups import (
    CgroupLimit,
    Cgroups,
    count_cores,
    read_memory,
    read_mounts,
    read_swap,
)
from preflight.facts.nested_values import get_nested_text
from preflight.model.facts import (
    Measured,
    NotMeasuredError,
    Unknown,
    make_fact,
    make_unknown_from_error,
    measure_fact,
    read_or_unknown,
)

SYSTEM_CONTAINER_KINDS = ("lxc", "lxc-libvirt", "openvz", "systemd-nspawn")
"""Containers that are machines: with an init system, where an engine can be installed."""

_MEMORY_SOURCE = "/proc/meminfo" if sys.platform.startswith("linux") else "psutil"
_OS_RELEASE_FILES = ("etc/os-release", "usr/lib/os-release")  # os-release(5): the first that exists
_OS_RELEASE_KEYS = {"id": "ID", "version": "VERSION_ID", "name": "PRETTY_NAME"}
_MAX_OS_RELEASE_BYTES = 2**22
_MAX_OS_RELEASE_VALUE_CHARS = 1000
_MAX_PROC_FILE_BYTES = 2**16
_MAX_SYSTEM_NAME_CHARS = 100
_CPU_MODEL_KEYS = ("model name", "cpu model", "cpu", "uarch")  # of /proc/cpuinfo
_CPU_FLAGS_KEYS = ("flags", "features", "Features")
_FLAGS_BY_X86_LEVEL = {  # each needs those before it too
    "x86-64-v1": "lm cmov cx8 fpu fxsr mmx syscall sse sse2",
    "x86-64-v2": "cx16 lahf_lm popcnt pni sse4_1 sse4_2 ssse3",
    "x86-64-v3": "avx avx2 bmi1 bmi2 f16c fma abm movbe xsave",
    "x86-64-v4": "avx512f avx512bw avx512cd avx512dq avx512vl",
}
_GENERIC_CPU_NAMES = ("qemu virtual cpu", "common kvm processor", "common 32-bit kvm processor")
_LINUX_FLAG_BY_MACOS_FLAG = {
    "sse3": "pni", "sse4.1": "sse4_1", "sse4.2": "sse4_2", "avx1.0": "avx", "lzcnt": "abm",
    "lahf": "lahf_lm", "em64t": "lm",
}  # fmt: skip
_DMI_NAMES_BY_VIRTUALIZATION = {  # how a name in /sys/class/dmi/id begins
    "kvm": ("KVM", "OpenStack", "KubeVirt"),
    "amazon": ("Amazon EC2",),
    "qemu": ("QEMU",),
    "vmware": ("VMware", "VMW"),
    "oracle": ("innotek GmbH", "VirtualBox"),
    "xen": ("Xen",),
    "bochs": ("Bochs",),
    "parallels": ("Parallels",),
    "bhyve": ("BHYVE",),
    "hyperv": ("Hyper-V",),
    "apple": ("Apple Virtualization",),
    "google": ("Google Compute Engine",),
}
_DMI_FILES = ("product_name", "sys_vendor", "board_vendor", "bios_vendor", "product_version")


def measure_machine(context: MeasurementContext, root: Path = Path("/")) -> Iterator[Measured]:
    """Yield the host's facts; the hostname last, because a container asks the engine for it."""
    cgroups = LazyValue(lambda: Cgroups(root))
    yield from _measure_memory(root, cgroups)
    yield from _measure_cpu(root, cgroups)
    system = "windows" if sys.platform == "win32" else sys.platform
    yield make_fact("host.os", system, "sys.platform")
    processor, kernel, hostname = _read_uname()
    yield make_fact("host.arch", processor, "platform.machine()")
    yield make_fact("host.kernel", kernel, "platform.release()")
    yield from measure_distribution(root)
    yield measure_virtualization(root)
    yield measure_timezone(root)
    inside, evidence = is_in_container(root)
    yield make_fact("host.container", inside, evidence)
    systemd = root / "run/systemd/system"  # as sd_booted(3) has it
    yield make_fact("host.systemd", systemd.is_dir(), "/run/systemd/system")
    engine = context.engine_or_unknown() if inside else None
    if isinstance(engine, Engine) and engine.api.endpoint.is_local:
        name = get_nested_text(engine.info, "Name")
        if name and find_engine_info_mismatch(engine.name, engine.info) is None:
            yield make_fact("host.hostname", name, "GET /info Name")
            return
    yield measure_fact(
        ("host", "hostname"), _read_nonzero_value, lambda: hostname, "platform.node()"
    )


def _read_uname() -> tuple[str, str, str]:
    """Return the processor's architecture, the kernel's release, and the hostname."""
    if not hasattr(os, "uname"):
        import platform  # does the same on Windows, and takes long to import

        system = platform.uname()
        return system.machine, system.release, system.node
    _, hostname, kernel, _, processor = os.uname()
    return processor, kernel, hostname


def _measure_memory(root: Path, cgroups: Callable[[], Cgroups]) -> Iterator[Measured]:
    read, source = lambda: read_memory(root).total, _MEMORY_SOURCE
    yield (total := measure_fact(("host", "memory", "total"), _read_nonzero_value, read, source))
    yield measure_fact(("host", "memory", "available"), read_available_host_memory, root)
    limit, high = (
        _measure_own_cgroup_limit("memory.limit", kind, cgroups) for kind in ("memory", "high")
    )
    throttles = f"; above {high.value} bytes {high.source} throttles this process"
    is_throttled = isinstance(high.value, int)
    yield limit._replace(source=f"{limit.source}{throttles if is_throttled else ''}")
    source = "min(host.memory.total, host.memory.limit)"
    yield make_fact(
        "host.memory.usable", _get_lower_of_total_and_limit(total.value, limit.value), source
    )
    swap: Any = read_or_unknown(_read_nonzero_value, partial(read_swap, root), _MEMORY_SOURCE)
    for name, field in (("total", "total"), ("free", "available")):
        value: Any = swap
        if not isinstance(swap, Unknown):
            value = getattr(swap[0], field) if swap[0].total else None
        yield make_fact(f"host.swap.{name}", value, _MEMORY_SOURCE)


def read_available_host_memory(root: Path = Path("/")) -> tuple[int, str]:
    """Return the bytes that new programs can use without swapping, and the source.

    The kernel counts the ZFS ARC as used, which can give most of it back (openzfs#10255). The
    memory of a system container (lxcfs) doesn't include the ARC, although its figures are shown
    there. Raises NotMeasuredError.
    """
    memory, source = _read_nonzero_value(partial(read_memory, root), _MEMORY_SOURCE)
    arc = _read_reclaimable_zfs_cache(root)
    if 0 < arc <= memory.total - memory.available and not _has_own_meminfo(root):
        return memory.available + arc, f"{source} and what the ZFS ARC can give back"
    return _read_nonzero_value(lambda: memory.available, source)


def _has_own_meminfo(root: Path) -> bool:
    """Whether /proc/meminfo is a container's own, as lxcfs and OpenVZ make it."""
    with suppress(OSError):
        if any(mount.point in ("/proc", "/proc/meminfo") and mount.filesystem == "fuse.lxcfs"
               for mount in read_mounts(root)):  # fmt: skip
            return True
    return find_container_kind(root) in SYSTEM_CONTAINER_KINDS


def _measure_cpu(root: Path, cgroups: Callable[[], Cgroups]) -> Iterator[Measured]:
    source = "/sys/devices/system/cpu" if sys.platform.startswith("linux") else "psutil"
    cores = partial(count_cores, root)
    yield measure_fact(("host", "cpu", "physical"), _read_nonzero_value, cores, source)
    source = "the number of CPUs online"
    yield (
        count := measure_fact(
            ("host", "cpu", "logical"), _read_nonzero_value, _count_online_cpus, source
        )
    )
    usable = count.value
    if hasattr(os, "sched_getaffinity"):
        usable, source = len(os.sched_getaffinity(0)), "os.sched_getaffinity"
    quota = _measure_own_cgroup_limit("cpu.quota", "cpu", cgroups)
    if isinstance(quota.value, int | float):
        source = f"min({source}, {quota.source})"
    for name, value in read_cpu_features(root)._asdict().items():
        yield make_fact(f"host.cpu.{name}", value, "/proc/cpuinfo")
    yield make_fact("host.cpu.usable", _get_lower_of_total_and_limit(usable, quota.value), source)


def _count_online_cpus() -> int | None:
    if hasattr(os, "sysconf"):
        return os.sysconf("SC_NPROCESSORS_ONLN")
    return os.cpu_count()  # which PYTHON_CPU_COUNT changes


def _read_nonzero_value(read: Callable[[], Any], source: str) -> tuple[Any, str]:
    """Return a figure and its source; raises NotMeasuredError for zero and None."""
    try:
        value = read()
    except Exception as error:  # noqa: BLE001 - psutil raises what its parsing of /proc meets
        reason = f"{source} failed: {type(error).__name__}: {error}"
        raise NotMeasuredError(reason, "error") from None
    if not value:
        raise NotMeasuredError(f"{source} reports {value or 'nothing'}")
    return value, source


def _measure_own_cgroup_limit(name: str, kind: str, cgroups: Callable[[], Cgroups]) -> Measured:
    def read() -> CgroupLimit:
        if not sys.platform.startswith("linux"):
            raise NotMeasuredError("only Linux has control groups", "unsupported")
        return cgroups().limit(kind)

    return measure_fact(("host", *name.split(".")), read)


def _get_lower_of_total_and_limit(
    total: float | Unknown, limit: float | Unknown | None
) -> float | Unknown:
    """Return the lower of both; the total where the system has no control groups."""
    if isinstance(total, Unknown) or limit is None:
        return total
    if isinstance(limit, Unknown):
        return total if limit.kind == "unsupported" else limit
    return min(total, limit)


def _read_reclaimable_zfs_cache(root: Path) -> int:
    """Return the bytes that the ZFS cache gives back under pressure; Linux counts them as used."""
    try:
        text = (root / "proc/spl/kstat/zfs/arcstats").read_text(encoding="ascii")
        figures = dict(re.findall("^(size|c_min) +4 +([0-9]+)$", text, re.MULTILINE))
        return max(0, int(figures["size"]) - int(figures["c_min"]))
    except (OSError, KeyError):
        return 0


class CpuFeatures(NamedTuple):
    """What all CPUs share: instruction sets, the level of the psABI that they reach, the model."""

    flags: list[str] | Unknown
    level: str | Unknown
    model: str | Unknown


def read_cpu_features(root: Path = Path("/")) -> CpuFeatures:
    """Read /proc/cpuinfo, or what macOS has in its place."""
    try:
        if sys.platform == "darwin":
            return parse_cpuinfo(format_macos_cpuinfo(_read_macos_cpu_sysctl))
        return parse_cpuinfo((root / "proc/cpuinfo").read_text(errors="replace"))
    except (OSError, AttributeError) as error:
        reason = (
            make_unknown_from_error(error) if isinstance(error, OSError) else Unknown(str(error))
        )
        return CpuFeatures(reason, reason, reason)


def parse_cpuinfo(text: str) -> CpuFeatures:
    """Parse /proc/cpuinfo; x86 calls instruction sets flags, ARM and others Features.

    A generic model of a hypervisor hides what the processor has. Source of the levels: System V
    ABI for x86-64, table 3.1; the kernel calls LZCNT abm, SSE3 pni and OSXSAVE xsave.
    """
    columns = (line.partition(":") for line in text.split("\n"))
    lines = [(key.strip(), value.strip()) for key, _, value in columns]
    models = (value for key, value in lines if key in _CPU_MODEL_KEYS and value)
    missing = Unknown("/proc/cpuinfo doesn't list a CPU model", "unsupported")
    model: str | Unknown = next(models, missing)
    flag_lists = {value for key, value in lines if key in _CPU_FLAGS_KEYS}
    shared = set.intersection(*(set(names.split()) for names in flag_lists or {""}))
    flags = sorted(shared) or Unknown("/proc/cpuinfo doesn't list CPU flags", "unsupported")
    level: str | Unknown = Unknown("CPU levels are defined only for x86-64", "unsupported")
    for name, needed in _FLAGS_BY_X86_LEVEL.items():
        if not shared.issuperset(needed.split()):
            break
        level = name
    is_generic = any(generic in str(model).lower() for generic in _GENERIC_CPU_NAMES)
    if is_generic and level != name:
        reason = f"the hypervisor presents {model}, which hides features of the processor"
        flags = level = Unknown(reason)
    return CpuFeatures(flags, level, model)


def format_macos_cpuinfo(read: Callable[[str], str]) -> str:
    """Return what `read` knows of macOS's machdep.cpu.*, as Linux writes /proc/cpuinfo."""
    names = " ".join(read(name) for name in ("features", "leaf7_features", "extfeatures")).lower()
    flags = " ".join(_LINUX_FLAG_BY_MACOS_FLAG.get(name, name) for name in names.split())
    return f"model name : {read('brand_string')}\nflags : {flags}\n"


def _read_macos_cpu_sysctl(name: str) -> str:
    import ctypes

    buffer = ctypes.create_string_buffer(4096)
    size = ctypes.c_size_t(len(buffer))
    path = f"machdep.cpu.{name}".encode()
    failed = ctypes.CDLL(None).sysctlbyname(path, buffer, ctypes.byref(size), None, 0)
    return "" if failed else buffer.value.decode("utf-8", "replace")


# --- distribution and virtualization: names and order of evidence as in systemd-detect-virt(1) ---


def measure_distribution(root: Path) -> Iterator[Measured]:
    """Yield `host.distribution.*`; in an application container they would be its image's."""
    release = read_or_unknown(_read_os_release, root)
    values, source = ({}, "") if isinstance(release, Unknown) else release
    for name, key in _OS_RELEASE_KEYS.items():
        value = values.get(key, "linux" if key == "ID" else None)
        is_known = not isinstance(release, Unknown)
        yield Measured(("host", "distribution", name), value if is_known else release, source)


def _read_os_release(root: Path) -> tuple[Mapping[str, str], str]:
    kind = find_container_kind(root)
    if not sys.platform.startswith("linux"):
        raise NotMeasuredError("this machine doesn't run Linux", "unsupported")
    if kind and kind not in SYSTEM_CONTAINER_KINDS:
        reason = "inside a container, os-release describes the image, not the machine"
        raise NotMeasuredError(reason, "unsupported")
    for name in _OS_RELEASE_FILES:
        with (
            suppress(FileNotFoundError),
            open(root / name, encoding="utf-8", errors="replace") as file,
        ):
            return parse_os_release(file.read(_MAX_OS_RELEASE_BYTES)), f"/{name}"
    raise NotMeasuredError("neither /etc/os-release nor /usr/lib/os-release exists")


def parse_os_release(text: str) -> dict[str, str]:
    """Return the values of an os-release file that facts are made of; the last of several counts.

    A value that isn't valid is left out.
    """
    lines = (line.lstrip("\ufeff \t").partition("=") for line in text.split("\n"))
    quoted = {
        key: value
        for key, _, value in lines
        if key in _OS_RELEASE_KEYS.values() and len(value) <= _MAX_OS_RELEASE_VALUE_CHARS
    }
    values = {}
    for key, value in quoted.items():
        try:
            words = shlex.split(value)
        except ValueError:  # a quotation mark that isn't closed
            continue
        if len(words) == 1 and words[0]:
            values[key] = words[0][:_MAX_SYSTEM_NAME_CHARS]
    return values


def measure_timezone(root: Path) -> Measured:
    """Return `host.timezone`, by the link or the text that names it, UTC where neither is there."""
    path, link = ("host", "timezone"), root / "etc/localtime"
    kind = find_container_kind(root)
    if sys.platform == "win32" or (kind and kind not in SYSTEM_CONTAINER_KINDS):
        reason = "inside a container, the time zone is the image's" if kind else "not on Windows"
        return Measured(path, Unknown(reason, "unsupported"))
    with suppress(OSError):  # it isn't there, or isn't a link
        _, _, zone = os.readlink(link).partition("zoneinfo")[2].partition("/")
        if zone := zone.removeprefix("posix/").removeprefix("right/"):
            return Measured(path, zone, "/etc/localtime")
    if zone := _read_text_or_empty(root / "etc/timezone").strip():
        return Measured(path, zone[:_MAX_SYSTEM_NAME_CHARS], "/etc/timezone")
    if os.path.lexists(link):
        return Measured(path, Unknown("/etc/localtime isn't a link to a named time zone"))
    return Measured(path, "UTC", "there is no /etc/localtime")  # localtime(5)


def measure_virtualization(root: Path) -> Measured:
    """Return `host.virtualization`: the container, else the virtual machine, else `none`."""
    path = ("host", "virtualization")
    if not sys.platform.startswith("linux"):
        return Measured(path, Unknown("preflight measures this only on Linux", "unsupported"))
    kernel = _read_text_or_empty(root / "proc/sys/kernel/osrelease")
    if kind := find_container_kind(root):
        return Measured(path, kind, "the signs of a container")
    if "microsoft" in kernel.lower():
        return Measured(path, "wsl", "/proc/sys/kernel/osrelease")
    folder = root / "sys/class/dmi/id"
    names = {file: _read_text_or_empty(folder / file).strip() for file in _DMI_FILES}
    for file, name in names.items():
        for kind, beginnings in _DMI_NAMES_BY_VIRTUALIZATION.items():
            if name.startswith(beginnings):
                return Measured(path, kind, f"/sys/class/dmi/id/{file}")
    vendor = names["sys_vendor"]
    if (vendor, names["product_name"]) == ("Microsoft Corporation", "Virtual Machine"):
        return Measured(path, "hyperv", "/sys/class/dmi/id/product_name")
    if hypervisor := _read_text_or_empty(root / "sys/hypervisor/type").strip():
        return Measured(path, hypervisor[:_MAX_SYSTEM_NAME_CHARS], "/sys/hypervisor/type")
    lines = _read_text_or_empty(root / "proc/cpuinfo").splitlines()
    flags = next((line for line in lines if line.startswith("flags")), "")
    if "hypervisor" in flags.split():
        return Measured(path, "vm-other", "the flag hypervisor in /proc/cpuinfo")
    if not flags and not vendor:
        reason = "neither firmware nor CPU flags show whether this is a virtual machine"
        return Measured(path, Unknown(reason))
    return Measured(path, "none", "firmware and CPU flags")


def find_container_kind(root: Path) -> str:
    """Return the kind of container that this process is in, such as lxc; "" outside of any."""
    if (root / "proc/vz").exists() and not (root / "proc/bc").exists():
        return "openvz"
    return find_current_container(root)[0]


def _read_text_or_empty(path: Path) -> str:
    """Return the text of a small file, or "" if it can't be read."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read(_MAX_PROC_FILE_BYTES)
    except OSError:
        return ""
