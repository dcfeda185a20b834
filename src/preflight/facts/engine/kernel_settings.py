"""What containers get from the machine that runs them: kernel settings, modules, limits on files.

Where the engine isn't native its kernel is another one, and no container is started to look.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeAlias

from preflight.facts.collect.context import Engine, MeasurementContext
from preflight.facts.engine.api import LazyValue
from preflight.facts.engine.host_visibility import find_unix_socket_listener_pid, is_rootless
from preflight.facts.nested_values import get_nested_text, get_nested_value
from preflight.model.facts import (
    Measured,
    NotMeasuredError,
    measure_fact,
    read_or_unknown,
    require_visible,
)
from preflight.model.facts import Path as FactPath

_MAX_PROC_FILE_BYTES = 2**16  # modules.builtin has some 20 kB
_OTHER_KERNEL_REASON = "the containers run on another kernel: in a VM or on another host"
_KERNEL_MODULE_NAME_PATTERN = "[A-Za-z0-9_-]{1,64}"
_TRANSPARENT_HUGEPAGE_FILE = "sys/kernel/mm/transparent_hugepage/enabled"
_DEFAULT_NOFILE_OPTION_PATTERN = r"\0--?default-ulimit[=\0]nofile=(-?\d+)(?::(-?\d+))?\0"
_DOCKERD_CONFIG_FILE_OPTION_PATTERN = r"\0--?config-file[=\0]([^\0]+)\0"
_SYSTEMD_UNIT_FOLDERS = ("etc/systemd/system", "run/systemd/system", "usr/lib/systemd/system")
_SYSTEMD_NOFILE_LIMIT_PATTERN = r"(?m)^\s*LimitNOFILE\s*=\s*(\d+|infinity)(?::\w+)?\s*$"
_CONTAINERD_PROCS_FILE = "sys/fs/cgroup/system.slice/containerd.service/cgroup.procs"
_SYSTEMD_SOFT_OPEN_FILES_LIMIT = "1024"  # systemd-system.conf(5), DefaultLimitNOFILE=
_FIRST_USER_NAMESPACE_UID_MAP = ["0", "0", str(2**32 - 1)]  # user_namespaces(7), uid_map
_CAP_SYS_RESOURCE_MASK = 1 << 24  # capabilities(7)
_HARD_LIMIT_COLUMN = 47  # of /proc/PID/limits
NofileLimits: TypeAlias = tuple[int, int, str]  # soft, hard, source
_UNLIMITED_ULIMIT_VALUES = ("-1", "infinity", "unlimited")


def measure_kernel_settings(
    context: MeasurementContext, paths: Sequence[FactPath], root: Path = Path("/")
) -> Iterator[Measured]:
    """Yield what rules name of `kernel.*` and `docker.ulimits.*`."""
    limits = LazyValue(lambda: read_default_nofile_limits(context.engine(), root))
    for path in paths:
        yield measure_fact(path, _read_kernel_fact, path, context, limits, root)


def _read_kernel_fact(
    path: FactPath, context: MeasurementContext, limits: LazyValue[NofileLimits], root: Path
) -> tuple[Any, str]:
    visibility = context.engine().visibility
    if visibility.processes_hidden is not None:
        raise NotMeasuredError(_OTHER_KERNEL_REASON)
    if path[0] == "docker":
        soft, hard, source = limits()
        return hard if path[-1] == "hard" else soft, source
    if path[1] == "module":
        return read_kernel_module(path[2], root)
    if path[1] == "thp":
        return read_transparent_hugepage_mode(root), f"/{_TRANSPARENT_HUGEPAGE_FILE}"
    name = "vm/swappiness" if path[1] == "swappiness" else ".".join(path[2:])
    name = convert_sysctl_name_to_path(name)
    if name.startswith("net/"):  # each network has its own
        require_visible(visibility.network_hidden)
    return read_sysctl(name, root), f"/proc/sys/{name}"


def convert_sysctl_name_to_path(name: str) -> str:
    """Return the path of a kernel setting below /proc/sys.

    The first separator counts, and the other one is then part of a name, as of an interface:
    `net/ipv4/conf/eth0.1/forwarding`, `net.ipv4.conf.eth0/1.forwarding`. Source: sysctl(8).
    """
    first = re.search("[./]", name)
    return name.translate(str.maketrans("./", "/.")) if first and first[0] == "." else name


def read_sysctl(name: str, root: Path = Path("/")) -> int | str | None:
    """Read a kernel setting: a number, else text; None if the kernel has none of this name.

    Raises OSError, NotMeasuredError.
    """
    relative = convert_sysctl_name_to_path(name)
    if {"", ".", ".."} & set(relative.split("/")) or "\0" in relative:
        raise NotMeasuredError(f"{name!r} isn't a valid kernel setting name", "invalid")
    try:
        text = _read_kernel_file(f"{root}/proc/sys/{relative}").strip()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return int(text) if re.fullmatch("-?[0-9]{1,20}", text) else text


def _read_kernel_file(file: str | Path) -> str:
    with open(file, "rb", buffering=0) as stream:
        return stream.read(_MAX_PROC_FILE_BYTES).decode("utf-8", "replace")


def read_kernel_module(name: str, root: Path = Path("/")) -> tuple[bool, str]:
    """Return whether a kernel module is loaded or built in, and the source.

    A module without parameters that is built in is only in the list that the kernel's package has.
    Raises NotMeasuredError where that isn't here.
    """
    if not re.fullmatch(_KERNEL_MODULE_NAME_PATTERN, name):
        raise NotMeasuredError(f"{name!r} isn't a valid kernel module name", "invalid")
    module = name.replace("-", "_")
    if (root / "sys/module" / module).is_dir():
        return True, f"/sys/module/{module}"
    try:
        release = _read_kernel_file(root / "proc/sys/kernel/osrelease").strip()
        file = root / "lib/modules" / release / "modules.builtin"
        builtin = re.findall(
            r"([^/\n]+)\.ko$", _read_kernel_file(file).replace("-", "_"), re.MULTILINE
        )
    except OSError as error:
        reason = f"the module isn't loaded, but may be built into the kernel: {error.strerror}"
        raise NotMeasuredError(f"{reason}: {error.filename}") from None
    return module in builtin, f"/sys/module, /lib/modules/{release}/modules.builtin"


def read_transparent_hugepage_mode(root: Path = Path("/")) -> str:
    """Return the mode of transparent huge pages; a kernel built without them never uses any.

    Raises OSError, NotMeasuredError.
    """
    file = root / _TRANSPARENT_HUGEPAGE_FILE
    if not file.exists() and file.parents[1].is_dir():
        return "never"
    mode = re.search(r"\[(\w+)\]", _read_kernel_file(file))
    if mode is None:
        raise NotMeasuredError(f"/{_TRANSPARENT_HUGEPAGE_FILE} doesn't show a mode")
    return mode[1]


# --- limits on open files -----------------------------------------------------------------------


def read_default_nofile_limits(engine: Engine, root: Path = Path("/")) -> NofileLimits:
    """Return the limits on open files that containers start with, and the source.

    They are the daemon's default, else those of the process that starts containers: containerd,
    which may be a child of the daemon. Programs in Go raise their own soft limit to the hard one,
    and give their children the former one (Go 1.19.9, 1.20.4), so that systemd's unit is needed
    then. Raises NotMeasuredError.
    """
    if engine.name != "docker":
        raise NotMeasuredError(
            f"preflight can find this limit only for Docker Engine, not for {engine.name}",
            "unsupported",
        )
    daemon = find_unix_socket_listener_pid(engine.api.endpoint.url.removeprefix("unix://"))
    max_files = read_sysctl("fs.nr_open", root)  # no process can have more
    if not daemon or not isinstance(max_files, int):
        raise NotMeasuredError("the engine's process can't be found")
    try:
        limits = _read_daemon_nofile_default(daemon, engine, root)
        *texts, source = limits or _read_containerd_nofile_limits(daemon, engine, root)
        soft, hard = (max_files if n in _UNLIMITED_ULIMIT_VALUES else int(n) for n in texts)
    except (OSError, ValueError) as error:
        raise NotMeasuredError(f"the limits of the daemon can't be read: {error}") from None
    return min(soft, hard), hard, source


def _read_daemon_nofile_default(
    daemon: int, engine: Engine, root: Path
) -> tuple[str, str, str] | None:
    """Return the default that the daemon's command line or configuration sets, and the source."""
    command = _read_kernel_file(root / f"proc/{daemon}/cmdline")
    # an option is looked for before its pattern: to compile one takes as long as all else here
    option = "default-ulimit" in command and re.search(_DEFAULT_NOFILE_OPTION_PATTERN, command)
    if option:
        return option[1], option[2] or option[1], "dockerd --default-ulimit"
    named = "config-file" in command and re.search(_DOCKERD_CONFIG_FILE_OPTION_PATTERN, command)
    file = named[1] if named else "/etc/docker/daemon.json"
    if not named and is_rootless(engine.info):
        file = os.path.expanduser("~/.config/docker/daemon.json")
    require_visible(engine.visibility.path_hidden(file))
    try:
        config = json.loads(_read_kernel_file(root / file.lstrip("/")))
    except FileNotFoundError:
        return None
    nofile = get_nested_value(config, "default-ulimits.nofile")
    if not nofile:
        return None
    return str(nofile.get("Soft", 0)), str(nofile.get("Hard", 0)), f"default-ulimits in {file}"


def _read_containerd_nofile_limits(daemon: int, engine: Engine, root: Path) -> tuple[str, str, str]:
    pid = _find_containerd_pid(daemon, engine.info, root)
    source = f"/proc/{pid}/limits of containerd"
    rows = _read_kernel_file(root / f"proc/{pid}/limits").splitlines()
    limits = [row.split()[3:5] for row in rows if row.startswith("Max open files ")]
    if not limits:
        raise NotMeasuredError(f"/proc/{pid}/limits doesn't list a limit on open files")
    # whether Go gives children their former limit: the daemon's, as containerd's is about as new
    go_version = re.findall(r"\d+", str(engine.version.get("GoVersion")))[:3]
    version = [int(part) for part in go_version]
    restores_limit = version >= [1, 20, 4] or [1, 19, 9] <= version < [1, 20]
    soft, hard = limits[0]
    if soft != hard or not restores_limit:
        return soft, hard, source
    soft, unit = _read_systemd_nofile_limit(pid, root)
    return soft, hard, f"{source}, {unit}"


def read_container_ulimit_ceilings(engine: Engine, root: Path = Path("/")) -> list[int]:
    """Return by number the limits (`ulimits`) that no container can exceed; empty if it can.

    A process without CAP_SYS_RESOURCE in the first user namespace can't raise its hard limits, as
    in an unprivileged LXC container: prlimit(2). Raises OSError, ValueError, NotMeasuredError.
    """
    daemon = find_unix_socket_listener_pid(engine.api.endpoint.url.removeprefix("unix://"))
    process = root / f"proc/{_find_containerd_pid(daemon, engine.info, root)}"
    capabilities = re.search(r"CapEff:\s*(\w+)", _read_kernel_file(process / "status"))
    owns_machine = _read_kernel_file(process / "uid_map").split() == _FIRST_USER_NAMESPACE_UID_MAP
    if owns_machine and capabilities and int(capabilities[1], 16) & _CAP_SYS_RESOURCE_MASK:
        return []
    hard = [
        row[_HARD_LIMIT_COLUMN:].split()[0]
        for row in _read_kernel_file(process / "limits").splitlines()
    ]
    return [2**64 - 1 if text == "unlimited" else int(text) for text in hard[1:]]


def _find_containerd_pid(daemon: int, info: Mapping[str, Any], root: Path) -> int:
    """Return the pid of the daemon's containerd: its child, who has its socket, or the only one."""
    address = get_nested_text(info, "Containerd.Address")
    threads = root / f"proc/{daemon}/task"  # any may have started it
    children: list[str] = []
    with suppress(OSError):
        for thread in os.listdir(threads):
            children += _read_kernel_file(threads / thread / "children").split()
    owner = find_unix_socket_listener_pid(address or "/run/containerd/containerd.sock")
    unit: list[str] = []
    with suppress(OSError):
        unit = _read_kernel_file(root / _CONTAINERD_PROCS_FILE).split()
    for pids in (children, [str(owner)], unit, _list_pids(root)):
        comms = (
            (pid, read_or_unknown(_read_kernel_file, root / f"proc/{pid}/comm")) for pid in pids
        )
        found = [pid for pid, comm in comms if comm == "containerd\n"]  # others may have ended
        if len(found) == 1:
            return int(found[0])
    raise NotMeasuredError("containerd's process can't be found")


def _list_pids(root: Path) -> Iterator[str]:
    yield from filter(str.isdecimal, os.listdir(root / "proc"))  # not before it is asked for


def _read_systemd_nofile_limit(pid: int, root: Path) -> tuple[str, str]:
    """Return the soft limit that systemd's unit gives a process, by its files."""
    unit = re.search(
        r"/([^/]+\.service)$", _read_kernel_file(root / f"proc/{pid}/cgroup"), re.MULTILINE
    )
    if unit is None:
        raise NotMeasuredError(
            "containerd raised its own limit, so the containers' limit can't be determined"
        )
    main = [root / folder / unit[1] for folder in _SYSTEMD_UNIT_FOLDERS]
    files = [file for file in main if file.is_file()][:1]
    drop_ins = (file for folder in main for file in Path(f"{folder}.d").glob("*.conf"))
    files += sorted(drop_ins, key=lambda file: file.name)
    limits = [
        limit
        for file in files
        for limit in re.findall(_SYSTEMD_NOFILE_LIMIT_PATTERN, _read_kernel_file(file))
    ]
    return limits[-1] if limits else _SYSTEMD_SOFT_OPEN_FILES_LIMIT, f"LimitNOFILE of {unit[1]}"
