"""Many machines as one HTML page that loads nothing: the worst, each fault once, then all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from preflight.model.fleet import Fleet
from preflight.model.report import Report
from preflight.render.hosts.text import advice, columns_of, counts, names, said, such_as, title
from preflight.render.html import as_ascii, page_of
from preflight.render.options import RenderOptions
from preflight.render.tasks import WORDS

_MOST_ROWS = 100  # of the table; below it stands every host


class Hosts:
    """Writes nothing before the end: the worst come first."""

    def __init__(self, _name: str, options: RenderOptions) -> None:
        self._options = options

    def host(self, _name: str, _one: Report | str) -> str:
        """Write nothing yet."""
        return ""

    def end(self, fleet: Fleet) -> Iterator[str]:
        """Yield the page: the worst of the hosts, what to do, and host by host."""
        standings = fleet.worst_first()
        shown = [one for one in standings if self._options.verbose or one.needs_action][:_MOST_ROWS]
        page = page_of("hosts.html.j2").render(
            fleet=fleet,
            word=WORDS[fleet.verdict],
            counts=counts(fleet),
            shared=fleet.shared(advice=not self._options.quiet),
            standings=standings,
            shown=shown,
            columns=columns_of(shown),
            rest=list(Counter(one.verdict for one in standings[len(shown) :]).items()),
            quiet=self._options.quiet,
            opened=self._options.verbose,
            advice_on=advice,
            names=names,
            said=said,
            such_as=such_as,
            title=title,
        )
        yield as_ascii(page)
