"""Asks the user's own Compose for the effective configuration: one run, under a deadline.

Its plugin is run itself: the docker CLI in front of it would only cost time.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from preflight.facts.engine.endpoint import config_folder
from preflight.processes import Program

_MAX_BYTES = 64 * 2**20  # of a configuration
# nothing is fetched for an `include` from elsewhere: no request leaves the machine
_ENVIRONMENT = {"COMPOSE_EXPERIMENTAL_GIT_REMOTE": "0", "COMPOSE_EXPERIMENTAL_OCI_REMOTE": "0"}
_TOO_OLD = ("unknown flag", "No such option", "unknown command", "no such option")
_CANNOT_PRINT = "MarshalJSON"  # 2.40.3 accepts `build.ssh` as a mapping, and can't print it
_BEFORE_A_VALUE = "invalid interpolation format"  # the lines after it quote what may be secret
_UNSET = re.compile(r'The \\?"([^"\\]+)\\?" variable is not set')
_PLUGIN_FOLDERS = (
    "/usr/local/lib/docker/cli-plugins",
    "/usr/local/libexec/docker/cli-plugins",
    "/usr/lib/docker/cli-plugins",
    "/usr/libexec/docker/cli-plugins",
    "/opt/homebrew/lib/docker/cli-plugins",
    "C:\\ProgramData\\Docker\\cli-plugins",
    "C:\\Program Files\\Docker\\cli-plugins",
)


class ComposeAnswer(NamedTuple):
    """A configuration, or the words of a refusal, or the fault that left no answer."""

    config: Mapping[str, Any] | None = None
    unset: tuple[str, ...] = ()  # variables that it takes a blank for
    refused: str | None = None
    fault: str | None = None
    version: str | None = None


class ComposeRun(NamedTuple):
    """A run of Compose, and one beside it that prints its version."""

    config: Program
    version: Program

    def answer(self, timeout: float) -> ComposeAnswer:
        """Wait for the answer, most of `timeout` seconds: the rest is for the stand-in."""
        done = self.config.wait(timeout * 0.6)
        printed = self.version.wait(timeout * 0.1)
        version = printed.output.strip().removeprefix("v") if printed.exit_code == 0 else None
        if done.exit_code is None:
            return ComposeAnswer(fault=f"docker compose config {done.error}", version=version)
        if done.exit_code != 0:
            if any(words in done.error for words in _TOO_OLD):
                return ComposeAnswer(
                    fault="docker compose is too old to print its configuration as JSON"
                )
            if _CANNOT_PRINT in done.error:
                return ComposeAnswer(
                    fault="docker compose can't print this project", version=version
                )
            return ComposeAnswer(
                refused=_refusal_message(done.error, done.exit_code), version=version
            )
        try:
            config = json.loads(done.output.replace("$$", "$"))  # it doubles every dollar sign
        except (ValueError, RecursionError):
            config = None
        if not isinstance(config, dict):
            return ComposeAnswer(
                fault="docker compose config didn't print a JSON object", version=version
            )
        unset = dict.fromkeys(_UNSET.findall(done.error))
        return ComposeAnswer(config, tuple(unset), version=version)


def _refusal_message(output: str, code: int) -> str:
    lines = [line for line in output.strip().splitlines() if "level=warning" not in line]
    plain = (line for line in lines if _BEFORE_A_VALUE in line)
    text = next(plain, lines[-1] if lines else f"exit code {code}")
    return text.removeprefix("Error: ")


def start_compose(
    files: Sequence[str], environ: Mapping[str, str] = os.environ
) -> ComposeRun | None:
    """Start Compose on these files; None where it isn't installed."""
    program = find_compose(environ)
    if program is None:
        return None
    named = [part for file in files for part in ("-f", file)]
    env = {**environ, **_ENVIRONMENT}
    return ComposeRun(
        Program([program, *named, "config", "--format", "json"], env, _MAX_BYTES),
        Program([program, "version", "--short"], env, 200),
    )


def find_compose(environ: Mapping[str, str] = os.environ) -> str | None:
    """Return the program of Compose: the docker CLI's plugin, else docker-compose on the path."""
    name = "docker-compose.exe" if sys.platform == "win32" else "docker-compose"
    own = config_folder(environ)
    for folder in (own / "cli-plugins", *_extra_folders(own), *map(Path, _PLUGIN_FOLDERS)):
        if os.access(folder / name, os.X_OK):
            return str(folder / name)
    return shutil.which("docker-compose", path=environ.get("PATH", os.defpath))


def _extra_folders(folder: Path) -> list[Path]:
    """Return cliPluginsExtraDirs of the docker CLI's config.json."""
    try:
        config = json.loads((folder / "config.json").read_bytes())
        return [Path(name) for name in config["cliPluginsExtraDirs"] if isinstance(name, str)]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return []
