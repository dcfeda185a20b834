"""What `preflight init` writes: a project's rule file, each figure with where it comes from.

The file's text is in preflight.yaml.j2; here are the figures.
"""

import os
import re
from collections.abc import Mapping, Sequence
from textwrap import wrap
from typing import Any, NamedTuple

from preflight.model.facts import SERVICES_FACT_PATH, Facts, Unknown
from preflight.model.quantities import format_bytes, parse_bytes
from preflight.render.jinja_templates import make_jinja_environment
from preflight.render.sanitize import clean_text

_MAX_COMMENT_COLUMNS = 96
# by key of a devcontainer.json's `hostRequirements`: containers.dev/implementors/json_reference
_DEVCONTAINER_SIZE_PATTERN = "[0-9]{1,9}[tgmk]b"
_HOST_REQUIREMENT_PATTERNS = {
    "cpus": "[1-9][0-9]{0,4}",
    "memory": _DEVCONTAINER_SIZE_PATTERN,
    "storage": _DEVCONTAINER_SIZE_PATTERN,
}


class SumWithSources(NamedTuple):
    """A figure, and what it is made of, with the lines of the compose file."""

    figure: str
    terms: str


def draft_rule_file(
    facts: Facts,
    name: str,
    host_requirements: Mapping[str, Any] | None = None,
    devcontainer_file: str = "",
) -> str:
    """Return the rule file of a project; `host_requirements` are those of a devcontainer.json."""
    sources = map(os.path.relpath, facts.texts("compose", "files"))
    context = {
        "name": clean_text(name) or "project",
        "sources": " and ".join(filter(None, (", ".join(sources), devcontainer_file))),
        "project": _ProjectFigures(facts),
        "host_requirements": _read_host_requirements(host_requirements or {}),
        "devcontainer_file": devcontainer_file,
        "format_bytes": format_bytes,
    }
    environment = make_jinja_environment().overlay(autoescape=False)
    environment.filters["comment"] = _format_comment
    return environment.get_template("preflight.yaml.j2").render(context)


def _format_comment(text: str, indent: str = "  ") -> str:
    lines = wrap(clean_text(text), _MAX_COMMENT_COLUMNS, break_on_hyphens=False)
    return "\n".join(f"{indent}# {line}" for line in lines)


def _format_exact_size(size: float) -> str:
    """Write bytes exactly, as rule files have them."""
    for unit, factor in (("GiB", 2**30), ("MiB", 2**20)):
        text = f"{size / factor:.6g}{unit}"
        if size >= factor and parse_bytes(text) == size:
            return text
    return f"{int(size)}B"


class _ProjectFigures:
    """The figures of the services that run."""

    def __init__(self, facts: Facts) -> None:
        self._facts = facts
        services = facts.collection(*SERVICES_FACT_PATH)
        self._services = {
            n: s for n, s in services.items() if self.value(*SERVICES_FACT_PATH, n, "replicas")
        }

    def value(self, *path: str) -> Any:
        """Return a value; None if it is absent or unknown."""
        value = self._facts.get(path)
        return None if isinstance(value, Unknown) else value

    def format_file_line(self, *path: str) -> str:
        """Return the line that decides a value, in brackets."""
        place = self._facts.find_file_line(path)
        return f" ({os.path.relpath(place.file)}:{place.line})" if place else ""

    def format_services_with_field(self, *field: str, number: bool = False) -> str:
        """Return the services that set a field, with the lines, and the value if it is a number."""
        paths = ((*SERVICES_FACT_PATH, name, *field) for name in self._services)
        values = ((path, value) for path in paths if (value := self.value(*path)))
        return ", ".join(
            f"{path[2]}{f' {value:g}' if number else ''}{self.format_file_line(*path)}"
            for path, value in values
        )

    def _find_memory_path(self, name: str, *kinds: str) -> Sequence[str] | None:
        """Return the path of the first kind of memory figure that a service has."""
        paths = ((*SERVICES_FACT_PATH, name, kind, "memory") for kind in kinds)
        return next((path for path in paths if self.value(*path)), None)

    def add_up_memory(self, *kinds: str) -> SumWithSources | None:
        """Return the sum over each service's first kind of figure; None if no service has one."""
        total, terms = 0, []
        for name, service in self._services.items():
            path, replicas = self._find_memory_path(name, *kinds), int(service["replicas"])
            if path is not None:
                total += replicas * int(self.value(*path))
                times = f"{replicas} × " if replicas > 1 else ""
                size = _format_exact_size(self.value(*path))
                terms.append(f"{name} {times}{size}{self.format_file_line(*path)}")
        return SumWithSources(_format_exact_size(total), " + ".join(terms)) if terms else None

    def format_services_without_memory(self) -> str:
        """Return the services that have neither a reservation nor a limit."""
        return ", ".join(
            n for n in self._services if not self._find_memory_path(n, "reservations", "limits")
        )

    def format_ports(self) -> str:
        """Return the published ports, each with its service and line."""
        ports = self._facts.collection("host", "ports")
        return ", ".join(
            f"{key} of {port['service']}{self.format_file_line('host', 'ports', key, 'service')}"
            for key, port in ports.items()
        )


def _read_host_requirements(given: Mapping[str, Any]) -> dict[str, str]:
    """Return what is well-formed, by key, with its figure as rule files have it."""
    figures = {
        key: str(given.get(key)).upper().replace("KB", "kB")
        for key, pattern in _HOST_REQUIREMENT_PATTERNS.items()
        if re.fullmatch(pattern, str(given.get(key)), re.IGNORECASE | re.ASCII)
    }
    gpu = given.get("gpu")
    return {**figures, "gpu": str(gpu)} if gpu else figures
