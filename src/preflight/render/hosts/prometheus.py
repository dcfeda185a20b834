"""Many machines as metrics with the label `host`; of a verdict the series that is 1 alone."""

from __future__ import annotations

from collections.abc import Iterator

from preflight.model.fleet import Fleet
from preflight.model.report import Report
from preflight.render.look import Look
from preflight.render.prometheus import Family, Row, families, label, written

_REACHED = Family("host_reached", "1 where a host was judged, 0 where it wasn't.", ("host",), [])


class Hosts:
    """Gathers the series of all machines: each metric stands in one block."""

    def __init__(self, _name: str, _look: Look) -> None:
        self._families: dict[str, tuple[Family, list[Row]]] = {"host_reached": (_REACHED, [])}

    def host(self, name: str, one: Report | str) -> str:
        """Keep its series."""
        host = label(name)
        reached = not isinstance(one, str)
        self._families["host_reached"][1].append(((host,), float(reached)))
        for family in () if isinstance(one, str) else families(one):
            rows = self._families.setdefault(family.name, (family._replace(rows=()), []))[1]
            chosen = "verdict" in family.labels
            rows += [((host, *labels), v) for labels, v in family.rows if v or not chosen]
        return ""

    def end(self, _fleet: Fleet) -> Iterator[str]:
        """Yield all metrics."""
        yield written(
            family._replace(
                rows=rows, labels=family.labels if family is _REACHED else ("host", *family.labels)
            )
            for family, rows in self._families.values()
        )
