"""Paths and options of mounts that Docker refuses, in its words."""

import os
import re
from collections.abc import Iterator, Mapping
from typing import Any

from preflight.facts.collect.context import Engine
from preflight.facts.nested_values import get_nested_list
from preflight.facts.user_and_program_refusals import Refusal

_TMPFS_FLAG_PATTERN = (
    "|(?:no)?(?:suid|dev|exec|mand|atime|diratime|relatime|strictatime)|defaults|r[ow]|a?sync|dirsync"
    "|remount|r?bind|r?(?:unbindable|private|shared|slave)|"
    r"(?:size|mode|uid|gid|nr_inodes|nr_blocks|mpol)=.*|runbindable"
)
_TMPFS_VALUE_PATTERN = (
    r"(?i)(?:size|nr_inodes|nr_blocks)=(?:0x[\da-f]+|\d+)[kmgtpe%]?|mode=[0-7]+|[ug]id=\d+"
    r"|(?!size|mode|[ug]id|nr_).*"
)
# in which the runtime allows some files to be replaced. Source: runc, libcontainer/rootfs_linux.go
_PROTECTED_PROC_PATH_PATTERN = (
    "/proc(?!/(?:cpuinfo|diskstats|meminfo|stat|swaps|uptime|loadavg|slabinfo|net/dev"
    "|sys/kernel/ns_last_pid|sys/crypto/fips_enabled)$)(?:/.*)?"
)


def find_mount_option_refusals(service: Mapping[str, Any], engine: Engine) -> Iterator[Refusal]:
    """Yield what is said to the paths and options of a service's mounts and storage."""
    yield from _find_container_path_refusals(service)
    yield from _find_tmpfs_option_refusals(service)
    yield from _find_storage_option_refusals(service, engine)
    yield from _find_nested_mount_refusals(service, engine)


def _find_nested_mount_refusals(service: Mapping[str, Any], engine: Engine) -> Iterator[Refusal]:
    """Yield what the runtime says to a mount whose target it can't make in a read-only folder."""
    mounts = {str(mount.get("target")).rstrip("/"): mount for mount in service.get("volumes") or ()}
    for target in mounts:
        parents = [other for other in mounts if target.startswith(f"{other}/")]
        outer = mounts[max(parents, key=len)] if parents else {}
        source = str(outer.get("source") or "")
        if outer.get("type") != "bind" or not outer.get("read_only") or not source:
            continue
        path = f"{source}{target.removeprefix(max(parents, key=len))}"
        if engine.visibility.path_hidden(source) is None and not os.path.lexists(path):
            yield f'to rootfs at "{target}"', "volumes"


def _find_container_path_refusals(service: Mapping[str, Any]) -> Iterator[Refusal]:
    """Yield what is said to paths in the container that aren't absolute."""
    folder = str(service.get("working_dir") or "/")
    if not folder.startswith("/"):
        words = f"the working directory '{folder}' is invalid, it needs to be an absolute path"
        yield words, "working_dir"
    targets = [(target, "tmpfs") for target, _ in _list_tmpfs_mounts(service)]
    mounts = service.get("volumes") or ()
    sources = [str(mount.get("source")) for mount in mounts]
    targets += [(str(mount.get("target")), str(mount.get("type"))) for mount in mounts]
    for target, kind in targets:
        key = "tmpfs" if kind == "tmpfs" else "volumes"
        if not target.startswith("/"):
            yield f"invalid mount path: '{target}' mount path must be absolute", key
        elif not target.strip("/"):
            yield "invalid specification: destination can't be '/'", key
        elif (
            kind != "tmpfs"
            and re.fullmatch(_PROTECTED_PROC_PATH_PATTERN, target)
            and target not in sources
        ):
            reason = "not of type proc" if target == "/proc" else "inside /proc"
            yield f"cannot be mounted because it is {reason}", key


def _list_tmpfs_mounts(service: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the target and the options of each item of `tmpfs`."""
    tmpfs = service.get("tmpfs") or ()
    items = [tmpfs] if isinstance(tmpfs, str) else tmpfs
    return [
        (target, options) for target, _, options in (str(item).partition(":") for item in items)
    ]


def is_tmpfs_option_value_valid(option: str) -> bool:
    """Return whether the value of a tmpfs option is valid, True for unknown options."""
    return re.fullmatch(_TMPFS_VALUE_PATTERN, option) is not None


def _find_tmpfs_option_refusals(service: Mapping[str, Any]) -> Iterator[Refusal]:
    for target, options in _list_tmpfs_mounts(service):
        for option in options.split(","):
            if not re.fullmatch(_TMPFS_FLAG_PATTERN, option):
                words = " ".join(f'"{part}"' for part in option.split("=", 1))
                yield f"invalid tmpfs option [{words}]", "tmpfs"
            elif not is_tmpfs_option_value_valid(option):
                yield f'error mounting "tmpfs" to rootfs at "{target}"', "tmpfs"
    for mount in service.get("volumes") or ():
        kind = str(mount.get("type"))
        words = f'invalid mount config for type "{kind}"'
        if kind == "npipe":
            yield f"{words}: mount type unknown", "volumes"
        elif kind == "tmpfs" and mount.get("source"):
            yield f"{words}: field Source must not be specified", "volumes"


def _find_storage_option_refusals(service: Mapping[str, Any], engine: Engine) -> Iterator[Refusal]:
    """Yield what is said to storage_opt; whether XFS has project quotas can't be seen."""
    rows = get_nested_list(engine.info, "DriverStatus")
    file_systems = [row[1] for row in rows if row and row[0] == "Backing Filesystem"]
    if engine.info.get("Driver") != "overlay2":
        return
    for option in service.get("storage_opt") or ():
        if option != "size":
            yield f"Unknown option {option}", "storage_opt"
        elif file_systems not in ([], ["xfs"]):
            words = "--storage-opt is supported only for overlay over xfs with 'pquota'"
            yield f"{words} mount option", "storage_opt"
