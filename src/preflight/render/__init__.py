"""Report to str: a module a format, listed in RENDERERS. Nothing here asks what stdout is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

from preflight.model.report import Report
from preflight.render import json_report, text
from preflight.render.look import Look

Renderer: TypeAlias = Callable[[Report, Look], str]

RENDERERS: Mapping[str, Renderer] = {
    "text": text.render,
    "json": json_report.render,
}

__all__ = ["RENDERERS", "Look", "Renderer"]
