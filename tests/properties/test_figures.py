"""Figures keep their order, and are shown so that what is read off them is what was judged."""

from __future__ import annotations

import re
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from packaging.specifiers import SpecifierSet
from packaging.version import Version

from preflight.evaluate.conditions import FactLookup, meets_condition
from preflight.evaluate.sentences import ComparisonText
from preflight.model.conditions import OPERATORS, Condition
from preflight.model.facts import Facts, Unit
from preflight.model.quantities import (
    format_bytes,
    format_duration,
    format_number,
    parse_bytes,
    parse_duration,
    parse_number,
    parse_version,
    parse_version_range,
)

NOWHERE = FactLookup(Facts({}))
BYTES = {"B": 1, **{f"{p}B": 1000**n for n, p in enumerate("kMGTP", 1)},
         **{f"{p}iB": 1024**n for n, p in enumerate("KMGTP", 1)}}  # fmt: skip
SECONDS = {"d": 86400, "h": 3600, "m": 60, "s": 1, "ms": Fraction(1, 10**3),
           "us": Fraction(1, 10**6), "ns": Fraction(1, 10**9)}  # fmt: skip

decimals = st.decimals(0, 10**6, places=3, allow_nan=False).map("{:f}".format)
sizes = st.tuples(decimals, st.sampled_from(sorted(BYTES)))
durations = st.lists(st.tuples(decimals, st.sampled_from(sorted(SECONDS))), min_size=1, max_size=3)
releases = st.lists(st.integers(0, 40), min_size=1, max_size=4)
bounds = st.lists(
    st.tuples(st.sampled_from([">=", "<=", ">", "<", "==", "!="]), releases), min_size=1, max_size=3
)


def exact(parts: list[tuple[str, str]], units: Any) -> Fraction:
    """Return a figure by exact arithmetic."""
    return sum((Fraction(number) * units[unit] for number, unit in parts), Fraction(0))


@given(sizes)
def test_a_size_is_read_to_the_byte(size: tuple[str, str]) -> None:
    read, meant = parse_bytes("".join(size)), exact([size], BYTES)
    assert abs(read - meant) <= max(Fraction(1, 2), abs(meant) / 2**50)  # what a float can hold


@given(sizes, sizes)
def test_sizes_of_any_unit_keep_their_order(a: tuple[str, str], b: tuple[str, str]) -> None:
    less, more = sorted((a, b), key=lambda one: exact([one], BYTES))
    assert parse_bytes("".join(less)) <= parse_bytes("".join(more))


@given(durations, durations)
def test_durations_of_any_units_keep_their_order(
    a: list[tuple[str, str]], b: list[tuple[str, str]]
) -> None:
    def text(parts: list[tuple[str, str]]) -> str:
        return "".join(number + unit for number, unit in parts)

    less, more = sorted((a, b), key=lambda parts: exact(parts, SECONDS))
    assert parse_duration(text(less)) <= parse_duration(text(more)) * (1 + 1e-15)
    assert parse_duration(text(a)) == pytest.approx(float(exact(a, SECONDS)), rel=1e-12, abs=1e-12)


@given(st.floats(0, 10**6), st.floats(0, 10**6))
def test_cores_that_are_written_keep_their_order(a: float, b: float) -> None:
    less, more = sorted((a, b))
    assert parse_number(format_number(less)) <= parse_number(format_number(more))
    assert abs(parse_number(format_number(a)) - a) <= 0.005 + a * 2**-50


@given(st.integers(0, 10**17), st.integers(0, 10**17), st.booleans())
def test_sizes_that_are_written_keep_their_order(a: int, b: int, binary: bool) -> None:
    less, more = (format_bytes(one, binary=binary) for one in sorted((a, b)))
    assert figure_of(less) <= figure_of(more)


@given(st.floats(0, 10**6), st.floats(0, 10**6))
def test_durations_that_are_written_keep_their_order(a: float, b: float) -> None:
    less, more = (format_duration(one) for one in sorted((a, b)))
    assert figure_of(less) <= figure_of(more)


@pytest.mark.parametrize(
    ("size", "binary", "text"),
    [
        (999_940_000, False, "999.9 MB"),
        (999_960_000, False, "1 GB"),
        (999_999_999_999, False, "1 TB"),
        (999_949, False, "999.9 kB"),
        (999_951, False, "1 MB"),
        (2**30 - 1, True, "1 GiB"),
        (-(2**30) + 1, True, "-1 GiB"),
        (1023, True, "1023 B"),
    ],
)
def test_no_size_is_written_as_a_thousand_of_a_unit(size: int, binary: bool, text: str) -> None:
    assert format_bytes(size, binary=binary) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(59.9996, "1m"), (59.999, "59.999s"), (119.99999, "2m"), (3600.0001, "1h")],
)
def test_no_duration_is_written_as_sixty_seconds(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


@given(releases, releases)
def test_versions_are_ordered_as_those_of_packages(a: list[int], b: list[int]) -> None:
    texts = [".".join(map(str, one)) for one in (a, b)]
    (ours, other), (theirs, their_other) = map(parse_version, texts), map(Version, texts)
    assert (ours < other) == (theirs < their_other)
    assert (ours == other) == (theirs == their_other)


@given(releases, bounds)
def test_a_version_range_holds_as_that_of_packages(
    release: list[int], parts: list[tuple[str, list[int]]]
) -> None:
    version = ".".join(map(str, release))
    text = ",".join(sign + ".".join(map(str, bound)) for sign, bound in parts)
    condition = Condition(((OPERATORS["version"], parse_version_range(text)),), "version")
    assert meets_condition(condition, version, NOWHERE) is SpecifierSet(text).contains(version)


# --- what is shown of a verdict -------------------------------------------------------------------


def figure_of(shown: str) -> Fraction:
    """Read a shown figure as a person does, by no code of the program."""
    sized = re.fullmatch(r"(-?[0-9.e+-]+) ([kKMGTP]?i?B)", shown)
    if sized:
        return Fraction(sized[1]) * BYTES[sized[2]]
    parts = re.findall(r"([0-9.]+(?:e[+-]?[0-9]+)?)([a-z]+)", shown)
    if parts and "".join(number + unit for number, unit in parts) == shown.lstrip("-"):
        whole = exact(parts, SECONDS)
        return -whole if shown.startswith("-") else whole
    return Fraction(shown)


QUANTITIES = {
    "at_least": lambda a, b: a >= b,
    "at_most": lambda a, b: a <= b,
    "more_than": lambda a, b: a > b,
    "less_than": lambda a, b: a < b,
}
UNITS: list[Unit] = ["bytes", "seconds", "cores", "number"]
numbers = st.integers(0, 10**15) | st.floats(0, 1e13) | st.sampled_from(list(BYTES.values()))
nudges = st.sampled_from([0, 1, -1, 0.4, -0.4, 1e-3, -1e-3, 4e4, -4e4, 1e-7, -1e-7])


@pytest.mark.parametrize("name", QUANTITIES)
@pytest.mark.parametrize("unit", UNITS)
@given(expected=numbers, other=st.none() | numbers, nudge=nudges)
@example(expected=10**9, other=999_960_000, nudge=0)
@example(expected=60, other=59.9999, nudge=0)
@example(expected=2**30, other=2**30 - 1, nudge=0)
def test_the_figures_that_are_shown_say_what_the_verdict_says(
    name: str, unit: Unit, expected: float, other: float | None, nudge: float
) -> None:
    """Never `found 10 GB, asked ≥ 10 GB: fail`, nor `found 9.9 GB, asked ≥ 10 GB: pass`."""
    actual = max(0, expected + nudge) if other is None else other
    condition = Condition(((OPERATORS[name], expected),), unit)
    figures = ComparisonText(actual, condition, NOWHERE)
    asked = figures.condition_text.sign.removeprefix(OPERATORS[name].sign)
    # of `10 GB (9.3 GiB)`, the figure that has the unit of what was measured
    in_same_unit = asked.removesuffix(")").rpartition(" (")[2]
    shown = QUANTITIES[name](figure_of(figures.actual_text), figure_of(in_same_unit))
    assert shown is meets_condition(condition, actual, NOWHERE), (
        figures.actual_text,
        figures.condition_text.sign,
    )
