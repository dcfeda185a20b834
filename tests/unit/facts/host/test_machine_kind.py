"""Which distribution a machine has and what it runs in, by its files; and this machine itself."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from paths import SHARED
from preflight.facts.host.machine import (
    measure_distribution,
    measure_timezone,
    measure_virtualization,
)
from preflight.model.facts import Unknown

DEBIAN = """\
PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"
NAME="Debian GNU/Linux"
VERSION_ID="12"
ID=debian
# a comment
HOME_URL="https://www.debian.org/"
"""
KVM_FLAGS = "processor : 0\nflags\t\t: fpu vme hypervisor sse2\n"
PLAIN_FLAGS = "processor : 0\nflags\t\t: fpu vme sse2\n"
OVERLAY = "600 500 0:99 / / rw,relatime - overlay overlay rw,lowerdir=/a\n"
DISK_ROOT = "27 1 254:0 / / rw,relatime - ext4 /dev/vda rw\n"
DMI = "sys/class/dmi/id/"


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    for name in ("container", "KUBERNETES_SERVICE_HOST"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sys, "platform", "linux")

    def write(files: dict[str, str]) -> Path:
        for name, text in files.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(text)
        return tmp_path

    return write


def distribution(root: Path) -> dict[str, Any]:
    return {fact.path[-1]: fact.value for fact in measure_distribution(root)}


@pytest.mark.parametrize(
    ("text", "id_", "version", "name"),
    [
        (DEBIAN, "debian", "12", "Debian GNU/Linux 12 (bookworm)"),
        ("ID='ubuntu'\nVERSION_ID=\"24.04\"\n", "ubuntu", "24.04", None),
        ("NAME=Arch\nID=arch\nVERSION_ID=\n", "arch", None, None),
        ("\ufeffID=arch\n", "arch", None, None),
        ('ID=fedora\nVERSION_ID=41\nPRETTY_NAME="not closed\n', "fedora", "41", None),
        ("garbage\n=\n\0\n", "linux", None, None),  # os-release(5): ID defaults to linux
    ],
)
def test_a_distribution(
    tree: Any, text: str, id_: str, version: str | None, name: str | None
) -> None:
    assert distribution(tree({"etc/os-release": text})) == {
        "id": id_, "version": version, "name": name,
    }  # fmt: skip


def test_the_file_of_the_vendor_counts_where_there_is_no_other(tree: Any) -> None:
    root = tree({"usr/lib/os-release": "ID=alpine\n"})
    assert distribution(root)["id"] == "alpine"
    assert distribution(tree({"etc/os-release": DEBIAN}))["id"] == "debian"


@pytest.mark.parametrize(
    "more",
    ["A=b\n" * 250_000, f'ANSI_COLOR="{"x" * 2**20}"\n', f'ID="{"x" * 2**20}"\n',
     "ID=other\n" * 100_000],
    ids=["lines", "one line", "an ID without end", "the same line"],
)  # fmt: skip
def test_an_os_release_of_1_mb_takes_no_time(tree: Any, more: str) -> None:
    start = time.thread_time()
    values = distribution(tree({"etc/os-release": more + DEBIAN}))
    assert time.thread_time() - start < 0.2
    assert (values["id"], values["version"]) == ("debian", "12")


def test_without_a_file_nothing_is_known(tree: Any) -> None:
    values = distribution(tree({})).values()
    assert all(isinstance(value, Unknown) for value in values)


def test_in_an_application_container_it_would_be_the_images(tree: Any) -> None:
    files = {"etc/os-release": DEBIAN, ".dockerenv": "", "proc/self/mountinfo": OVERLAY}
    value = distribution(tree(files))["id"]
    assert isinstance(value, Unknown)
    assert "describes the image" in value.reason


def test_in_a_system_container_it_is_the_machines(tree: Any) -> None:
    root = tree({"etc/os-release": DEBIAN, "run/systemd/container": "lxc\n"})
    assert distribution(root)["id"] == "debian"


@pytest.mark.parametrize(
    ("files", "kind"),
    [
        ({"proc/cpuinfo": PLAIN_FLAGS, DMI + "sys_vendor": "Dell Inc.\n"}, "none"),
        ({"proc/cpuinfo": PLAIN_FLAGS}, "none"),
        ({"proc/cpuinfo": KVM_FLAGS}, "vm-other"),
        ({DMI + "product_name": "KVM\n", DMI + "sys_vendor": "QEMU\n"}, "kvm"),
        ({DMI + "product_name": "VMware Virtual Platform\n"}, "vmware"),
        ({DMI + "product_name": "m5.large\n", DMI + "sys_vendor": "Amazon EC2\n"}, "amazon"),
        (
            {
                DMI + "product_name": "Virtual Machine",
                DMI + "sys_vendor": "Microsoft Corporation",
                "proc/cpuinfo": KVM_FLAGS,
            },
            "hyperv",
        ),
        ({DMI + "sys_vendor": "Microsoft Corporation", DMI + "product_name": "Surface"}, "none"),
        ({"proc/sys/kernel/osrelease": "5.15.153.1-microsoft-standard-WSL2\n"}, "wsl"),
        ({"run/systemd/container": "lxc\n", "proc/cpuinfo": KVM_FLAGS}, "lxc"),
        ({"run/systemd/container": "systemd-nspawn\n"}, "systemd-nspawn"),
        ({"proc/vz/x": "", "proc/cpuinfo": PLAIN_FLAGS}, "openvz"),
        ({"proc/vz/x": "", "proc/bc/x": "", "proc/cpuinfo": PLAIN_FLAGS}, "none"),  # its host
        ({".dockerenv": "", "proc/self/mountinfo": OVERLAY}, "docker"),
        ({"run/.containerenv": "", "proc/self/mountinfo": OVERLAY}, "podman"),
        ({"proc/self/cgroup": "0::/kubepods/pod1\n", "proc/self/mountinfo": OVERLAY}, "kubernetes"),
        ({"proc/self/cgroup": "0::/lxc.payload.web\n"}, "lxc"),
        ({".dockerenv": "", "proc/self/mountinfo": DISK_ROOT, "proc/cpuinfo": KVM_FLAGS},
         "vm-other"),  # a VM made from an image
    ],
)  # fmt: skip
def test_virtualization(tree: Any, files: dict[str, str], kind: str) -> None:
    fact = measure_virtualization(tree(files))
    assert fact.value == kind
    assert fact.source


def test_without_firmware_and_flags_it_is_unknown(tree: Any) -> None:
    """So it is on boards such as the Raspberry Pi."""
    fact = measure_virtualization(tree({"proc/cpuinfo": "Features : fp asimd\n"}))
    assert isinstance(fact.value, Unknown)


@pytest.mark.parametrize("system", ["darwin", "win32"])
def test_other_systems_have_no_distribution(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, system: str
) -> None:
    monkeypatch.setattr(sys, "platform", system)
    values = [*distribution(tmp_path).values(), measure_virtualization(tmp_path).value]
    assert [getattr(value, "kind", None) for value in values] == ["unsupported"] * 4


@pytest.mark.skipif(not os.path.exists("/etc/os-release"), reason="a file of Linux")
def test_this_machine_as_the_standard_library_reads_it(tree: Any) -> None:
    text = Path("/etc/os-release").read_text(encoding="utf-8")
    expected = platform.freedesktop_os_release()
    values = distribution(tree({"etc/os-release": text}))
    assert values["id"] == expected["ID"]
    assert values["name"] == expected["PRETTY_NAME"]


def test_the_guest_of_the_shared_cases(tree: Any) -> None:
    folder = SHARED / "cases/host/H01"
    if not folder.is_dir():
        pytest.skip("the shared cases aren't there")
    assert measure_virtualization(folder).value == "lxc"


@pytest.mark.parametrize(
    ("link", "text", "zone"),
    [
        ("../usr/share/zoneinfo/Europe/Berlin", "", "Europe/Berlin"),
        ("/usr/share/zoneinfo/America/Argentina/Salta", "", "America/Argentina/Salta"),
        ("/var/db/timezone/zoneinfo/Asia/Tokyo", "", "Asia/Tokyo"),  # as macOS has it
        ("/usr/share/zoneinfo/posix/Asia/Tokyo", "", "Asia/Tokyo"),
        ("", "Europe/Paris\n", "Europe/Paris"),  # a copy of the file, as Debian once made it
        ("", "", Unknown),
        (None, "", "UTC"),
    ],
)
def test_time_zones(tree: Any, link: str | None, text: str, zone: Any) -> None:
    root = tree({"etc/timezone": text, **({} if link is None else {"etc/localtime": "TZif2"})})
    if link:
        (root / "etc/localtime").unlink()
        (root / "etc/localtime").symlink_to(link)
    value = measure_timezone(root).value
    assert isinstance(value, Unknown) if zone is Unknown else value == zone


def test_in_an_application_container_the_time_zone_would_be_the_images(tree: Any) -> None:
    files = {"etc/timezone": "UTC", ".dockerenv": "", "proc/self/mountinfo": OVERLAY}
    assert isinstance(measure_timezone(tree(files)).value, Unknown)


@pytest.mark.skipif(not os.path.islink("/etc/localtime"), reason="it is a link")
def test_the_time_zone_of_this_machine() -> None:
    link = subprocess.run(["readlink", "-f", "/etc/localtime"], capture_output=True, text=True)
    zone = measure_timezone(Path("/")).value
    if not isinstance(zone, Unknown):
        name = os.path.realpath(f"/usr/share/zoneinfo/{zone}")
        assert name == link.stdout.strip()
