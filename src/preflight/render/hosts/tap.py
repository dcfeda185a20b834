"""Many machines as TAP 14: a test point a machine, its rules as a subtest."""

from __future__ import annotations

from collections.abc import Iterator

from preflight.model.fleet import Fleet
from preflight.model.report import Report
from preflight.render.options import RenderOptions, short
from preflight.render.tap import VERSION, escaped, lines


class Hosts:
    """Writes each machine as it comes; the plan stands at the end."""

    def __init__(self, _name: str, options: RenderOptions) -> None:
        self._options = options
        self._count = 0

    def host(self, name: str, one: Report | str) -> str:
        """Return its subtest and its test point."""
        self._count += 1
        before = f"{VERSION}\n" if self._count == 1 else ""
        shown = escaped(short(name)).strip() or "?"
        if isinstance(one, str):
            return f"{before}not ok {self._count} - {shown}: {escaped(short(one))}.\n"
        inside = "".join(f"    {line}\n" for line in lines(one, self._options))
        state = "not ok" if one.exit_code else "ok"
        return f"{before}# Subtest: {shown}\n{inside}{state} {self._count} - {shown}.\n"

    def end(self, fleet: Fleet) -> Iterator[str]:
        """Yield the plan."""
        yield f"{'' if self._count else VERSION + chr(10)}1..{self._count}\n"
        yield f"# {short(fleet.title)}\n"
