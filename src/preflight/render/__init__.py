"""Report to str: a module a format, listed in FORMATS. Nothing here asks what stdout is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import TYPE_CHECKING, TypeAlias, Union

from preflight.model.report import Report
from preflight.render.options import RenderOptions

if TYPE_CHECKING:
    from preflight.model.fleet import Fleet

Renderer: TypeAlias = Callable[[Union[Report, "Fleet"], RenderOptions], str]

FORMATS: Mapping[str, str] = {
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
"""The module of each format.

Its `render(report, options)` returns the report of one host, its `render_fleet(fleet, options)`
that of many; both return the whole output. The first line of its docstring is the docs' table.
"""


def renderer(name: str) -> Renderer:
    """Return the function that renders one host or many; imports the module of the format."""
    module = import_module(FORMATS[name])

    def render(subject: Report | Fleet, options: RenderOptions) -> str:
        function = module.render if isinstance(subject, Report) else module.render_fleet
        text: str = function(subject, options)
        return text

    return render
