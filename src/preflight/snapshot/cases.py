"""Case folders: a snapshot and, beside it, the verdicts that are expected of it. Judges nothing."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from datetime import date
from typing import Any

from preflight.model.cases import CaseExpectations
from preflight.model.problems import InputError, Problem, did_you_mean
from preflight.model.report import VERDICTS
from preflight.snapshot.json_input import find_shape_mismatches, make_invalid_file_error, parse_json

FACTS_FILE, EXPECTED_VERDICTS_FILE = "facts.json", "expected.json"
MAX_EXPECTED_BYTES = 2**20  # of an expected.json


def find_case_folders(folder: str) -> list[str]:
    """Return the case folders: this one, or those directly in it, sorted by name."""
    try:
        if _is_case_folder(folder):
            return [folder]
        folders = sorted(entry.path for entry in os.scandir(folder) if _is_case_folder(entry.path))
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"cannot read {folder}: {reason}") from None
    if not folders:
        raise InputError(
            f"{folder} contains no cases: a case is a folder with {FACTS_FILE} and"
            f" {EXPECTED_VERDICTS_FILE}"
        )
    return folders


def _is_case_folder(folder: str) -> bool:
    return any(
        os.path.lexists(os.path.join(folder, name)) for name in (FACTS_FILE, EXPECTED_VERDICTS_FILE)
    )


def _is_iso_date(value: Any) -> bool:
    """a day such as 2026-11-23"""
    try:
        return bool(str(date.fromisoformat(value)) == value)
    except (TypeError, ValueError):
        return False


_CASE_EXPECTATION_SHAPE = {
    "verdicts": {"*": VERDICTS},
    "exit_code?": (0, 1, 3),
    "today?": _is_iso_date,
    "vars?": {"*": str | int | float},
    "profile?": str,
    "only?": [str],
    "strict?": bool,
}
_CASE_EXPECTATION_KEYS = [key.rstrip("?") for key in _CASE_EXPECTATION_SHAPE]


def parse_case_expectations(data: bytes, file: str) -> CaseExpectations:
    """Read an expected.json: verdicts by rule, or an object that has them under `verdicts`.

    Raises InputError with all problems.
    """
    root = parse_json(data, file, MAX_EXPECTED_BYTES)
    if not isinstance(root, dict):
        raise make_invalid_file_error(file, 'expected an object such as {"host-memory": "pass"}')
    if not isinstance(root.get("verdicts"), dict):
        root = {"verdicts": root}
    if problems := list(_find_expected_file_problems(root)):
        raise InputError(*(Problem(file, 0, 0, problem) for problem in problems))
    variables = root.get("vars", {}).items()
    return CaseExpectations(
        verdicts=root["verdicts"],
        exit_code=root.get("exit_code"),
        today=date.fromisoformat(root["today"]) if "today" in root else None,
        vars={name: v if isinstance(v, str) else json.dumps(v) for name, v in variables},
        profile=root.get("profile"),
        only=tuple(root.get("only", ())),
        strict=root.get("strict", False),
        file=file,
    )


def _find_expected_file_problems(root: Mapping[str, Any]) -> Iterator[str]:
    for key in root:
        if key not in _CASE_EXPECTATION_KEYS:
            yield f"unknown key {key!r:.60}{did_you_mean(key, _CASE_EXPECTATION_KEYS)}"
    for key in {*root["verdicts"]} & {*_CASE_EXPECTATION_KEYS}:
        yield f"{key}: must be beside 'verdicts', with the verdicts by rule under that"
    yield from find_shape_mismatches(root, _CASE_EXPECTATION_SHAPE)
    if not root["verdicts"] and "exit_code" not in root:
        yield "it expects nothing: name a verdict or an exit_code"
