"""Reads JSON that came from elsewhere: what is no JSON, or is none for us, is told in one line."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

from preflight.model.problems import InputError, Problem


def parse(data: bytes, wrong: Callable[[str], InputError]) -> Any:
    """Return what a JSON file holds; `wrong` makes the exception for what is none."""
    try:
        return json.loads(data, parse_constant=_refuse)
    except (ValueError, RecursionError) as fault:
        said = "nested too deeply" if isinstance(fault, RecursionError) else str(fault)
        raise wrong(f"no JSON ({said})") from None


def _refuse(constant: str) -> float:
    raise ValueError(f"{constant} is no figure")


def refuse_newer(made: str, ours: str, name: str) -> None:
    """Refuse a file whose schema is a later version of ours, such as `preflight.facts/2`."""
    stem, _, number = ours.rpartition("/")
    found = re.fullmatch(rf"{re.escape(stem)}/([1-9][0-9]{{0,8}})", made)
    if found and int(found[1]) > int(number):
        raise InputError(
            Problem(name, 0, 0, f"schema {made} is newer than {ours}: update preflight")
        )
