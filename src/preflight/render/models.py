"""Which models fit: a bar for each against the budget, and the same as JSON."""

from __future__ import annotations

from typing import Any

from preflight.model.quantities import format_bytes
from preflight.model.report import ModelListing
from preflight.render import RenderOptions
from preflight.render.json_report import as_plain_data
from preflight.render.layout import TextLayout, pad
from preflight.render.memory import draw_bar

SCHEMA = "preflight.models/1"
_MAX_NAME = 32  # columns
_BAR_CELLS = 12  # of the budget
_VERDICTS = {
    True: ("fits", "green"),
    False: ("too large", "bold red"),
    None: ("unknown", "magenta"),
}


def text(listing: ModelListing, options: RenderOptions) -> str:
    """Show the budget with its source, then a line for each model."""
    layout = TextLayout(options)
    budget = "unknown" if listing.budget is None else format_bytes(listing.budget)
    layout.wrap(f"{budget}: {listing.budget_source}", 0, prefix=("Budget ", "bold"))
    if not listing.models:
        layout.add("The rule file lists no models.")
    width = min(_MAX_NAME, max((len(model.name) for model in listing.models), default=0))
    largest = max([listing.budget or 0, *(model.memory or 0 for model in listing.models)])
    for model in listing.models:
        size = "unknown" if model.memory is None else format_bytes(model.memory)
        verdict, style = _VERDICTS[model.fits]
        layout.add(
            f"  {pad(model.name, width)}  {pad(size, 8, right=True)}  ",
            (pad(draw_bar(model.memory or 0, 0, largest, _BAR_CELLS), _BAR_CELLS), style),
            "  ",
            (verdict, style),
            " · configured" if model.configured else "",
            (f" · {model.note}" if model.note else "", "dim"),
        )
    return layout.draw()


def json_object(listing: ModelListing) -> dict[str, Any]:
    """Return `preflight.models/1`."""
    return {"schema": SCHEMA, **as_plain_data(listing)}
