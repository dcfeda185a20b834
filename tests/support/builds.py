"""Projects with a build, and what the real builders say of them."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from compose_projects import compose_program
from engines import Engine
from preflight.facts.builds import build_facts
from preflight.facts.collect.context import MeasurementContext
from preflight.facts.collect.measurement import MeasurementOptions
from preflight.facts.compose.load import load_project
from preflight.facts.engine.api import LazyValue
from preflight.facts.engine.endpoint import EngineError
from preflight.model.facts import Measured

BUILDERS = {"buildkit": "", "classic": "0"}
"""The value of DOCKER_BUILDKIT by the builder that Compose takes then."""


class BuildCase(NamedTuple):
    """A Dockerfile, the files of its context, `.dockerignore`, and further keys of `build`.

    `more` are further keys of the file. Without a Dockerfile there is no context.
    """

    dockerfile: str | bytes
    files: Sequence[str] = ("a", "d/f")
    ignore: str | None = None
    build: str = ""
    links: Mapping[str, str] = {}
    more: str = ""

    def write(self, folder: Path) -> Path:
        """Write the project to a folder; returns its compose file."""
        context = folder / "web" if self.dockerfile else folder / "elsewhere"
        context.mkdir(parents=True)
        data = self.dockerfile
        (context / "Dockerfile").write_bytes(data if isinstance(data, bytes) else data.encode())
        for name in self.files:
            (context / name).parent.mkdir(parents=True, exist_ok=True)
            (context / name).write_text("x")
        for name, target in self.links.items():
            (context / name).symlink_to(target)
        if self.ignore is not None:
            (context / ".dockerignore").write_text(self.ignore)
        file = folder / "compose.yaml"
        more = f", {self.build}" if self.build else ""
        file.write_text(f"services:\n  web:\n    build: {{context: ./web{more}}}\n{self.more}")
        return file


def environment(file: Path, builder: str) -> dict[str, str]:
    """Return the environment in which Compose takes a builder; it writes to its own folder."""
    own = {"DOCKER_BUILDKIT": BUILDERS[builder], "DOCKER_CONFIG": str(file.parent / "docker")}
    return {"PATH": os.path.dirname(compose_program()), **own}


def build(file: Path, engine: Engine, builder: str) -> str:
    """Build a project with the real Compose; returns the error, nothing where it is built."""
    done = subprocess.run(
        [compose_program(), "-f", str(file), "-p", f"b{abs(hash(file)) % 10**8}", "build"],
        env={**environment(file, builder), "DOCKER_HOST": engine.url},
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    return "" if done.returncode == 0 else f"{done.stdout}{done.stderr}".strip().splitlines()[-1]


def measure(
    file: Path, url: str | None, builder: str = "buildkit", **environ: str
) -> dict[str, Measured]:
    """Return the facts of the service `web`; without an address the engine isn't reachable."""
    environ = {**environment(file, builder), **environ}
    options = MeasurementOptions(compose_files=(str(file),), docker_host=url)
    context = MeasurementContext(options)
    if url is None:
        context.engine = LazyValue(_refuse)
    project = load_project(options, environ)
    assert project is not None
    measured = list(build_facts.measure_builds(context, project, environ))
    return {fact.path[4]: fact for fact in measured}


def _refuse() -> Any:
    raise EngineError("connection refused", "refused")
