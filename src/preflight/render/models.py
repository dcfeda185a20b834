"""Which models fit: a bar for each against the budget, and the same as JSON."""

from __future__ import annotations

from typing import Any

from preflight.model.quantities import format_bytes
from preflight.model.report import ModelFit, ModelListing
from preflight.render import RenderOptions
from preflight.render.layout import TextLayout, pad
from preflight.render.memory import bar

SCHEMA = "preflight.models/1"
_BAR = 12  # cells of the budget


def text(told: ModelListing, options: RenderOptions) -> str:
    """Show the budget and why, then a line a model."""
    layout = TextLayout(options)
    budget = "unknown" if told.budget is None else format_bytes(told.budget)
    layout.wrap(f"{budget}: {told.budget_source}", 0, prefix=("Budget ", "bold"))
    if not told.models:
        layout.add("The rule file lists no models.")
    width = min(32, max((len(one.name) for one in told.models), default=0))
    largest = max([told.budget or 0, *(one.memory or 0 for one in told.models)])
    for one in told.models:
        size = "unknown" if one.memory is None else format_bytes(one.memory)
        drawn = pad(bar(one.memory or 0, 0, largest, _BAR), _BAR)
        verdict, style = _verdict(one)
        layout.add(
            f"  {pad(one.name, width)}  {pad(size, 8, right=True)}  ",
            (drawn, style),
            "  ",
            (verdict, style),
            " · configured" if one.configured else "",
            (f" · {one.note}" if one.note else "", "dim"),
        )
    return layout.draw()


def _verdict(one: ModelFit) -> tuple[str, str]:
    if one.fits is None:
        return "unknown", "magenta"
    return ("fits", "green") if one.fits else ("too large", "bold red")


def to_json(told: ModelListing) -> dict[str, Any]:
    """Return `preflight.models/1`."""
    return {
        "schema": SCHEMA,
        "budget": told.budget,
        "why": told.budget_source,
        "models": [
            {
                "name": one.name,
                "memory": one.memory,
                "fits": one.fits,
                "configured": one.configured,
                "note": one.note,
            }
            for one in told.models
        ],
    }
