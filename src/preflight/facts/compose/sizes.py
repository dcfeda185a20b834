"""Compose's own grammar of numbers: sizes, which are binary, and how Go writes what it read."""

from __future__ import annotations

import re
from typing import Any

_SUFFIXES = {"k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40, "p": 2**50}
_SUFFIX = re.compile(r"([kmgtp])?(i?b)?\Z")
_FLOAT = re.compile(
    r"[+-]?([0-9](_?[0-9])*\.?([0-9](_?[0-9])*)?|\.[0-9](_?[0-9])*)(e[+-]?[0-9]+)?\Z"
)
_LARGEST = 2**63 - 1
_FEW = 6  # from this power of ten on Go writes an exponent
WANTED = "expected one such as 512m, 8G or 8GiB"


def parse_size(text: str) -> int:
    """Read a size in bytes as Compose does: `8G`, `8gb` and `8 GiB` are the same, binary.

    Raises ValueError with the reason. Source: docker/go-units, RAMInBytes.
    """
    split = max((text.rfind(one) for one in "0123456789. "), default=-1)
    figure, suffix = text[: split + 1], text[split + 1 :].lower()
    match = _SUFFIX.match(suffix)
    number = figure[:-1] if figure.endswith(" ") else figure
    if match is None or (match[2] == "ib" and not match[1]) or not _FLOAT.match(number.lower()):
        raise ValueError(f"{text!r:.60} is no size: {_hint(number, suffix)}")
    size = float(number) * _SUFFIXES.get(match[1], 1)
    if not 0 <= size <= _LARGEST:
        raise ValueError(f"{text!r:.60} is no size: {'it is too large' if size > 0 else WANTED}")
    return int(size)


def _hint(number: str, suffix: str) -> str:
    if _FLOAT.match(number) and suffix in {"ki", "mi", "gi", "ti", "pi"}:
        return f"write {number}{suffix[0].upper()}, or {number}{suffix[0].upper()}iB"
    return WANTED


def parse_count(value: Any) -> int:
    """Read a whole number; raises ValueError."""
    if isinstance(value, str) and re.fullmatch(r"[+-]?[0-9]{1,18}", value):
        return int(value)
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if number and abs(value) < 2**63 and value == int(value):
        return int(value)
    raise ValueError(f"{value!r:.60} is no whole number")


def parse_cores(value: Any) -> int | float:
    """Read a number of processors; raises ValueError."""
    if isinstance(value, str) and _FLOAT.match(value.lower()):
        value = float(value)
    if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e9:
        return int(value) if value == int(value) else value
    raise ValueError(f"{value!r:.60} is no number of processors: expected one such as 0.5 or 2")


def as_text(value: object) -> str:
    """Write a scalar of YAML as Go does, and so Compose in an environment variable."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return _float_text(value)
    return str(value)


def _float_text(value: float) -> str:
    if value - value != 0:
        return {"inf": "+Inf", "-inf": "-Inf"}.get(str(value), "NaN")
    figures = str(value).partition("e")[0].lstrip("-").replace(".", "").strip("0")
    digits = max(len(figures) - 1, 0)
    scientific = f"{value:.{digits}e}"
    exponent = int(scientific.partition("e")[2])
    if -4 <= exponent < _FEW:
        return f"{value:.{max(digits - exponent, 0)}f}"
    return scientific
