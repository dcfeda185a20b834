"""`preflight check --facts DIR`: every snapshot and bundle of a folder, judged in one process."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from preflight import check as pipeline
from preflight.cli.options import read_facts
from preflight.model.fleet import Fleet, HostReport
from preflight.model.problems import InputError
from preflight.model.rules import RuleSet

if TYPE_CHECKING:
    from preflight.evaluate.judge import Selection

_SUFFIXES = (".json", ".zip")


def list_snapshots(folder: str) -> list[str]:
    """Return the names of a folder's snapshots and bundles; raises InputError if it has none.

    Hidden files are left out: a file that is still being written has such a name.
    """
    try:
        entries = sorted(os.listdir(folder))
    except OSError as fault:
        raise InputError(f"cannot read {folder}: {fault.strerror}") from None
    names = [name for name in entries if name.endswith(_SUFFIXES) and not name.startswith(".")]
    if not names:
        raise InputError(f"{folder} has no snapshots: no file ends with {' or '.join(_SUFFIXES)}")
    return names


def check_folder(
    folder: str, names: Sequence[str], ruleset: RuleSet, selection: Selection, started: float
) -> Fleet:
    """Judge the snapshots of a folder; one that can't be read has the reason for its report."""
    hosts = tuple(
        _check_snapshot(name, os.path.join(folder, name), ruleset, selection) for name in names
    )
    files = "1 snapshot" if len(names) == 1 else f"{len(names):,} snapshots"
    title = f"{files} of {folder} · {ruleset.name} ({ruleset.origin})"
    return Fleet(title, hosts, time.perf_counter() - started)


def _check_snapshot(name: str, path: str, ruleset: RuleSet, selection: Selection) -> HostReport:
    started = time.perf_counter()
    try:
        facts = pipeline.with_model(read_facts(path), ruleset)
    except InputError as fault:
        return HostReport(name, None, str(fault.problems[0]).removeprefix(f"{path}: "))
    return HostReport(name, pipeline.check(ruleset, facts, selection, started))
