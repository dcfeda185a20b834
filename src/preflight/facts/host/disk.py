"""The disk where models and data will be stored: `host.disk.*` of `--path`.

statvfs on a dead network filesystem never returns; the caller gives this probe up at its deadline.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from preflight.facts.collect.context import MeasureContext
from preflight.facts.engine.locality import in_container
from preflight.facts.host.mounts import Mount, mount_of, read_mounts
from preflight.model.facts import Measured, Unknown

_VIRTUAL = ("vd", "xvd", "zram", "loop", "nbd", "rbd", "ram", "dm-", "md")
_HYPERVISORS = re.compile(
    "qemu|vmware|vbox|msft|xen|virtual|google|amazon|oracle|nutanix|do vol", re.I
)

_OF_CONTAINER = Unknown(
    "inside a container: mount the folder, as in -v /srv/models:/srv/models --path /srv/models",
    "unsupported",
)

Statvfs = Callable[[str], Any]


def measure(
    context: MeasureContext, root: Path = Path("/"), statvfs: Statvfs | None = None
) -> Iterator[Measured]:
    """Yield the facts of the disk under `--path`, or of its nearest folder that exists."""
    path = os.path.abspath(context.options.path)
    yield Measured(("host", "disk", "path"), path, "--path")
    found = nearest(path)
    mount = None if isinstance(found, Unknown) else _mount(found, root)
    if mount is not None and mount.point == "/" and in_container(root)[0]:
        found = _OF_CONTAINER if context.engine_locality().path_hidden(path) else found
    if isinstance(found, Unknown):
        for name in ("filesystem", "readonly", "total", "free", "kind"):
            yield Measured(("host", "disk", name), found)
        return
    yield from _mounted(found, mount, root)
    yield from _space(found, mount, root, statvfs)


def nearest(path: str) -> str | Unknown:
    """Return the path, or its nearest parent where it isn't there yet; else why not.

    A link to what isn't there yet is followed: that is where the data would lie.
    """
    while True:
        try:
            os.stat(path)
            return path
        except (FileNotFoundError, NotADirectoryError):
            real = os.path.realpath(path)
            parent = os.path.dirname(real)
            if parent == real:
                return Unknown(f"{path} is not there", "unavailable")
            path = parent
        except PermissionError:
            return Unknown(f"permission denied on {path}", "permission")
        except (OSError, ValueError) as fault:
            return Unknown(f"{path}: {getattr(fault, 'strerror', None) or fault}", "error")


def _mount(path: str, root: Path) -> Mount | None:
    try:
        return mount_of(os.path.realpath(path), read_mounts(root))
    except OSError:
        return None


def _mounted(path: str, mount: Mount | None, root: Path) -> Iterator[Measured]:
    if not sys.platform.startswith("linux"):
        unsupported = Unknown("read from /proc/self/mountinfo, which is Linux's", "unsupported")
        yield Measured(("host", "disk", "filesystem"), unsupported)
        yield Measured(("host", "disk", "kind"), unsupported)
        return
    value = mount.filesystem if mount else Unknown("no mount in /proc/self/mountinfo covers it")
    yield Measured(("host", "disk", "filesystem"), value, "/proc/self/mountinfo")
    kind, source = _kind(os.stat(path).st_dev, root)
    yield Measured(("host", "disk", "kind"), kind, source)


def _space(
    path: str, mount: Mount | None, root: Path, statvfs: Statvfs | None
) -> Iterator[Measured]:
    """Size and room; `f_bavail` counts what is not reserved for root."""
    total, free = ("host", "disk", "total"), ("host", "disk", "free")
    if statvfs is None and not hasattr(os, "statvfs"):
        import psutil

        usage = psutil.disk_usage(path)
        yield Measured(("host", "disk", "readonly"), Unknown("not told here", "unsupported"))
        nothing = Unknown("psutil.disk_usage() says 0")
        yield Measured(total, usage.total or nothing, "psutil.disk_usage().total")
        yield Measured(free, usage.free if usage.total else nothing, "psutil.disk_usage().free")
        return
    stat = (statvfs or os.statvfs)(path)
    if not stat.f_blocks:
        nothing = Unknown(f"the filesystem of {path} stores nothing", "unsupported")
        yield Measured(("host", "disk", "readonly"), nothing)
        yield Measured(total, nothing)
        yield Measured(free, nothing)
        return
    readonly = bool(stat.f_flag & os.ST_RDONLY) if mount is None else _is_readonly(mount, root)
    source = f"statvfs({path}).f_flag" if mount is None else "/proc/self/mountinfo"
    yield Measured(("host", "disk", "readonly"), readonly, source)
    yield Measured(total, stat.f_blocks * stat.f_frsize, f"statvfs({path}).f_blocks")
    room = 0 if readonly else stat.f_bavail * stat.f_frsize
    said = "mounted read-only" if readonly else f"statvfs({path}).f_bavail"
    yield Measured(free, room, said)


def _is_readonly(mount: Mount, root: Path) -> bool:
    """Whether nobody writes there: to its filesystem, or through this mount.

    A mount of this process alone says nothing of others: a container's `:ro`, what ProtectSystem
    of systemd makes. It is everybody's where the machine's first process has it too.
    """
    if "ro" in mount.options:
        return True
    if "ro" not in mount.flags or in_container(root)[0]:
        return False
    try:
        return mount.id in {one.id for one in read_mounts(root, "1")}
    except OSError:
        return True  # not shown to this user


def _kind(device: int, root: Path) -> tuple[str | Unknown, str]:
    """Say ssd or hdd by the kernel's `rotational`, which virtual disks get wrong."""
    node = root / f"sys/dev/block/{os.major(device)}:{os.minor(device)}"
    try:
        disks = _disks(node.resolve(strict=True))
        kinds = {(disk / "queue/rotational").read_bytes().strip() for disk in disks}
    except OSError:
        return Unknown("no block device of its own", "unsupported"), ""
    names = ", ".join(sorted(disk.name for disk in disks))
    if any(disk.name.startswith(_VIRTUAL) or _is_virtual(disk) for disk in disks):
        return Unknown(f"{names} is a virtual disk", "unsupported"), ""
    if not kinds <= {b"0", b"1"}:
        return Unknown(f"the kernel does not say whether {names} rotates"), ""
    return ("hdd" if b"1" in kinds else "ssd"), f"/sys/block/*/queue/rotational of {names}"


def _disks(node: Path) -> list[Path]:
    """Return the whole disks under a block device: through its partition and its slaves."""
    disk = node.parent if (node / "partition").exists() else node
    slaves = disk / "slaves"
    below = [s.resolve() for s in slaves.iterdir()] if slaves.is_dir() else []
    return [d for slave in below for d in _disks(slave)] if below else [disk]


def _is_virtual(disk: Path) -> bool:
    """Whether a hypervisor or a cloud made the disk, by what it says of itself.

    SCSI has both names, ATA's vendor is just `ATA`, NVMe has the model alone.
    """
    for name in ("vendor", "model"):
        try:
            said = (disk / "device" / name).read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue
        if _HYPERVISORS.search(said):
            return True
    return False
