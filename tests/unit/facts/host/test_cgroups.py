"""Limits of control groups: fixture trees of v1, v2 and hybrid hosts, and real nested groups."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from preflight.facts.collect.context import MeasurementContext
from preflight.facts.collect.measurement import MeasurementOptions
from preflight.facts.host import machine as host
from preflight.facts.host.proc_and_cgroups import Cgroups
from preflight.model.facts import Unknown

MiB = 2**20
V1 = "4:memory:/a/b\n3:cpu,cpuacct:/a/b\n"
V1_MOUNTS = {"memory": "/", "cpu,cpuacct": "/"}


class Tree:
    """A root folder with the files that the kernel would show."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.mounts = ["27 1 254:0 / / rw - ext4 /dev/vda rw"]

    def write(self, name: str, text: str | bytes) -> Tree:
        file = self.root / name.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(text.encode() if isinstance(text, str) else text)
        return self

    def v1(self, groups: str, **roots: str) -> Tree:
        """Mount v1 hierarchies (a controller list and the mount's root) for these groups."""
        self.write("proc/self/cgroup", groups)
        for names, top in (roots or V1_MOUNTS).items():
            self.mount(f"/sys/fs/cgroup/{names}", "cgroup", names, top)
        return self

    def v2(self, groups: str, top: str = "/", point: str = "/sys/fs/cgroup") -> Tree:
        """Mount the v2 hierarchy."""
        self.write("proc/self/cgroup", groups)
        return self.mount(point, "cgroup2", "nsdelegate", top)

    def mount(self, point: str, filesystem: str, options: str, top: str) -> Tree:
        number = 40 + len(self.mounts)
        self.mounts.append(f"{number} 27 0:9 {top} {point} rw - {filesystem} cgroup rw,{options}")
        (self.root / point.lstrip("/")).mkdir(parents=True, exist_ok=True)
        return self.write("proc/self/mountinfo", "\n".join(self.mounts) + "\n")

    def memory(self) -> float | None:
        return Cgroups(self.root).limit("memory").value

    def cpu(self) -> float | None:
        return Cgroups(self.root).limit("cpu").value

    def fact(self, name: str) -> Any:
        """Return a fact as the host probe delivers it, from this tree."""
        path = tuple(name.split("."))
        return next(
            m.value
            for m in host.measure_machine(MeasurementContext(MeasurementOptions()), self.root)
            if m.path == path
        )


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path)


def bytes_of(value: int) -> str:
    return f"{value}\n"


# --- v2 ---------------------------------------------------------------------------------------


def test_v2_parents_count_and_the_root_has_no_file(tree: Tree) -> None:
    tree.v2("0::/a/b/c\n")
    tree.write("sys/fs/cgroup/a/memory.max", bytes_of(300 * MiB))
    tree.write("sys/fs/cgroup/a/b/memory.max", bytes_of(700 * MiB))
    tree.write("sys/fs/cgroup/a/b/c/memory.max", "max\n")
    tree.write("sys/fs/cgroup/a/cpu.max", "max 100000\n")
    tree.write("sys/fs/cgroup/a/b/cpu.max", "150000 100000\n")
    tree.write("sys/fs/cgroup/a/b/c/cpu.max", "max 100000\n")
    assert tree.memory() == 300 * MiB
    assert tree.cpu() == 1.5
    assert Cgroups(tree.root).limit("memory").source == f"{tree.root}/sys/fs/cgroup/a/memory.max"


def test_v2_no_limit_is_absent(tree: Tree) -> None:
    tree.v2("0::/a\n").write("sys/fs/cgroup/a/memory.max", "max\n")
    assert tree.memory() is None
    assert tree.cpu() is None
    assert tree.fact("host.memory.limit") is None


def test_v2_where_the_memory_controller_is_not_enabled_the_parents_still_count(tree: Tree) -> None:
    tree.v2("0::/a/b\n").write("sys/fs/cgroup/a/memory.max", bytes_of(64 * MiB))
    tree.write("sys/fs/cgroup/a/b/cgroup.procs", "1\n")
    assert tree.memory() == 64 * MiB


def test_v2_a_mount_whose_root_is_the_group(tree: Tree) -> None:
    tree.v2("0::/system.slice/docker-1.scope/init\n", "/system.slice/docker-1.scope")
    tree.write("sys/fs/cgroup/memory.max", bytes_of(512 * MiB))
    tree.write("sys/fs/cgroup/init/memory.max", "max\n")
    assert tree.memory() == 512 * MiB


def test_a_mount_root_is_no_mere_beginning_of_a_name(tree: Tree) -> None:
    tree.v2("0::/docker/abc\n", "/docker/ab").write("sys/fs/cgroup/c/memory.max", bytes_of(MiB))
    with pytest.raises(OSError, match="isn't visible"):
        tree.memory()


@pytest.mark.parametrize("top", ["/../../x", "/../.."])
def test_a_namespaced_path_under_a_mount_that_holds_it(tree: Tree, top: str) -> None:
    tree.v2("0::/../../x\n", top)
    folder = "sys/fs/cgroup" if top.endswith("x") else "sys/fs/cgroup/x"
    tree.write(f"{folder}/memory.max", bytes_of(256 * MiB))
    assert tree.memory() == 256 * MiB


def test_a_namespaced_path_outside_of_the_mount_is_unknown_and_never_walked(tree: Tree) -> None:
    tree.v2("0::/../../x\n", point="/sys/fs/cgroup/unified")
    tree.write("sys/fs/x/memory.max", bytes_of(MiB))  # where the dots would lead
    limit = tree.fact("host.memory.limit")
    assert isinstance(limit, Unknown)
    assert limit.kind == "unavailable"
    assert isinstance(tree.fact("host.memory.usable"), Unknown)
    assert isinstance(tree.fact("host.memory.total"), int)


def test_a_leaf_that_is_not_there_leaves_its_parents_limit_or_unknown(tree: Tree) -> None:
    tree.v2("0::/a/gone\n")
    (tree.root / "sys/fs/cgroup/a").mkdir()
    with pytest.raises(OSError, match="isn't visible"):
        tree.memory()
    tree.write("sys/fs/cgroup/a/memory.max", bytes_of(MiB))
    assert tree.memory() == MiB


def test_a_place_where_no_container_ran_yet_has_the_limit_of_what_is_above(tree: Tree) -> None:
    tree.v2("0::/\n").write("sys/fs/cgroup/a/memory.max", bytes_of(MiB))
    tree.write("sys/fs/cgroup/a/memory.current", bytes_of(4096))
    groups = Cgroups(tree.root)
    assert groups.limit("memory", "/a/docker").value == MiB
    assert groups.limit("memory", "/docker").value is None
    assert groups.memory_usage("/a/docker") == 4096
    assert groups.memory_usage("/") == 0


# --- v1 and hybrid ----------------------------------------------------------------------------


@pytest.mark.parametrize("none", [2**63 - 1, 2**63 - 4096, 2**63 - 65536])
def test_v1_the_largest_page_count_is_no_limit(tree: Tree, none: int) -> None:
    tree.v1(V1)
    tree.write("sys/fs/cgroup/memory/a/b/memory.limit_in_bytes", bytes_of(none))
    tree.write("sys/fs/cgroup/memory/a/b/memory.stat", f"rss 0\nhierarchical_memory_limit {none}\n")
    assert tree.memory() is None


def test_v1_parents_and_the_hierarchical_limit_count(tree: Tree) -> None:
    tree.v1(V1)
    none = bytes_of(2**63 - 4096)
    tree.write("sys/fs/cgroup/memory/a/b/memory.limit_in_bytes", none)
    tree.write("sys/fs/cgroup/memory/a/memory.limit_in_bytes", bytes_of(400 * MiB))
    tree.write("sys/fs/cgroup/memory/memory.limit_in_bytes", none)
    assert tree.memory() == 400 * MiB
    stat = f"cache 1\nhierarchical_memory_limit {100 * MiB}\nhierarchical_memsw_limit 5\n"
    tree.write("sys/fs/cgroup/memory/a/b/memory.stat", stat)
    assert tree.memory() == 100 * MiB


def test_v1_controllers_mounted_together_and_a_child_that_says_minus_one(tree: Tree) -> None:
    tree.v1(V1)
    for name, quota in (("a/b", -1), ("a", 50000), (".", -1)):
        tree.write(f"sys/fs/cgroup/cpu,cpuacct/{name}/cpu.cfs_quota_us", bytes_of(quota))
        tree.write(f"sys/fs/cgroup/cpu,cpuacct/{name}/cpu.cfs_period_us", bytes_of(100000))
    assert tree.cpu() == 0.5
    assert tree.fact("host.cpu.usable") == 0.5


def test_v1_a_container_sees_its_own_group_as_the_mount(tree: Tree) -> None:
    tree.v1("4:memory:/docker/abc\n", memory="/docker/abc")
    tree.write("sys/fs/cgroup/memory/memory.limit_in_bytes", bytes_of(128 * MiB))
    assert tree.memory() == 128 * MiB


@pytest.mark.parametrize(("top", "below"), [("/", "a/b/"), ("/a", "b/"), ("/a/b", "")])
def test_of_two_mounts_the_one_that_shows_the_group_is_read(
    tree: Tree, top: str, below: str
) -> None:
    tree.v1("4:memory:/a/b\n", memory="/elsewhere")
    tree.write("sys/fs/cgroup/memory/memory.limit_in_bytes", bytes_of(MiB))
    tree.mount("/host/cgroup/memory", "cgroup", "memory", top)
    tree.write(f"host/cgroup/memory/{below}memory.limit_in_bytes", bytes_of(128 * MiB))
    assert tree.memory() == 128 * MiB


def test_hybrid_the_controller_is_read_where_it_lives(tree: Tree) -> None:
    tree.v1("4:memory:/a/b\n0::/a\n", memory="/").mount(
        "/sys/fs/cgroup/unified", "cgroup2", "nsdelegate", "/"
    )
    tree.write("sys/fs/cgroup/memory/a/b/memory.limit_in_bytes", bytes_of(128 * MiB))
    tree.write("sys/fs/cgroup/unified/a/cpu.max", "25000 100000\n")
    tree.write("sys/fs/cgroup/unified/a/memory.max", "1\n")  # not the controller's place
    groups = Cgroups(tree.root)
    assert (groups.version("memory"), groups.version("cpu")) == (1, 2)
    assert tree.memory() == 128 * MiB
    assert tree.cpu() == 0.25


def test_hybrid_a_v1_controller_that_is_not_mounted_is_not_v2s(tree: Tree) -> None:
    tree.v2("4:memory:/a\n0::/\n", point="/sys/fs/cgroup/unified")
    limit = tree.fact("host.memory.limit")
    assert isinstance(limit, Unknown)
    assert "memory cgroup" in limit.reason


# --- what a valid number ------------------------------------------------------------------------

GARBAGE = [b"", b"\n", b"garbage", b"\xff\xfe", b"12 34", b"1e9", b"-5", b"0", b"9" * 5000]


@pytest.mark.parametrize("text", GARBAGE)
@pytest.mark.parametrize("version", [1, 2])
def test_garbage_is_neither_a_limit_nor_none(tree: Tree, text: bytes, version: int) -> None:
    if version == 1:
        tree.v1(V1).write("sys/fs/cgroup/memory/a/b/memory.limit_in_bytes", text)
        tree.write("sys/fs/cgroup/cpu,cpuacct/a/b/cpu.cfs_quota_us", text)
        tree.write("sys/fs/cgroup/cpu,cpuacct/a/b/cpu.cfs_period_us", "100000\n")
    else:
        tree.v2("0::/a\n").write("sys/fs/cgroup/a/memory.max", text)
        tree.write("sys/fs/cgroup/a/cpu.max", text)
    for name in ("host.memory.limit", "host.memory.usable", "host.cpu.usable"):
        value = tree.fact(name)
        if name == "host.cpu.usable" and text == b"12 34":
            assert value == 12 / 34 if version == 2 else value.kind == "invalid"
            continue
        assert isinstance(value, Unknown), (name, value)
        assert value.kind == "invalid"
        assert "a valid number" in value.reason
    assert isinstance(tree.fact("host.memory.total"), int)
    assert isinstance(tree.fact("host.cpu.logical"), int)


@pytest.mark.parametrize("text", [b"", b"garbage", b"\xff", b"hierarchical_memory_limit x\n"])
def test_garbage_in_the_statistics_leaves_the_limit_itself(tree: Tree, text: bytes) -> None:
    tree.v1(V1).write("sys/fs/cgroup/memory/a/b/memory.limit_in_bytes", bytes_of(MiB))
    tree.write("sys/fs/cgroup/memory/a/b/memory.stat", text)
    assert tree.memory() == MiB


@pytest.mark.parametrize("groups", ["", "garbage\n", ":::\n", "\x00", "4:memory\n", "0:\n"])
def test_groups_that_make_no_sense_crash_nothing(tree: Tree, groups: str) -> None:
    tree.v2(groups).write("sys/fs/cgroup/memory.max", bytes_of(MiB))
    assert isinstance(tree.fact("host.memory.total"), int)
    assert isinstance(tree.fact("host.memory.limit"), (int, Unknown))


def test_a_group_with_colons_and_blanks_in_its_name(tree: Tree) -> None:
    tree.v2("4:memory:/a b:c\n0::/x\n1:name=systemd:/y\n")
    groups = Cgroups(tree.root)
    names = ("memory", "cpu", "name=systemd")
    assert [groups.path(name) for name in names] == ["/a b:c", "/x", "/y"]


def test_no_proc_is_unknown(tree: Tree) -> None:
    for name in ("host.memory.limit", "host.memory.usable", "host.cpu.usable"):
        value = tree.fact(name)
        assert isinstance(value, Unknown)
        assert value.kind == "unavailable"
        assert "proc/self/cgroup" in value.reason


def test_no_hierarchy_mounted_is_unknown(tree: Tree) -> None:
    tree.v2("0::/\n")
    tree.write("proc/self/mountinfo", "27 1 254:0 / / rw - ext4 /dev/vda rw\n")
    assert isinstance(tree.fact("host.memory.limit"), Unknown)


def test_an_unreadable_limit_is_unknown(tree: Tree) -> None:
    tree.v2("0::/a\n")
    (tree.root / "sys/fs/cgroup/a/memory.max").mkdir(parents=True)  # EISDIR, for root too
    limit = tree.fact("host.memory.limit")
    assert isinstance(limit, Unknown)
    assert "memory.max" in limit.reason


def test_permission_denied_is_said_so(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    tree.v2("0::/a\n").write("sys/fs/cgroup/a/memory.max", bytes_of(MiB))
    read = Path.read_text

    def refuse(self: Path, *args: Any, **kwargs: Any) -> str:
        if self.name == "memory.max":
            raise PermissionError(13, "Permission denied", str(self))
        return read(self, *args, **kwargs)

    monkeypatch.setattr(Path, "read_text", refuse)
    limit = tree.fact("host.memory.limit")
    assert isinstance(limit, Unknown)
    assert limit.kind == "permission"


# --- this machine -----------------------------------------------------------------------------


@pytest.fixture
def group() -> Iterator[Callable[[str], Path]]:
    """Make nested v1 groups of a controller; they are removed afterwards."""
    made: list[Path] = []

    def make(controller: str) -> Path:
        top = Path("/sys/fs/cgroup") / controller
        if not (top / "cgroup.procs").exists() or os.geteuid() != 0:
            pytest.skip(f"needs root and the {controller} controller of cgroup v1")
        parent = top / f"preflight-test-{os.getpid()}"
        try:
            (parent / "a" / "b").mkdir(parents=True)
        except OSError as fault:
            pytest.skip(f"cgroups can't be made here: {fault}")
        made.extend([parent / "a" / "b", parent / "a", parent])
        return parent

    yield make
    for folder in made:
        folder.rmdir()


def enter(folder: Path) -> tuple[str, ...]:
    return ("sh", "-c", f'echo $$ > {folder}/cgroup.procs && exec "$@"', "sh")


@pytest.mark.skipif(sys.platform != "linux", reason="control groups are Linux's")
def test_a_process_sees_the_limit_of_its_groups_parent(
    group: Callable[[str], Path], run_preflight: Callable[..., Any]
) -> None:
    top = group("memory")
    (top / "a/memory.limit_in_bytes").write_text("400M")
    done = run_preflight("facts", "-f", "json", prefix=enter(top / "a/b"))
    facts = json.loads(done.stdout)
    assert facts["facts"]["host"]["memory"]["limit"] == 400 * MiB
    assert facts["facts"]["host"]["memory"]["usable"] == 400 * MiB
    assert facts["facts"]["host"]["memory"]["total"] > 400 * MiB
    assert str(top) in facts["sources"]["host.memory.limit"]


@pytest.mark.skipif(sys.platform != "linux", reason="control groups are Linux's")
def test_a_process_sees_the_quota_of_its_groups_parent(
    group: Callable[[str], Path], run_preflight: Callable[..., Any]
) -> None:
    top = group("cpu")
    (top / "a/cpu.cfs_quota_us").write_text("75000")
    assert (top / "a/b/cpu.cfs_quota_us").read_text() == "-1\n"
    done = run_preflight("facts", "-f", "json", prefix=enter(top / "a/b"))
    facts = json.loads(done.stdout)
    assert facts["facts"]["host"]["cpu"]["usable"] == 0.75
    assert facts["facts"]["host"]["cpu"]["logical"] == os.cpu_count()
