"""Where reports go: reads `--format NAME[:FILE]`, refuses clashes, writes every output."""

import os
from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

from preflight.cli.options import check_filesystems_respond
from preflight.cli.streams import file_options, terminal_options, write_file, write_message
from preflight.model.problems import InputError, did_you_mean
from preflight.model.report import Report
from preflight.render import FORMATS, Renderer, renderer

if TYPE_CHECKING:
    from preflight.model.fleet import Fleet

_STANDARD_OUTPUT_NAMES = ("", "-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1")


class ReportOutput(NamedTuple):
    """One report to write, into a file, or to standard output if that is None."""

    render: Renderer
    file: str | None
    append: bool = False


def parse_format_options(formats: list[str], inputs: Iterable[str]) -> list[ReportOutput]:
    """Read `--format` options, and import their renderers, while the machine is measured.

    Raises InputError if two reports have one destination, or a report would replace one of
    `inputs`, the files that are read.
    """
    used = {file_identity(name): f"also an input ({name})" for name in inputs}
    outputs = []
    for text in formats:
        name, _, file = text.partition(":")
        if name not in FORMATS:
            hint = did_you_mean(name, FORMATS)
            raise InputError(
                f"--format {text}: unknown format {name!r}{hint}; formats: {', '.join(FORMATS)}"
            )
        destination = None if file in _STANDARD_OUTPUT_NAMES else file
        check_filesystems_respond(destination)
        identity = destination and file_identity(destination)
        if identity in used:
            raise InputError(
                f"--format {name}: {destination or 'standard output'} is {used[identity]}"
            )
        used[identity] = "already used by another format"
        outputs.append(ReportOutput(renderer(name), destination))
    summary_file = os.environ.get("GITHUB_STEP_SUMMARY")
    if summary_file and any(text.partition(":")[0] == "github" for text in formats):
        outputs.append(ReportOutput(renderer("markdown"), summary_file, append=True))
    return outputs


def write_reports(
    outputs: Iterable[ReportOutput], subject: "Report | Fleet", *, quiet: bool, verbose: bool
) -> bool:
    """Write them all; complain about each that can't be written, return whether all were."""
    errors = []
    for output in outputs:
        options = terminal_options if output.file is None else file_options
        text = output.render(subject, options(quiet=quiet, verbose=verbose))
        try:
            write_file(output.file, text, append=output.append)
        except InputError as error:
            errors.append(str(error))
    write_message(*errors)
    return not errors


def file_identity(file: str) -> object:
    """Return a key that is the same for all paths of one file."""
    try:
        status = os.stat(file)
    except (OSError, ValueError):
        return os.path.realpath(file.replace("\0", ""))
    return (status.st_dev, status.st_ino)
