"""The declarations of all facts, which catalogue.txt has.

Apart from the code that measures, because the program needs the names without importing that.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from preflight.model.facts import Fact


def _read_declarations() -> dict[str, tuple[Fact, ...]]:
    text = Path(__file__).with_suffix(".txt").read_text("utf-8")
    subjects: dict[str, tuple[Fact, ...]] = {}
    for section in text.split("\n[")[1:]:
        subject, *lines = section.split("\n")
        rows: list[Any] = [line.split(" ", 2) for line in lines if line]
        subjects[subject.removesuffix("]")] = tuple(Fact(*row) for row in rows)
    return subjects


FACTS_BY_SUBJECT: Mapping[str, tuple[Fact, ...]] = _read_declarations()

OLLAMA_VARIABLES = frozenset(
    f"OLLAMA_{name}"
    for name in ("MODEL", "KEEP_ALIVE", "NUM_PARALLEL", "MAX_LOADED_MODELS", "CONTEXT_LENGTH")
)
"""Variables whose values other facts show: a rule about such a fact also names them."""
