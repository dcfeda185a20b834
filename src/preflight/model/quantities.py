"""Bytes, seconds, cores and versions: read from text, written for people.

Owns the units of the rule language. Compose's own grammar is another one (there `8G` is binary).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from math import ceil
from typing import Any

_FIGURE = r"[-+]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]+)?"
_LARGEST = 1e30  # more is no figure of this world, and would not fit a float for long

_BYTES = re.compile(rf"\s*({_FIGURE})\s*([A-Za-z]*)\s*\Z")
_FACTORS = {
    "": 1,
    "b": 1,
    **{f"{prefix}b": 1000**power for power, prefix in enumerate("kmgtp", start=1)},
    **{f"{prefix}ib": 1024**power for power, prefix in enumerate("kmgtp", start=1)},
}
_DECIMAL = [("PB", 10**15), ("TB", 10**12), ("GB", 10**9), ("MB", 10**6), ("kB", 10**3)]
_BINARY = [("PiB", 2**50), ("TiB", 2**40), ("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)]

MAX_QUOTED_CHARS = 60  # characters of a foreign text in a complaint

_SECONDS = {"d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}
_DURATION_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|us|ns|d|h|m|s)")
_DURATION = re.compile(r"\s*([-+]?)((?:[0-9]+(?:\.[0-9]+)?(?:ms|us|ns|d|h|m|s))+)\s*\Z")
_NUMBER = re.compile(rf"\s*{_FIGURE}\s*\Z")
_NUMBERS = r"v?([0-9]{1,20}(?:\.[0-9]{1,20})*)"
_VERSION = re.compile(rf"\s*{_NUMBERS}")
_VERSION_BOUND = re.compile(rf"\s*(>=|<=|==|!=|>|<)\s*{_NUMBERS}\s*\Z")


@lru_cache(maxsize=1024)  # rules name the same few sizes again and again
def parse_bytes(text: str) -> int:
    """Read a size in bytes: kB MB GB TB are decimal, KiB MiB GiB TiB binary, none is bytes.

    Case doesn't count. Raises ValueError on anything else; `8G` and `8Gi` are refused, because
    they mean different sizes in different tools.
    """
    match = _BYTES.match(text)
    factor: int | None = _FACTORS.get(match[2].lower()) if match else None
    if match is None or factor is None:
        if match and (loose := match[2].lower().rstrip("i")) in {"k", "m", "g", "t", "p"}:
            unit = "k" if loose == "k" else loose.upper()
            number = match[1]
            wanted = f"write {number}{unit}B (decimal) or {number}{unit.upper()}iB (binary)"
        else:
            wanted = "expected a size such as 8GB, 512MiB or 1.5TB"
        raise ValueError(f"{_quoted(text)} is no size: {wanted}")
    return round(parse_number(match[1]) * factor)


def parse_duration(text: str) -> float:
    """Read a duration in seconds: `300`, `5m`, `1h30m`, `1.5s`, `250ms`, also negative."""
    if _NUMBER.match(text):
        return parse_number(text)
    match = _DURATION.match(text)
    if match is None:
        raise ValueError(f"{_quoted(text)} is no duration: expected one such as 5m, 300s or 1h30m")
    seconds = sum(float(n) * _SECONDS[unit] for n, unit in _DURATION_PART.findall(match[2]))
    return _sane(-seconds if match[1] == "-" else seconds, text)


def parse_number(text: str) -> float:
    """Read a finite number, whole where it is written whole."""
    if not _NUMBER.match(text):
        raise ValueError(f"{_quoted(text)} is no number")
    value = _sane(float(text), text)
    return int(text) if text.strip().lstrip("+-").isdigit() else value


def _sane(value: float, text: str) -> float:
    if not is_plausible(value):
        raise ValueError(f"{_quoted(text)} is too large")
    return value


def is_plausible(value: float) -> bool:
    """Whether a number can be a figure at all: finite, and not beyond what floats reckon with."""
    return -_LARGEST < value < _LARGEST


def parse_boolean(text: str) -> bool:
    """Read true/false, yes/no, on/off, 1/0 as environment variables write them."""
    word = text.strip().lower()
    if word in {"1", "true", "yes", "on", "t", "y"}:
        return True
    if word in {"0", "false", "no", "off", "f", "n"}:
        return False
    raise ValueError(f"{_quoted(text)} is neither true nor false")


def parse_version(text: str) -> tuple[int, ...]:
    """Read the leading numbers of a version: `20.10.24+dfsg1` is (20, 10, 24)."""
    match = _VERSION.match(text)
    if match is None:
        raise ValueError(f"{_quoted(text)} is no version: expected one such as 20.10")
    parts = [int(part) for part in match[1].split(".")]
    while parts and parts[-1] == 0:  # 20.10 and 20.10.0 are the same version
        parts.pop()
    return tuple(parts)


def parse_version_range(text: str) -> tuple[tuple[str, tuple[int, ...]], ...]:
    """Read `>=20.10,<30` into its bounds, all of which must hold."""
    bounds = []
    for part in text.split(","):
        match = _VERSION_BOUND.match(part)
        if match is None:
            raise ValueError(
                f"{_quoted(text)} is no version range: expected one such as >=20.10,<30"
            )
        bounds.append((match[1], parse_version(match[2])))
    return tuple(bounds)


def _quoted(text: str) -> str:
    """Quote a text in a message, its beginning where it is long."""
    text = text.strip()
    return repr(text if len(text) <= MAX_QUOTED_CHARS else text[: MAX_QUOTED_CHARS - 1] + "…")


PARSERS: Mapping[str, Callable[[str], Any]] = {
    "bytes": parse_bytes,
    "seconds": parse_duration,
    "cores": parse_number,
    "number": parse_number,
    "boolean": parse_boolean,
}
"""How text is read by the unit of the fact it is compared with; other units are text."""


def is_binary(size: float) -> bool:
    """Whether a size is rounder in GiB than in GB, and so was probably written that way."""
    return size % 10**5 != 0 and size % 2**20 == 0


def format_bytes(
    size: float, *, binary: bool | None = None, digits: int = 1, up: bool = False
) -> str:
    """Write bytes as `8 GB` or `5.8 GiB`; the family is guessed from the figure where not given.

    `up` rounds up: who frees as much as is said to be missing has enough.
    """
    if binary is None:
        binary = is_binary(size)

    def count(factor: int) -> float:
        exact = size / factor
        return ceil(exact * 10**digits - 1e-6) / 10**digits if up else round(exact, digits)

    units = _BINARY if binary else _DECIMAL
    for (unit, factor), (_, below) in zip(units, (*units[1:], ("B", 1)), strict=True):
        if abs(count(below)) * below >= factor:  # 999.96 MB is 1 GB, not 1000 MB
            return f"{_rounded(count(factor), digits)} {unit}"
    return f"{int(size)} B"


def format_duration(seconds: float, digits: int = 3) -> str:
    """Write seconds as `5m`, `1h30m` or `1.5s`."""
    if seconds < 0:
        return f"-{format_duration(-seconds, digits)}"
    seconds = round(seconds, digits)  # 59.9999 s are a minute, not 60 s
    if seconds < 60 or seconds != int(seconds):
        return f"{_rounded(seconds, digits)}s"
    text, rest = "", int(seconds)
    for unit, length in (("h", 3600), ("m", 60), ("s", 1)):
        count, rest = divmod(rest, length)
        text += f"{count}{unit}" if count else ""
    return text


def format_number(value: float, digits: int = 2) -> str:
    """Write a number without trailing zeros."""
    return _rounded(value, digits)


def _rounded(value: float, digits: int) -> str:
    text = f"{value:.{digits}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
