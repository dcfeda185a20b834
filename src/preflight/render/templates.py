"""The templates beside this file; every value in them is escaped."""

from __future__ import annotations

from collections.abc import Callable
from importlib.resources import files
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined

FOLDER = files("preflight.render")


def make_environment(finalize: Callable[[Any], Any] | None = None) -> Environment:
    """Return an environment that escapes HTML, after `finalize` has seen every value."""
    return Environment(
        loader=FunctionLoader(lambda name: FOLDER.joinpath(name).read_text("utf-8")),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=finalize,
        trim_blocks=True,
        lstrip_blocks=True,
    )
