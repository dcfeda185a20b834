"""What builds, registries and kernel settings add to a check, each against its limit.

`python tests/bench/bench_start.py [ROUNDS]`; needs an engine at DOCKER_HOST, docker-registry and
the tests' packages. Whole processes in turn, medians; CPU is that of all processes of a check. The
limits: ten build contexts 60 ms, thirty images of a registry on loopback 0.5 s, 200 kernel settings
5 ms.
"""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "support"))

from compose_projects import compose_program
from real_registry import Registry, running_registry

ROUNDS = int(sys.argv[1]) if len(sys.argv) > 1 else 15
PREFLIGHT = str(Path(sys.executable).with_name("preflight"))
SERVICES, CONTEXTS, SETTINGS = 30, 10, 200
DOCKERFILE = """FROM docker.io/library/python:3.13 AS build
ARG VERSION=1
ENV PATH=/opt/bin:$PATH
WORKDIR /app
COPY requirements.txt pyproject.toml ./
RUN --mount=type=cache,target=/root/.cache pip install -r requirements.txt
COPY src ./src
FROM docker.io/library/python:3.13-slim
COPY --from=build /app /app
COPY --chown=1000:1000 entrypoint.sh /
HEALTHCHECK --interval=5s CMD curl -f http://localhost:8000/
ENTRYPOINT ["/entrypoint.sh"]
"""


def write_project(folder: Path, address: str, contexts: int) -> Path:
    """Write a project of thirty services, some of which are built."""
    folder.mkdir()
    for number in range(contexts):
        context = folder / f"c{number}"
        (context / "src").mkdir(parents=True)
        (context / "Dockerfile").write_text(DOCKERFILE)
        (context / ".dockerignore").write_text(".git\n**/*.pyc\nnode_modules\n!src\n")
        for name in ("requirements.txt", "pyproject.toml", "entrypoint.sh", "src/app.py"):
            (context / name).write_text("x\n")
        for extra in range(300):  # what isn't named isn't looked up
            (context / "src" / f"m{extra}.py").write_text("x\n")
    services = [
        f"  s{number}: {{image: {address}/app{number}:1, "
        f"{f'build: ./c{number}, ' if number < contexts else ''}environment: {{A: b}}}}\n"
        for number in range(SERVICES)
    ]
    (folder / "compose.yaml").write_text("services:\n" + "".join(services))
    return folder


def write_rules(file: Path, fact: str) -> Path:
    """Write rules about a fact, after one about the kernel, for which the engine is asked."""
    rules = ["  - {id: kernel, title: K, fact: kernel.thp, recommend: {exists: true}}\n"]
    rules += [
        f"  - {{id: r{number}, title: R, fact: {fact.format(number)}, "
        "recommend: {exists: false}}\n"
        for number in range(SETTINGS)
    ]
    file.write_text("version: 1\nrules:\n" + "".join(rules))
    return file


def run(folder: Path, *options: str) -> tuple[float, float]:
    """Return the seconds and the CPU seconds of a check."""
    environ = {**os.environ, "PATH": f"{os.path.dirname(compose_program())}:{os.environ['PATH']}"}
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(
        [PREFLIGHT, "check", "-q", *options], cwd=folder, env=environ, capture_output=True
    )
    seconds = time.perf_counter() - started
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode in (0, 1, 3), done.stderr
    return seconds, after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def compare(what: str, without: tuple[Path, str], with_it: tuple[Path, ...], limit: float) -> None:
    times: Mapping[str, list[tuple[float, float]]] = {"without": [], "with": []}
    for _ in range(ROUNDS):
        times["without"].append(run(*without))
        times["with"].append(run(*with_it))
    medians = [
        [statistics.median(values) for values in zip(*times[key], strict=True)]
        for key in ("without", "with")
    ]
    (wall, cpu), (wall_with, cpu_with) = medians
    print(
        f"{what}: {1000 * (wall_with - wall):+.0f} ms, {1000 * (cpu_with - cpu):+.0f} ms of CPU "
        f"(without: {1000 * wall:.0f} ms, {1000 * cpu:.0f} ms of CPU; limit {1000 * limit:.0f} ms)"
    )


def main(folder: Path, registry: Registry) -> None:
    for number in range(SERVICES):
        registry.put_image(f"app{number}")
    plain = write_project(folder / "plain", registry.address, 0)
    built = write_project(folder / "built", registry.address, CONTEXTS)
    general = ("-r", "general")
    compare(f"{CONTEXTS} build contexts", (plain, *general), (built, *general), 0.06)
    compare(f"{SERVICES} images", (plain, *general), (plain, *general, "--online"), 0.5)
    names = [write_rules(folder / "env.yaml", "env.N{}")]
    names.append(write_rules(folder / "sysctl.yaml", "kernel.sysctl.net.ipv4.n{}"))
    empty = folder / "empty"
    empty.mkdir()
    compare(
        f"{SETTINGS} kernel settings in place of variables",
        (empty, "-r", str(names[0])),
        (empty, "-r", str(names[1])),
        0.005,
    )


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place, running_registry(Path(place)) as running:
        main(Path(place), running)
