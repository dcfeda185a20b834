"""Many machines as metrics with the label `host`; of verdicts the series that are 1 alone."""

from __future__ import annotations

from collections.abc import Iterator

from preflight.model.fleet import Fleet
from preflight.model.report import Report
from preflight.render.options import RenderOptions
from preflight.render.prometheus import Family, Row, families, label, written

_REACHED = Family("host_reached", "1 where a host was judged, 0 where it wasn't.", ("host",), [])
_CHOSEN = {
    "verdict": "1 for the verdict on a host; of its others there is no series.",
    "rule_verdict": "1 for the verdict of a rule or one item; of its others there is no series.",
}
"""Metrics that say one of several: with thousands of hosts, what is 0 would be most of them."""


class Hosts:
    """Gathers the series of all machines: each metric stands in one block."""

    def __init__(self, _name: str, _options: RenderOptions) -> None:
        self._families: dict[str, tuple[Family, list[Row]]] = {"host_reached": (_REACHED, [])}

    def host(self, name: str, one: Report | str) -> str:
        """Keep its series."""
        host = label(name)
        reached = not isinstance(one, str)
        self._families["host_reached"][1].append(((host,), float(reached)))
        for family in () if isinstance(one, str) else families(one):
            rows = self._rows(family)
            chosen = family.name in _CHOSEN
            rows += [((host, *labels), v) for labels, v in family.rows if v or not chosen]
        return ""

    def _rows(self, family: Family) -> list[Row]:
        if family.name not in self._families:
            told = _CHOSEN.get(family.name, family.help)
            bare = family._replace(help=told, labels=("host", *family.labels), rows=())
            self._families[family.name] = bare, []
        return self._families[family.name][1]

    def end(self, _fleet: Fleet) -> Iterator[str]:
        """Yield all metrics."""
        yield written(family._replace(rows=rows) for family, rows in self._families.values())
