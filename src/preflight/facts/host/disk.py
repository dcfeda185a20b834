"""The disk where models and data will be stored: `host.disk.*` of `--path`.

statvfs on a dead network filesystem never returns; the caller gives up at its deadline.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from preflight.facts.collect.context import MeasurementContext
from preflight.facts.engine.host_visibility import is_in_container
from preflight.facts.host.proc_and_cgroups import Mount, find_mount, read_mounts
from preflight.model.facts import Measured, NotMeasuredError, Unknown, make_fact

_REMOTE_OR_SHARED_FILESYSTEMS = ("fuse", "9p", "virtiofs", "nfs", "cifs", "smb", "vboxsf", "prl_fs")
_VIRTUAL_DEVICE_PREFIXES = ("vd", "xvd", "zram", "loop", "nbd", "rbd", "ram", "dm-", "md")
_HYPERVISOR_DISK_NAMES = (
    b"qemu", b"vmware", b"vbox", b"msft", b"xen", b"virtual", b"google", b"amazon", b"oracle",
    b"nutanix", b"do vol",
)  # fmt: skip
_FOLDER_NOT_MOUNTED_HINT = (
    "inside a container: mount the folder, as in -v /srv/models:/srv/models --path /srv/models"
)
_MOUNT_NOT_FOUND_REASON = Unknown(
    "the mount isn't in /proc/self/mountinfo, which exists only on Linux", "unsupported"
)


def measure_disk(context: MeasurementContext, root: Path = Path("/")) -> Iterator[Measured]:
    """Yield the facts of the disk under `--path`, or of its nearest folder that exists.

    Raises OSError, NotMeasuredError with why the others aren't known.
    """
    path = os.path.abspath(context.options.path)
    yield make_fact("host.disk.path", path, "--path")
    existing, mount = find_nearest_existing_path(path), None
    with suppress(OSError):
        mount = find_mount(os.path.realpath(existing), read_mounts(root))
    is_of_container = mount is not None and mount.point == "/" and is_in_container(root)[0]
    if is_of_container and context.find_visibility().path_hidden(path):
        raise NotMeasuredError(_FOLDER_NOT_MOUNTED_HINT, "unsupported")
    yield make_fact("host.disk.parent", None if existing == path else existing, "--path")
    filesystem = mount.filesystem if mount is not None else _MOUNT_NOT_FOUND_REASON
    yield make_fact("host.disk.filesystem", filesystem, "/proc/self/mountinfo")
    yield make_fact("host.disk.kind", *_read_disk_kind(existing, root))
    total, usable = read_disk_total_and_free(existing)
    source = f"shutil.disk_usage({existing})"
    if not total:
        raise NotMeasuredError(
            f"the filesystem of {existing} reports a size of zero", "unsupported"
        )
    readonly, readonly_source = _find_read_only_state(existing, mount, root)
    yield make_fact("host.disk.readonly", readonly, readonly_source)
    yield make_fact("host.disk.total", total, f"{source}.total")
    inodes, inodes_source = read_free_inodes(existing, mount.filesystem if mount else "")
    yield make_fact("host.disk.inodes.free", inodes, inodes_source)
    free = (usable, f"{source}.free")
    if inodes == 0:  # what has no inode can't have a file
        free = (0, inodes_source)
    if readonly is True:
        free = (0, "mounted read-only")
    yield make_fact("host.disk.free", *free)


def read_disk_total_and_free(path: str) -> tuple[int, int]:
    """Return the bytes of a filesystem, and those that an ordinary user can still write.

    What is reserved for root is left out. Raises OSError.
    """
    if not hasattr(os, "statvfs"):
        import shutil  # takes longer to import than all else here

        usage = shutil.disk_usage(path)
        return usage.total, usage.free
    status = os.statvfs(path)
    return status.f_blocks * status.f_frsize, status.f_bavail * status.f_frsize


def read_free_inodes(path: str, filesystem: str = "") -> tuple[int | Unknown, str]:
    """Return how many files an ordinary user can still create; btrfs makes inodes as needed.

    Some that pass a folder on, over a network or from a VM's host, always report 0. Raises OSError.
    """
    if not hasattr(os, "statvfs"):
        return Unknown("this operating system doesn't report it", "unsupported"), ""
    status = os.statvfs(path)
    passes_on = filesystem.startswith(_REMOTE_OR_SHARED_FILESYSTEMS)
    if not status.f_files or (passes_on and not status.f_favail):
        return Unknown("the filesystem doesn't report how many inodes it has", "unsupported"), ""
    return status.f_favail, f"statvfs({path}).f_favail"


def find_nearest_existing_path(path: str) -> str:
    """Return the path, or its nearest parent that exists; raises OSError.

    A link to a folder that doesn't exist yet is followed: that is where the data would lie.
    """
    while True:
        try:
            os.stat(path)
            return path
        except (FileNotFoundError, NotADirectoryError):
            parent = os.path.dirname(os.path.realpath(path))
            if parent == path:
                raise
            path = parent


def _find_read_only_state(path: str, mount: Mount | None, root: Path) -> tuple[bool | Unknown, str]:
    """Return whether nobody can write there: to its filesystem, or through this mount.

    A mount that is read-only for this process alone (a container's `:ro`, ProtectSystem of
    systemd) says nothing about others; one that the first process has too holds for all.
    """
    source = "/proc/self/mountinfo"
    if mount is None:
        if not hasattr(os, "statvfs"):
            return Unknown("this operating system doesn't report it", "unsupported"), ""
        return bool(os.statvfs(path).f_flag & os.ST_RDONLY), f"statvfs({path}).f_flag"
    if "ro" in mount.options or "ro" not in mount.flags or is_in_container(root)[0]:
        return "ro" in mount.options, source
    try:
        return mount.id in {first.id for first in read_mounts(root, "1")}, source
    except OSError:
        return True, source  # those of the first process aren't shown to this user


def _read_disk_kind(path: str, root: Path) -> tuple[str | Unknown, str]:
    """Return ssd or hdd by the kernel's `rotational`, which virtual disks get wrong."""
    try:
        device = os.stat(path).st_dev
        node = root / f"sys/dev/block/{os.major(device)}:{os.minor(device)}"
        disks = _find_whole_disks(node.resolve(strict=True))
        rotational = {(disk / "queue/rotational").read_bytes().strip() for disk in disks}
    except (OSError, AttributeError):  # Windows has no device numbers
        return Unknown("the filesystem has no block device in /sys", "unsupported"), ""
    names = ", ".join(sorted(disk.name for disk in disks))
    # a hypervisor or a cloud made the disk, by its vendor (SCSI) or model (also NVMe)
    files = [disk / "device" / name for disk in disks for name in ("vendor", "model")]
    descriptions = [file.read_bytes().lower() for file in files if file.exists()]
    is_virtual = any(disk.name.startswith(_VIRTUAL_DEVICE_PREFIXES) for disk in disks)
    if is_virtual or any(name in text for text in descriptions for name in _HYPERVISOR_DISK_NAMES):
        return Unknown(
            f"the kind of disk behind a virtual disk ({names}) can't be detected", "unsupported"
        ), ""
    if not rotational <= {b"0", b"1"}:
        return Unknown(f"the kernel doesn't report whether {names} is an SSD or a hard disk"), ""
    kind = "hdd" if b"1" in rotational else "ssd"
    return kind, f"/sys/block/*/queue/rotational of {names}"


def _find_whole_disks(node: Path) -> list[Path]:
    """Return the whole disks under a block device: through its partition and its slaves."""
    disk = node.parent if (node / "partition").exists() else node
    slaves = [link.resolve() for link in disk.glob("slaves/*")]
    return [below for slave in slaves for below in _find_whole_disks(slave)] or [disk]
