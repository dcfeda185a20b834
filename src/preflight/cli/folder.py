"""`preflight check --facts DIR`: every snapshot and bundle of a folder, judged in one process."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from preflight import check as pipeline
from preflight.cli.options import read_facts
from preflight.model.problems import InputError
from preflight.model.report import Report
from preflight.model.rules import RuleSet

if TYPE_CHECKING:
    from preflight.check import Selection

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
    """The snapshots of a folder, in the order of their names."""

    def __init__(self, folder: str, ruleset: RuleSet, selection: Selection) -> None:
        self._folder = folder
        self._ruleset = ruleset
        self._selection = selection
        self._names = snapshots(folder)

    def files(self) -> list[str]:
        """Return the snapshots' paths."""
        return [os.path.join(self._folder, name) for name in self._names]

    def judged(self) -> Iterator[tuple[str, Report | str]]:
        """Yield each file's report, or why it can't be judged."""
        for name, path in zip(self._names, self.files(), strict=True):
            began = time.perf_counter()
            try:
                facts = pipeline.with_model(read_facts(path), self._ruleset)
            except InputError as fault:
                yield name, str(fault.problems[0]).removeprefix(f"{path}: ")
            else:
                yield name, pipeline.check(self._ruleset, facts, self._selection, began)

    def title(self) -> str:
        """Say what is judged, by which rules."""
        count = len(self._names)
        files = "1 snapshot" if count == 1 else f"{count:,} snapshots"
        return f"{files} of {self._folder} · {self._ruleset.name} ({self._ruleset.origin})"
