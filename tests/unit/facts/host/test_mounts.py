"""Reading mountinfo: odd names, hidden mounts, and the kernel's own word on what lies where."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from preflight.facts.host.proc_and_cgroups import find_mount, parse_mounts

PLAIN = """\
22 27 0:21 / /proc rw,relatime - proc proc rw
27 1 254:0 / / rw,relatime - ext4 /dev/vda rw,discard
46 27 254:0 /tmp/eng/data /tmp/eng/data rw,relatime shared:1 master:7 - ext4 /dev/vda rw,errors=x
50 27 0:40 / /no\\040source rw -   rw,size=4k
"""


def test_fields_options_and_roots() -> None:
    proc, root, bind, bare = parse_mounts(PLAIN)
    assert (proc.point, proc.filesystem, proc.root) == ("/proc", "proc", "/")
    assert (bind.root, bind.filesystem) == ("/tmp/eng/data", "ext4")
    assert (bind.flags, bind.options) == ({"rw", "relatime"}, {"rw", "errors=x"})
    assert (root.flags, root.options) == ({"rw", "relatime"}, {"rw", "discard"})
    assert (bind.device, proc.device) == ("254:0", "0:21")
    assert bare.point == "/no source"


def kernel_spelling(path: str) -> str:
    """Spell a path as show_mountinfo() does, which escapes these five and nothing else."""
    return "".join(f"\\{ord(c):03o}" if c in " \t\n\\#" else c for c in path)


@given(st.text(st.characters(exclude_characters="\0"), min_size=1))
def test_every_name_comes_back_as_it_was(name: str) -> None:
    line = f"30 27 0:9 / /{kernel_spelling(name)} rw - tmpfs none rw\n"
    first, *others = parse_mounts(line + PLAIN)
    assert first.point == f"/{name}"
    assert len(others) == 4


def line(number: int, parent: int, point: str, filesystem: str) -> str:
    return f"{number} {parent} 0:{number} / {point} rw - {filesystem} none rw\n"


@pytest.mark.parametrize(
    ("mounts", "path", "filesystem"),
    [
        pytest.param([(27, 1, "/", "ext4"), (30, 27, "/a", "xfs")], "/a/b", "xfs", id="below"),
        pytest.param([(27, 1, "/", "ext4"), (30, 27, "/a", "xfs")], "/a", "xfs", id="at"),
        pytest.param([(27, 1, "/", "ext4"), (30, 27, "/a", "xfs")], "/ab", "ext4", id="like"),
        pytest.param(
            [(27, 1, "/", "ext4"), (30, 27, "/a", "xfs"), (31, 30, "/a", "nfs4")],
            "/a/b",
            "nfs4",
            id="over it",
        ),
        pytest.param(
            [(27, 1, "/", "ext4"), (30, 27, "/a", "xfs"), (31, 27, "/a", "nfs4")],
            "/a/b",
            "nfs4",
            id="beside it, by propagation",
        ),
        pytest.param(
            [(27, 1, "/", "ext4"), (30, 27, "/a/b", "xfs"), (31, 27, "/a", "nfs4")],
            "/a/b/c",
            "nfs4",
            id="a later mount over a parent hides it",
        ),
        pytest.param(
            [(22, 27, "/proc", "proc"), (27, 1, "/", "ext4")],
            "/proc/1",
            "proc",
            id="moved below a root that is listed later",
        ),
        pytest.param(
            [(1, 1, "/", "rootfs"), (20, 1, "/", "ext4"), (21, 20, "/a", "xfs")],
            "/a",
            "xfs",
            id="rootfs is its own parent",
        ),
        pytest.param([(30, 27, "/a", "xfs")], "/b", None, id="in a chroot without a root mount"),
        pytest.param([(1, 2, "/", "a"), (2, 1, "/", "b")], "/", None, id="a ring"),
    ],
)
def test_the_mount_that_is_seen(
    mounts: list[tuple[int, int, str, str]], path: str, filesystem: str | None
) -> None:
    found = find_mount(path, parse_mounts("".join(line(*mount) for mount in mounts)))
    assert (found and found.filesystem) == filesystem


# Opens each path and holds our answer against the mount id that the kernel gives the descriptor.
ORACLE = """
import os, sys
from preflight.facts.host.proc_and_cgroups import find_mount, read_mounts
mounts = read_mounts()
paths = [m.point for m in mounts] + [a.encode().decode("unicode_escape") for a in sys.argv[1:]]
wrong = checked = 0
for path in paths:
    try:
        fd = os.open(path, os.O_PATH)
    except OSError:
        continue  # hidden: nothing is there to ask about
    with open(f"/proc/self/fdinfo/{fd}") as info:
        kernel = next(l.split()[1] for l in info if l.startswith("mnt_id:"))
    os.close(fd)
    checked += 1
    ours = find_mount(os.path.realpath(path), mounts)
    if ours is None or ours.id != kernel:
        wrong += 1
        print(ascii(path), ours, kernel)
print("checked", checked, "wrong", wrong)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="mountinfo is Linux's")
def test_the_kernel_agrees_on_every_mount_of_this_machine() -> None:
    done = subprocess.run([sys.executable, "-c", ORACLE], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("wrong 0\n"), done.stdout


SCRIPT = r"""
set -e; cd "$0"; mount -t tmpfs t .; cd "$0"
mkdir -p a/b c/d e over; for name in a/b c/d e; do mount -t tmpfs t $name; done
mkdir e/deep; mount -t tmpfs t e; mkdir e/deep
mount -t tmpfs t a; mkdir a/b
mount --bind c over
python=$1; code=$2; shift 2
for name in "$@"; do name=$(printf "$name@"); mkdir "${name%@}"; mount -t tmpfs t "${name%@}"; done
exec "$python" -c "$code" "$PWD/a/b" "$PWD/c/d" "$PWD/e/deep" "$PWD/over" "$PWD/over/d"
"""
ODD = [
    r"with blank",
    r"tab\tnew\nline",
    r"car\rret",
    r"v\vt\ff",
    r"n\302\240b\342\200\250s",
    r"\377",
]


@pytest.mark.skipif(
    sys.platform != "linux" or getattr(os, "geteuid", lambda: 1)() != 0,
    reason="mounting takes root on Linux",
)
def test_the_kernel_agrees_on_hidden_bound_and_oddly_named_mounts(tmp_path: object) -> None:
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", SCRIPT, str(tmp_path), sys.executable, ORACLE, *ODD],
        capture_output=True,
        text=True,
    )
    if "unshare" in done.stderr:
        pytest.skip(done.stderr)
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("wrong 0\n"), done.stdout
    assert int(done.stdout.split()[-3]) >= len(ODD) + 12
