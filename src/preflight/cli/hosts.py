"""Several machines judged one after the other, and written in any number of formats at once."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from typing import IO, NamedTuple

from preflight.cli.outputs import Output
from preflight.cli.streams import append_file, complain, file_look, look, write_file, write_stdout
from preflight.model.fleet import Fleet, Standing, standing
from preflight.model.report import Exit, Report
from preflight.render.hosts import Writer, writer

_IN_MEMORY = 2**22  # bytes of an output; what is longer waits on disk
_PIECE = 2**16


class _Open(NamedTuple):
    """An output with what was written of it so far."""

    output: Output
    writer: Writer
    text: IO[str]


def write_hosts(
    title: str,
    hosts: Iterable[tuple[str, Report | str]],
    outputs: Iterable[Output],
    seconds: Callable[[], float],
    *,
    unusable: int,
    quiet: bool,
    verbose: bool,
) -> int:
    """Judge all machines and write them; return the exit code.

    A str in place of a report is why there is none; `unusable` is the exit code which that makes.
    """
    standings: list[Standing] = []
    with ExitStack() as stack:
        opened = []
        for output in outputs:
            shown = look if output.file is None else file_look
            made = writer(output.format, shown(quiet=quiet, verbose=verbose))
            text = stack.enter_context(_spool())
            opened.append(_Open(output, made, text))
        for name, one in hosts:
            standings.append(_standing(name, one))
            for each in opened:
                each.text.write(each.writer.host(name, one))
        fleet = Fleet(title, standings, seconds(), unusable)
        faults = [fault for each in opened if (fault := _finish(each, fleet)) is not None]
    complain(*faults)
    return Exit.USAGE if faults else fleet.exit_code


def _standing(name: str, one: Report | str) -> Standing:
    if isinstance(one, str):
        return Standing(name, "unknown", unusable=one)
    return standing(name, one)


def _spool() -> IO[str]:
    return tempfile.SpooledTemporaryFile(
        _IN_MEMORY, "w+", encoding="utf-8", errors="replace", newline=""
    )


def _finish(each: _Open, fleet: Fleet) -> str | None:
    """Write an output where it belongs; return why not."""
    for piece in each.writer.end(fleet):
        each.text.write(piece)
    each.text.seek(0)
    if each.output.file is None:
        return next(filter(None, map(write_stdout, _pieces(each.text))), None)
    if each.output.append:
        return append_file(each.output.file, _pieces(each.text))
    return write_file(each.output.file, _pieces(each.text))


def _pieces(text: IO[str]) -> Iterator[str]:
    while piece := text.read(_PIECE):
        yield piece
