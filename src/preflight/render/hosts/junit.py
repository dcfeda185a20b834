"""Many machines as JUnit XML: a test suite for each section of each machine."""

from __future__ import annotations

from collections.abc import Iterator
from xml.etree import ElementTree as ET

from preflight.model.fleet import Fleet
from preflight.model.report import Report
from preflight.render.hosts.combined import unreached
from preflight.render.junit import suites
from preflight.render.options import RenderOptions

_BEGIN = "<?xml version='1.0' encoding='us-ascii'?>\n<testsuites>\n"


class Hosts:
    """Writes each machine's suites as it comes."""

    def __init__(self, _name: str, options: RenderOptions) -> None:
        self._options = options
        self._suites = 0

    def host(self, name: str, one: Report | str) -> str:
        """Return its suites; of one that was not reached a suite with an error."""
        if isinstance(one, str):
            lost = unreached(name, one)._replace(item=None)
            one = Report("", "", "", "", "", {}, {}, (lost,))
        texts = [_BEGIN] if self._suites == 0 else []
        for suite in suites(one, self._options, self._suites, name or "?"):
            self._suites += 1
            ET.indent(suite, level=1)
            texts.append(f"  {ET.tostring(suite, encoding='us-ascii').decode('ascii')}\n")
        return "".join(texts)

    def end(self, _fleet: Fleet) -> Iterator[str]:
        """Yield the end."""
        yield f"{'' if self._suites else _BEGIN}</testsuites>\n"
