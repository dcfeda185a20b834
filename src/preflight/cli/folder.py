"""`preflight check --facts DIR`: every snapshot and bundle of a folder, judged in one process."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, NoReturn, Protocol

import typer

from preflight import pipeline
from preflight.cli.options import read_facts
from preflight.cli.outputs import Output, read_outputs
from preflight.cli.streams import complain, file_look, look, write_file, write_stdout
from preflight.model.fleet import Standing, exit_code, standing
from preflight.model.problems import InputError
from preflight.model.report import Exit, Report
from preflight.model.rules import RuleSet
from preflight.render import fleet

if TYPE_CHECKING:
    from preflight.pipeline import Selection

_FORMATS = ("text", "json")
_KINDS = (".json", ".zip")


def snapshots(folder: str) -> list[str]:
    """Return the names of a folder's snapshots and bundles; raises InputError where there is none.

    What is hidden isn't looked at: a file that is still being written has such a name.
    """
    try:
        entries = sorted(os.listdir(folder))
    except OSError as fault:
        raise InputError(f"cannot read {folder}: {fault.strerror}") from None
    names = [name for name in entries if name.endswith(_KINDS) and not name.startswith(".")]
    if not names:
        raise InputError(f"{folder} holds no snapshot: no file ends with {' or '.join(_KINDS)}")
    return names


class Folder:
    """The snapshots of a folder, in the order of their names; how each stands once it is judged."""

    def __init__(self, folder: str, ruleset: RuleSet, selection: Selection, started: float) -> None:
        self.folder = folder
        self.ruleset = ruleset
        self.standings: list[Standing] = []
        self._selection = selection
        self._started = started
        self._names = snapshots(folder)

    def judged(self) -> Iterator[tuple[str, Report | str]]:
        """Yield each file's report, or why it can't be judged; only how it stands is kept."""
        for name in self._names:
            began = time.perf_counter()
            try:
                facts = pipeline.with_model(
                    read_facts(os.path.join(self.folder, name)), self.ruleset
                )
            except InputError as fault:
                why = str(fault.problems[0]).removeprefix(f"{os.path.join(self.folder, name)}: ")
                self.standings.append(Standing(name, "unknown", unusable=why))
                yield name, why
            else:
                report = pipeline.check(self.ruleset, facts, self._selection, began)
                self.standings.append(standing(name, report))
                yield name, report

    def seconds(self) -> float:
        """Return how long it took so far."""
        return time.perf_counter() - self._started

    def faults(self) -> list[str]:
        """Return what could not be kept: nothing is."""
        return []

    def title(self) -> str:
        """Say what was judged, by which rules."""
        count = len(self._names)
        files = "1 snapshot" if count == 1 else f"{count:,} snapshots"
        return f"{files} of {self.folder} · {self.ruleset.name} ({self.ruleset.origin})"


def check_folder(
    name: str,
    ruleset: RuleSet,
    selection: Selection,
    formats: Iterable[str],
    started: float,
    *,
    quiet: bool,
    verbose: bool,
) -> NoReturn:
    """Judge a folder, write it as text or JSON, and end with the exit code of all."""
    folder = Folder(name, ruleset, selection, started)
    outputs = read_outputs(formats, ())
    code = write_hosts(folder, outputs, quiet=quiet, verbose=verbose, unusable=Exit.USAGE)
    raise typer.Exit(code)


class Hosts(Protocol):
    """Several machines: judged once, one after the other; how each stands stays."""

    standings: list[Standing]

    def judged(self) -> Iterator[tuple[str, Report | str]]: ...
    def seconds(self) -> float: ...
    def title(self) -> str: ...
    def faults(self) -> list[str]: ...


def write_hosts(
    hosts: Hosts, outputs: list[Output], *, quiet: bool, verbose: bool, unusable: int
) -> int:
    """Write what came of several machines; return the exit code of all."""
    for one in outputs:
        if one.format not in _FORMATS:
            known = " and ".join(_FORMATS)
            raise InputError(f"--format {one.format}: several hosts are shown as {known} alone")
    outputs.sort(key=lambda one: one.format != "json")  # it is written while they are judged
    if outputs[0].format != "json":
        deque(hosts.judged(), maxlen=0)
    faults = [_write(hosts, one, unusable, quiet=quiet, verbose=verbose) for one in outputs]
    faults += hosts.faults()
    complain(*filter(None, faults))
    return Exit.USAGE if any(faults) else exit_code(hosts.standings, unusable)


def _write(
    folder: Hosts, output: Output, unusable: int, *, quiet: bool, verbose: bool
) -> str | None:
    if output.format == "json":
        pieces = fleet.json_pieces(folder.judged(), lambda: _summary(folder, unusable))
        if output.file is not None:
            return write_file(output.file, pieces)
        faults = (write_stdout(piece) for piece in pieces)
        return next(filter(None, faults), None)
    shown = look if output.file is None else file_look
    how = shown(quiet=quiet, verbose=verbose)
    text = fleet.text(folder.title(), folder.standings, how, folder.seconds(), unusable)
    return write_stdout(text) if output.file is None else write_file(output.file, text)


def _summary(folder: Hosts, unusable: int) -> dict[str, Any]:
    return fleet.summary(folder.standings, folder.seconds(), unusable)
