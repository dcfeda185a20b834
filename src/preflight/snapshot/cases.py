"""Case folders: a snapshot and, beside it, the verdicts that are expected of it. Judges nothing."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from datetime import date
from typing import Any

from preflight.model.cases import EXPECTED_FILE, FACTS_FILE, MAX_EXPECTED_BYTES, CaseExpectation
from preflight.model.problems import InputError, Problem, did_you_mean
from preflight.model.report import VERDICTS
from preflight.snapshot.json_input import invalid_file, is_object_of, parse_json


def find_cases(folder: str) -> list[str]:
    """Return the case folders: this one, or those directly in it, sorted by name."""
    try:
        if _is_case(folder):
            return [folder]
        folders = sorted(entry.path for entry in os.scandir(folder) if _is_case(entry.path))
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"cannot read {folder}: {reason}") from None
    if not folders:
        raise InputError(
            f"{folder}: no cases: a case is a folder with {FACTS_FILE} and {EXPECTED_FILE}"
        )
    return folders


def _is_case(folder: str) -> bool:
    return any(os.path.lexists(os.path.join(folder, name)) for name in (FACTS_FILE, EXPECTED_FILE))


def read_expected(data: bytes, file: str) -> CaseExpectation:
    """Read an expected.json: verdicts by rule, or an object that has them under `verdicts`.

    Raises InputError with all problems.
    """
    root = parse_json(data, file, MAX_EXPECTED_BYTES)
    if not isinstance(root, dict):
        raise invalid_file(file, 'must be an object such as {"host-memory": "pass"}')
    if not isinstance(root.get("verdicts"), dict):
        root = {"verdicts": root}
    problems = list(_find_problems(root))
    if not problems and not root["verdicts"] and "exit_code" not in root:
        problems = ["it expects nothing: name a verdict or an exit_code"]
    if problems:
        raise InputError(*(Problem(file, 0, 0, problem) for problem in problems))
    variables = root.get("vars", {}).items()
    return CaseExpectation(
        verdicts=root["verdicts"],
        exit_code=root.get("exit_code"),
        today=date.fromisoformat(root["today"]) if "today" in root else None,
        vars={name: v if isinstance(v, str) else json.dumps(v) for name, v in variables},
        only=tuple(root.get("only", ())),
        strict=root.get("strict", False),
        file=file,
    )


def _find_problems(root: Mapping[str, Any]) -> Iterator[str]:
    for key, value in root.items():
        if key not in _KEYS:
            yield f"unknown key {key!r:.60}{did_you_mean(key, _KEYS)}"
        elif not _KEYS[key][0](value):
            yield f"{key}: must be {_KEYS[key][1]}, not {value!r:.60}"
    for rule, verdict in root["verdicts"].items():
        if not isinstance(verdict, str) or verdict not in VERDICTS:
            reason = f"must be one of {', '.join(VERDICTS)}, not {verdict!r:.60}"
            if rule in _KEYS:
                reason = "must be beside 'verdicts', with the verdicts by rule under that"
            near = did_you_mean(verdict, VERDICTS) if isinstance(verdict, str) else ""
            yield f"{rule!r:.60}: {reason}{near}"


def _is_day(value: Any) -> bool:
    try:
        return bool(str(date.fromisoformat(value)) == value)
    except (TypeError, ValueError):
        return False


_KEYS: Mapping[str, tuple[Callable[[Any], bool], str]] = {
    "verdicts": (lambda value: isinstance(value, dict), "an object"),
    "exit_code": (lambda value: type(value) is int and value in (0, 1, 3), "0, 1 or 3"),
    "today": (_is_day, "a day such as 2026-11-23"),
    "vars": (
        lambda value: is_object_of(value, str, int, float, bool),
        "an object of strings, numbers and booleans",
    ),
    "only": (
        lambda value: isinstance(value, list) and all(isinstance(name, str) for name in value),
        "a list of ids and tags",
    ),
    "strict": (lambda value: isinstance(value, bool), "true or false"),
}
"""By key of the longer form: whether a value is valid, and what is."""
