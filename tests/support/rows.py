"""Rows of a table of tests: some run on every change, all of them at night."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

import pytest


def nightly_except(rows: Iterable[str], every_change: Collection[str]) -> list[Any]:
    """Return the rows as parameters, with those marked nightly that don't run on every change."""
    names = list(rows)
    assert set(every_change) <= set(names)
    return [
        name if name in every_change else pytest.param(name, marks=pytest.mark.nightly)
        for name in names
    ]
