"""The figures of documents and of rules, read so that equal figures are equal readings.

In prose `10GB` is decimal, as in rules; in a code block sizes are compose's, so `8G` is `8GiB`.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple, TypeAlias

from preflight.model.conditions import Condition, Operand, Reference
from preflight.model.facts import Unit
from preflight.model.quantities import (
    format_bytes,
    format_duration,
    format_number,
    parse_boolean,
    parse_bytes,
    parse_duration,
    parse_number,
    parse_version,
)
from preflight.model.rules import Rule
from preflight.rules.markdown import Block

Reading: TypeAlias = tuple[str, Any]
"""One meaning of a figure: its family (bytes, seconds, number, version, …) and its value.

Before the family of a variable's value stands the name of the variable.
"""

_DATA = frozenset({"yaml", "yml", "json", "toml", "ini", "env", "dotenv"})
_COUNTS = r"v?(?:[0-9]{1,3}(?:,[0-9]{3})+(?:\.[0-9]+)?|[0-9]+(?:\.[0-9]+)*)"
_SIZES = r"(?i:[kmgtp](?:i?b?)|bytes?|(?:kilo|mega|giga|tera|peta|[kmgtp][ei]bi)bytes?)"
_TIMES = r"ms|us|ns|[smhd]|sec(?:ond)?s?|min(?:ute)?s?|hours?|days?"
_UNITS = rf"(?:{_SIZES}|{_TIMES})(?!\w)"
_SIZE, _TIME = re.compile(_SIZES), re.compile(_TIMES)
_FIGURE = re.compile(
    rf"""(?:(?<![\w.:/-])(?<![0-9],)|(?<=":)|(?<=[Bb]/))-?  # within no word, path, address or date
    (?: (?P<spans>(?:[0-9]+(?:\.[0-9]+)?[dhms]){{2,9}})(?!\w)  # 1h30m
      | (?:(?P<low>{_COUNTS})\s?(?P<unit_of_low>{_UNITS})?\s?(?:[-–—]|to\b)\s?)?
        (?P<figure>{_COUNTS})(?:\s?(?P<unit>{_UNITS})|(?!\w|[-:/.,][0-9]|\s?%)) )""",
    re.VERBOSE,
)
_VARIABLE = re.compile(
    r"""(?<![\w$])(?P<name>[A-Z][A-Z0-9]{0,40}(?:_[A-Z0-9]{1,40}){0,9})
    (?:=|(?<=[A-Z0-9]):[ \t]{1,9})["']?(?P<value>[^\s"'`,;|(){}]{1,200})""",
    re.VERBOSE,
)


class Figure(NamedTuple):
    """A figure as it stands in a document, with all that it may mean.

    `telling` is false where it may as well be a port, a step's number or a part of a command.
    """

    text: str
    line: int
    readings: frozenset[Reading]
    variable: str = ""
    telling: bool = True


class Claim(NamedTuple):
    """A figure that a rule asks: of a variable where its fact is one."""

    text: str
    reading: Reading
    variable: str = ""

    def readings(self) -> tuple[Reading, ...]:
        """Return what it states: the figure, and the one of its variable by name."""
        named = (_of(self.variable, self.reading),) if self.variable else ()
        return (self.reading, *named)


class Part:
    """The figures of a part of a document, to look for claims in."""

    def __init__(self, found: Iterable[Figure]) -> None:
        self.figures = tuple(found)
        self._readings = {reading for one in self.figures for reading in one.readings}
        self._variables = {one.variable for one in self.figures if one.variable}

    def has(self, claim: Claim) -> bool:
        """Whether a figure stands here; that of a variable which is set here is the one set."""
        is_set = claim.variable in self._variables
        return (_of(claim.variable, claim.reading) if is_set else claim.reading) in self._readings


def _of(variable: str, reading: Reading) -> Reading:
    return f"{variable} {reading[0]}", reading[1]


# of a document


def figures(block: Block) -> Iterator[Figure]:
    """Yield the figures of a block, the values of variables first."""
    lines = _Lines(block)
    for match in _VARIABLE.finditer(block.text):
        if _sets(match):
            yield _setting(match, lines.at(match.start()))
    rest = _VARIABLE.sub(lambda m: " " * len(m[0]) if _sets(m) else m[0], block.text)
    for match in _FIGURE.finditer(rest):
        yield from _plain(match, block, lines.at(match.start("low" if match["low"] else 0)))


class _Lines:
    """The numbers of a block's lines by the place in its text."""

    def __init__(self, block: Block) -> None:
        self._first = block.line
        self._ends = [match.start() for match in re.finditer("\n", block.text)]

    def at(self, place: int) -> int:
        return self._first + bisect_left(self._ends, place)


def _sets(match: re.Match[str]) -> bool:
    """Whether a name and a value set a variable; `CPU: 4 cores` sets none."""
    return "_" in match["name"] or "=" in match[0]


def _setting(match: re.Match[str], line: int) -> Figure:
    name, value = match["name"], match["value"].rstrip(".:")
    found = _FIGURE.fullmatch(value)
    plain = _readings(*_parts(found), binary=False) if found else frozenset()
    if (flag := _try(parse_boolean, value)) is not None:
        plain |= {("boolean", flag)}
    named = {_of(name, one) for one in (*plain, ("text", value))}
    return Figure(match[0].rstrip(".:"), line, plain | named, name, bool(plain))


def _plain(match: re.Match[str], block: Block, line: int) -> Iterator[Figure]:
    """Yield a figure, and before it the lower one of a range."""
    count, unit = _parts(match)
    span = bisect_right(block.code, (match.start(), len(block.text))) - 1
    in_span = span >= 0 and match.start() < block.code[span][1]
    binary = block.language is not None or (in_span and "b" not in unit.lower())
    telling = bool(unit) or (
        not in_span and not block.heading and (block.language is None or block.language in _DATA)
    )
    text = match[0]
    if match["low"]:
        lower, text = match["unit_of_low"] or unit, f"{count}{unit}"
        readings = _readings(match["low"], lower, binary=binary)
        yield Figure(f"{match['low']}{lower}", line, readings, telling=telling)
    yield Figure(text, line, _readings(count, unit, binary=binary), telling=telling)


def _parts(match: re.Match[str]) -> tuple[str, str]:
    """Return the count and the unit of a figure; of `1h30m` all is unit."""
    return match["figure"] or "", match["unit"] or match["spans"] or ""


def _readings(count: str, unit: str, *, binary: bool) -> frozenset[Reading]:
    """Return what a count and its unit may mean; `5m` is a time as well as a size."""
    number = count.replace(",", "").lstrip("v")
    meant: dict[str, Any] = {}
    if not unit:
        meant = {family: _try(parse_number, number) for family in ("number", "bytes", "seconds")}
        meant["version"] = _try(parse_version, number)
    if _SIZE.fullmatch(unit):
        meant["bytes"] = _try(parse_bytes, number + _size_unit(unit, binary=binary))
    if _TIME.fullmatch(unit):
        meant["seconds"] = _try(parse_duration, number + (unit if len(unit) < 3 else unit[0]))
    elif not count:
        meant["seconds"] = _try(parse_duration, unit)
    return frozenset((family, value) for family, value in meant.items() if value is not None)


def _try(parse: Callable[[str], Any], text: str) -> Any:
    """Return what a text says to a reader; None where it says nothing."""
    try:
        return parse(text)
    except ValueError:
        return None


def _size_unit(unit: str, *, binary: bool) -> str:
    """Return a unit of size as rules write it."""
    low = unit.lower()
    if low.startswith("byte"):
        return "B"
    is_word = len(low) > 3
    binary = low[2:4] == "bi" if is_word else binary or low[1:2] == "i"
    return f"{low[0]}{'i' if binary else ''}B"


# of a rule


def claims(rule: Rule) -> list[Claim]:
    """Return the figures that a rule itself states; what refers to other facts states none.

    Zero is none either: it says that something isn't there.
    """
    path = rule.fact
    variable = path[-1] if len(path) > 1 and path[-2] in ("env", "environment") else ""
    conditions = [one for one in (rule.require, rule.recommend) if one is not None]
    made = [
        claim
        for condition in conditions
        for operand, unit in _literals(condition)
        if (claim := _claim(operand, unit, variable)) is not None
    ]
    return list(dict.fromkeys(made))


def _literals(condition: Condition) -> Iterator[tuple[Any, Unit]]:
    """Yield each literal of a condition with the unit it is read in."""
    for row, operand in condition.tests:
        if row.shape in ("condition", "conditions"):
            for inner in operand if row.shape == "conditions" else (operand,):
                yield from _literals(inner)
        elif row.shape == "range":
            for _, version in operand:
                yield ".".join(map(str, version)), "version"
        elif row.shape in ("quantity", "value", "values"):
            yield from ((one, condition.unit) for one in _parts_of(operand))


def _parts_of(operand: Operand) -> Iterator[Any]:
    if isinstance(operand, Reference):
        yield abs(operand.plus)
    elif isinstance(operand, tuple):  # a Sum is one, too: of its parts
        for part in operand:
            yield from _parts_of(part)
    else:
        yield operand


def _claim(value: Any, unit: Unit, variable: str) -> Claim | None:
    """Return what a literal states; None where it is a word, yes or no, or nought."""
    if isinstance(value, bool) or (isinstance(value, str) and unit != "version"):
        text = str(value).lower() if isinstance(value, bool) else value
        return Claim(f"{variable}={text}", (unit, value), variable) if variable else None
    if unit == "version":
        return Claim(value, ("version", parse_version(value)), variable)
    if not value:
        return None
    value = abs(value)
    family = "number" if unit == "cores" else unit
    return Claim(written((family, value)), (family, value), variable)


def written(reading: Reading) -> str:
    """Write a figure as rules do."""
    family, value = reading
    if family == "bytes":
        return format_bytes(value, digits=3)
    return format_duration(value) if family == "seconds" else format_number(value, digits=3)
