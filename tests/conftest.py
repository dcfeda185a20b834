"""Fixtures: real engines, an environment without settings, the program as a process."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

import program
from engines import Engine, await_engine, make_image, require_programs, start_dockerd, stop
from farm import Farm
from preflight.model.report import Report
from reports import HOSTILE, golden_report, report_with_all_hostile_texts, report_with_hostile_text

# The same few examples on every change: a red run there is about the change; many new ones at
# night. None has a time limit: the machine may be busy.
untimed: dict[str, Any] = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
settings.register_profile("ci", derandomize=True, max_examples=20, **untimed)
settings.register_profile("nightly", max_examples=300, print_blob=True, **untimed)
settings.load_profile("ci")


# Tests make little cyclic garbage; to look for it among all rule sets took a quarter of the time.
gc.set_threshold(100_000, 50, 100)


def pytest_collection_finish() -> None:
    """Leave what is there to stay out of the search for cyclic garbage."""
    gc.collect()
    gc.freeze()


def pytest_make_parametrize_id(val: object) -> str | None:
    """Shorten the id of a long value: the variable PYTEST_CURRENT_TEST must fit into an exec."""
    if isinstance(val, str | bytes) and len(val) > 200:
        return f"{val[:40]!a}... of {len(val)}"
    return None


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add --nightly, which runs what takes long too."""
    parser.addoption("--nightly", action="store_true", help="run the tests marked nightly too")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what is nightly, unless asked for; keep what must run alone in one worker."""
    for item in items:
        if item.get_closest_marker("alone"):
            item.add_marker(pytest.mark.xdist_group("alone"))
    if config.getoption("--nightly") or config.option.markexpr:
        return
    nightly = [item for item in items if item.get_closest_marker("nightly")]
    if nightly:
        config.hook.pytest_deselected(items=nightly)
        items[:] = [item for item in items if not item.get_closest_marker("nightly")]


def _lock_files(controller: int) -> tuple[Path, Path]:
    """Return the two lock files of a run, named after the process that controls the workers."""
    folder = Path(tempfile.gettempdir())
    return folder / f"preflight-{controller}.queue", folder / f"preflight-{controller}.room"


def pytest_unconfigure() -> None:
    """Take away the lock files that the workers have left."""
    for file in _lock_files(os.getpid()):
        file.unlink(missing_ok=True)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Let a test marked `alone` wait for the tests of other workers, and them for it.

    Two locks, so that a stream of other tests can't keep it waiting for ever.
    """
    if "PYTEST_XDIST_WORKER" not in os.environ or sys.platform == "win32":
        return (yield)
    import fcntl

    alone = item.get_closest_marker("alone") is not None
    queue_file, room_file = _lock_files(os.getppid())
    with queue_file.open("w") as queue, room_file.open("w") as room:
        fcntl.flock(queue, fcntl.LOCK_EX)
        fcntl.flock(room, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        if not alone:
            fcntl.flock(queue, fcntl.LOCK_UN)
        return (yield)


@pytest.fixture(scope="session")
def docker_engine() -> Iterator[Engine]:
    """A real dockerd with the test image."""
    require_programs("dockerd", "docker", "busybox")
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
    require_programs("dockerd", "docker")
    started: list[tuple[Engine, subprocess.Popen[bytes]]] = []

    def start(prefix: tuple[str, ...] = (), options: tuple[str, ...] = ()) -> Engine:
        started.append(start_dockerd(prefix, options))
        return started[-1][0]

    yield start
    for engine, process in started:
        stop(process, engine.folder)


@pytest.fixture(scope="session")
def podman_engine() -> Iterator[Engine]:
    """A real Podman service over its Docker API, with the test image."""
    require_programs("podman", "docker", "busybox")
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
        await_engine(engine, process, log)
        make_image(engine)
        yield engine
    finally:
        stop(process, folder)


@pytest.fixture(scope="module")
def farm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Farm]:
    """A farm without hosts; each module of tests starts its own."""
    require_programs("sshd", "ssh", "ssh-keygen")
    farm = Farm(tmp_path_factory.mktemp("farm"))
    try:
        yield farm
    finally:
        farm.end()


@pytest.fixture(scope="session")
def cache_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache folder that all workers share: compiling log patterns takes two seconds."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "cache"
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder


@pytest.fixture
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, cache_folder: Path) -> Path:
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
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache_folder))
    return home


@pytest.fixture
def run_preflight(
    clean_environment: Path,
) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run the program; behind a command, which is `prefix`, as a process of its own."""

    def run(
        *arguments: str,
        cwd: Path | None = None,
        env: dict[str, str] | None = None,
        prefix: tuple[str, ...] = (),
        timeout: float = 60,
    ) -> subprocess.CompletedProcess[str]:
        folder = cwd or clean_environment
        if not prefix:
            return program.run(*arguments, cwd=folder, env=env, timeout=timeout)
        return subprocess.run(
            [*prefix, sys.executable, "-m", "preflight", *arguments],
            capture_output=True, text=True, cwd=folder, env={**os.environ, **(env or {})},
            timeout=timeout,
        )  # fmt: skip

    return run


@pytest.fixture
def report() -> Report:
    """The report that the golden files show."""
    return golden_report()


@pytest.fixture(params=HOSTILE)
def hostile(request: pytest.FixtureRequest) -> str:
    """One text that tries to break out of a format."""
    return HOSTILE[request.param]


@pytest.fixture
def hostile_report(hostile: str) -> Report:
    """The golden report with that text in every place that foreign text may come to."""
    return report_with_hostile_text(hostile)


@pytest.fixture
def all_hostile() -> Report:
    """One report with all hostile texts at once."""
    return report_with_all_hostile_texts()
