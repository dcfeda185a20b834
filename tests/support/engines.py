"""Real engines for the tests, each started here and stopped by its pid."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, NoReturn

import pytest

IMAGE = "preflight-test:latest"
DOCKERD = ("--iptables=false", "--bridge=none")
V1_MEMORY = Path("/sys/fs/cgroup/memory")


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


@contextmanager
def memory_cgroup(name: str, limit: int) -> Iterator[str]:
    """A v1 memory cgroup of so many bytes for containers to live under."""
    if not V1_MEMORY.is_dir() or os.geteuid() != 0:
        pytest.skip("needs root and the v1 memory cgroup")
    folder = V1_MEMORY / name
    folder.mkdir()
    (folder / "memory.limit_in_bytes").write_text(str(limit))
    yield f"/{folder.name}"
    for _ in range(100):
        try:
            folder.rmdir()
            return
        except OSError:
            time.sleep(0.1)


def skip_or_fail(reason: str) -> NoReturn:
    """Skip the test, or fail it in CI and where PREFLIGHT_REQUIRE_ENGINES is set."""
    if os.environ.get("CI") or os.environ.get("PREFLIGHT_REQUIRE_ENGINES"):
        pytest.fail(f"missing: {reason}")
    pytest.skip(f"missing: {reason}")


def require_programs(*programs: str) -> None:
    if sys.platform != "linux" or os.geteuid() != 0:
        skip_or_fail("it takes root on Linux to start one")
    for program in programs:
        if shutil.which(program) is None:
            skip_or_fail(f"{program} is not installed")


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


def await_engine(engine: Engine, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        try:
            engine.docker("version")
        except AssertionError:
            time.sleep(0.1)
        else:
            return
    pytest.fail(f"the engine does not start: {log.read_text(errors='replace')[-2000:]}")


def stop(process: subprocess.Popen[bytes], folder: Path) -> None:
    """Stop an engine and remove its files and mounts."""
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
    """Start a dockerd; `prefix` is a command to run it with, such as `taskset -c 0`."""
    folder = Path(tempfile.mkdtemp(prefix="pf-"))
    url = f"unix://{folder}/docker.sock"
    process = _dockerd(url, folder, prefix, options)
    return Engine(url, process.pid, folder), process


def restart(engine: Engine) -> subprocess.Popen[bytes]:
    """Start a dockerd that has stopped again, with the same folder and URL."""
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
        await_engine(Engine(url, process.pid, folder), process, log)
    except BaseException:
        stop(process, folder)
        raise
    return process
