"""Sizes, durations, numbers and versions: what is read, what is refused, how they are written."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from math import inf
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from preflight.model.quantities import (
    format_bytes,
    format_duration,
    format_number,
    format_shortened_list,
    parse_boolean,
    parse_bytes,
    parse_duration,
    parse_number,
    parse_version,
    parse_version_range,
)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("10GB", 10_000_000_000),
        ("8GiB", 8_589_934_592),
        ("8 GiB", 8_589_934_592),
        ("  637MB ", 637_000_000),
        ("1.5TB", 1_500_000_000_000),
        ("0.5GiB", 536_870_912),
        (".5GB", 500_000_000),
        ("8gb", 8_000_000_000),
        ("8gib", 8_589_934_592),
        ("512kB", 512_000),
        ("512KiB", 524_288),
        ("1PB", 10**15),
        ("1PiB", 2**50),
        ("0", 0),
        ("1024", 1024),
        ("7B", 7),
        ("8e9", 8_000_000_000),
        ("-2GB", -2_000_000_000),
        ("+2GB", 2_000_000_000),
        ("1.1GB", 1_100_000_000),
        ("9007199254740993", 9_007_199_254_740_993),
        ("9223372036854775807PB", 9_223_372_036_854_775_807 * 10**15),
    ],
)
def test_sizes_are_decimal_unless_they_say_binary(text: str, size: int) -> None:
    assert parse_bytes(text) == size
    assert isinstance(parse_bytes(text), int)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("8G", "write 8GB (decimal) or 8GiB (binary)"),
        ("8Gi", "write 8GB (decimal) or 8GiB (binary)"),
        ("8k", "write 8kB (decimal) or 8KiB (binary)"),
        ("lots", "expected a size such as 8GB"),
        ("", "expected a size"),
        (" ", "expected a size"),
        ("GB", "expected a size"),
        ("8 G B", "expected a size"),
        ("8GB 9GB", "expected a size"),
        ("8GB\n;", "expected a size"),
        ("8,5GB", "expected a size"),
        ("1_000", "expected a size"),
        ("0x10", "expected a size"),
        ("8EB", "expected a size"),
        ("--8GB", "expected a size"),
        ("nan", "expected a size"),
        ("inf", "expected a size"),
        ("٨GB", "expected a size"),
        ("8ＧＢ", "expected a size"),
        ("9" * 5000, "is too large"),
        ("9" * 400 + ".5GB", "is too large"),
        ("1e999GB", "is too large"),
    ],
)
def test_what_is_no_size_is_refused_with_what_to_write(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=r".") as fault:
        parse_bytes(text)
    assert said in str(fault.value)
    assert len(str(fault.value)) < 200


def test_what_is_refused_is_quoted_up_to_sixty_characters() -> None:
    for text, quoted in (("x" * 60, "x" * 60), ("x" * 61, "x" * 59 + "…")):
        with pytest.raises(ValueError, match=f"^'{quoted}' isn't a valid size"):
            parse_bytes(text)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("300", 300),
        ("5m", 300),
        ("1h30m", 5400),
        ("1.5s", 1.5),
        ("250ms", 0.25),
        ("2d", 172_800),
        ("-5m", -300),
        (" 10s ", 10),
        ("1m1m", 120),
    ],
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "m", "5", "5 m", "soon", "1.5.5s", "٥m", "5M", "m5", "5s-3s"])
def test_what_is_no_duration(text: str) -> None:
    if text == "5":
        assert parse_duration(text) == 5
        return
    with pytest.raises(ValueError, match="isn't a valid duration"):
        parse_duration(text)


def test_a_duration_beyond_reason() -> None:
    with pytest.raises(ValueError, match="too large"):
        parse_duration("9" * 400 + "h")


@pytest.mark.parametrize(
    ("text", "number"),
    [("4", 4), ("-4", -4), ("+4", 4), ("0.5", 0.5), (".5", 0.5), ("1e3", 1000.0)],
)
def test_numbers(text: str, number: float) -> None:
    assert parse_number(text) == number
    assert isinstance(parse_number(text), int) is text.lstrip("+-").isdigit()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "four",
        "nan",
        ".nan",
        "inf",
        "-.inf",
        "1e999",
        "0x10",
        "1_0",
        "٤",
        "4 5",
        "9" * 99,
        "1e30",
    ],
)
def test_what_is_no_number(text: str) -> None:
    with pytest.raises(ValueError, match=r"isn't a valid number|is too large"):
        parse_number(text)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("true", True),
        ("YES", True),
        ("1", True),
        ("on", True),
        ("off", False),
        (" 0 ", False),
        ("T", True),
        ("y", True),
        ("f", False),
        ("N", False),
    ],
)
def test_booleans(text: str, value: bool) -> None:
    assert parse_boolean(text) is value


@pytest.mark.parametrize("text", ["", "2", "maybe", "truefalse"])
def test_what_is_no_boolean(text: str) -> None:
    with pytest.raises(ValueError, match="neither true nor false"):
        parse_boolean(text)


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("20.10.24+dfsg1", (20, 10, 24)),
        ("v2.3", (2, 3)),
        ("28.0.0", (28,)),
        ("1.2-rc1", (1, 1, inf)),
        ("0", ()),
    ],
)
def test_versions(text: str, version: tuple[int, ...]) -> None:
    assert parse_version(text) == version


@pytest.mark.parametrize("text", ["", "latest", "rc1", "٢.١", "-1"])
def test_what_is_no_version(text: str) -> None:
    with pytest.raises(ValueError, match="isn't a valid version"):
        parse_version(text)


@pytest.mark.parametrize(
    ("release", "other"),
    [
        ("5.0.0-rc1", "5.0"),
        ("5.0.0-rc.2", "5.0.0"),
        ("v5.0.0-beta.1", "5"),
        ("5.0.0~rc1", "5.0.0"),
        ("29.0.0-dev", "29.0.0+dfsg1"),
        ("2.40.0-desktop.1-rc.1", "2.40.0-desktop.1"),
        ("3.0a1", "3.0"),
        ("4.99.9", "5.0.0-alpha"),
        ("5.0.0", "5.0.1-rc1"),
    ],
)
def test_a_version_before_another(release: str, other: str) -> None:
    assert parse_version(release) < parse_version(other)


@pytest.mark.parametrize(
    "text",
    [
        "5.0.0+dfsg1",
        "5.0.0-1",
        "5.0-13-amd64",
        "5.0.0-ce",
        "5.0.0-rd",
        "5.0.0-Microsoft-x",
        "5.0.0-azure",
    ],
)
def test_what_distributions_add_makes_no_earlier_version(text: str) -> None:
    assert parse_version(text) == parse_version("5.0")


def test_a_version_range() -> None:
    assert parse_version_range(">=20.10, <30") == ((">=", (20, 10)), ("<", (30,)))
    for text in ("", "20.10", ">=", ">=20.10,", "~>1", ">=x", ">= 1 2"):
        with pytest.raises(ValueError, match="valid version range"):
            parse_version_range(text)


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (8_000_000_000, "8 GB"),
        (6_227_702_579, "6.2 GB"),
        (8_589_934_592, "8 GiB"),
        (512 * 2**20, "512 MiB"),
        (2**20, "1 MiB"),
        (637_000_000, "637 MB"),
        (0, "0 B"),
        (999, "999 B"),
        (-2_000_000_000, "-2 GB"),
        (2 * 10**15, "2 PB"),
        (3125 * 2**20, "3.3 GB"),  # round in both
    ],
)
def test_sizes_are_written_in_the_family_they_are_round_in(size: int, text: str) -> None:
    assert format_bytes(size) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0s"), (1.5, "1.5s"), (59, "59s"), (300, "5m"), (5400, "1h30m"), (-90, "-1m30s")],
)
def test_durations_are_written_as_they_are_read(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


def test_as_many_digits_as_are_asked_for() -> None:
    assert [format_duration(n, 5) for n in (1.234567, -1.234567)] == ["1.23457s", "-1.23457s"]
    assert [format_number(2.34567), format_number(2.34567, 3)] == ["2.35", "2.346"]


@given(st.integers(min_value=-(10**18), max_value=10**18))
def test_bytes_survive_a_round_trip(size: int) -> None:
    assert parse_bytes(str(size)) == size
    assert parse_bytes(f"{size}B") == size


@given(st.integers(min_value=0, max_value=10**7))
def test_whole_seconds_survive_a_round_trip(seconds: int) -> None:
    assert parse_duration(format_duration(seconds)) == seconds


@given(st.integers(min_value=-(10**6), max_value=10**6))
def test_hundredths_survive_a_round_trip(hundredths: int) -> None:
    assert parse_number(format_number(hundredths / 100)) == hundredths / 100


@given(st.integers(min_value=1, max_value=10**16), st.booleans())
def test_a_written_size_is_off_by_less_than_a_unit_of_its_last_digit(
    size: int, binary: bool
) -> None:
    read = parse_bytes(format_bytes(size, binary=binary))
    assert abs(read - size) <= max(size * 0.051, 0.5)


@given(
    st.integers(0, 10**6),
    st.integers(0, 10**6),
    st.sampled_from(["", "kB", "MB", "GB", "TB", "KiB", "MiB", "GiB", "TiB"]),
)
def test_order_is_kept(a: int, b: int, unit: str) -> None:
    assert (parse_bytes(f"{a}{unit}") < parse_bytes(f"{b}{unit}")) == (a < b)


@pytest.mark.parametrize(
    "read", [parse_bytes, parse_duration, parse_number, parse_boolean, parse_version]
)
@given(text=st.text())
def test_a_reader_returns_or_says_what_is_wrong(read: Callable[[str], Any], text: str) -> None:
    with suppress(ValueError):
        read(text)


@pytest.mark.parametrize(
    ("texts", "last", "expected"),
    [
        ("", ", ", ""),
        ("a", " and ", "a"),
        ("abc", ", ", "a, b, c"),
        ("abc", " and ", "a, b and c"),
        ("abcd", ", ", "a, b and 2 more"),
        ("a" * 2002, ", ", "a, a and 2,000 more"),
    ],
)
def test_a_list_of_a_few_names(texts: str, last: str, expected: str) -> None:
    assert format_shortened_list(texts, 2, last) == expected
