"""The disk where models and data will be stored: `host.disk.*` of `--path`.

statvfs on a dead network filesystem never returns; the caller gives up at its deadline.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from preflight.facts.collect.context import MeasureContext
from preflight.facts.engine.locality import in_container
from preflight.facts.host.kernel import Mount, find_mount, read_mounts
from preflight.model.facts import Measured, Unknown

_VIRTUAL_DEVICES = ("vd", "xvd", "zram", "loop", "nbd", "rbd", "ram", "dm-", "md")
_HYPERVISOR_PATTERN = re.compile(
    b"qemu|vmware|vbox|msft|xen|virtual|google|amazon|oracle|nutanix|do vol", re.I
)
_FOLDER_NOT_MOUNTED = Unknown(
    "inside a container: mount the folder, as in -v /srv/models:/srv/models --path /srv/models",
    "unsupported",
)


def measure(context: MeasureContext, root: Path = Path("/")) -> Iterator[Measured]:
    """Yield the facts of the disk under `--path`, or of its nearest folder that exists."""
    path = os.path.abspath(context.options.path)
    yield _make_fact("path", path, "--path")
    existing = nearest_existing(path)
    is_linux = sys.platform.startswith("linux")
    mount = _find_mount(existing, root) if is_linux and isinstance(existing, str) else None
    if mount is not None and mount.point == "/" and in_container(root)[0]:
        existing = _FOLDER_NOT_MOUNTED if context.visibility().path_hidden(path) else existing
    if isinstance(existing, Unknown):
        for name in ("filesystem", "kind", "readonly", "total", "free"):
            yield _make_fact(name, existing)
        return
    if is_linux:
        missing = Unknown("no mount in /proc/self/mountinfo covers it")
        yield _make_fact(
            "filesystem", mount.filesystem if mount else missing, "/proc/self/mountinfo"
        )
        yield _make_fact("kind", *_read_kind(os.stat(existing).st_dev, root))
    else:
        for name in ("filesystem", "kind"):
            yield _make_fact(name, Unknown("only Linux has /proc/self/mountinfo", "unsupported"))
    yield from _measure_space(existing, mount, root)


def _make_fact(name: str, value: Any, source: str = "") -> Measured:
    return Measured(("host", "disk", name), value, source)


def nearest_existing(path: str) -> str | Unknown:
    """Return the path, or its nearest parent that exists; else the reason.

    A link to a folder that doesn't exist yet is followed: that is where the data would lie.
    """
    while True:
        try:
            os.stat(path)
            return path
        except (FileNotFoundError, NotADirectoryError):
            parent = os.path.dirname(os.path.realpath(path))
            if parent == path:
                return Unknown(f"{path} does not exist")
            path = parent
        except PermissionError:
            return Unknown(f"permission denied on {path}", "permission")
        except OSError as error:
            return Unknown(f"{path}: {error.strerror}", "error")


def _find_mount(path: str, root: Path) -> Mount | None:
    try:
        return find_mount(os.path.realpath(path), read_mounts(root))
    except OSError:
        return None


def _measure_space(path: str, mount: Mount | None, root: Path) -> Iterator[Measured]:
    """Yield size and free space; that leaves out what is reserved for root (f_bavail)."""
    import psutil

    usage, source = psutil.disk_usage(path), f"psutil.disk_usage({path})"
    if not usage.total:
        for name in ("readonly", "total", "free"):
            reason = Unknown(f"the filesystem of {path} has no storage", "unsupported")
            yield _make_fact(name, reason)
        return
    readonly: bool | Unknown = Unknown("not reported on this system", "unsupported")
    if mount is not None:
        readonly = _is_readonly(mount, root)
    elif hasattr(os, "statvfs"):
        readonly = bool(os.statvfs(path).f_flag & os.ST_RDONLY)
    yield _make_fact("readonly", readonly, "/proc/self/mountinfo" if mount else "statvfs")
    yield _make_fact("total", usage.total, f"{source}.total")
    if readonly is True:
        yield _make_fact("free", 0, "mounted read-only")
    else:
        yield _make_fact("free", usage.free, f"{source}.free")


def _is_readonly(mount: Mount, root: Path) -> bool:
    """Whether nobody can write there: to its filesystem, or through this mount.

    A mount that is read-only for this process alone (a container's `:ro`, ProtectSystem of
    systemd) says nothing about others; one that the first process has too holds for all.
    """
    if "ro" in mount.options:
        return True
    if "ro" not in mount.flags or in_container(root)[0]:
        return False
    try:
        return mount.id in {first.id for first in read_mounts(root, "1")}
    except OSError:
        return True  # not shown to this user


def _read_kind(device: int, root: Path) -> tuple[str | Unknown, str]:
    """Return ssd or hdd by the kernel's `rotational`, which virtual disks get wrong."""
    node = root / f"sys/dev/block/{os.major(device)}:{os.minor(device)}"
    try:
        disks = _find_disks(node.resolve(strict=True))
        rotational = {(disk / "queue/rotational").read_bytes().strip() for disk in disks}
    except OSError:
        return Unknown("it has no block device", "unsupported"), ""
    names = ", ".join(sorted(disk.name for disk in disks))
    if any(map(_is_virtual, disks)):
        return Unknown(f"{names} is a virtual disk", "unsupported"), ""
    if not rotational <= {b"0", b"1"}:
        return Unknown(f"the kernel does not report whether {names} rotates"), ""
    kind = "hdd" if b"1" in rotational else "ssd"
    return kind, f"/sys/block/*/queue/rotational of {names}"


def _find_disks(node: Path) -> list[Path]:
    """Return the whole disks under a block device: through its partition and its slaves."""
    disk = node.parent if (node / "partition").exists() else node
    slaves = [link.resolve() for link in disk.glob("slaves/*")]
    return [below for slave in slaves for below in _find_disks(slave)] or [disk]


def _is_virtual(disk: Path) -> bool:
    """Whether a hypervisor or a cloud made the disk, by its vendor (SCSI) or model (also NVMe)."""
    files = [disk / "device" / name for name in ("vendor", "model")]
    descriptions = [file.read_bytes() for file in files if file.exists()]
    return disk.name.startswith(_VIRTUAL_DEVICES) or any(
        map(_HYPERVISOR_PATTERN.search, descriptions)
    )
