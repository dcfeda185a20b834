"""Run `preflight check` as a step of a GitHub job: inputs to options, its report to outputs.

The inputs come as environment variables `INPUT_…`. Runs in the environment that has preflight.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

SINGLE = ("rules", "path", "timeout", "wait")
MANY = ("compose-file", "only", "skip", "set")
FILES = ("sarif", "junit")


def options(inputs: Mapping[str, str]) -> Iterator[str]:
    """Yield what the inputs ask for; a value is part of its option, so it can't be one itself."""
    for name in SINGLE:
        if value := _input(inputs, name).strip():
            yield f"--{name}={value}"
    for name in MANY:
        yield from (f"--{name}={line}" for line in _lines(inputs, name))
    for name in FILES:
        if file := _input(inputs, name).strip():
            yield f"--format={name}:{file}"
    yield from _lines(inputs, "args")


def _input(inputs: Mapping[str, str], name: str) -> str:
    return inputs.get("INPUT_" + name.upper().replace("-", "_"), "")


def _lines(inputs: Mapping[str, str], name: str) -> list[str]:
    return [line.strip() for line in _input(inputs, name).splitlines() if line.strip()]


def run(arguments: list[str], folder: Path) -> int:
    """Check; the text goes to the log, the other reports into the folder.

    The runner obeys lines of the log that look like commands, and the text holds what others
    wrote: so it is told not to listen, until a word comes that nobody can know.
    """
    formats = ["text", f"github:{folder / 'annotations'}", f"json:{folder / 'report.json'}"]
    program = shutil.which("preflight", path=os.path.dirname(sys.executable))
    command = [str(program), "check", *(f"--format={one}" for one in formats), *arguments]
    word = secrets.token_hex(16)
    _say(f"::stop-commands::{word}\n")
    try:
        return subprocess.run(
            command, check=False, stderr=subprocess.STDOUT, env=_environment()
        ).returncode
    finally:
        _say(f"\n::{word}::\n")


def _environment() -> dict[str, str]:
    """The step's environment; a flag is given in it, so that preflight says what is no flag."""
    strict = _input(os.environ, "strict").strip()
    return {**os.environ, **({"PREFLIGHT_STRICT": strict} if strict else {})}


def outputs(folder: Path, exit_code: int) -> Iterator[str]:
    """Yield the lines of the step's outputs."""
    file = folder / "report.json"
    report = json.loads(file.read_bytes()) if file.exists() else {"summary": {"verdict": ""}}
    yield f"verdict={report['summary']['verdict']}\n"
    yield f"exit-code={exit_code}\n"
    yield f"report={file if file.exists() else ''}\n"


def _say(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


def main() -> int:
    """Return preflight's exit code, which is the step's."""
    arguments = list(options(os.environ))
    folder = Path(tempfile.mkdtemp(prefix="preflight-", dir=os.environ["RUNNER_TEMP"]))
    exit_code = run(arguments, folder)
    with open(os.environ["GITHUB_OUTPUT"], "a", encoding="utf-8") as file:
        file.writelines(outputs(folder, exit_code))
    annotations = folder / "annotations"
    if annotations.exists():
        _say(annotations.read_text(encoding="utf-8"))
    else:
        _say(f"::error title=preflight::no report, exit code {exit_code}: the log says why\n")
    return exit_code


if __name__ == "__main__":
    sys.exit(main())
