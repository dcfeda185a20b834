"""Asks the user's own Compose for the effective configuration: one run, under a deadline.

Its plugin is run itself: the docker CLI in front of it would only cost time.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from preflight.facts.engine.endpoint import config_folder
from preflight.processes import Program

_MOST_BYTES = 64 * 2**20  # of a configuration
# nothing is fetched for an `include` from elsewhere: no request leaves the machine
_QUIET = {"COMPOSE_EXPERIMENTAL_GIT_REMOTE": "0", "COMPOSE_EXPERIMENTAL_OCI_REMOTE": "0"}
_TOO_OLD = ("unknown flag", "No such option", "unknown command", "no such option")
_BEFORE_A_VALUE = "invalid interpolation format"  # the lines after it quote what may be secret
_SYSTEM = (
    "/usr/local/lib/docker/cli-plugins",
    "/usr/local/libexec/docker/cli-plugins",
    "/usr/lib/docker/cli-plugins",
    "/usr/libexec/docker/cli-plugins",
    "/opt/homebrew/lib/docker/cli-plugins",
    "C:\\ProgramData\\Docker\\cli-plugins",
    "C:\\Program Files\\Docker\\cli-plugins",
)


class Answer(NamedTuple):
    """What Compose said: a configuration, or what it `refused`, or the `fault` it has itself."""

    config: Mapping[str, Any] | None = None
    refused: str | None = None
    fault: str | None = None
    version: str | None = None


class Asked(NamedTuple):
    """A run of Compose that goes on, and one beside it that tells its version."""

    config: Program
    version: Program

    def answer(self, timeout: float) -> Answer:
        """Wait for it, `timeout` seconds at most."""
        done = self.config.wait(timeout * 0.6)  # time is left to judge by our own reading
        said = self.version.wait(timeout * 0.1)
        version = said.output.strip().removeprefix("v") if said.exit_code == 0 else None
        if done.exit_code is None:
            return Answer(fault=f"docker compose config {done.error}", version=version)
        if done.exit_code != 0:
            told = done.error.strip().splitlines()
            plain = (line for line in told if _BEFORE_A_VALUE in line)
            text = next(plain, told[-1] if told else f"exit code {done.exit_code}")
            if any(words in done.error for words in _TOO_OLD):
                return Answer(fault="docker compose is too old to tell its configuration as JSON")
            return Answer(refused=text.removeprefix("Error: "), version=version)
        try:
            config = json.loads(done.output.replace("$$", "$"))  # it doubles every dollar sign
        except (ValueError, RecursionError):
            config = None
        if not isinstance(config, dict):
            return Answer(fault="docker compose config gave no JSON object", version=version)
        return Answer(config, version=version)


def ask(files: Sequence[str], environ: Mapping[str, str] = os.environ) -> Asked | None:
    """Start Compose on these files; None where it isn't installed."""
    program = find(environ)
    if program is None:
        return None
    named = [part for file in files for part in ("-f", file)]
    env = {**environ, **_QUIET}
    return Asked(
        _program([program, *named, "config", "--format", "json"], env, _MOST_BYTES),
        _program([program, "version", "--short"], env, 200),
    )


def _program(arguments: Sequence[str], environ: Mapping[str, str], max_bytes: int) -> Program:
    return Program(arguments, environ, max_bytes, own_group=False)  # it ends with the worker


def find(environ: Mapping[str, str] = os.environ) -> str | None:
    """Return the program of Compose: the docker CLI's plugin, else docker-compose on the path."""
    name = "docker-compose.exe" if sys.platform == "win32" else "docker-compose"
    own = config_folder(environ)
    for folder in (own / "cli-plugins", *_extra(own), *map(Path, _SYSTEM)):
        if os.access(folder / name, os.X_OK):
            return str(folder / name)
    return shutil.which("docker-compose", path=environ.get("PATH", os.defpath))


def _extra(folder: Path) -> list[Path]:
    """Return cliPluginsExtraDirs of the docker CLI's config.json."""
    try:
        config = json.loads((folder / "config.json").read_bytes())
        return [Path(one) for one in config["cliPluginsExtraDirs"] if isinstance(one, str)]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return []
