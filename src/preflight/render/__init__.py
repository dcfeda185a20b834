"""Report to str: a module a format, listed in RENDERERS. Nothing here asks what stdout is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import TypeAlias

from preflight.model.report import Report
from preflight.render.options import RenderOptions

Renderer: TypeAlias = Callable[[Report, RenderOptions], str]

RENDERERS: Mapping[str, str] = {
    "text": "preflight.render.text",
    "json": "preflight.render.json_report",
    "junit": "preflight.render.junit",
    "sarif": "preflight.render.sarif",
    "github": "preflight.render.github",
    "tap": "preflight.render.tap",
    "markdown": "preflight.render.markdown",
    "html": "preflight.render.html",
    "prometheus": "preflight.render.prometheus",
}
"""The module of each format; its `render(report, options)` returns the whole output."""


def renderer(name: str) -> Renderer:
    """Return what renders the format `name`; only then its module is imported."""
    render: Renderer = import_module(RENDERERS[name]).render
    return render
