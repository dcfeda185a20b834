"""Kernel settings, modules and limits of containers, against sysctl and real containers."""

from __future__ import annotations

import os
import resource
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from engines import IMAGE, Engine, make_image
from preflight.facts.collect.context import MeasurementContext
from preflight.facts.collect.measurement import MeasurementOptions
from preflight.facts.engine import kernel_settings
from preflight.facts.engine.endpoint import EngineError
from preflight.facts.engine.kernel_settings import (
    convert_sysctl_name_to_path,
    measure_kernel_settings,
    read_container_ulimit_ceilings,
    read_default_nofile_limits,
    read_kernel_module,
    read_sysctl,
    read_transparent_hugepage_mode,
)
from preflight.model.facts import Unknown, read_or_unknown

HIDDEN = Unknown("hidden")


def write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def engine_with(
    info: dict[str, Any] | None = None, *, go: str = "go1.18", network: Unknown | None = None
) -> Any:
    visibility = SimpleNamespace(
        processes_hidden=None, network_hidden=network, path_hidden=lambda _: None
    )
    endpoint = SimpleNamespace(url="unix:///run/docker.sock")
    return SimpleNamespace(
        name="docker", info=info or {}, version={"GoVersion": go}, visibility=visibility,
        api=SimpleNamespace(endpoint=endpoint),
    )  # fmt: skip


def measured(engine: Any, *dotted: str, root: Path = Path("/")) -> dict[str, Any]:
    def get_engine() -> Any:
        if isinstance(engine, Unknown):
            raise EngineError(*engine)
        return engine

    context: Any = SimpleNamespace(engine=get_engine)
    paths = [tuple(name.split(".")) for name in dotted]
    return {
        ".".join(fact.path): fact.value for fact in measure_kernel_settings(context, paths, root)
    }


# --- kernel settings ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("vm.swappiness", "vm/swappiness"),
        ("net/ipv4/conf/eth0.1/forwarding", "net/ipv4/conf/eth0.1/forwarding"),
        ("net.ipv4.conf.eth0/1.forwarding", "net/ipv4/conf/eth0.1/forwarding"),
        ("swappiness", "swappiness"),
    ],
)
def test_names_as_sysctl_reads_them(name: str, path: str) -> None:
    assert convert_sysctl_name_to_path(name) == path


def test_a_kernel_setting_is_a_number_or_text(tmp_path: Path) -> None:
    folder = "proc/sys/net/ipv4"
    files = {f"{folder}/conf/eth0.1/forwarding": "1\n", f"{folder}/tcp_rmem": "4096\t131072\t62\n"}
    root = write(tmp_path, files)
    assert read_sysctl("net/ipv4/conf/eth0.1/forwarding", root) == 1
    assert read_sysctl("net.ipv4.conf.eth0/1.forwarding", root) == 1
    assert read_sysctl("net.ipv4.tcp_rmem", root) == "4096\t131072\t62"
    assert read_sysctl("vm.missing", root) is None
    for name in ("../../etc/passwd", "/etc/passwd", "net.ipv4./.", "a..b", "a\0b"):
        value = read_or_unknown(read_sysctl, name, root)
        assert isinstance(value, Unknown), name
        assert value.kind == "invalid"


@pytest.mark.skipif(not os.path.exists("/usr/sbin/sysctl"), reason="without sysctl")
@pytest.mark.parametrize(
    "name", ["vm.overcommit_memory", "fs.nr_open", "net.ipv4.ip_local_port_range", "kernel.ostype"]
)
def test_a_kernel_setting_is_what_sysctl_prints(name: str) -> None:
    done = subprocess.run(["/usr/sbin/sysctl", "-n", name], capture_output=True, text=True)
    assert str(read_sysctl(name)) == done.stdout.strip()


def test_a_setting_that_only_root_reads_is_unknown(tmp_path: Path) -> None:
    root = write(tmp_path, {"proc/sys/kernel/secret": "1"})
    file = root / "proc/sys/kernel/secret"
    file.chmod(0)
    if os.geteuid() == 0:  # root reads it all the same: another user must ask
        tmp_path.chmod(0o755)
        for folder in [*file.parents][: len(file.parents) - len(tmp_path.parents) + 1]:
            folder.chmod(0o755)
        reading, writing = os.pipe()
        if os.fork() == 0:
            os.setgid(65534)
            os.setuid(65534)
            value = read_or_unknown(read_sysctl, "kernel.secret", root)
            os.write(writing, f"{getattr(value, 'kind', value)}".encode())
            os._exit(0)
        os.wait()
        kind = os.read(reading, 100).decode()
        os.close(reading)
        os.close(writing)
    else:
        kind = getattr(read_or_unknown(read_sysctl, "kernel.secret", root), "kind", "")
    assert kind in ("permission", "unavailable")


def test_settings_are_unknown_unless_the_engine_is_native() -> None:
    native = measured(engine_with(), "kernel.sysctl.vm.overcommit_memory", "kernel.swappiness")
    assert native["kernel.sysctl.vm.overcommit_memory"] in (0, 1, 2)
    swappiness = Path("/proc/sys/vm/swappiness").read_text("ascii")
    assert native["kernel.swappiness"] == int(swappiness)
    in_vm = engine_with()
    in_vm.visibility.processes_hidden = HIDDEN
    names = ("kernel.sysctl.vm.x", "kernel.thp", "docker.ulimits.nofile.soft", "kernel.module.x")
    for engine in (in_vm, Unknown("no socket", "permission")):
        values = measured(engine, *names)
        assert set(values) == set(names)
        assert all(isinstance(value, Unknown) for value in values.values())


def test_settings_of_a_hidden_network_are_unknown() -> None:
    names = ("kernel.sysctl.net.core.somaxconn", "kernel.sysctl.fs.nr_open")
    values = measured(engine_with(network=HIDDEN), *names)
    assert values[names[0]] == HIDDEN
    assert isinstance(values[names[1]], int)


def test_200_settings_cost_at_most_5_ms() -> None:
    names = sorted(str(path.relative_to("/proc/sys")) for path in Path("/proc/sys/vm").iterdir()
                   if path.is_file() and path.stat().st_mode & 0o444)  # fmt: skip
    paths = [("kernel", "sysctl", *names[i % len(names)].split("/")) for i in range(200)]
    context: Any = SimpleNamespace(engine=engine_with)
    costs = []
    for _ in range(5):
        start = time.thread_time()
        assert len(list(measure_kernel_settings(context, paths))) == 200
        costs.append(time.thread_time() - start)
    assert min(costs) < 0.005, costs


# --- modules and huge pages ---------------------------------------------------------------------


def test_a_module_is_loaded_built_in_or_neither(tmp_path: Path) -> None:
    root = write(tmp_path, {
        "sys/module/br_netfilter/initstate": "live\n",
        "proc/sys/kernel/osrelease": "6.1.0-test\n",
        "lib/modules/6.1.0-test/modules.builtin":
            "kernel/fs/ext4/ext4.ko\nkernel/crypto/crc32c-intel.ko\n",
    })  # fmt: skip
    for name, loaded in (
        ("br_netfilter", True),
        ("br-netfilter", True),
        ("ext4", True),
        ("crc32c_intel", True),
        ("overlay", False),
    ):
        assert read_kernel_module(name, root)[0] is loaded, name
    assert isinstance(read_or_unknown(read_kernel_module, "../x", root), Unknown)


def test_without_the_kernels_package_a_module_may_be_built_in(tmp_path: Path) -> None:
    root = write(tmp_path, {"proc/sys/kernel/osrelease": "6.1.0\n"})
    value = read_or_unknown(read_kernel_module, "overlay", root)
    assert isinstance(value, Unknown)
    assert "lib/modules/6.1.0/modules.builtin" in value.reason


def test_this_kernel_has_the_modules_that_it_lists() -> None:
    for name in os.listdir("/sys/module")[:50]:
        assert read_kernel_module(name)[0] is True, name


@pytest.mark.parametrize(
    ("text", "mode"),
    [("always [madvise] never\n", "madvise"), ("[always] madvise never\n", "always"), ("", None)],
)
def test_huge_pages(tmp_path: Path, text: str, mode: str | None) -> None:
    root = write(tmp_path, {"sys/kernel/mm/transparent_hugepage/enabled": text})
    value = read_or_unknown(read_transparent_hugepage_mode, root)
    assert value == mode if mode else isinstance(value, Unknown)


def test_a_kernel_without_huge_pages_never_uses_them(tmp_path: Path) -> None:
    assert isinstance(
        read_or_unknown(read_transparent_hugepage_mode, tmp_path), Unknown
    )  # /sys isn't there either
    (tmp_path / "sys/kernel/mm").mkdir(parents=True)
    assert read_transparent_hugepage_mode(tmp_path) == "never"


# --- limits on open files -----------------------------------------------------------------------


def limits(soft: object, hard: object) -> str:
    return f"Max processes             10  10  processes\nMax open files {soft} {hard} files\n"


DAEMON = {
    "proc/sys/fs/nr_open": "1073741816\n",
    "proc/7/cmdline": "dockerd\0",
    "proc/7/task/7/children": "9 ",
    "proc/7/task/17/children": "8 ",
    "proc/8/comm": "containerd\n",
    "proc/8/limits": limits(1024, 524288),
    "proc/8/cgroup": "0::/system.slice/containerd.service\n",
    "proc/9/comm": "docker-proxy\n",
}
UNIT = "usr/lib/systemd/system/containerd.service"
DEFAULTS = '{{"default-ulimits": {{"nofile": {{"Name": "nofile", "Soft": {}, "Hard": {}}}}}}}'


@pytest.mark.parametrize(
    ("capabilities", "users", "is_bounded"),
    [
        ("000001ffffffffff", "0 0 4294967295", False),
        ("000001fffeffffff", "0 0 4294967295", True),
        ("000001ffffffffff", "0 100000 65536", True),  # an LXC container without privileges
    ],
)
def test_hard_limits_bind_who_may_not_raise_them(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capabilities: str,
    users: str,
    is_bounded: bool,
) -> None:
    monkeypatch.setattr(kernel_settings, "find_unix_socket_listener_pid", lambda _: 7)
    own = Path("/proc/self/limits").read_text("ascii")
    root = write(tmp_path, {
        **DAEMON, "proc/8/limits": own, "proc/8/uid_map": f"  {users}\n",
        "proc/8/status": f"CapEff:\t{capabilities}\n",
    })  # fmt: skip
    hard = [resource.getrlimit(number)[1] % 2**64 for number in range(16)]
    assert read_container_ulimit_ceilings(engine_with(), root) == (hard if is_bounded else [])


@pytest.mark.parametrize(
    ("files", "go", "expected"),
    [
        ({}, "go1.22.1", (1024, 524288)),
        ({"etc/docker/daemon.json": DEFAULTS.format(2000, 3000)}, "", (2000, 3000)),
        ({"etc/docker/daemon.json": DEFAULTS.format(2000, -1)}, "", (2000, 1073741816)),
        ({"etc/docker/daemon.json": "{}"}, "", (1024, 524288)),
        ({"proc/7/cmdline": "dockerd\0--default-ulimit\0nofile=5:6\0"}, "", (5, 6)),
        ({"proc/7/cmdline": "dockerd\0--default-ulimit=nofile=5\0"}, "", (5, 5)),
        (
            {"proc/7/cmdline": "dockerd\0--config-file=/x.json\0", "x.json": DEFAULTS.format(7, 8)},
            "",
            (7, 8),
        ),
        # Go has raised the soft limit: before 1.19.9 its children keep that
        ({"proc/8/limits": limits(524288, 524288)}, "go1.19.8", (524288, 524288)),
        ({"proc/8/limits": limits(524288, 524288)}, "go1.24.3", (1024, 524288)),
        (
            {"proc/8/limits": limits(1073741816, 1073741816),
             UNIT: "[Service]\nLimitNOFILE=infinity\n"},
            "go1.21",
            (1073741816, 1073741816),
        ),
        (
            {"proc/8/limits": limits(65536, 65536), UNIT: "[Service]\nLimitNOFILE=infinity\n",
             "etc/systemd/system/containerd.service.d/limits.conf": "LimitNOFILE=2048:65536\n"},
            "go1.21",
            (2048, 65536),
        ),
    ],
)  # fmt: skip
def test_open_files_of_containers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, str], go: str, expected: Any
) -> None:
    monkeypatch.setattr(kernel_settings, "find_unix_socket_listener_pid", lambda _: 7)
    root = write(tmp_path, {**DAEMON, **files})
    *value, source = read_default_nofile_limits(engine_with(go=go), root)
    assert tuple(value) == expected
    assert source
    both = measured(
        engine_with(go=go), "docker.ulimits.nofile.soft", "docker.ulimits.nofile.hard", root=root
    )
    assert tuple(both.values()) == expected


@pytest.mark.parametrize(
    "files",
    [
        {"proc/8/limits": ""},
        {"proc/8/comm": "sleep\n"},
        {"etc/docker/daemon.json": "{"},
        {"etc/docker/daemon.json": DEFAULTS.format('"x"', 1)},
        {"proc/8/limits": limits(9, 9), "proc/8/cgroup": "0::/user.slice\n"},
    ],
)
def test_open_files_that_are_not_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, str]
) -> None:
    monkeypatch.setattr(kernel_settings, "find_unix_socket_listener_pid", lambda _: 7)
    root = write(tmp_path, {**DAEMON, **files})
    value = read_or_unknown(read_default_nofile_limits, engine_with(go="go1.22"), root)
    assert isinstance(value, Unknown)
    podman = engine_with()
    podman.name = "podman"
    assert isinstance(read_or_unknown(read_default_nofile_limits, podman, tmp_path), Unknown)


def test_open_files_are_those_that_a_container_starts_with(
    own_dockerd: Callable[..., Engine],
) -> None:
    engine = own_dockerd(prefix=("prlimit", "--nofile=3000:5000"))
    make_image(engine)
    script = "ulimit -Sn; ulimit -Hn"
    soft, hard = engine.docker("run", "--rm", "--network=none", IMAGE, "sh", "-c", script).split()
    context = MeasurementContext(MeasurementOptions(docker_host=engine.url))
    paths = [("docker", "ulimits", "nofile", name) for name in ("soft", "hard")]
    facts = {fact.path[-1]: fact.value for fact in measure_kernel_settings(context, paths)}
    assert facts == {"soft": int(soft), "hard": int(hard)}
    assert facts["hard"] == 5000


def test_without_an_engine_its_reason_stands() -> None:
    context = MeasurementContext(MeasurementOptions(docker_host="unix:///nowhere/docker.sock"))
    with pytest.raises(EngineError):
        context.engine()
    (fact,) = measure_kernel_settings(context, [("kernel", "sysctl", "vm", "swappiness")])
    assert "/nowhere/docker.sock" in str(fact.value)
