"""Columns of a terminal, held against those that Rich counts."""

from __future__ import annotations

import unicodedata

import pytest
from rich.cells import cell_len

from preflight.render.layout import count_columns, cut_to_width, pad_to_width

SIGN_BY_VERDICT = "✔✖▲⊘·≥…▇▒├└◀×→“”–—"


def test_characters_take_as_many_columns_as_rich_counts() -> None:
    assert [*map(count_columns, SIGN_BY_VERDICT)] == [*map(cell_len, SIGN_BY_VERDICT)]
    assigned = (chr(code) for code in range(32, 0x30000) if not 0xD800 <= code < 0xE000)
    # not symbols: Unicode 16 made some wide that Pythons with an earlier one have as narrow
    letters = [c for c in assigned if unicodedata.category(c) in ("Lu", "Ll", "Lo", "Nd", "Mn")]
    assert len(letters) > 100_000
    assert [c for c in letters if count_columns(c) < cell_len(c)] == []
    latin = [c for c in letters if c < "\u0900"]
    assert [c for c in latin if count_columns(c) != cell_len(c)] == []


@pytest.mark.parametrize("text", ["a\u0301bc", "⚠️ x", "日本語", "한글", "🇩🇪", "1️⃣"])
def test_texts_take_as_many_columns_as_rich_counts(text: str) -> None:
    assert count_columns(text) == cell_len(text)


@pytest.mark.parametrize(
    ("text", "width", "fitted"),
    [
        ("abc", 3, "abc"),
        ("abcd", 3, "ab…"),
        ("日本語", 6, "日本語"),
        ("日本語", 5, "日本…"),
        ("日本語", 4, "日…"),
        ("ab cd", 4, "ab…"),
        ("abc", 1, "…"),
        ("abc", 0, ""),
    ],
)
def test_a_text_is_cut_to_a_width(text: str, width: int, fitted: str) -> None:
    assert cut_to_width(text, width) == fitted
    assert cell_len(pad_to_width(text, width)) == width
