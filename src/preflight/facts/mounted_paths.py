"""What services have mounted, as far as rules name it: `compose.services.*.mounts.*`.

Of a network share that doesn't answer, only what the system's mounts say is known.
"""

import os
import re
import stat
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from preflight.facts.collect.context import MeasureContext
from preflight.facts.compose.project import Project, find_source, get_nested_value
from preflight.facts.engine.api import text_or_none
from preflight.facts.engine.locality import ExplainHiddenPath
from preflight.facts.host.disk import find_nearest_existing_path
from preflight.facts.host.kernel import Mount, find_mount, read_mounts
from preflight.model.facts import Measured, Path, Unknown

_NETWORK_FILESYSTEM_PATTERN = re.compile(
    r"(?:fuse\.)?(?:nfs4?|cifs|smb3|smbfs|ceph|glusterfs|sshfs|lustre|gpfs|beegfs|afs|ocfs2|gfs2"
    r"|davfs2?|s3fs|rclone|curlftpfs|moosefs|mfs|juicefs)"
)
_LOCAL_FUSE_FILESYSTEMS = (
    *("bindfs", "encfs", "exfat", "gocryptfs", "grpcfuse", "lxcfs", "mergerfs", "ntfs", "ntfs-3g"),
    *("fuse-overlayfs", "portal", "snapfuse", "squashfuse", "unionfs", "unionfs-fuse", "zfs"),
)
_NOT_IN_MOUNTINFO = Unknown("/proc/self/mountinfo, which only Linux has, doesn't list it")


class _MountedPath(NamedTuple):
    """What is at a path: the mount it lies on, and its own status, or None if it doesn't exist."""

    mount: Mount | None
    status: os.stat_result | Unknown | None


def measure(context: MeasureContext, paths: Sequence[Path]) -> Iterator[Measured]:
    """Yield the facts of mounts whose targets rules name, of all where they name `*`."""
    project = context.project_or_unknown()
    if not isinstance(project, Project):
        return  # compose.services says why
    sources = _MountInspector(context)
    for name, service in project.services.items():
        asked = {path[4] for path in paths if path[2] in ("*", name) and path[4:]}
        mounts = {str(mount.get("target")): mount for mount in service.get("volumes") or ()}
        if asked and "*" not in asked and not asked & set(mounts):  # absent, in place of the list
            path = ("compose", "services", name, "mounts", min(asked))
            yield Measured(path, None, find_source(project, ("services", name, "volumes")))
        for target, mount in mounts.items():
            if asked & {target, "*"}:
                yield from _mount_facts(project, name, target, mount, sources)


def _mount_facts(
    project: Project, name: str, target: str, mount: Mapping[str, Any], sources: "_MountInspector"
) -> Iterator[Measured]:
    line = find_source(project, ("services", name, "volumes"))
    kind, source = str(mount.get("type")), str(mount.get("source") or "")
    values: dict[str, Any] = {"source": source or None, "type": kind}
    is_writable = not mount.get("read_only")
    if kind == "bind":
        values |= sources.describe_path(source, is_writable=is_writable)
    elif kind == "volume":
        volume = get_nested_value(project.config, "volumes") or {}
        values |= sources.describe_volume(volume.get(source) or {}, is_writable=is_writable)
    else:
        values |= {"filesystem": kind, "network": False, "writable": is_writable}
        values |= dict.fromkeys(
            _OWNER_FACT_NAMES, Unknown("only known for bind mounts", "unsupported")
        )
    for key, value in values.items():
        yield Measured(("compose", "services", name, "mounts", target, key), value, line)


_OWNER_FACT_NAMES = ("owner", "group", "mode")


class _MountInspector:
    """Finds what is mounted, on this machine."""

    def __init__(self, context: MeasureContext) -> None:
        self._path_hidden: ExplainHiddenPath = context.find_visibility().path_hidden
        self._engine = context.engine_or_unknown()
        self._mounts: Sequence[Mount] = ()
        with suppress(OSError):
            self._mounts = read_mounts()

    def describe_path(self, path: str, *, is_writable: bool) -> dict[str, Any]:
        """Return the facts of a bind mount's source."""
        place = self._inspect_path(path)
        if isinstance(place, Unknown):
            return dict.fromkeys(("filesystem", "network", "writable", *_OWNER_FACT_NAMES), place)
        mount, status = place
        facts: dict[str, Any] = dict.fromkeys(("filesystem", "network"), _NOT_IN_MOUNTINFO)
        facts["writable"] = is_writable
        if mount is not None:
            facts["filesystem"] = mount.filesystem
            facts["network"] = is_network_filesystem(mount.filesystem)
            facts["writable"] = is_writable and "ro" not in mount.flags | mount.options
        values: Sequence[Any] = (status, status, status)
        if isinstance(status, os.stat_result):
            values = status.st_uid, status.st_gid, f"{stat.S_IMODE(status.st_mode):o}"
        return facts | dict(zip(_OWNER_FACT_NAMES, values, strict=True))

    def describe_volume(self, volume: Mapping[str, Any], *, is_writable: bool) -> dict[str, Any]:
        """Return the facts of a volume, which lies below the engine's folder or on a share."""
        owner = Unknown("only known for bind mounts", "unsupported")
        facts: dict[str, Any] = {**dict.fromkeys(_OWNER_FACT_NAMES, owner), "writable": is_writable}
        filesystem = self._find_filesystem(volume)
        network = filesystem
        if isinstance(filesystem, str):
            network = is_network_filesystem(filesystem)
        return {**facts, "filesystem": filesystem, "network": network}

    def _find_filesystem(self, volume: Mapping[str, Any]) -> Any:
        options = volume.get("driver_opts") or {}
        if (driver := volume.get("driver") or "local") != "local":
            return Unknown(f"where the volume driver {driver} keeps its data isn't known")
        if options.get("type") not in (None, "none"):
            return str(options["type"])
        if isinstance(self._engine, Unknown):
            return self._engine
        root = text_or_none(self._engine.info.get("DockerRootDir")) or "/"
        place = self._inspect_path(str(options.get("device") or root))
        if isinstance(place, Unknown):
            return place
        return place.mount.filesystem if place.mount else _NOT_IN_MOUNTINFO

    def _inspect_path(self, path: str) -> _MountedPath | Unknown:
        """Return what is at a path, or an Unknown if the engine has other files there."""
        if hidden := self._path_hidden(path):
            # without an answer of the filesystem, the mounts still say which one it is
            mount = find_mount(os.path.abspath(path), self._mounts)
            return _MountedPath(mount, hidden) if hidden.kind == "timeout" else hidden
        existing = find_nearest_existing_path(path)
        if isinstance(existing, Unknown):
            return existing
        status = os.stat(path) if existing == path else None
        return _MountedPath(find_mount(os.path.realpath(existing), self._mounts), status)


def is_network_filesystem(name: str) -> bool | Unknown:
    """Return whether a type of filesystem is that of a share over the network.

    Any program can serve a FUSE filesystem: of those that aren't listed it isn't known.
    """
    if _NETWORK_FILESYSTEM_PATTERN.fullmatch(name):
        return True
    if not name.startswith("fuse.") or name.removeprefix("fuse.") in _LOCAL_FUSE_FILESYSTEMS:
        return False
    return Unknown(f"{name} may be a share over the network", "unsupported")
