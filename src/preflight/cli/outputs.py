"""Where reports go: reads `--format NAME[:FILE]`, refuses clashes, writes every output."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

from preflight.cli.streams import (
    append_file,
    complain,
    file_options,
    terminal_options,
    write,
    write_file,
)
from preflight.model.problems import InputError, did_you_mean
from preflight.model.report import Report
from preflight.render import FORMATS, renderer

if TYPE_CHECKING:
    from preflight.model.fleet import Fleet

_STANDARD_OUTPUT = ("", "-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1")


class Output(NamedTuple):
    """One report to write: its format, and its file or None for standard output."""

    format: str
    file: str | None
    append: bool = False


class Outputs:
    """The outputs of one run; their renderers are imported at once, while it measures."""

    def __init__(self, formats: Iterable[str], inputs: Iterable[str]) -> None:
        """Read `--format` options.

        Raises InputError where two reports have one destination, or a report would replace one of
        `inputs`, the files that are read.
        """
        outputs = [_parse_output(text) for text in formats]
        _refuse_clashes(outputs, inputs)
        summary_file = os.environ.get("GITHUB_STEP_SUMMARY")
        if summary_file and any(output.format == "github" for output in outputs):
            outputs.append(Output("markdown", summary_file, append=True))
        self._outputs = [(output, renderer(output.format)) for output in outputs]

    def write(self, subject: Report | Fleet, *, quiet: bool, verbose: bool) -> bool:
        """Write them all; complain about each that can't be written, return whether all were."""
        errors = []
        for (_, file, append), render in self._outputs:
            options = terminal_options if file is None else file_options
            text = render(subject, options(quiet=quiet, verbose=verbose))
            try:
                if file is None:
                    write(text)
                else:
                    (append_file if append else write_file)(file, text)
            except InputError as error:
                errors.append(str(error))
        complain(*errors)
        return not errors


def _parse_output(text: str) -> Output:
    name, _, file = text.partition(":")
    if name not in FORMATS:
        hint = did_you_mean(name, FORMATS)
        raise InputError(
            f"--format {text}: unknown format {name!r}{hint}; formats: {', '.join(FORMATS)}"
        )
    return Output(name, None if file in _STANDARD_OUTPUT else file)


def _refuse_clashes(outputs: Iterable[Output], inputs: Iterable[str]) -> None:
    """Raise InputError where two reports have one destination, or one would replace an input."""
    taken = {_file_identity(name): f"also an input ({name})" for name in inputs}
    for output in outputs:
        identity = _file_identity(output.file) if output.file else None
        if identity in taken:
            destination = output.file or "standard output"
            raise InputError(f"--format {output.format}: {destination} is {taken[identity]}")
        taken[identity] = "already used by another format"


def _file_identity(file: str) -> object:
    """Return a key that is the same for all paths of one file."""
    try:
        status = os.stat(file)
    except (OSError, ValueError):
        return os.path.realpath(file.replace("\0", ""))
    return (status.st_dev, status.st_ino)
