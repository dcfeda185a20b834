"""Many machines as one HTML page that loads nothing: each fault once, then machine by machine."""

from __future__ import annotations

from collections.abc import Iterator

from preflight.model.fleet import Fleet
from preflight.model.report import Report
from preflight.render.hosts.text import counts, names, title
from preflight.render.html import as_ascii, page_of
from preflight.render.look import Look
from preflight.render.tasks import WORDS


class Hosts:
    """Writes nothing before the end: the worst come first."""

    def __init__(self, _name: str, look: Look) -> None:
        self._look = look

    def host(self, _name: str, _one: Report | str) -> str:
        """Write nothing yet."""
        return ""

    def end(self, fleet: Fleet) -> Iterator[str]:
        """Yield the page."""
        page = page_of("hosts.html.j2").render(
            fleet=fleet,
            word=WORDS[fleet.verdict],
            counts=counts(fleet),
            shared=fleet.shared(advice=not self._look.quiet),
            standings=fleet.worst_first(),
            quiet=self._look.quiet,
            opened=self._look.verbose,
            names=names,
            title=title,
        )
        yield as_ascii(page)
