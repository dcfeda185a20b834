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

from preflight.model.facts import Measured, Unknown
from preflight.probes.machine import Machine
from preflight.probes.mounts import mount_of, read_mounts

_VIRTUAL = ("vd", "xvd", "zram", "loop", "nbd", "rbd", "ram", "dm-", "md")
_HYPERVISORS = re.compile(
    "qemu|vmware|vbox|msft|xen|virtual|google|amazon|oracle|nutanix|do vol", re.I
)

Statvfs = Callable[[str], Any]


def measure(
    machine: Machine, root: Path = Path("/"), statvfs: Statvfs | None = None
) -> Iterator[Measured]:
    """Yield the facts of the disk under `--path`, or of its nearest folder that exists."""
    path = os.path.abspath(machine.options.path)
    yield Measured(("host", "disk", "path"), path, "--path")
    found = nearest(path)
    if isinstance(found, Unknown):
        for name in ("filesystem", "readonly", "total", "free", "kind"):
            yield Measured(("host", "disk", name), found)
        return
    yield from _mounted(found, root)
    yield from _space(found, statvfs)


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


def _mounted(path: str, root: Path) -> Iterator[Measured]:
    if not sys.platform.startswith("linux"):
        unsupported = Unknown("read from /proc/self/mountinfo, which is Linux's", "unsupported")
        yield Measured(("host", "disk", "filesystem"), unsupported)
        yield Measured(("host", "disk", "kind"), unsupported)
        return
    try:
        mount = mount_of(os.path.realpath(path), read_mounts(root))
    except OSError:
        mount = None
    value = mount.filesystem if mount else Unknown("no mount in /proc/self/mountinfo covers it")
    yield Measured(("host", "disk", "filesystem"), value, "/proc/self/mountinfo")
    kind, source = _kind(os.stat(path).st_dev, root)
    yield Measured(("host", "disk", "kind"), kind, source)


def _space(path: str, statvfs: Statvfs | None) -> Iterator[Measured]:
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
    readonly = bool(stat.f_flag & os.ST_RDONLY)
    yield Measured(("host", "disk", "readonly"), readonly, f"statvfs({path}).f_flag")
    yield Measured(total, stat.f_blocks * stat.f_frsize, f"statvfs({path}).f_blocks")
    room = 0 if readonly else stat.f_bavail * stat.f_frsize
    said = "mounted read-only" if readonly else f"statvfs({path}).f_bavail"
    yield Measured(free, room, said)


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
