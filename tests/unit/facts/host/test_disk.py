"""The disk of `--path`: real mounts held against coreutils, a filesystem that hangs, device trees.

Everything that mounts does so in a mount namespace of its own, which ends with the process.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from contexts import completed
from preflight.facts.collect.context import MeasurementContext
from preflight.facts.collect.measurement import MeasurementOptions
from preflight.facts.host import disk
from preflight.model.facts import Unknown

MiB = 2**20
Run = Callable[..., "subprocess.CompletedProcess[str]"]


def namespace(script: str) -> tuple[str, ...]:
    """Return a prefix that runs a script, then the program, in a mount namespace of their own."""
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("mounting takes root on Linux")
    if subprocess.run(["unshare", "-m", "true"], capture_output=True).returncode != 0:
        pytest.skip("mount namespaces can't be made here")
    return ("unshare", "-m", "sh", "-c", f'set -e; {script}; exec "$@"', "sh")


def measured(run: Run, path: str | Path, *more: str, **how: Any) -> dict[str, Any]:
    """Return every `host.disk.*` of the program's snapshot by name: a value, or an Unknown."""
    done = run("facts", "-f", "json", "--path", str(path), *more, **how)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    return flat(json.loads(done.stdout))


def flat(snapshot: dict[str, Any]) -> dict[str, Any]:
    facts = dict(snapshot["facts"]["host"]["disk"])
    for name, why in snapshot["unknown"].items():
        if name.startswith("host.disk."):
            assert name.removeprefix("host.disk.") not in facts
            facts[name.removeprefix("host.disk.")] = Unknown(why["reason"], why["kind"])
    if isinstance(inodes := facts.pop("inodes", None), dict):
        facts["inodes.free"] = inodes["free"]
    names = {"path", "parent", "filesystem", "readonly", "total", "free", "kind", "inodes.free"}
    assert set(facts) == names
    return facts


def here(path: str | Path, root: Path = Path("/")) -> dict[str, Any]:
    """Return the same, measured in this process."""
    return {
        ".".join(one.path[2:]): one.value
        for one in completed(
            "host.disk",
            disk.measure_disk(MeasurementContext(MeasurementOptions(path=str(path))), root),
        )
    }


def said(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


# --- real disks -------------------------------------------------------------------------------


@pytest.mark.skipif(sys.platform != "linux", reason="held against GNU coreutils")
def test_size_room_and_type_are_what_coreutils_say(run_preflight: Run, tmp_path: Path) -> None:
    facts = measured(run_preflight, tmp_path)
    size, blocks, name = said("stat", "-f", "-c", "%S %b %T", str(tmp_path)).split()
    room = int(said("df", "-B1", "--output=avail", str(tmp_path)).split()[-1])
    assert facts["path"] == str(tmp_path)
    assert facts["total"] == int(size) * int(blocks)
    assert facts["free"] == pytest.approx(room, rel=0.05)
    assert facts["filesystem"] in name or name == "ext2/ext3"
    assert facts["readonly"] is False
    inodes = said("df", "--output=iavail", str(tmp_path)).split()[-1]
    if inodes != "-":
        assert facts["inodes.free"] == pytest.approx(int(inodes), rel=0.05)


def test_a_small_filesystem(run_preflight: Run, tmp_path: Path) -> None:
    mount = namespace(
        f"mount -t tmpfs -o size=8m t {tmp_path}; head -c 3145728 /dev/zero > {tmp_path}/f"
    )
    facts = measured(run_preflight, tmp_path / "not" / "there yet", prefix=mount, cwd=Path("/"))
    assert (facts["total"], facts["free"]) == (8 * MiB, 5 * MiB)
    assert facts["filesystem"] == "tmpfs"
    assert facts["path"] == f"{tmp_path}/not/there yet"
    assert facts["parent"] == str(tmp_path)
    assert facts["kind"].kind == "unsupported"


def test_read_only_has_no_room(run_preflight: Run, tmp_path: Path) -> None:
    mount = namespace(f"mount -t tmpfs -o size=8m,ro t {tmp_path}")
    facts = measured(run_preflight, tmp_path, prefix=mount, cwd=Path("/"))
    assert (facts["total"], facts["free"], facts["readonly"]) == (8 * MiB, 0, True)


@pytest.mark.parametrize(("files", "left"), [(2, 3), (5, 0)])
def test_without_inodes_there_is_no_room(
    run_preflight: Run, tmp_path: Path, files: int, left: int
) -> None:
    mount = namespace(
        f"mount -t tmpfs -o size=8m,nr_inodes=6 t {tmp_path};"
        f" for i in $(seq {files}); do touch {tmp_path}/$i; done"
    )
    facts = measured(run_preflight, tmp_path, prefix=mount, cwd=Path("/"))
    assert facts["inodes.free"] == left
    assert (facts["free"] == 0) is (left == 0)
    assert facts["total"] == 8 * MiB


@pytest.mark.parametrize(
    ("filesystem", "files", "available", "inodes"),
    [
        ("ext4", 100, 0, 0),
        ("ext4", 100, 7, 7),
        ("btrfs", 0, 0, None),
        ("fuse.sshfs", 100, 0, None),
        ("9p", 999, 0, None),
        ("nfs4", 100, 7, 7),
    ],
)
def test_inodes_that_filesystems_report(
    monkeypatch: pytest.MonkeyPatch, filesystem: str, files: int, available: int,
    inodes: int | None,
) -> None:  # fmt: skip
    status = SimpleNamespace(f_files=files, f_favail=available)
    monkeypatch.setattr(os, "statvfs", lambda _: status)
    value, _ = disk.read_free_inodes("/", filesystem)
    assert isinstance(value, Unknown) if inodes is None else value == inodes


READ_ONLY = "mount --bind /tmp {0}; mount -o remount,ro,bind {0}"


def test_a_mount_that_is_read_only_for_this_process_alone_says_nothing_of_the_disk(
    run_preflight: Run, tmp_path: Path
) -> None:
    """So are those that systemd makes for ProtectSystem."""
    mount = namespace(READ_ONLY.format(tmp_path))
    facts = measured(run_preflight, tmp_path, prefix=mount, cwd=Path("/"))
    room = int(said("df", "-B1", "--output=avail", "/tmp").split()[-1])
    assert facts["readonly"] is False
    assert facts["free"] == pytest.approx(room, rel=0.05)
    assert facts["total"] == os.statvfs("/tmp").f_blocks * os.statvfs("/tmp").f_frsize


def test_a_mount_that_is_read_only_for_the_first_process_too_has_no_room(
    run_preflight: Run, tmp_path: Path
) -> None:
    _, *inner = namespace(f"mount -t proc p /proc; {READ_ONLY.format(tmp_path)}")
    mount = ("unshare", "--pid", "--fork", *inner)
    facts = measured(run_preflight, tmp_path, prefix=mount, cwd=Path("/"))
    assert (facts["free"], facts["readonly"]) == (0, True)


def test_a_bind_mount_is_its_source(run_preflight: Run, tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    source.mkdir(), target.mkdir()
    mount = namespace(
        f"mount -t tmpfs -o size=4m t {source}; mkdir {source}/in;"
        f" mount --bind {source}/in {target}"
    )
    facts = measured(run_preflight, target, prefix=mount, cwd=Path("/"))
    assert (facts["total"], facts["filesystem"]) == (4 * MiB, "tmpfs")


def test_of_mounts_over_each_other_the_upper_counts(run_preflight: Run, tmp_path: Path) -> None:
    mount = namespace(
        f"mount -t tmpfs -o size=4m t {tmp_path}; mount -t proc p {tmp_path};"
        f" mount -t ramfs r {tmp_path}; mount -t tmpfs -o size=6m t {tmp_path}"
    )
    facts = measured(run_preflight, tmp_path, prefix=mount, cwd=Path("/"))
    assert (facts["total"], facts["filesystem"]) == (6 * MiB, "tmpfs")


def test_a_mount_over_a_parent_hides_the_one_below(run_preflight: Run, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    mount = namespace(f"mount -t ramfs r {tmp_path}/in; mount -t tmpfs -o size=6m t {tmp_path}")
    facts = measured(run_preflight, tmp_path / "in", prefix=mount, cwd=Path("/"))
    assert (facts["total"], facts["filesystem"]) == (6 * MiB, "tmpfs")


ODD_NAME = "two  blanks, naïve·模型\nnew\ttab # literal\\040octal cr\rff\fls\u2028"


@pytest.mark.parametrize("name", [ODD_NAME, os.fsdecode(b"\xff\xfe")], ids=["odd", "bytes"])
def test_names_that_need_care(run_preflight: Run, tmp_path: Path, name: str) -> None:
    folder = tmp_path / name
    folder.mkdir()
    mount = namespace('for last; do :; done; mount -t tmpfs -o size=5m t "$last"')
    facts = measured(run_preflight, folder, prefix=mount, cwd=Path("/"))
    assert (facts["total"], facts["filesystem"]) == (5 * MiB, "tmpfs")
    assert facts["path"] == str(folder)
    text = run_preflight("facts", "--path", str(folder))
    assert text.returncode == 0, text.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")
def test_proc_stores_nothing(run_preflight: Run) -> None:
    facts = measured(run_preflight, "/proc/sys")
    assert facts["filesystem"] == "proc"
    for name in ("total", "free", "readonly"):
        assert facts[name] == Unknown(
            "the filesystem of /proc/sys reports a size of zero", "unsupported"
        )


@pytest.fixture
def closed() -> Iterator[Path]:
    """A folder that only root may look into, below one that everybody may."""
    top = Path(tempfile.mkdtemp(prefix="pf-", dir="/tmp"))
    top.chmod(0o755)
    (top / "closed" / "models").mkdir(parents=True)
    (top / "closed").chmod(0o700)
    yield top / "closed"
    shutil.rmtree(top)


AS_NOBODY = """
import json, os, sys
from preflight.facts.host import disk
from preflight.facts.collect.context import MeasurementContext
from preflight.facts.collect.measurement import MeasurementOptions
from preflight.facts.collect.worker import encode_fact_as_line, run_probe
from preflight.facts.table import PROBES
probe = next(probe for probe in PROBES if probe.module == "host.disk")
os.setgroups([]), os.setgid(65534), os.setuid(65534)
facts = run_probe(probe, MeasurementContext(MeasurementOptions(path=sys.argv[1])))
print(json.dumps([json.loads(encode_fact_as_line(fact)) for fact in facts]))
"""


@pytest.mark.parametrize("below", ["models", "models/not/there", "not-there"])
def test_permission_denied_is_not_absence(closed: Path, below: str) -> None:
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("becoming another user takes root")
    lines = json.loads(said(sys.executable, "-c", AS_NOBODY, str(closed / below)))
    facts = {line[0][-1]: line[1] for line in reversed(lines)}  # of two values the first counts
    assert facts.pop("path") == str(closed / below)
    assert set(facts) == {"parent", "total", "free", "filesystem", "kind", "readonly"}
    for reason, kind in facts.values():
        assert kind == "permission"
        assert str(closed / below) in reason


def test_room_is_what_an_ordinary_user_can_write(monkeypatch: pytest.MonkeyPatch) -> None:
    stat = SimpleNamespace(f_blocks=100, f_bfree=50, f_bavail=7, f_frsize=4096, f_bsize=1,
                           f_flag=0, f_files=9, f_ffree=5, f_favail=3)  # fmt: skip
    monkeypatch.setattr(os, "statvfs", lambda path: stat)
    facts = here("/")
    assert (facts["total"], facts["free"]) == (409600, 28672)


# --- paths ------------------------------------------------------------------------------------


def test_a_path_that_is_not_there_yet_is_its_nearest_folders(tmp_path: Path) -> None:
    facts = here(tmp_path / "a" / "b")
    assert facts["total"] == here(tmp_path)["total"]
    assert facts["path"] == str(tmp_path / "a" / "b")


def test_a_file_and_what_would_be_below_it_are_on_the_files_disk(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    assert disk.find_nearest_existing_path(str(tmp_path / "file" / "below")) == str(
        tmp_path / "file"
    )
    assert here(tmp_path / "file")["total"] == here(tmp_path)["total"]


def test_a_link_to_what_is_not_there_yet_is_followed(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "disk" / "models")
    assert disk.find_nearest_existing_path(str(tmp_path / "link")) == str(tmp_path / "disk")
    assert disk.find_nearest_existing_path(str(tmp_path / "link" / "deep" / "er")) == str(
        tmp_path / "disk"
    )


def test_paths_that_nothing_can_have(tmp_path: Path) -> None:
    (tmp_path / "ring").symlink_to("ring")
    for path in ("x" * 300, "/x" * 5000, str(tmp_path / "ring" / "x")):
        facts = here(path)
        assert isinstance(facts["total"], Unknown), path[:20]
        assert facts["total"].reason


def test_a_path_that_is_too_long_costs_only_its_own_facts(run_preflight: Run) -> None:
    facts = measured(run_preflight, "x" * 300)
    assert "too long" in facts["total"].reason


def test_statvfs_that_says_nothing_of_use(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    nothing = SimpleNamespace(f_blocks=0, f_bfree=0, f_bavail=0, f_frsize=4096, f_flag=0)
    monkeypatch.setattr(os, "statvfs", lambda path: nothing)
    facts = here(tmp_path)
    assert facts["free"].kind == facts["total"].kind == "unsupported"


def test_windows_has_size_and_room(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delattr(os, "statvfs", raising=False)
    monkeypatch.delattr(os, "major", raising=False)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(total=9, free=4))
    facts = here(tmp_path, root=tmp_path)
    assert (facts["total"], facts["free"]) == (9, 4)
    for name in ("filesystem", "kind", "readonly"):
        assert facts[name].kind == "unsupported"
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(total=0, free=0))
    assert isinstance(here(tmp_path, root=tmp_path)["free"], Unknown)


# --- a filesystem that hangs ------------------------------------------------------------------

# Serves a FUSE filesystem over the bare device, up to the request that it never answers: who asked
# waits in the kernel then, beyond the reach of SIGKILL. Runs the program, says how long it took.
HUNG = r"""
import ctypes, glob, json, os, struct, subprocess, sys, threading, time
point, hangs, *command = sys.argv[1:]
GETATTR, STATFS, INIT, FORGET, INTERRUPT = 3, 17, 26, 2, 36
try:
    fuse = os.open("/dev/fuse", os.O_RDWR)
except OSError as fault:
    sys.exit(f"unable: {fault}")
data = f"fd={fuse},rootmode=40000,user_id=0,group_id=0,allow_other".encode()
if ctypes.CDLL(None).mount(b"nas", point.encode(), b"fuse.nas", 0, data):
    sys.exit("unable: mount")

def serve():
    while True:
        _, opcode, number = struct.unpack_from("IIQ", os.read(fuse, 1 << 20))
        if opcode == INIT:
            body = struct.pack("4I2H2I2H8I", 7, 31, 65536, 0, 9, 9, 65536, 1, 0, 0, *[0] * 8)
        elif opcode == GETATTR and int(hangs) != GETATTR:
            body = struct.pack("Q2I6Q", 0, 0, 0, 1, 0, 0, 0, 0, 0)
            body += struct.pack("10I", 0, 0, 0, 0o40755, 2, 0, 0, 0, 512, 0)
        else:
            continue
        os.write(fuse, struct.pack("IiQ", 16 + len(body), 0, number) + body)

threading.Thread(target=serve, daemon=True).start()
start = time.monotonic()
done = subprocess.run(command, capture_output=True, text=True, timeout=30)
took = time.monotonic() - start
held = 0
for name in glob.glob("/proc/[0-9]*/task/[0-9]*"):
    try:
        state = open(f"{name}/stat").read().rpartition(")")[2].split()[0]
        held += state == "D" and open(f"{name}/wchan").read() == "request_wait_answer"
    except OSError:
        pass
print(json.dumps([took, held, done.returncode, done.stdout, done.stderr]), flush=True)
os._exit(0)  # the connection ends with us, and with it the waiting
"""


@pytest.mark.parametrize(("request_", "known"), [(3, False), (17, True)], ids=["stat", "statvfs"])
def test_a_hung_filesystem_costs_its_own_facts_and_no_time(
    clean_environment: Path, tmp_path: Path, request_: int, known: bool
) -> None:
    point = tmp_path / "models"
    point.mkdir()
    python = [sys.executable]
    command = ["-m", "preflight", "facts", "-f", "json", "--path", str(point), "--timeout", "1"]
    done = subprocess.run(
        [*namespace(":"), *python, "-c", HUNG, str(point), str(request_), *python, *command],
        capture_output=True, text=True, timeout=60, cwd="/",
    )  # fmt: skip
    if "unable" in done.stderr:
        pytest.skip(f"no FUSE here: {done.stderr}")
    assert done.returncode == 0, done.stderr
    took, held, code, out, err = json.loads(done.stdout)
    assert took < 15  # who waits for the filesystem waits for ever
    assert held >= 1, "the worker was meant to hang in the kernel"
    assert (code, err) == (0, "")
    snapshot = json.loads(out)
    facts = flat(snapshot)
    for name in ("total", "free", "readonly"):
        assert facts[name] == Unknown("not measured within 1 s", "timeout")
    assert facts["path"] == str(point)
    assert (facts["filesystem"] == "fuse.nas") is known
    assert snapshot["facts"]["host"]["memory"]["total"] > 0
    assert snapshot["facts"]["host"]["cpu"]["usable"] > 0


def test_a_hung_statvfs_in_a_thread_leaves_the_other_probes(tmp_path: Path) -> None:
    code = (
        "import os, sys, time; os.statvfs = lambda path: time.sleep(60);"
        "from preflight.facts.collect.worker import serve_request; serve_request()"
    )
    options = MeasurementOptions(path=str(tmp_path), timeout=1.0)
    start = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", code],
        input=json.dumps([options, time.monotonic() + 1]) + "\n",
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert time.monotonic() - start < 15
    paths = [".".join(json.loads(line)[0]) for line in done.stdout.splitlines()]
    assert "host.memory.total" in paths
    assert "host.disk.filesystem" in paths
    assert "host.disk.total" not in paths


# --- kind -------------------------------------------------------------------------------------


class Devices:
    """A /sys with block devices; `at` names the one that the path lies on."""

    def __init__(self, root: Path, path: Path) -> None:
        self.root, self.path = root, path

    def disk(self, where: str, rotational: str, vendor: str = "", model: str = "") -> Devices:
        folder = self.root / "sys/devices" / where
        (folder / "queue").mkdir(parents=True)
        (folder / "queue/rotational").write_text(rotational)
        for name, text in (("vendor", vendor), ("model", model)):
            if text:
                (folder / "device").mkdir(exist_ok=True)
                (folder / "device" / name).write_text(f"{text:8}\n")
        return self

    def partition(self, where: str) -> Devices:
        folder = self.root / "sys/devices" / where
        folder.mkdir()
        (folder / "partition").write_text("1\n")
        return self

    def slave(self, of: str, where: str) -> Devices:
        folder = self.root / "sys/devices" / of / "slaves"
        folder.mkdir(exist_ok=True)
        (folder / Path(where).name).symlink_to(self.root / "sys/devices" / where)
        return self

    def kind(self, at: str) -> Any:
        number = os.stat(self.path).st_dev
        link = self.root / f"sys/dev/block/{os.major(number)}:{os.minor(number)}"
        link.parent.mkdir(parents=True)
        link.symlink_to(self.root / "sys/devices" / at)
        return here(self.path, self.root)["kind"]


@pytest.fixture
def devices(tmp_path: Path) -> Devices:
    if sys.platform != "linux":
        pytest.skip("/sys is Linux's")
    return Devices(tmp_path / "root", tmp_path)


@pytest.mark.parametrize(("rotational", "kind"), [("0\n", "ssd"), ("1\n", "hdd")])
def test_a_partition_is_of_its_disks_kind(devices: Devices, rotational: str, kind: str) -> None:
    devices.disk("pci/sda", rotational, "ATA", "Samsung SSD 870").partition("pci/sda/sda1")
    assert devices.kind("pci/sda/sda1") == kind


def test_nvme_without_a_vendor(devices: Devices) -> None:
    devices.disk("pci/nvme0n1", "0\n", model="WD_BLACK SN850X").partition("pci/nvme0n1/nvme0n1p2")
    assert devices.kind("pci/nvme0n1/nvme0n1p2") == "ssd"


def test_a_mapped_disk_is_of_the_kind_of_all_that_is_below(devices: Devices) -> None:
    devices.disk("pci/sda", "0\n").partition("pci/sda/sda1").disk("pci/sdb", "1\n")
    devices.disk("virtual/md0", "0\n").slave("virtual/md0", "pci/sda/sda1")
    devices.slave("virtual/md0", "pci/sdb")
    devices.disk("virtual/dm-0", "0\n").slave("virtual/dm-0", "virtual/md0")
    assert devices.kind("virtual/dm-0") == "hdd"


@pytest.mark.parametrize(
    ("where", "vendor", "model"),
    [
        ("virtio1/vda", "", ""),
        ("virtual/zram0", "", ""),
        ("virtual/loop3", "", ""),
        ("virtual/dm-0", "", ""),
        ("vbd/xvda", "", ""),
        ("pci/sda", "VMware,", "VMware Virtual S"),
        ("pci/sda", "VMware", "Disk"),
        ("pci/sda", "Msft", "Virtual Disk"),
        ("pci/sda", "QEMU", "QEMU HARDDISK"),
        ("pci/sda", "ATA", "VBOX HARDDISK"),
        ("pci/sda", "ATA", "QEMU HARDDISK"),
        ("pci/sda", "Google", "PersistentDisk"),
        ("pci/nvme0n1", "", "Amazon Elastic Block Store"),
        ("pci/nvme0n1", "", "QEMU NVMe Ctrl"),
    ],
)
@pytest.mark.parametrize("rotational", ["0\n", "1\n"])
def test_a_virtual_disk_is_unknown_whatever_it_claims(
    devices: Devices, where: str, vendor: str, model: str, rotational: str
) -> None:
    devices.disk(where, rotational, vendor, model)
    kind = devices.kind(where)
    assert isinstance(kind, Unknown)
    assert kind.kind == "unsupported"
    assert "virtual" in kind.reason


def test_a_mapped_virtual_disk_is_unknown(devices: Devices) -> None:
    devices.disk("virtio/vda", "1\n").partition("virtio/vda/vda2")
    devices.disk("virtual/dm-0", "0\n").slave("virtual/dm-0", "virtio/vda/vda2")
    assert "a virtual disk (vda)" in devices.kind("virtual/dm-0").reason


@pytest.mark.parametrize("text", ["", "x", "2", "\udcff"])
def test_a_kernel_that_does_not_say_is_unknown(devices: Devices, text: str) -> None:
    devices.disk("pci/sda", "0\n")
    (devices.root / "sys/devices/pci/sda/queue/rotational").write_bytes(os.fsencode(text))
    assert isinstance(devices.kind("pci/sda"), Unknown)


def test_no_block_device_at_all_is_unknown(tmp_path: Path) -> None:
    assert isinstance(here(tmp_path, tmp_path)["kind"], Unknown)
    assert isinstance(here(tmp_path, tmp_path)["filesystem"], Unknown)
    assert here(tmp_path, tmp_path)["total"] > 0
