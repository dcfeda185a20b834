"""Programs on PATH that a rule names, and the versions that they print: `host.tools.*`.

A program gets `--version` as its only argument (a few another one), no shell, no input and no
terminal.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator, Sequence

from preflight.facts.collect.context import MeasurementContext
from preflight.model.facts import Measured, Path, Unknown
from preflight.processes import StartedProgram, find_program

_MAX_MEASURED_TOOLS = 100
_MAX_SECONDS_FOR_ALL_PROGRAMS = 2.0  # for all of them together
_MAX_PROGRAM_OUTPUT_BYTES = 2**16
_PROGRAM_NAME_PATTERN = re.compile(r"\w[\w.+-]{0,63}", re.ASCII)
_PROGRAM_VERSION_PATTERN = re.compile(r"(?<![\d.])(\d+(?:\.\d+)+(?:p\d+)?)")
_WHOLE_NUMBER_VERSION_PATTERN = re.compile(r"(?<![\w.])(\d{1,5})(?![\w.])")
# of those that don't know --version, or didn't always
_VERSION_ARGUMENTS_BY_PROGRAM = {
    **dict.fromkeys(("go", "openssl"), ("version",)),
    "kubectl": ("version", "--client"),
    "helm": ("version", "--short"),
    **dict.fromkeys(("ffmpeg", "java", "javac"), ("-version",)),
    **dict.fromkeys(("ssh", "tmux"), ("-V",)),
    **dict.fromkeys(("lua", "nginx", "unzip", "zip"), ("-v",)),
}


def measure_tools(context: MeasurementContext, paths: Sequence[Path]) -> Iterator[Measured]:
    """Yield the path of each program, and the version of those of which a rule asks it."""
    names = list(dict.fromkeys(path[2] for path in paths if len(path) == 4))
    found: dict[str, str | Unknown | None] = {}
    for number, name in enumerate(names):
        if not _PROGRAM_NAME_PATTERN.fullmatch(name):
            found[name] = Unknown(f"{name!r} isn't a valid program name", "invalid")
        elif number >= _MAX_MEASURED_TOOLS:
            found[name] = Unknown(
                f"the rules name more than {_MAX_MEASURED_TOOLS} programs", "unsupported"
            )
        else:
            found[name] = find_program(name)
        yield Measured(("host", "tools", name, "path"), found[name], "PATH")
    asked = {path[2] for path in paths if path[3:] == ("version",)}
    programs = {}
    for name in sorted(asked):
        if isinstance(file := found[name], str):
            arguments = [file, *_VERSION_ARGUMENTS_BY_PROGRAM.get(name, ("--version",))]
            environment = {**os.environ, "LC_ALL": "C"}
            programs[name] = (
                arguments,
                StartedProgram(arguments, environment, _MAX_PROGRAM_OUTPUT_BYTES),
            )
        else:
            yield Measured(("host", "tools", name, "version"), file, "PATH")
    end = min(context.deadline, time.monotonic() + _MAX_SECONDS_FOR_ALL_PROGRAMS)
    for name, (arguments, program) in programs.items():
        result = program.wait(max(0.0, end - time.monotonic()))
        version = find_version_in_output(f"{result.output}\n{result.error}")
        if result.exit_code != 0:
            problem = (
                result.error if result.exit_code is None else f"exited with {result.exit_code}"
            )
            version = Unknown(f"{' '.join(arguments)} {problem}")
        yield Measured(("host", "tools", name, "version"), version, " ".join(arguments))


def find_version_in_output(text: str) -> str | Unknown:
    """Return the first version in what a program prints, such as 2.39.5 or 9.2p1."""
    match = _PROGRAM_VERSION_PATTERN.search(text) or _WHOLE_NUMBER_VERSION_PATTERN.search(text)
    return match[1] if match else Unknown("the program doesn't print a version")
