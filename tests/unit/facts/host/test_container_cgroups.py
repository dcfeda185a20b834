"""The cgroup of a container, on trees of v1 and v2."""

from __future__ import annotations

from pathlib import Path

from preflight.facts.host.proc_and_cgroups import ContainerCgroup, read_container_memory_cgroup
from preflight.model.facts import Unknown

GIB = 2**30


def tree(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return root


V1 = "1 0 0:1 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
V2 = "1 0 0:1 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n"


class TestGroup:
    def test_v2_with_a_process_deeper_than_its_container(self, tmp_path: Path) -> None:
        own = "sys/fs/cgroup/small.slice/docker-abc.scope"
        root = tree(tmp_path, {
            "proc/self/mountinfo": V2,
            "proc/7/cgroup": "0::/small.slice/docker-abc.scope/init\n",
            f"{own}/init/memory.events": "low 0\noom_kill 9\n",
            f"{own}/memory.events": "low 0\nhigh 0\nmax 12\noom 2\noom_kill 2\noom_group_kill 0\n",
            f"{own}/memory.max": f"{2 * GIB}\n",
            f"{own}/memory.current": "1000\n",
            f"{own}/memory.stat": "anon 300\ninactive_file 400\n",
            "sys/fs/cgroup/small.slice/memory.max": f"{GIB}\n",
        })  # fmt: skip
        group = read_container_memory_cgroup(7, "abc", root)
        assert isinstance(group, ContainerCgroup)
        assert (group.oom_kills, group.usage) == (2, 600)
        assert group.limit.value == group.parent_limit.value == GIB
        assert group.oom_source == f"{root}/{own}/memory.events"

    def test_v1(self, tmp_path: Path) -> None:
        own = "sys/fs/cgroup/memory/docker/abc"
        root = tree(tmp_path, {
            "proc/self/mountinfo": V1,
            "proc/7/cgroup": "4:memory:/docker/abc\n0::/elsewhere\n",
            f"{own}/memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 1\n",
            f"{own}/memory.limit_in_bytes": f"{GIB}\n",
            f"{own}/memory.usage_in_bytes": "1000\n",
            f"{own}/memory.stat": "inactive_file 1\ntotal_inactive_file 250\n",
        })  # fmt: skip
        group = read_container_memory_cgroup(7, "abc", root)
        assert isinstance(group, ContainerCgroup)
        assert (group.oom_kills, group.usage) == (1, 750)
        assert (group.limit.value, group.parent_limit.value) == (GIB, None)

    def test_kills_in_a_group_that_is_shared_are_not_the_containers(self, tmp_path: Path) -> None:
        root = tree(tmp_path, {
            "proc/self/mountinfo": V1,
            "proc/7/cgroup": "4:memory:/user.slice\n",
            "sys/fs/cgroup/memory/user.slice/memory.oom_control": "oom_kill 5\n",
        })  # fmt: skip
        assert isinstance(read_container_memory_cgroup(7, "abc", root), Unknown)

    def test_an_old_kernel_does_not_count(self, tmp_path: Path) -> None:
        root = tree(tmp_path, {
            "proc/self/mountinfo": V1,
            "proc/7/cgroup": "4:memory:/docker/abc\n",
            "sys/fs/cgroup/memory/docker/abc/memory.oom_control": "under_oom 0\n",
            "sys/fs/cgroup/memory/docker/abc/memory.usage_in_bytes": "5\n",
            "sys/fs/cgroup/memory/docker/abc/memory.stat": "total_inactive_file 1\n",
        })  # fmt: skip
        group = read_container_memory_cgroup(7, "abc", root)
        assert isinstance(group, ContainerCgroup)
        assert (group.oom_kills, group.usage) == (None, 4)

    def test_a_process_that_has_ended(self, tmp_path: Path) -> None:
        root = tree(tmp_path, {"proc/self/mountinfo": V1})
        assert read_container_memory_cgroup(7, "abc", root) == Unknown(
            "the container's process has just ended"
        )
