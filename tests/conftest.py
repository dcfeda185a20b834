"""Real engines for the tests, each started here and ended by its own pid."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple, NoReturn

import pytest
from hypothesis import settings

from farm import Farm
from preflight.model.report import Report
from reports import HOSTILE, made, poisoned

# CI tries the same examples each time: a red run there is about the change; elsewhere new ones.
# None has a time to keep: a busy machine is no fault of the code.
settings.register_profile("ci", derandomize=True, deadline=None)
settings.register_profile("elsewhere", deadline=None)
settings.load_profile("ci" if os.environ.get("CI") else "elsewhere")

IMAGE = "preflight-test:latest"
DOCKERD = ("--iptables=false", "--bridge=none")


class Engine(NamedTuple):
    """A running engine: its address, the pid of its daemon, its folder."""

    url: str
    pid: int
    folder: Path

    def docker(self, *arguments: str) -> str:
        """Run the docker CLI against this engine; returns what it prints."""
        done = subprocess.run(
            ["docker", *arguments],
            env={**os.environ, "DOCKER_HOST": self.url},
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def run(self, *arguments: str) -> str:
        """Start a container of the test image without a network; returns its id."""
        return self.docker("run", "-d", "--network=none", *arguments)


def _missing(reason: str) -> NoReturn:
    """On a laptop a missing engine or tool skips the test, where tests gate it fails them."""
    if os.environ.get("CI") or os.environ.get("PREFLIGHT_REQUIRE_ENGINES"):
        pytest.fail(f"missing: {reason}")
    pytest.skip(f"missing: {reason}")


def _needs(*programs: str) -> None:
    if sys.platform != "linux" or os.geteuid() != 0:
        _missing("it takes root on Linux to start one")
    for program in programs:
        if shutil.which(program) is None:
            _missing(f"{program} is not installed")


def make_image(engine: Engine) -> None:
    """Import the test image, made of busybox alone."""
    busybox = shutil.which("busybox")
    assert busybox is not None
    archive = engine.folder / "image.tar"
    with tarfile.open(archive, "w") as tar:
        tar.add(os.path.realpath(busybox), "bin/busybox")
        for name in ("sh", "sleep", "cat", "true"):
            link = tarfile.TarInfo(f"bin/{name}")
            link.type, link.linkname = tarfile.SYMTYPE, "busybox"
            tar.addfile(link)
    engine.docker("import", str(archive), IMAGE)


def _await(engine: Engine, process: subprocess.Popen[bytes], log: Path) -> None:
    ends = time.monotonic() + 60
    while time.monotonic() < ends and process.poll() is None:
        try:
            engine.docker("version")
        except AssertionError:
            time.sleep(0.1)
        else:
            return
    pytest.fail(f"the engine does not start: {log.read_text(errors='replace')[-2000:]}")


def stop(process: subprocess.Popen[bytes], folder: Path) -> None:
    """End an engine, and take away what it leaves."""
    process.send_signal(signal.SIGCONT)
    process.terminate()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(20)
    with open("/proc/self/mounts", encoding="utf-8", errors="replace") as mounts:
        below = [line.split()[1] for line in mounts if line.split()[1].startswith(str(folder))]
    for point in reversed(below):
        subprocess.run(["umount", "-l", point], capture_output=True)
    shutil.rmtree(folder, ignore_errors=True)


def start_dockerd(
    prefix: tuple[str, ...] = (), options: tuple[str, ...] = ()
) -> tuple[Engine, subprocess.Popen[bytes]]:
    """Start a dockerd of our own, behind a command such as `taskset -c 0`."""
    folder = Path(tempfile.mkdtemp(prefix="pf-"))
    url = f"unix://{folder}/docker.sock"
    process = _dockerd(url, folder, prefix, options)
    return Engine(url, process.pid, folder), process


def restart(engine: Engine) -> subprocess.Popen[bytes]:
    """Start a dockerd that has ended once more, in its folder and at its address."""
    return _dockerd(engine.url, engine.folder)


def _dockerd(
    url: str, folder: Path, prefix: tuple[str, ...] = (), options: tuple[str, ...] = ()
) -> subprocess.Popen[bytes]:
    log = folder / "log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [*prefix, "dockerd", "--data-root", f"{folder}/data", "--exec-root", f"{folder}/exec",
             "--pidfile", f"{folder}/pid", "-H", url, *DOCKERD, *options],
            stdout=out, stderr=out,
        )  # fmt: skip
    try:
        _await(Engine(url, process.pid, folder), process, log)
    except BaseException:
        stop(process, folder)
        raise
    return process


@pytest.fixture(scope="session")
def docker_engine() -> Iterator[Engine]:
    """A real dockerd with the test image."""
    _needs("dockerd", "docker", "busybox")
    engine, process = start_dockerd()
    try:
        make_image(engine)
        yield engine
        containers = engine.docker("ps", "-aq").split()
        if containers:
            engine.docker("rm", "-f", *containers)
    finally:
        stop(process, engine.folder)


@pytest.fixture
def own_dockerd() -> Iterator[Callable[..., Engine]]:
    """Start further dockerds, for tests that stop or bend one."""
    _needs("dockerd", "docker")
    started: list[tuple[Engine, subprocess.Popen[bytes]]] = []

    def start(prefix: tuple[str, ...] = (), options: tuple[str, ...] = ()) -> Engine:
        started.append(start_dockerd(prefix, options))
        return started[-1][0]

    yield start
    for engine, process in started:
        stop(process, engine.folder)


@pytest.fixture(scope="session")
def podman_engine() -> Iterator[Engine]:
    """A real Podman service over its Docker API."""
    _needs("podman", "docker")
    folder = Path(tempfile.mkdtemp(prefix="pf-"))
    url = f"unix://{folder}/podman.sock"
    log = folder / "log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            ["podman", "--root", f"{folder}/root", "--runroot", f"{folder}/run",
             "system", "service", "--time=0", url],
            stdout=out, stderr=out, cwd=folder,  # conmon leaves a file `oom` where it was started
        )  # fmt: skip
    engine = Engine(url, process.pid, folder)
    try:
        _await(engine, process, log)
        yield engine
    finally:
        stop(process, folder)


@pytest.fixture(scope="module")
def farm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Farm]:
    """A farm without hosts; each module of tests starts its own."""
    _needs("sshd", "ssh", "ssh-keygen")
    made = Farm(tmp_path_factory.mktemp("farm"))
    try:
        yield made
    finally:
        made.end()


@pytest.fixture
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Take away what names an engine; returns the home folder that is left, an empty one."""
    for name in list(os.environ):
        if name.startswith(("DOCKER_", "PREFLIGHT_", "COMPOSE_")) or name == "XDG_RUNTIME_DIR":
            monkeypatch.delenv(name)
    tools = os.path.dirname(sys.executable)  # Compose of the tests' packages: not everybody has it
    places = os.environ.get("PATH", os.defpath).split(os.pathsep)
    monkeypatch.setenv("PATH", os.pathsep.join(p for p in places if p != tools))
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    return home


@pytest.fixture
def run_preflight(
    clean_environment: Path,
) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run the program as a process; `prefix` is a command in front, `env` adds variables."""

    def run(
        *arguments: str,
        cwd: Path | None = None,
        env: dict[str, str] | None = None,
        prefix: tuple[str, ...] = (),
        timeout: float = 60,
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*prefix, sys.executable, "-m", "preflight", *arguments],
            capture_output=True, text=True, cwd=cwd or clean_environment,
            env={**os.environ, **(env or {})}, timeout=timeout,
        )  # fmt: skip

    return run


@pytest.fixture
def report() -> Report:
    """The report that the golden files show."""
    return made()


@pytest.fixture(params=HOSTILE)
def hostile(request: pytest.FixtureRequest) -> str:
    """One text that tries to break out of a format."""
    return HOSTILE[request.param]


@pytest.fixture
def hostile_report(hostile: str) -> Report:
    """The golden report with that text in every place that foreign text may come to."""
    return poisoned(hostile)
