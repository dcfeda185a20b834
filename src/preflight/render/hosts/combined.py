"""Many machines as one report, for formats whose readers know no machines: SARIF, annotations.

A result has the machine's name before its item; one that was not reached is an undecided result.
Only what a machine needs is kept.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from preflight import __version__
from preflight.model.fleet import Fleet
from preflight.model.report import Report, Result, Verdict
from preflight.render import renderer
from preflight.render.options import RenderOptions

_KEPT = ("fail", "unknown", "warn", "waived")


class Hosts:
    """Gathers what keeps machines from passing, and renders it as one report."""

    def __init__(self, name: str, options: RenderOptions) -> None:
        self._render = renderer(name)
        self._options = options
        self._results: list[Result] = []
        self._first: Report | None = None
        self._counts: Counter[Verdict] = Counter()
        self._notes: dict[str, None] = {}

    def host(self, name: str, one: Report | str) -> str:
        """Keep what needs action."""
        if isinstance(one, str):
            self._results.append(unreached(name, one))
            self._counts["unknown"] += 1
            return ""
        self._first = self._first or one._replace(results=())
        self._notes.update(dict.fromkeys(one.notes))
        for result in one.results:
            if result.verdict in _KEPT:
                item = name if result.item is None else f"{name} · {result.item}"
                said = f"{name}: {result.message}"
                self._results.append(result._replace(item=item, message=said))
        self._counts.update(one.counts)
        return ""

    def end(self, fleet: Fleet) -> Iterator[str]:
        """Yield the whole."""
        base = self._first or Report(__version__, "", fleet.title, "", "", {}, {}, ())
        report = base._replace(
            results=tuple(self._results),
            counts=self._counts,
            host={},
            engine={},
            notes=tuple(self._notes),
            seconds=round(fleet.seconds, 3),
        )
        yield self._render(report, self._options)


def unreached(name: str, why: str) -> Result:
    """Return what stands for a machine without a verdict."""
    return Result(
        id="host-reached",
        item=name,
        title="Host reached",
        verdict="unknown",
        severity="required",
        fact="host.hostname",
        actual=None,
        expected={},
        message=f"{name}: {why}",
        actual_text="unknown",
        expected_text="reached",
        section="Hosts",
        reason_or_source=why,
    )
