"""Case folders: a snapshot and, beside it, what is expected of it, read as untrusted input."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Mapping
from datetime import date
from typing import Any

from preflight.model.cases import EXPECTED_FILE, FACTS_FILE, MAX_EXPECTED_BYTES, CaseExpectation
from preflight.model.problems import InputError, Problem, did_you_mean
from preflight.model.report import VERDICTS

_SHOWN = 60  # characters of a foreign text in a problem


def find(folder: str) -> list[str]:
    """Return the case folders: this one, or those directly in it, in the order of their names.

    Raises InputError where there is none.
    """
    try:
        if _is_case(folder):
            return [folder]
        names = sorted(entry.name for entry in os.scandir(folder) if _is_case(entry.path))
    except (OSError, ValueError) as fault:
        said = getattr(fault, "strerror", None) or fault
        raise InputError(f"cannot read {folder}: {said}") from None
    if not names:
        raise InputError(
            f"{folder}: no cases; one is a folder in it with {FACTS_FILE} and {EXPECTED_FILE}"
        )
    return [os.path.join(folder, name) for name in names]


def _is_case(folder: str) -> bool:
    return any(os.path.lexists(os.path.join(folder, name)) for name in (FACTS_FILE, EXPECTED_FILE))


def read_expected(data: bytes, name: str) -> CaseExpectation:
    """Read an expected.json: verdicts by rule, or an object that has them under `verdicts`.

    Raises InputError where it is none.
    """

    def wrong(*messages: str, line: int = 0, column: int = 0) -> InputError:
        return InputError(*(Problem(name, line, column, message) for message in messages))

    if len(data) > MAX_EXPECTED_BYTES:
        raise wrong(f"larger than {MAX_EXPECTED_BYTES // 2**20} MiB: no expected verdicts")
    try:
        root = json.loads(data, object_pairs_hook=_object)
    except json.JSONDecodeError as fault:
        raise wrong(f"no JSON: {fault.msg}", line=fault.lineno, column=fault.colno) from None
    except (ValueError, RecursionError) as fault:
        said = "nested too deeply" if isinstance(fault, RecursionError) else str(fault)
        raise wrong(said) from None
    if not isinstance(root, dict):
        raise wrong('expected an object such as {"host-memory": "pass"}')
    if not isinstance(root.get("verdicts"), dict):
        root = {"verdicts": root}
    try:
        return _expected(root)._replace(file=name)
    except ValueError as fault:
        raise wrong(*fault.args) from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object; of two values for one name, nobody knows which is meant."""
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"{_quoted(twice)} stands here twice")
    return found


def _expected(root: Mapping[str, Any]) -> CaseExpectation:
    """Read the keys; raises ValueError with all that is wrong, an argument each."""
    values, wrong = {}, []
    for name, value in root.items():
        if name not in _KEYS:
            wrong.append(f"no key {_quoted(name)}{did_you_mean(name, _KEYS)}")
            continue
        try:
            values[name] = _KEYS[name](value)
        except ValueError as fault:
            wrong += fault.args
    if not wrong and not values["verdicts"] and "exit_code" not in values:
        wrong.append("it expects nothing: name a verdict or an exit_code")
    if wrong:
        raise ValueError(*wrong)
    return CaseExpectation(**values)


def _verdicts(value: Mapping[str, Any]) -> Mapping[str, Any]:
    wrong = [
        f"{_quoted(name)}: {_no_verdict(name, verdict)}"
        for name, verdict in value.items()
        if not isinstance(verdict, str) or verdict not in VERDICTS
    ]
    if wrong:
        raise ValueError(*wrong)
    return value


def _no_verdict(name: str, value: Any) -> str:
    """Say that a value is no verdict, and what it may have been meant for."""
    if name in _KEYS:
        return "it stands beside 'verdicts', and the verdicts by rule under that"
    near = did_you_mean(value, VERDICTS) if isinstance(value, str) else ""
    return f"no verdict {_quoted(value)}{near}; there is {', '.join(VERDICTS)}"


def _exit_code(value: Any) -> int:
    if value not in (0, 1, 3) or isinstance(value, bool):
        raise ValueError(f"exit_code: expected 0, 1 or 3, found {_quoted(value)}")
    return int(value)


def _day(value: Any) -> date:
    try:
        if re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", value):
            return date.fromisoformat(value)
    except (TypeError, ValueError):
        pass
    raise ValueError(f"today: expected a day such as 2026-11-23, found {_quoted(value)}")


def _vars(value: Any) -> Mapping[str, str]:
    plain = isinstance(value, dict) and all(
        isinstance(one, str | int | float) for one in value.values()
    )
    if not plain:
        raise ValueError("vars: expected an object of texts, numbers and booleans")
    return {
        name: one if isinstance(one, str) else json.dumps(one)  # true, as rule files have it
        for name, one in value.items()
    }


def _only(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise ValueError("only: expected a list of ids and tags")
    return tuple(value)


def _strict(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"strict: expected true or false, found {_quoted(value)}")
    return value


_KEYS: Mapping[str, Callable[[Any], Any]] = {
    "verdicts": _verdicts,
    "exit_code": _exit_code,
    "today": _day,
    "vars": _vars,
    "only": _only,
    "strict": _strict,
}
"""What reads each key of the longer form."""


def _quoted(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
