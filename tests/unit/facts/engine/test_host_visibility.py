"""From inside a container nothing is told of the machine that isn't so: held against the outside.

The containers are real; they have this Python and this checkout, mounted where they are.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from engines import IMAGE, Engine, make_image, memory_cgroup
from ollama_server import serving
from paths import ROOT
from preflight.facts.engine.host_visibility import (
    SelfContainer,
    find_self_container_id,
    has_same_files_at_path,
    is_in_our_network_namespace,
    is_process_cgroup_visible,
)
from preflight.facts.host.proc_and_cgroups import Mount, parse_mounts
from preflight.model.facts import Unknown

PODMAN = ("--ulimit=nofile=1024:1024", "--ulimit=nproc=1024:1024")  # crun asks for more
PROGRAM = ["-m", "preflight", "facts", "-f", "json", "--no-redact", "--timeout", "30"]
Run = Callable[..., "subprocess.CompletedProcess[str]"]
Facts = dict[str, Any]


def flat(snapshot: dict[str, Any]) -> Facts:
    """Return every figure by its dotted path, those that are unknown as such."""

    def walk(node: Any, path: str) -> Iterator[tuple[str, Any]]:
        if isinstance(node, dict) and node:
            for name, value in node.items():
                yield from walk(value, f"{path}.{name}" if path else name)
        else:
            yield path, node

    unknown = {path: Unknown(**why) for path, why in snapshot["unknown"].items()}
    return {**dict(walk(snapshot["facts"], "")), **unknown}


def python_mounts(*system: str) -> list[str]:
    """Mount what Python and this checkout need, each at its own place; of the system /usr."""
    paths = [path for path in sys.path if os.path.isabs(path)]
    own = (sys.base_prefix, sys.prefix, sys.executable, ROOT, *paths)
    needed = {*(system or ("/usr",)), *map(os.path.realpath, own)} - {"/usr" if system else ""}
    tops = [one for one in sorted(needed) if not any(_below(one, other) for other in needed)]
    places = [(one, one) for one in tops]
    places += [(os.path.realpath(one), one) for one in ("/lib", "/lib64") if os.path.isdir(one)]
    return [part for source, at in places for part in ("-v", f"{source}:{at}:ro")]


def _below(path: str, top: str) -> bool:
    return path.startswith(f"{top}/")


class Box:
    """Runs preflight in containers of an engine, with the engine's socket."""

    def __init__(self, engine: Engine, *always: str, system: tuple[str, ...] = ()) -> None:
        self.engine = engine
        place = engine.url.removeprefix("unix://")
        self._always = [*always, *python_mounts(*system), "-v", f"{place}:{place}"]

    def facts(self, *options: str, path: str = ".", cwd: str | Path = "/", **env: str) -> Facts:
        """Measure inside, with further options of `docker run`; without a network if not told."""
        network = [] if any("--network" in one for one in options) else ["--network=none"]
        named = [part for item in env.items() for part in ("-e", "=".join(item))]
        words = ["run", "--rm", *network, "-w", str(cwd), *self._always, *named, *options]
        asked = ["--docker-host", self.engine.url, "--path", path]
        out = self.engine.docker(*words, IMAGE, sys.executable, *PROGRAM, *asked)
        return flat(json.loads(out))


@pytest.fixture(scope="module")
def box(docker_engine: Engine) -> Box:
    return Box(docker_engine)


@pytest.fixture
def outside(docker_engine: Engine, run_preflight: Run) -> Callable[..., Facts]:
    """Measure on the machine itself."""

    def measure(path: str = ".", cwd: str | Path = "/", **env: str) -> Facts:
        asked = ("--docker-host", docker_engine.url, "--path", path)
        done = run_preflight(*PROGRAM[2:], *asked, cwd=Path(cwd), env=env)
        assert done.returncode == 0, done.stderr
        return flat(json.loads(done.stdout))

    return measure


def hidden(facts: Facts, path: str) -> str:
    """Return why a figure isn't seen; it must name the container."""
    why = facts[path]
    assert isinstance(why, Unknown), (path, why)
    assert "container" in why.reason
    return why.reason


@pytest.fixture
def free_port() -> int:
    while True:
        port = 20000 + secrets.randbelow(10000)
        with socket.socket() as one:
            if one.connect_ex(("127.0.0.1", port)) != 0:
                return port


@pytest.fixture
def stack(tmp_path: Path, free_port: int) -> Iterator[tuple[Path, int, int]]:
    """A project with a port that is held and one that is free, what it mounts there and not."""
    (tmp_path / "there").mkdir()
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        held.listen()
        port: int = held.getsockname()[1]
        mounts = ["./there:/a", "./nowhere:/b"]
        ports = [f"127.0.0.1:{one}:80" for one in (port, free_port)]
        service = {"image": IMAGE, "ports": ports, "volumes": mounts}
        (tmp_path / "compose.yaml").write_text(json.dumps({"services": {"api": service}}))
        yield tmp_path, port, free_port


def at(folder: Path) -> tuple[str, ...]:
    return ("-v", f"{folder}:{folder}:ro")


# --- what a container sees, and what it doesn't -----------------------------------------------


def test_with_the_socket_alone_only_what_is_so_outside_is_told(
    box: Box, outside: Callable[..., Facts], stack: tuple[Path, int, int]
) -> None:
    folder, held, free = stack
    inside, there = box.facts(*at(folder), cwd=folder), outside(cwd=folder)
    for path in (
        "host.hostname", "host.memory.total", "host.cpu.logical", "docker.memory.total",
        "docker.memory.usable", "docker.cpus", "docker.local", "compose.project",
    ):  # fmt: skip
        assert inside[path] == there[path], path
    assert (there["host.container"], inside["host.container"]) == (False, True)
    for path in ("docker.disk.free", "docker.memory.limit", "docker.memory.available"):
        assert not isinstance(there[path], Unknown)
        assert "run it with" in hidden(inside, path)
    for port in (held, free):
        assert "--network host" in hidden(inside, f"host.ports.{port}.free")
        assert there[f"host.ports.{port}.free"] is (port == free)
    # what is mounted at its own path is visible, as the engine reports the mounts
    assert inside["start.services.api.mounts_created"] == [f"{folder}/nowhere"]
    assert inside["start.services.api.mounts_missing"] is None


def test_the_disk_of_a_container_is_not_the_machines(
    box: Box, outside: Callable[..., Facts], tmp_path: Path
) -> None:
    inside = box.facts(path="/srv/models")
    for name in ("filesystem", "readonly", "total", "free", "kind"):
        assert "mount the folder" in hidden(inside, f"host.disk.{name}")
    mounted, there = box.facts(*at(tmp_path), path=str(tmp_path)), outside(path=str(tmp_path))
    for name in ("filesystem", "readonly", "total"):
        assert mounted[f"host.disk.{name}"] == there[f"host.disk.{name}"]
    assert mounted["host.disk.readonly"] is False
    assert mounted["host.disk.free"] == pytest.approx(there["host.disk.free"], rel=0.05)
    volume = box.facts("-v", "pf-models:/models", path="/models/deep")
    assert volume["host.disk.total"] == there["host.disk.total"]  # it lies on the same disk here
    box.engine.docker("volume", "rm", "pf-models")


def test_the_network_of_the_machine_is_enough_for_ports(
    box: Box, stack: tuple[Path, int, int]
) -> None:
    folder, held, free = stack
    inside = box.facts(*at(folder), "--network=host", cwd=folder)
    assert inside[f"host.ports.{held}.free"] is False
    assert inside[f"host.ports.{free}.free"] is True


@pytest.mark.parametrize("network", ["none", "container"])
def test_the_processes_of_the_machine_are_not_its_network(
    box: Box, stack: tuple[Path, int, int], network: str
) -> None:
    """A container's own network has none of the machine's sockets: all ports would be free."""
    folder, held, free = stack
    other = box.engine.run(IMAGE, "sleep", "60")
    try:
        where = f"container:{other}" if network == "container" else network
        options = (*at(folder), f"--network={where}", "--pid=host")
        inside = box.facts(*options, cwd=folder)
    finally:
        box.engine.docker("rm", "-f", other)
    for port in (held, free):
        assert "--network host" in hidden(inside, f"host.ports.{port}.free")
    if network == "none":  # what is mounted at its own path is visible, by the daemon's mounts
        assert inside["start.services.api.mounts_created"] == [f"{folder}/nowhere"]


RELAY = r"""
import os, socket, subprocess, sys, threading
far, near, *command = sys.argv[1:]
listener = socket.socket(socket.AF_UNIX)
listener.bind(near)
listener.listen()
def carry(one, other):
    try:
        while data := one.recv(65536):
            other.sendall(data)
        other.shutdown(socket.SHUT_WR)
    except OSError:
        pass
def serve():
    while True:
        ours, _ = listener.accept()
        theirs = socket.socket(socket.AF_UNIX)
        theirs.connect(far)
        for pair in ((ours, theirs), (theirs, ours)):
            threading.Thread(target=carry, args=pair, daemon=True).start()
threading.Thread(target=serve, daemon=True).start()
sys.exit(subprocess.run(command).returncode)
"""


def test_what_passes_the_socket_on_is_not_the_engine(
    box: Box, stack: tuple[Path, int, int]
) -> None:
    """The kernel names the relay as the listener: a process of this container's own network."""
    folder, held, free = stack
    place = box.engine.url.removeprefix("unix://")
    words = [sys.executable, "-c", RELAY, place, "/near.sock", sys.executable, *PROGRAM]
    mounts = [*python_mounts(), "-v", f"{place}:{place}", *at(folder), "-w", str(folder)]
    asked = ["--docker-host", "unix:///near.sock"]
    out = box.engine.docker("run", "--rm", "--network=none", *mounts, IMAGE, *words, *asked)
    inside = flat(json.loads(out))
    assert (inside["docker.reachable"], inside["docker.native"]) == (True, False)
    for path in (f"host.ports.{held}.free", f"host.ports.{free}.free", "docker.disk.free"):
        assert hidden(inside, path)


def test_a_container_that_holds_a_port_is_told_without_the_network(
    box: Box, stack: tuple[Path, int, int]
) -> None:
    folder, _, free = stack
    network = box.engine.docker("network", "create", f"pf-inside-{os.getpid()}")
    publish = ("-p", f"127.0.0.1:{free}:80")
    other = box.engine.docker("run", "-d", f"--network={network}", *publish, IMAGE, "sleep", "60")
    try:
        inside = box.facts(*at(folder), cwd=folder)
    finally:
        box.engine.docker("rm", "-f", other)
        box.engine.docker("network", "rm", network)
    assert inside[f"host.ports.{free}.free"] is False
    assert inside[f"host.ports.{free}.holder"].startswith("container ")


@pytest.mark.parametrize("options", [(), ("--pid=host",)], ids=["by the engine", "by the kernel"])
def test_what_is_there_by_another_name_is_not_seen(
    box: Box, stack: tuple[Path, int, int], tmp_path_factory: pytest.TempPathFactory,
    options: tuple[str, ...],
) -> None:  # fmt: skip
    folder, _, _ = stack
    elsewhere = tmp_path_factory.mktemp("elsewhere")  # its compose.yaml is at /project
    (elsewhere / "there").mkdir()
    inside = box.facts("-v", f"{folder}:/project:ro", *options, cwd="/project")
    for name in ("mounts_missing", "mounts_created"):
        assert "-v /project/there:" in hidden(inside, f"start.services.api.{name}")
    other = ("-v", f"{elsewhere}:{folder}/there:ro")
    inside = box.facts(*at(folder), *other, *options, cwd=folder)
    assert f"-v {folder}/there:" in hidden(inside, "start.services.api.mounts_missing")
    # what is known of the others stands
    assert inside["start.services.api.mounts_created"] == [f"{folder}/nowhere"]


def test_mounts_of_the_container_whose_network_is_shared_are_not_its_own(
    box: Box, stack: tuple[Path, int, int]
) -> None:
    """Docker mounts the other one's hosts file, by which a container knows its name."""
    folder, _, _ = stack
    other = box.engine.run(*at(folder), IMAGE, "sleep", "60")
    try:
        mount = ("-v", f"{folder}/compose.yaml:{folder}/compose.yaml:ro")
        inside = box.facts(*mount, f"--network=container:{other}", cwd=folder)
    finally:
        box.engine.docker("rm", "-f", other)
    assert hidden(inside, "start.services.api.mounts_created")


@pytest.mark.parametrize("options", [(), ("--pid=host",)], ids=["by the engine", "by the kernel"])
def test_the_engines_own_folder(
    box: Box, outside: Callable[..., Facts], options: tuple[str, ...]
) -> None:
    data = f"{box.engine.folder}/data"
    mounted = box.facts("-v", f"{data}:{data}:ro", *options)["docker.disk.free"]
    assert mounted == pytest.approx(outside()["docker.disk.free"], rel=0.05)
    another = hidden(box.facts("-v", f"/tmp:{data}:ro", *options), "docker.disk.free")
    assert f"-v {data}:{data}:ro" in another


@pytest.fixture
def small_cgroup() -> Iterator[str]:
    with memory_cgroup(f"pf-inside-{os.getpid()}", 2**30) as path:
        yield path


def test_a_limit_on_this_container_is_none_on_the_engine_and_one_on_the_engine_is_found(
    own_dockerd: Callable[..., Engine], small_cgroup: str
) -> None:
    engine = own_dockerd(options=("--cgroup-parent", small_cgroup))
    make_image(engine)
    box = Box(engine)
    inside = box.facts("--pid=host", "-m", "512m")
    assert inside["host.memory.limit"] == 512 * 2**20
    advised = hidden(inside, "docker.memory.limit").partition("run it with ")[2]
    assert inside["docker.memory.usable"] == inside["docker.memory.total"]
    seen = box.facts(*advised.replace("--pid ", "--pid=").replace("ns host", "ns=host").split(),
                     "-m", "512m")  # fmt: skip
    assert seen["docker.memory.limit"] == 2**30


def test_loopback_of_a_container_is_its_own(box: Box) -> None:
    with serving() as fake:
        silent = box.facts(OLLAMA_HOST=fake.url, OLLAMA_MODEL="mistral:7b")
        heard = box.facts("--network=host", OLLAMA_HOST=fake.url, OLLAMA_MODEL="mistral:7b")
    for path in ("reachable", "problem", "version", "models", "loaded"):
        assert "--network host" in hidden(silent, f"ollama.{path}")
    assert silent["ollama.endpoint"] == fake.url
    assert heard["ollama.reachable"] is True
    assert heard["model.size"] == 4_113_301_824


def test_what_is_installed_on_the_machine_is_not_the_images(
    docker_engine: Engine, tmp_path: Path
) -> None:
    service = {"image": "x", "platform": "linux/s390x"}
    (tmp_path / "compose.yaml").write_text(json.dumps({"services": {"api": service}}))
    parts = [one for one in ("/usr/lib", "/usr/lib64", "/usr/local") if os.path.isdir(one)]
    box = Box(docker_engine, system=tuple(parts))
    inside = box.facts(*at(tmp_path), "--pid=host", cwd=tmp_path)
    for name in ("docker.gpus", "start.services.api.platform_runs"):
        assert "the host's programs" in hidden(inside, name)
    version = inside["docker.compose.version"]
    assert isinstance(version, str) or hidden(inside, "docker.compose.version")


def test_a_podman_container(podman_engine: Engine, stack: tuple[Path, int, int]) -> None:
    folder, held, free = stack
    box = Box(podman_engine, *PODMAN)
    alone = box.facts(*at(folder), cwd=folder, path="/srv")
    assert alone["start.services.api.mounts_created"] == [f"{folder}/nowhere"]
    for path in (f"host.ports.{held}.free", "docker.disk.free", "host.disk.free"):
        assert hidden(alone, path)
    with_network = box.facts(*at(folder), "--network=host", cwd=folder)
    assert with_network[f"host.ports.{held}.free"] is False
    assert with_network[f"host.ports.{free}.free"] is True


# --- an engine inside, beside this process ----------------------------------------------------

# A root of its own, as a runtime makes it: here no real container may have a dockerd. It ends when
# its standard input does.
JOB = r"""
set -e
top=$0; share=$1; python=$2; shift 2
mount -t tmpfs t $top; cd $top; mkdir low up work root
mount -t overlay overlay -o lowerdir=low,upperdir=up,workdir=work root; cd root
mkdir -p proc sys dev tmp run etc var old usr
for one in bin sbin lib lib64; do ln -s usr/$one $one; done; touch .dockerenv
for one in /usr "$@"; do mkdir -p .$one; mount --rbind $one .$one; done
mount -t proc proc proc; mount --rbind /sys sys; mount --rbind /dev dev
pivot_root . old; umount -l old; cd $share; hostname inner
dockerd --data-root /var/lib/docker --storage-driver vfs --iptables=false --bridge=none \
    -H unix://$share/docker.sock > log 2>&1 < /dev/null &
while ! docker -H unix://$share/docker.sock version > /dev/null 2>&1; do sleep 0.1; done
$python -m preflight facts -f json --no-redact --timeout 30 --path /srv \
    --docker-host unix://$share/docker.sock
read end || true
kill $!; wait $!
"""


@pytest.fixture
def job(
    stack: tuple[Path, int, int], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Facts, Path]]:
    """Measure where a dockerd runs inside, beside preflight; its socket is seen from outside."""
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("mounting takes root on Linux")
    folder, _, _ = stack
    top = tmp_path_factory.mktemp("top")
    sources = [one.partition(":")[0] for one in python_mounts()[1::2]]
    binds = [str(folder), *(one for one in sources if not f"{one}/".startswith("/usr/"))]
    command = ["sh", "-c", JOB, str(top), str(folder), sys.executable, *binds]
    spaces = ("--mount", "--pid", "--fork", "--kill-child", "--net", "--uts")
    with subprocess.Popen(
        ["unshare", *spaces, *command], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as running:
        assert running.stdin is not None
        assert running.stdout is not None
        try:
            line = running.stdout.read1()
            while running.poll() is None and not line.rstrip().endswith(b"\n}"):
                line += running.stdout.read1()
            yield flat(json.loads(line)), folder / "docker.sock"
        finally:
            running.stdin.close()
            running.wait(30)


def test_an_engine_in_a_container_is_seen_from_inside_and_not_from_outside(
    job: tuple[Facts, Path], stack: tuple[Path, int, int], run_preflight: Run
) -> None:
    inside, place = job
    folder, held, free = stack
    assert (inside["host.container"], inside["docker.native"]) == (True, True)
    assert (inside["host.hostname"], inside["host.disk.filesystem"]) == ("inner", "overlay")
    for path in ("host.disk.free", "docker.disk.free", "docker.memory.available"):
        assert inside[path] > 0, inside[path]
    assert inside["docker.memory.limit"] is None
    for port in (held, free):
        assert inside[f"host.ports.{port}.free"] is True  # its network has no socket at all
    assert inside["start.services.api.mounts_created"] == [f"{folder}/nowhere"]
    # a measurement outside of the container has neither its files nor its network
    done = run_preflight(*PROGRAM[2:], "--docker-host", f"unix://{place}", cwd=folder)
    outside = flat(json.loads(done.stdout))
    assert (outside["host.container"], outside["docker.reachable"]) == (False, True)
    assert "share the files at /var/lib/docker" in outside["docker.disk.free"].reason
    for port in (held, free):
        assert "share the network" in outside[f"host.ports.{port}.free"].reason
    assert outside["start.services.api.mounts_created"] == [f"{folder}/nowhere"]  # bound into it


# --- on trees ---------------------------------------------------------------------------------


def mounts_of(*rows: str) -> list[Mount]:
    return parse_mounts("\n".join(rows) + "\n")


HOST = mounts_of(
    "27 1 254:0 / / rw - ext4 /dev/vda rw",
    "40 27 8:1 / /srv rw - xfs /dev/sda1 rw",
    "41 40 0:50 /@data /srv/sub rw - btrfs /dev/sdb rw",
)


@pytest.mark.parametrize(
    ("path", "ours", "same"),
    [
        ("/srv/models", "8:1 / /srv", True),
        ("/srv/models", "8:1 /models /srv/models", True),
        ("/srv/models", "8:1 /other /srv/models", False),
        ("/srv/models", "254:0 /srv/models /srv/models", False),  # below the host's mount
        ("/srv/sub/x", "8:1 / /srv", False),  # bound without what is mounted below
        ("/srv/sub/x", "0:50 /@data/x /srv/sub/x", True),
        ("/opt/data", "254:0 /opt /opt", True),
        ("/opt/data", "254:0 / /host", False),
        ("/", "254:0 / /host", False),
    ],
)
def test_the_same_place_of_the_same_filesystem(path: str, ours: str, same: bool) -> None:
    device, root, point = ours.split()
    container = mounts_of(
        "80 52 0:39 / / rw - overlay overlay rw", f"81 80 {device} {root} {point} ro - x x rw"
    )
    assert has_same_files_at_path(path, container, HOST) is same
    assert has_same_files_at_path(path, HOST, HOST) is True
    assert has_same_files_at_path(path, container, []) is None


def test_a_link_leads_where_the_engine_has_other_files(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/opt/data")
    path = str(tmp_path / "link")
    device = f"81 80 254:0 {tmp_path} {tmp_path} ro - x x rw"
    container = mounts_of("80 52 0:39 / / rw - overlay overlay rw", device)
    assert has_same_files_at_path(str(tmp_path), container, HOST) is True
    assert has_same_files_at_path(path, container, HOST) is False


OWN = SelfContainer(
    False, None, {"/srv": "/srv", "/srv/volume": None, "/work": "/home/me", "/a b": "/a b"}
)


@pytest.mark.parametrize(
    ("path", "seen"),
    [
        ("/srv", True),
        ("/srv/models", True),
        ("/srvx", False),
        ("/srv/volume/x", False),
        ("/work", False),
        ("/home/me", False),
        ("/a b/c", True),
        ("/", False),
    ],
)
def test_a_path_is_seen_where_it_is_mounted_as_it_is_called(path: str, seen: bool) -> None:
    assert OWN.has_host_path(path) is seen


ID, OTHER = "a" * 64, "b" * 64


@pytest.mark.parametrize(
    ("rows", "found"),
    [
        ([f"/var/lib/docker/containers/{ID}/hostname /etc/hostname"], ID),
        ([f"/docker/data/containers/{ID}/hosts /etc/hosts"], ID),
        ([f"/run/containers/storage/overlay-containers/{ID}/userdata/hosts /etc/hosts"], ID),
        # Podman's own mark goes before the files that may be of a pod
        ([f"/x/overlay-containers/{OTHER}/userdata/hosts /etc/hosts",
          f"/x/overlay-containers/{ID}/userdata/.containerenv /run/.containerenv"], ID),
        # the machine's root, mounted at /host, shows other containers
        ([f"/var/lib/docker/containers/{OTHER}/mounts/shm /host/var/lib/docker/x"], None),
        ([f"/var/lib/docker/containers/{ID[:63]}/hosts /etc/hosts"], None),
        ([], None),
    ],
)  # fmt: skip
def test_a_container_knows_its_name_by_the_files_mounted_for_it(
    rows: list[str], found: str | None, tmp_path: Path
) -> None:
    (tmp_path / "proc/self").mkdir(parents=True)
    lines = [f"9{n} 80 254:0 {row} rw - ext4 /dev/vda rw" for n, row in enumerate(rows)]
    (tmp_path / "proc/self/mountinfo").write_text("\n".join(lines) + "\n")
    assert find_self_container_id(tmp_path) == found


@pytest.mark.parametrize(
    ("own", "daemon", "top", "seen"),
    [
        ("0::/user.slice\n", "0::/system.slice/docker.service\n", "/", True),
        ("0::/\n", "0::/../../system.slice/docker.service\n", "/", False),  # v2, a namespace
        ("0::/\n", "0::/../../system.slice/docker.service\n", "/../..", True),
        ("0::/\n", "0::/../../system.slice/docker.service\n", "/../../elsewhere", False),
        ("0::/gone\n", "0::/gone\n", "/", False),
        ("0::/\n", None, "/", None),  # hidepid, or no process at all
    ],
)
def test_the_engines_group_is_seen_or_not(
    own: str, daemon: str | None, top: str, seen: bool | None, tmp_path: Path
) -> None:
    for pid, text in (("self", own), ("7", daemon)):
        (tmp_path / "proc" / pid).mkdir(parents=True)
        if text is not None:
            (tmp_path / "proc" / pid / "cgroup").write_text(text)
    mount = f"30 27 0:26 {top} /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n"
    (tmp_path / "proc/self/mountinfo").write_text(mount)
    (tmp_path / "sys/fs/cgroup/system.slice/docker.service").mkdir(parents=True)
    assert is_process_cgroup_visible(7, tmp_path) is seen


@pytest.mark.skipif(sys.platform != "linux", reason="namespaces are Linux's")
def test_the_kernel_tells_whose_network_it_is() -> None:
    assert is_in_our_network_namespace(os.getppid()) is True
    assert is_in_our_network_namespace(2**22 + 1) is None
    if os.geteuid() != 0:
        pytest.skip("a network of its own takes root")
    with subprocess.Popen(
        ["unshare", "--net", "sh", "-c", "echo; read end"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    ) as apart:  # fmt: skip
        assert apart.stdout is not None
        assert apart.stdin is not None
        apart.stdout.readline()
        assert is_in_our_network_namespace(apart.pid) is False
        apart.stdin.close()
