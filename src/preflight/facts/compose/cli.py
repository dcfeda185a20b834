"""Asks the user's own Compose for the effective configuration: one run, under a deadline.

Its plugin is run itself: the docker CLI in front of it would only cost time.
"""

import json
import os
import re
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from preflight.facts.engine.endpoint import find_docker_config_folder, read_docker_config_file
from preflight.processes import StartedProgram, find_program

_MAX_COMPOSE_OUTPUT_BYTES = 64 * 2**20  # of a configuration
_MAX_COMPOSE_PROCESS_MEMORY_BYTES = 2**30  # bytes, of Compose itself
_EXPLANATION_BY_COMPOSE_ERROR = {
    **dict.fromkeys(
        ("unknown flag", "no such option", "unknown command"),
        "docker compose is too old to print its configuration as JSON",
    ),
    **dict.fromkeys(
        ("out of memory", "cannot allocate memory"),
        "docker compose needs more than 1 GiB of memory for this project",
    ),
    # 2.40.3 accepts `build.ssh` as a mapping
    "marshaljson": "docker compose can't print this project",
}
"""What Compose says, in lower case, where the fault isn't the project's; and what we say."""

_INVALID_TEMPLATE_MESSAGE = "invalid interpolation format"  # what follows may quote secrets
_UNSET_VARIABLE_MESSAGE_PATTERN = r'The \\?"([^"\\]+)\\?" variable is not set'
_DOCKER_PLUGIN_FOLDERS = (
    *(
        f"/usr/{part}/docker/cli-plugins"
        for part in ("local/lib", "local/libexec", "lib", "libexec")
    ),
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


def ask_compose(files: Sequence[str], timeout: float, environ: Mapping[str, str]) -> ComposeAnswer:
    """Run Compose on these files; a part of `timeout` seconds is left to the fallback reader."""
    program = find_compose_program(environ)
    if program is None:
        return ComposeAnswer()
    named = [part for file in files for part in ("-f", file)]
    config = [program, *named, "config", "--format", "json"]
    config_run = StartedProgram(
        config, environ, _MAX_COMPOSE_OUTPUT_BYTES, _MAX_COMPOSE_PROCESS_MEMORY_BYTES
    )
    version_run = StartedProgram([program, "version", "--short"], environ, 200)
    done, printed = config_run.wait(timeout * 0.6), version_run.wait(timeout * 0.1)
    version = printed.output.strip().removeprefix("v") if printed.exit_code == 0 else None
    answer = ComposeAnswer(version=version)
    if done.exit_code is None:
        return answer._replace(fault=f"docker compose config {done.error}")
    if done.exit_code != 0 or not done.output.strip():  # a wrapper may lose the exit code
        faults = [
            fault
            for words, fault in _EXPLANATION_BY_COMPOSE_ERROR.items()
            if words in done.error.lower()
        ]
        if faults:
            return answer._replace(fault=faults[0])
        return answer._replace(refused=_extract_compose_error(done.error, done.exit_code))
    with suppress(ValueError, RecursionError):
        printed_config = json.loads(done.output.replace("$$", "$"))  # it doubles dollar signs
        if isinstance(printed_config, dict):
            unset = tuple(sorted({*re.findall(_UNSET_VARIABLE_MESSAGE_PATTERN, done.error)}))
            return answer._replace(config=printed_config, unset=unset)
    return answer._replace(fault="docker compose config didn't print a JSON object")


def ask_config_hashes(
    config: Mapping[str, Any], timeout: float, environ: Mapping[str, str]
) -> dict[str, str]:
    """Return what `docker compose config --hash` prints: by service the hash of its settings.

    It is given the configuration that it printed, where the variables of an env_file are resolved:
    `up` hashes these, `config --hash` the name of the file.
    """
    program = find_compose_program(environ)
    if program is None:
        return {}
    text = json.dumps(config).replace("$", "$$")
    arguments = [program, "-f", "-", "config", "--hash", "*"]
    run = StartedProgram(
        arguments, environ, _MAX_COMPOSE_OUTPUT_BYTES, _MAX_COMPOSE_PROCESS_MEMORY_BYTES, text
    )
    done = run.wait(timeout)
    rows = (line.split() for line in done.output.splitlines()) if done.exit_code == 0 else ()
    return {row[0]: row[1] for row in rows if len(row) == 2}


def _extract_compose_error(output: str, code: int) -> str:
    lines = [line for line in output.strip().splitlines() if "level=warning" not in line]
    plain = (line for line in lines if _INVALID_TEMPLATE_MESSAGE in line)
    text = next(plain, lines[-1] if lines else f"exit code {code}")
    return text.removeprefix("Error: ")


def find_compose_program(environ: Mapping[str, str] = os.environ) -> str | None:
    """Return the program of Compose: the docker CLI's plugin, else docker-compose on the path."""
    name = "docker-compose.exe" if sys.platform == "win32" else "docker-compose"
    extra = read_docker_config_file(environ).get("cliPluginsExtraDirs")
    extra = list(map(str, extra)) if isinstance(extra, list) else []
    for folder in (
        find_docker_config_folder(environ) / "cli-plugins",
        *extra,
        *_DOCKER_PLUGIN_FOLDERS,
    ):
        if os.access(program := os.path.join(folder, name), os.X_OK):
            return program
    return find_program("docker-compose", environ)
