"""Bytes, seconds, numbers and versions: read from text, written for people.

Owns the units of the rule language. Compose has its own grammar of sizes (there `8G` is binary).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from math import ceil, inf
from typing import Any, TypeAlias

Version: TypeAlias = tuple[float, ...]  # compares as its numbers do, without zeros at the end

MAX_QUOTED_CHARS = 60  # of a text from outside in a message
MIN_SIZE_WITHOUT_UNIT = 1_000_000  # in a rule file
MAX_PORT = 65535

# the patterns are compiled at their first use: a check of bundled rules needs few of them
_NUMBER_PATTERN = r"[-+]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]+)?"
_MAX_PLAUSIBLE_NUMBER = 1e30  # larger ones can't be measurements, and would soon exceed a float

_SIZE_WITH_OPTIONAL_UNIT_PATTERN = rf"\s*({_NUMBER_PATTERN})\s*([A-Za-z]*)\s*\Z"
_BYTE_FACTOR_BY_UNIT: Mapping[str, int] = {
    "": 1,
    "b": 1,
    **{f"{prefix}b": 1000**power for power, prefix in enumerate("kmgtp", start=1)},
    **{f"{prefix}ib": 1024**power for power, prefix in enumerate("kmgtp", start=1)},
}
_DECIMAL_BYTE_UNITS = [("PB", 10**15), ("TB", 10**12), ("GB", 10**9), ("MB", 10**6), ("kB", 10**3)]
_BINARY_BYTE_UNITS = [(f"{prefix}iB", 1024**power) for power, prefix in enumerate("KMGTP", start=1)]
_BINARY_BYTE_UNITS.reverse()

_SECONDS_BY_UNIT = {"d": 86400, "h": 3600, "m": 60, "s": 1, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}
_DURATION_PART_PATTERN = r"([0-9]+(?:\.[0-9]+)?)(ms|us|ns|d|h|m|s)"
_DURATION_PATTERN = rf"\s*([-+]?)((?:{_DURATION_PART_PATTERN})+)\s*\Z"
_NUMBER_ONLY_PATTERN = rf"\s*{_NUMBER_PATTERN}\s*\Z"
_VERSION_PATTERN = r"v?([0-9]{1,20}(?:\.[0-9]{1,20})*)"
_VERSION_START_PATTERN = rf"\s*{_VERSION_PATTERN}"
_PRE_RELEASE_PATTERN = r"(?i)(?:^|[-.~_])(?:rc|alpha|beta|pre|preview|dev)(?![a-z])|^[ab][0-9]"
_VERSION_BOUND_PATTERN = rf"\s*(>=|<=|==|!=|>|<)\s*{_VERSION_PATTERN}\s*\Z"
_BOOLEAN_BY_WORD = {
    **dict.fromkeys(("1", "true", "yes", "on", "t", "y"), True),
    **dict.fromkeys(("0", "false", "no", "off", "f", "n"), False),
}


@lru_cache(maxsize=1024)  # rules name the same few sizes again and again
def parse_bytes(text: str) -> int:
    """Read a size in bytes: kB MB GB TB are decimal, KiB MiB GiB TiB binary; case doesn't matter.

    A number without a unit is bytes. Raises ValueError for anything else; `8G` and `8Gi` are
    refused because tools disagree on what they mean.
    """
    match = re.match(_SIZE_WITH_OPTIONAL_UNIT_PATTERN, text)
    factor = _BYTE_FACTOR_BY_UNIT.get(match[2].lower()) if match else None
    if match is None or factor is None:
        hint = "expected a size such as 8GB, 512MiB, or 1.5TB"
        if match and (prefix := match[2].lower().removesuffix("i")) in {*"kmgtp"}:
            decimal = "kB" if prefix == "k" else f"{prefix.upper()}B"
            hint = f"write {match[1]}{decimal} (decimal) or {match[1]}{prefix.upper()}iB (binary)"
        raise ValueError(f"{_quote_shortened(text)} isn't a valid size: {hint}")
    return round(_parse_number(match[1]) * factor)


@lru_cache(maxsize=1024)
def parse_size_with_unit(text: str) -> int:
    """Read a size that somebody wrote into a rule file, where `10` is probably not 10 bytes.

    As parse_bytes, but a number without a unit that is smaller than a megabyte raises ValueError.
    """
    size = parse_bytes(text)
    number = text.strip()
    if not number[-1:].isalpha() and 0 < abs(float(number)) < MIN_SIZE_WITHOUT_UNIT:
        units = f"write {number}GB, {number}GiB, or {number}B"
        raise ValueError(f"{number!r} has no unit: {units}")
    return size


def parse_duration(text: str) -> float:
    """Read a duration in seconds: `300`, `5m`, `1h30m`, `1.5s`, `250ms`, also negative."""
    if re.match(_NUMBER_ONLY_PATTERN, text):
        return parse_number(text)
    match = re.match(_DURATION_PATTERN, text)
    if match is None:
        example = "expected one such as 5m, 300s or 1h30m"
        raise ValueError(f"{_quote_shortened(text)} isn't a valid duration: {example}")
    seconds = sum(
        float(n) * _SECONDS_BY_UNIT[unit]
        for n, unit in re.findall(_DURATION_PART_PATTERN, match[2])
    )
    return _require_plausible_number(-seconds if match[1] == "-" else seconds, text)


def parse_number(text: str) -> float:
    """Read a finite number, as an int where it is written as one."""
    if not re.match(_NUMBER_ONLY_PATTERN, text):
        raise ValueError(f"{_quote_shortened(text)} isn't a valid number")
    return _parse_number(text)


def _parse_number(text: str) -> float:
    value = _require_plausible_number(float(text), text)
    return int(text) if text.strip().lstrip("+-").isdigit() else value


def _require_plausible_number(value: float, text: str) -> float:
    if not is_finite_and_within_limit(value):
        raise ValueError(f"{_quote_shortened(text)} is too large")
    return value


def is_finite_and_within_limit(value: float) -> bool:
    """Return whether a number is finite and not larger than any measurement."""
    return -_MAX_PLAUSIBLE_NUMBER < value < _MAX_PLAUSIBLE_NUMBER


def parse_boolean(text: str) -> bool:
    """Read true/false, yes/no, on/off, 1/0 as environment variables have them."""
    value = _BOOLEAN_BY_WORD.get(text.strip().lower())
    if value is None:
        raise ValueError(f"{_quote_shortened(text)} is neither true nor false")
    return value


def parse_version(text: str) -> Version:
    """Read the leading numbers of a version: `20.10.24+dfsg1` is (20, 10, 24).

    A pre-release comes before its release and after all that is older: 5.0.0-rc1 is (4, inf).
    """
    match = re.match(_VERSION_START_PATTERN, text)
    if match is None:
        raise ValueError(
            f"{_quote_shortened(text)} isn't a valid version: expected a value such as 20.10"
        )
    parts: list[float] = [int(part) for part in match[1].split(".")]
    while parts and parts[-1] == 0:  # 20.10 and 20.10.0 are the same version
        parts.pop()
    suffix = text[match.end() :].split("+", maxsplit=1)[0]
    if suffix and re.search(_PRE_RELEASE_PATTERN, suffix):
        parts = [*parts[:-1], sum(parts[-1:]) - 1, inf]
    return tuple(parts)


def is_older_version(text: str, than: Version, *, default: bool) -> bool:
    """Return whether a version comes before another, the default for what isn't a version."""
    try:
        return parse_version(text) < than
    except ValueError:
        return default


def parse_version_range(text: str) -> tuple[tuple[str, Version], ...]:
    """Read `>=20.10,<30` into its bounds, all of which must hold."""
    matches = [re.match(_VERSION_BOUND_PATTERN, part) for part in text.split(",")]
    if None in matches:
        example = "expected one such as >=20.10,<30"
        raise ValueError(f"{_quote_shortened(text)} isn't a valid version range: {example}")
    return tuple((match[1], parse_version(match[2])) for match in matches if match)


def _quote_shortened(text: str) -> str:
    return repr(shorten_text(text.strip(), MAX_QUOTED_CHARS))


def shorten_text(text: str, max_chars: int) -> str:
    """Return a text from outside, cut where it is too long."""
    return text if len(text) <= max_chars else text[: max_chars - 1] + "…"


PARSER_BY_UNIT: Mapping[str, Callable[[str], Any]] = {
    "bytes": parse_bytes,
    "seconds": parse_duration,
    "cores": parse_number,
    "number": parse_number,
    "boolean": parse_boolean,
}
"""How text is read, by the unit of the fact that it is compared with; other units are text."""


def looks_like_binary_size(size: float) -> bool:
    """Return whether a size is rounder in GiB than in GB, so that it was probably written so."""
    return size % 10**5 != 0 and size % 2**20 == 0


@lru_cache(maxsize=1024)  # a report writes the same few sizes again and again
def format_bytes(
    size: float, *, binary: bool | None = None, digits: int = 1, round_up: bool = False
) -> str:
    """Write bytes as `8 GB` or `5.8 GiB`; without `binary` the number decides which.

    `round_up` is for what is missing: freeing as much as this says is then enough.
    """
    if binary is None:
        binary = looks_like_binary_size(size)

    def count(factor: int) -> float:
        exact = size / factor
        return ceil(exact * 10**digits - 1e-6) / 10**digits if round_up else round(exact, digits)

    units = _BINARY_BYTE_UNITS if binary else _DECIMAL_BYTE_UNITS
    for (unit, factor), (_, below) in zip(units, (*units[1:], ("B", 1)), strict=True):
        if abs(count(below)) * below >= factor:  # 999.96 MB is 1 GB, not 1000 MB
            return f"{format_number(count(factor), digits)} {unit}"
    return f"{int(size)} B"


def format_duration(seconds: float, digits: int = 3) -> str:
    """Write seconds as `5m`, `1h30m` or `1.5s`."""
    if seconds < 0:
        return f"-{format_duration(-seconds, digits)}"
    seconds = round(seconds, digits)  # 59.9999 s are a minute, not 60 s
    if seconds < 60 or seconds != int(seconds):
        return f"{format_number(seconds, digits)}s"
    text, rest = "", int(seconds)
    for unit, length in (("h", 3600), ("m", 60), ("s", 1)):
        count, rest = divmod(rest, length)
        text += f"{count}{unit}" if count else ""
    return text


def format_number(value: float, digits: int = 2) -> str:
    """Write a number without trailing zeros."""
    text = f"{value:.{digits}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def parse_port_range_and_protocol(text: str) -> tuple[int, int, str] | None:
    """Read ports such as 5432, 8000-8002 or 53/udp: the first, the last, the protocol.

    None for anything else.
    """
    match = re.fullmatch("([1-9][0-9]{0,4})(?:-([1-9][0-9]{0,4}))?(?:/(udp))?", text)
    if match is None or int(match[2] or match[1]) > MAX_PORT:
        return None
    return int(match[1]), int(match[2] or match[1]), match[3] or "tcp"


def split_host_dot_port(text: str) -> tuple[str, int] | None:
    """Read HOST.PORT, such as mail.example.com.587 or [::1].22; None for anything else."""
    host, _, port = text.rpartition(".")
    is_port = re.fullmatch("[1-9][0-9]{0,4}", port) and int(port) <= MAX_PORT
    return (host.strip("[]"), int(port)) if host and is_port else None


def format_shortened_list(texts: Iterable[str], limit: int, last: str = ", ") -> str:
    """Return texts as a list, such as `api, db and 3 more`; `last` comes before the last one."""
    listed = list(texts)
    if len(listed) > limit + 1:  # a single one more is as short as its count
        return f"{', '.join(listed[:limit])} and {len(listed) - limit:,} more"
    return last.join(filter(None, (", ".join(listed[:-1]), *listed[-1:])))


def format_count(number: int, noun: str) -> str:
    """Return a number of things, such as `1 rule` or `2,000 rules`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
