"""Where reports go: `--format NAME[:FILE]` read, clashes refused, every output written or told."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from preflight.cli.streams import (
    append_file,
    complain,
    file_options,
    terminal_options,
    write_file,
    write_stdout,
)
from preflight.model.problems import InputError, did_you_mean
from preflight.model.report import Report
from preflight.render import RENDERERS, Renderer, renderer

_STANDARD_OUTPUT = ("", "-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1")
_SUMMARIES = {"github": ("GITHUB_STEP_SUMMARY", "markdown")}
"""By format: the variable that names a file to append to, and the format of what is appended."""


class Output(NamedTuple):
    """One report to write: its format, and its file or None for standard output."""

    format: str
    file: str | None
    append: bool = False


class Outputs:
    """The outputs of one run; their renderers are imported at once, while it measures."""

    def __init__(self, formats: Iterable[str], inputs: Iterable[str]) -> None:
        """Read `--format` options; raises InputError where two reports, or a report and one of
        the files that are read, are to be in one place.
        """
        self._outputs = [(one, renderer(one.format)) for one in all_outputs(formats, inputs)]

    def write(self, report: Report, *, quiet: bool, verbose: bool) -> bool:
        """Write them all; says which one can't be written, and returns whether all were."""
        faults = [
            _write(render, report, one, quiet=quiet, verbose=verbose)
            for one, render in self._outputs
        ]
        complain(*filter(None, faults))
        return not any(faults)


def all_outputs(formats: Iterable[str], inputs: Iterable[str]) -> list[Output]:
    """Read `--format` options, and add what goes out beside them; raises InputError."""
    outputs = read_outputs(formats, inputs)
    return outputs + [summary for one in outputs for summary in _summary(one)]


def read_outputs(formats: Iterable[str], inputs: Iterable[str]) -> list[Output]:
    """Read `--format` options; raises InputError where two things are to be in one place."""
    outputs = [_output(one) for one in formats]
    _refuse_clashes(outputs, inputs)
    return outputs


def _output(text: str) -> Output:
    name, _, file = text.partition(":")
    if name not in RENDERERS:
        known = ", ".join(RENDERERS)
        hint = did_you_mean(name, RENDERERS)
        raise InputError(f"--format {text}: no format {name!r}{hint}; there is {known}")
    return Output(name, None if file in _STANDARD_OUTPUT else file)


def _summary(output: Output) -> Sequence[Output]:
    """What goes out beside a format: its summary, where the environment names a file for it."""
    variable, format_ = _SUMMARIES.get(output.format, ("", ""))
    file = os.environ.get(variable) if variable else None
    return [Output(format_, file, append=True)] if file else []


def _refuse_clashes(outputs: Iterable[Output], inputs: Iterable[str]) -> None:
    """Two reports can't go to one place, and none over what is read: each would spoil the other."""
    taken = {_place(name): f"read as {name}" for name in inputs}
    for output in outputs:
        place = _place(output.file) if output.file else None
        if place in taken:
            shown = output.file or "standard output"
            raise InputError(f"--format {output.format}: {shown} is {taken[place]}")
        taken[place] = "taken by another format"


def _place(file: str) -> object:
    """Return what tells one file from another, whatever name it goes by."""
    try:
        found = os.stat(file)
    except (OSError, ValueError):
        return os.path.realpath(file.replace("\0", ""))
    return (found.st_dev, found.st_ino)


def _write(
    render: Renderer, report: Report, output: Output, *, quiet: bool, verbose: bool
) -> str | None:
    """Write one report; returns why it can't be, in a line."""
    if output.file is None:
        return write_stdout(render(report, terminal_options(quiet=quiet, verbose=verbose)))
    text = render(report, file_options(quiet=quiet, verbose=verbose))
    return append_file(output.file, text) if output.append else write_file(output.file, text)
