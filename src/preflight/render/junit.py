"""The report as JUnit XML for test reports: a suite for each section, a case for each result."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from xml.etree import ElementTree as ET

from preflight.model.fleet import Fleet, not_reached
from preflight.model.report import Report, Result
from preflight.render import RenderOptions
from preflight.render.sanitize import shorten
from preflight.render.tasks import (
    by_section,
    compose_location,
    count_blocked_by_rule,
    detail_lines,
    result_message,
    result_name,
    skipped_checks,
)

_TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d")
NO_TIME = "1970-01-01T00:00:00"  # the schema requires a time


def render(report: Report, options: RenderOptions) -> str:
    """Return a suite for each section."""
    return document(_suites(report, options))


def render_fleet(fleet: Fleet, options: RenderOptions) -> str:
    """Return a suite for each section of each host; of one without a report, an error."""

    def suites() -> Iterator[ET.Element]:
        for host in fleet.hosts:
            unreached = not_reached(host.name, host.reason)._replace(item=None)
            report = host.report or Report("", "", "", "", "", {}, {}, (unreached,))
            yield from _suites(report, options, host.name or "?")

    return document(suites())


def document(suites: Iterable[ET.Element]) -> str:
    """Return the XML of numbered suites; ASCII alone, so that no output encoding can break it."""
    root = ET.Element("testsuites")
    for number, suite in enumerate(suites):
        suite.set("id", str(number))
        root.append(suite)
    ET.indent(root)
    data: bytes = ET.tostring(root, encoding="us-ascii", xml_declaration=True)
    return data.decode("ascii") + "\n"


def suite_element(title: str, hostname: str, time: str, kinds: Iterable[str]) -> ET.Element:
    """Return a suite without its cases; `kinds` are the elements in them, "" in those passed."""
    counter = Counter(kinds)
    attributes = {
        "name": title,
        "package": "preflight",
        "id": "0",
        "timestamp": time,
        "hostname": hostname,
        "tests": str(counter.total()),
        "failures": str(counter["failure"]),
        "errors": str(counter["error"]),
        "skipped": str(counter["skipped"]),
        "time": "0",  # it is the measuring that takes time, and it is not done rule by rule
    }
    return ET.Element("testsuite", attributes)


def _suites(report: Report, options: RenderOptions, host: str = "") -> Iterator[ET.Element]:
    """Yield a suite for each section; `host` is the name of one of many."""
    skipped = count_blocked_by_rule(report)
    measured = _TIMESTAMP.match(report.measured_at)
    hostname = shorten(str(report.host.get("hostname") or "")).strip() or "localhost"
    shown_host = " ".join(shorten(host).split()) or "?"
    for title, results in by_section(report.results).items():
        suite = suite_element(
            f"{shown_host} · {title}" if host else title,
            shown_host if host else hostname,
            measured[0] if measured else NO_TIME,
            (_element_name(report, result) for result in results),
        )
        properties = ET.SubElement(suite, "properties")
        for key, value in _properties(report):
            ET.SubElement(properties, "property", name=key, value=value)
        output = []  # what no test case says: recommendations; if verbose, all
        for result in results:
            name = f"{shorten(host)} · {result_name(result)}" if host else result_name(result)
            attributes = {"name": name, "classname": f"preflight.{result.id}", "time": "0"}
            case = ET.SubElement(suite, "testcase", attributes)
            text = _text(result, skipped.pop(result.id, 0))
            if kind := _element_name(report, result):
                element = ET.SubElement(case, kind, message=result_message(result))
                if kind != "skipped":
                    element.set("type", result.verdict)
                    element.text = text
            if not report.affects_exit_code(result) and (
                options.verbose or result.verdict == "warn"
            ):
                output.append(f"{result.verdict}: {text}")
        ET.SubElement(suite, "system-out").text = "\n\n".join(output)
        ET.SubElement(suite, "system-err")
        yield suite


def _properties(report: Report) -> list[tuple[str, str]]:
    def words(values: Mapping[str, Any], *keys: str) -> str:
        return " ".join(str(values[key]) for key in keys if values.get(key))

    properties = {
        "preflight": report.version,
        "rules": report.rules_name,
        "rules.source": report.rules_source,
        "rules.sha256": report.rules_sha256,
        "host": words(report.host, "os", "arch"),
        "engine": words(report.engine, "engine", "version"),
        "endpoint": str(report.engine.get("endpoint") or ""),
        "verdict": report.verdict,
        "exit_code": str(report.exit_code),
        "seconds": "" if report.seconds is None else f"{report.seconds:.2f}",
    }
    pairs = [(key, shorten(value)) for key, value in properties.items() if value]
    return pairs + [("note", shorten(note)) for note in report.notes]


def _element_name(report: Report, result: Result) -> str:
    """Return the element in a test case: none if the rule is met or is only recommended."""
    if report.affects_exit_code(result):
        return "error" if result.verdict == "unknown" else "failure"
    return "skipped" if result.verdict in ("skip", "waived", "unknown") else ""


def _text(result: Result, skipped: int) -> str:
    lines = [result_message(result)]
    if result.file:
        lines.append(f"in {compose_location(result)}")
    lines += detail_lines(result)
    if skipped:
        lines.append(skipped_checks(skipped))
    evidence = result.reason_or_source
    if evidence and not result.file and evidence not in result.message:
        lines.append(f"measured: {shorten(evidence)}")
    return "\n".join(lines)
