"""The disk and memory that an engine on this machine has, and whether its logs fill the disk.

Disk and memory are read from the machine, only where `locality` finds that this process sees the
engine's files or processes. Sources for logs: Docker's documentation,
engine/logging/drivers/json-file, /local and /journald, and engine/logging/dual-logging;
journald.conf(5); moby daemon/logger/jsonfilelog and /local.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Mapping
from typing import Any

from preflight.facts.engine.api import (
    EngineApi,
    NotFoundError,
    count_or_none,
    get_label,
    get_object,
    memory_used,
)
from preflight.facts.engine.endpoint import EngineError
from preflight.facts.engine.locality import PathHidden, is_rootless
from preflight.facts.host.kernel import Cgroups, ContainerCgroup, read_container_cgroup
from preflight.model.facts import Unknown

DEFAULT_LOG_DRIVER = "json-file"
_POSITIVE_SIZE = re.compile(r"[0-9.]*[1-9][0-9.]*\s*[a-z]*", re.IGNORECASE)
_CONTAINERD_ROOT = "/var/lib/containerd"
_MAX_MEASURED = 50  # containers of this stack whose memory use is read
_MAX_INSPECTED = 5  # containers that may show where containers run


def free_disk(
    root: str | None, driver_status: list[Any], path_hidden: PathHidden
) -> tuple[int | Unknown, str]:
    """Return the free bytes where the engine keeps its data, and the source."""
    if root is None:
        return Unknown("the engine does not report where it keeps its data"), ""
    folders = [root]
    if any("containerd" in str(row) for row in driver_status):
        folders.append(_CONTAINERD_ROOT)  # the containerd image store ignores data-root
    hidden = next(filter(None, map(path_hidden, folders)), None)
    if hidden is not None:
        return hidden, ""
    try:
        free, folder = min(
            (shutil.disk_usage(folder).free, folder)  # what an ordinary user can write
            for folder in folders
            if folder == root or os.path.exists(folder)
        )
    except OSError as error:
        return Unknown(f"{error.strerror}: {error.filename}"), ""
    return free, f"statvfs of the filesystem of {folder}, f_bavail"


def containers_cgroup(api: EngineApi, info: Mapping[str, Any]) -> str:
    """Return the cgroup of containers that don't name one themselves.

    A running one shows it; else it is the engine's default: daemon/oci_linux.go of moby, libpod's
    `--cgroup-manager`. Raises OSError, EngineError.
    """
    is_podman = "Rootless" in info
    default = "/libpod_parent" if is_podman else "/docker"
    if is_rootless(info):
        default = f"/user.slice/user-{os.getuid()}.slice"
    elif info.get("CgroupDriver") == "systemd":
        default = "/machine.slice" if is_podman else "/system.slice"
    for row in api.running_containers()[:_MAX_INSPECTED]:
        requested_parent, cgroup = _inspect_cgroup(api, str(row.get("Id")))
        if cgroup is not None and (requested_parent or default) == default:
            return cgroup.parent
    # where it isn't there, the engine creates it below the root with the first container
    return "/" if Cgroups().memory_folder(default) is None else default


def _inspect_cgroup(api: EngineApi, container: str) -> tuple[Any, ContainerCgroup | None]:
    """Return the parent that a container asks for, and its cgroup where that can be read."""
    try:
        inspected = api.inspect(container)
    except NotFoundError:
        return None, None
    pid = count_or_none(get_object(inspected, "State").get("Pid"))
    cgroup = read_container_cgroup(pid, container) if pid else None
    parent = get_object(inspected, "HostConfig").get("CgroupParent")
    return parent, cgroup if isinstance(cgroup, ContainerCgroup) else None


def available_memory(
    api: EngineApi, cgroup: str, limit: float | None, project: str | None
) -> tuple[int | Unknown, str]:
    """Return the bytes free for this stack, and the source.

    What the project's own containers use counts as free. `limit` is that of `cgroup`, in which
    containers run.
    """
    import psutil

    free: float = psutil.virtual_memory().available
    try:
        if limit is not None:
            free = min(free, max(0, limit - Cgroups().memory_usage(cgroup)))
        rows = api.running_containers() if project is not None else []
        own = [row for row in rows if get_label(row, "com.docker.compose.project") == project]
        used = sum(_memory_usage(api, str(row.get("Id"))) for row in own[:_MAX_MEASURED])
    except EngineError as error:
        return Unknown(f"what this stack's containers use: {error}", error.unknown.kind), ""
    except OSError as error:
        return Unknown(f"what the containers' cgroup uses: {error}"), ""
    source = "psutil.virtual_memory().available" + (" and this stack's containers" if used else "")
    return int(free + used), source


def _memory_usage(api: EngineApi, container: str) -> int:
    _, cgroup = _inspect_cgroup(api, container)
    if cgroup is not None:
        return cgroup.usage
    try:
        return memory_used(api.stats(container)) or 0
    except NotFoundError:
        return 0


def is_log_rotated(driver: str, options: Mapping[str, Any] | None) -> bool | Unknown:
    """Return whether a driver drops old logs; `options` is None where they aren't known.

    json-file, and Podman's k8s-file, grow without limit unless `max-size` is a positive size;
    `max-file` has no effect without it. `local` keeps 5 files of 20 MB by default. journald keeps
    its journal within SystemMaxUse, by default a tenth of the disk; `none` keeps nothing. All
    others hand logs to a service, and what that drops isn't known.
    """
    if driver in ("journald", "none"):
        return True
    if driver not in (DEFAULT_LOG_DRIVER, "k8s-file", "local"):
        return Unknown(f"where {driver} keeps its logs is not known here", "unsupported")
    if options is None and driver != "local":
        return Unknown(f"the API does not report the options of {driver}", "unsupported")
    size = (options or {}).get("max-size")
    if size is None:
        return driver == "local"
    return _POSITIVE_SIZE.fullmatch(str(size).strip()) is not None
