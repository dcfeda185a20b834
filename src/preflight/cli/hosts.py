"""Several machines judged one after the other, and written in any number of formats at once."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import IO

from preflight.cli.outputs import Output
from preflight.cli.streams import (
    append_file,
    complain,
    file_options,
    terminal_options,
    write_file,
    write_stdout,
)
from preflight.model.fleet import Fleet, Standing, standing
from preflight.model.report import ExitCode, Report
from preflight.render.hosts import Writer, writer

_IN_MEMORY = 2**22  # bytes of an output; what is longer waits on disk
_PIECE = 2**16


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
            shown = terminal_options if output.file is None else file_options
            made = writer(output.format, shown(quiet=quiet, verbose=verbose))
            opened.append(_Pending(output, made, stack.enter_context(_spool())))
        for name, one in hosts:
            standings.append(standing(name, one))
            for each in opened:
                each.add([each.writer.host(name, one)])
        fleet = Fleet(title, standings, seconds(), unusable)
        for each in opened:
            each.add(each.writer.end(fleet))
        faults = [fault for each in opened if (fault := each.send()) is not None]
    complain(*faults)
    return ExitCode.USAGE if faults else fleet.exit_code


class _Pending:
    """An output that is not out yet: nothing of it is seen before all of it is there."""

    def __init__(self, output: Output, writer: Writer, text: IO[str]) -> None:
        self.writer = writer
        self._output = output
        self._text = text
        self._fault: str | None = None

    def add(self, pieces: Iterable[str]) -> None:
        """Keep what is to be written; where there is no room for it, remember that."""
        if self._fault is None:
            self._keep(lambda: self._text.writelines(pieces))

    def _keep(self, work: Callable[[], object]) -> None:
        try:
            work()
        except OSError as fault:
            where = f"for temporary files: {fault.strerror}"
            self._fault = f"cannot write {self._output.format}, there is no room {where}"

    def send(self) -> str | None:
        """Write it where it belongs; return why not."""
        if self._fault is None:
            self._keep(lambda: self._text.seek(0))  # the last of it goes to disk only now
        if self._fault is not None:
            return self._fault
        if self._output.file is None:
            return next(filter(None, map(write_stdout, self._pieces())), None)
        if self._output.append:
            return append_file(self._output.file, self._pieces())
        return write_file(self._output.file, self._pieces())

    def _pieces(self) -> Iterator[str]:
        while piece := self._text.read(_PIECE):
            yield piece


@contextmanager
def _spool() -> Iterator[IO[str]]:
    text = tempfile.SpooledTemporaryFile(  # noqa: SIM115 - closed below
        _IN_MEMORY, "w+", encoding="utf-8", errors="replace", newline=""
    )
    try:
        yield text
    finally:
        with suppress(OSError):  # what found no room finds none in the end
            text.close()
