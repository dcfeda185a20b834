"""Many machines to str: a module a format. Each takes one after the other, so that none stays."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Protocol

from preflight.model.fleet import Fleet
from preflight.model.report import Report
from preflight.render.options import RenderOptions

_FORMATS: Mapping[str, str] = {
    name: f"preflight.render.hosts.{module}"
    for name, module in {
        "text": "text",
        "json": "json_hosts",
        "junit": "junit",
        "sarif": "combined",
        "github": "combined",
        "tap": "tap",
        "markdown": "markdown",
        "html": "page",
        "prometheus": "prometheus",
    }.items()
}


class Writer(Protocol):
    """One output: what it is to write as machines come, and at the end."""

    def host(self, name: str, one: Report | str) -> str:
        """Take a machine's report, or why it has none; return what can be written already."""

    def end(self, fleet: Fleet) -> Iterator[str]:
        """Yield the rest."""


def writer(name: str, options: RenderOptions) -> Writer:
    """Return what writes the format `name`; only then its module is imported."""
    made: Writer = import_module(_FORMATS[name]).Hosts(name, options)
    return made
