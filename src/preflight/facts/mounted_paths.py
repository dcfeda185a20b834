"""What services have mounted, as far as rules name it: `compose.services.*.mounts.*`.

Of a network share that doesn't answer, only what the system's mounts say is known.
"""

import os
import re
import stat
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

from preflight.facts.collect.context import MeasurementContext
from preflight.facts.compose.project import Project, find_setting_source
from preflight.facts.host.disk import find_nearest_existing_path
from preflight.facts.host.proc_and_cgroups import Mount, find_mount, read_mounts
from preflight.facts.nested_values import get_nested_text
from preflight.model.facts import (
    Measured,
    NotMeasuredError,
    Path,
    Unknown,
    read_or_unknown,
    require_visible,
)

_NETWORK_FILESYSTEM_PATTERN = re.compile(
    r"(?:fuse\.)?(?:nfs4?|cifs|smb3|smbfs|ceph|glusterfs|sshfs|lustre|gpfs|beegfs|afs|ocfs2|gfs2"
    r"|davfs2?|s3fs|rclone|curlftpfs|moosefs|mfs|juicefs)"
)
_LOCAL_FUSE_FILESYSTEMS = (
    *("bindfs", "encfs", "exfat", "gocryptfs", "grpcfuse", "lxcfs", "mergerfs", "ntfs", "ntfs-3g"),
    *("fuse-overlayfs", "portal", "snapfuse", "squashfuse", "unionfs", "unionfs-fuse", "zfs"),
)
_FILESYSTEM_FACT_NAMES, _OWNER_FACT_NAMES = (
    ("filesystem", "network", "writable"),
    ("owner", "group", "mode"),
)
_NOT_IN_MOUNTINFO_REASON = Unknown(
    "the mount isn't in /proc/self/mountinfo, which exists only on Linux"
)


def measure_mounted_paths(context: MeasurementContext, paths: Sequence[Path]) -> Iterator[Measured]:
    """Yield the facts of mounts whose targets rules name, of all where they name `*`."""
    project = context.project_or_unknown()
    if not isinstance(project, Project):
        return  # compose.services says why
    for name, service in project.services.items():
        asked = {path[4] for path in paths if path[2] in ("*", name) and path[4:]}
        mounts = {str(mount.get("target")): mount for mount in service.get("volumes") or ()}
        top, line = ("compose", "services", name, "mounts"), ("services", name, "volumes")
        if asked and "*" not in asked and not asked & set(mounts):  # absent, in place of the list
            yield Measured((*top, min(asked)), None, find_setting_source(project, line))
        for target, mount in mounts.items():
            if asked & {target, "*"}:
                for fact, value in _measure_mount(context, project, mount).items():
                    yield Measured((*top, target, fact), value, find_setting_source(project, line))


def _measure_mount(
    context: MeasurementContext, project: Project, mount: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the facts of what is mounted at one target."""
    kind, source = str(mount.get("type")), str(mount.get("source") or "")
    is_writable = not mount.get("read_only")
    unowned = Unknown("this is known only for bind mounts", "unsupported")
    facts: dict[str, Any] = dict.fromkeys(_OWNER_FACT_NAMES, unowned)
    facts |= {"source": source or None, "type": kind, "filesystem": kind, "writable": is_writable}
    if kind == "volume":
        volume = (project.config.get("volumes") or {}).get(source) or {}
        facts["filesystem"] = read_or_unknown(_find_volume_filesystem, context, volume)
    elif kind == "bind":
        found = read_or_unknown(_find_mount_and_status, context, source)
        if isinstance(found, Unknown):
            return facts | dict.fromkeys((*_FILESYSTEM_FACT_NAMES, *_OWNER_FACT_NAMES), found)
        point, status = found
        facts["filesystem"] = point.filesystem if point else _NOT_IN_MOUNTINFO_REASON
        facts["writable"] = is_writable and not (point and "ro" in point.flags | point.options)
        owner: Sequence[Any] = (status, status, status)
        if isinstance(status, os.stat_result):
            owner = status.st_uid, status.st_gid, f"{stat.S_IMODE(status.st_mode):o}"
        facts |= zip(_OWNER_FACT_NAMES, owner, strict=True)
    filesystem = facts["filesystem"]
    is_known = isinstance(filesystem, str)
    return facts | {"network": is_network_filesystem(filesystem) if is_known else filesystem}


def _find_volume_filesystem(
    context: MeasurementContext, volume: Mapping[str, Any]
) -> str | Unknown:
    """Return the filesystem of a volume: below the engine's folder, or as its options say.

    Raises NotMeasuredError.
    """
    options = volume.get("driver_opts") or {}
    if (driver := volume.get("driver") or "local") != "local":
        raise NotMeasuredError(f"the volume driver {driver} doesn't report where it keeps its data")
    if options.get("type") not in (None, "none"):
        return str(options["type"])
    root = get_nested_text(context.engine().info, "DockerRootDir") or "/"
    point, _ = _find_mount_and_status(context, str(options.get("device") or root))
    return point.filesystem if point else _NOT_IN_MOUNTINFO_REASON


def _find_mount_and_status(
    context: MeasurementContext, path: str
) -> tuple[Mount | None, os.stat_result | Unknown | None]:
    """Return the mount that a path lies on, and its own status, or None if it doesn't exist.

    Raises OSError, and NotMeasuredError where the engine has other files there.
    """
    mounts: Sequence[Mount] = ()
    with suppress(OSError):
        mounts = read_mounts()
    hidden = context.find_visibility().path_hidden(path)
    # without an answer of the filesystem, the mounts still say which one it is
    if hidden is not None and hidden.kind == "timeout":
        return find_mount(os.path.abspath(path), mounts), hidden
    require_visible(hidden)
    existing = find_nearest_existing_path(path)
    status = os.stat(path) if existing == path else None
    return find_mount(os.path.realpath(existing), mounts), status


def is_network_filesystem(name: str) -> bool | Unknown:
    """Return whether a type of filesystem is that of a share over the network.

    Any program can serve a FUSE filesystem: of those that aren't listed it isn't known.
    """
    if _NETWORK_FILESYSTEM_PATTERN.fullmatch(name):
        return True
    if not name.startswith("fuse.") or name.removeprefix("fuse.") in _LOCAL_FUSE_FILESYSTEMS:
        return False
    return Unknown(f"{name} may be a network filesystem", "unsupported")
