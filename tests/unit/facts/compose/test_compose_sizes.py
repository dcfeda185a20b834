"""Compose's grammar of sizes, and Go's way to write a number."""

from __future__ import annotations

import pytest

from preflight.facts.compose.sizes import as_text, parse_size


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("8G", 8 * 2**30), ("8g", 8 * 2**30), ("8gb", 8 * 2**30), ("8GiB", 8 * 2**30),
        ("8 GiB", 8 * 2**30), ("8 g", 8 * 2**30), ("512m", 2**29), ("1T", 2**40), ("1p", 2**50),
        ("0.5g", 2**29), (".5g", 2**29), ("5.g", 5 * 2**30), ("1024", 1024), ("100b", 100),
        ("1_000", 1000), ("1e9", 10**9), ("1.1k", 1126), ("0.1b", 0), ("8.9", 8), ("0", 0),
    ],
)  # fmt: skip
def test_sizes_are_binary(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    "text",
    ["", " ", "lots", "8Gi", "8 Gi", "-1", "8 g ", " 8g", "8  g", "1.1.1g", "8ib", "8bb", "g", "8x",
     "1__0", "_1", "0x10", "inf", "nan", "100000000000000000p", "８g"],
)  # fmt: skip
def test_other_texts_are_no_sizes(text: str) -> None:
    with pytest.raises(ValueError, match="is no size"):
        parse_size(text)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (True, "true"), (False, "false"), (5, "5"), (1.5, "1.5"), (1.0, "1"),
        (123456.5, "123456.5"),
        (1e6, "1e+06"), (1234567.5, "1.2345675e+06"), (0.0001, "0.0001"), (2e-5, "2e-05"),
        (1e21, "1e+21"), (-0.0, "-0"), (float("inf"), "+Inf"), (float("nan"), "NaN"), ("x", "x"),
    ],
)  # fmt: skip
def test_numbers_are_written_as_go_does(value: object, text: str) -> None:
    assert as_text(value) == text
