"""The report as JUnit XML for test reports: a suite for each section, a case for each result."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from xml.etree import ElementTree as ET

from preflight.model.fleet import Fleet
from preflight.model.report import Report, Result
from preflight.render import RenderOptions, report_texts

_JUNIT_TIMESTAMP_PATTERN = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d")
_TIMESTAMP_IF_UNKNOWN = "1970-01-01T00:00:00"  # the schema requires a time


def render_report(report: Report, options: RenderOptions) -> str:
    """Return a suite for each section."""
    return _format_junit_document(_make_test_suites(report, options))


def render_fleet(fleet: Fleet, options: RenderOptions) -> str:
    """Return a suite for each section of each host; of one without a report, an error."""
    return _format_junit_document(
        suite
        for host in fleet.hosts
        for suite in _make_test_suites(host.report_or_undecided(), options, host.name or "?")
    )


def _format_junit_document(suites: Iterable[ET.Element]) -> str:
    """Return the XML of numbered suites; ASCII alone, so that no output encoding can break it."""
    root = ET.Element("testsuites")
    for number, suite in enumerate(suites):
        suite.set("id", str(number))
        root.append(suite)
    ET.indent(root)
    data: bytes = ET.tostring(root, encoding="us-ascii", xml_declaration=True)
    return data.decode("ascii") + "\n"


def _make_test_suites(
    report: Report, options: RenderOptions, host: str = ""
) -> Iterator[ET.Element]:
    """Yield a suite for each section; `host` is the name of one of many."""
    blocked = report_texts.count_blocked_by_rule(report)
    measured = _JUNIT_TIMESTAMP_PATTERN.match(report.measured_at)
    hostname = " ".join((host or str(report.host.get("hostname") or "")).split())
    prefix = f"{hostname or '?'} · " if host else ""
    about = list(_list_report_properties(report))
    for title, results, _ in report_texts.group_results_by_section(report):
        kinds = Counter(_find_result_element_name(report, result) for result in results)
        suite = ET.Element(
            "testsuite",
            name=prefix + title,
            package="preflight",
            timestamp=measured[0] if measured else _TIMESTAMP_IF_UNKNOWN,
            hostname=hostname or ("?" if host else "localhost"),
            tests=str(len(results)),
            failures=str(kinds["failure"]),
            errors=str(kinds["error"]),
            skipped=str(kinds["skipped"]),
            time="0",  # it is the measuring that takes time, and it is not done rule by rule
        )
        properties = ET.SubElement(suite, "properties")
        for key, value in about:
            ET.SubElement(properties, "property", name=key, value=value)
        output = []  # what no test case says: recommendations; if verbose, all
        for result in results:
            name = f"{prefix}{result.name}"
            case = ET.SubElement(
                suite, "testcase", name=name, classname=f"preflight.{result.id}", time="0"
            )
            lines = [f"in {report_texts.format_compose_location(result)}"] if result.file else []
            lines += report_texts.format_detail_lines(
                result, report_texts.format_skipped_count(blocked.pop(result.id, 0)), evidence=True
            )
            text = "\n".join([result.message, *lines])
            if kind := _find_result_element_name(report, result):
                element = ET.SubElement(case, kind, message=result.message)
                if kind != "skipped":
                    element.set("type", result.verdict)
                    element.text = text
            if kind in ("", "skipped") and (options.verbose or result.verdict == "warn"):
                output.append(f"{result.verdict}: {text}")
        ET.SubElement(suite, "system-out").text = "\n\n".join(output)
        ET.SubElement(suite, "system-err")
        yield suite


def _list_report_properties(report: Report) -> Iterator[tuple[str, str]]:
    properties = {
        "preflight": report.version,
        "rules": report.rules_name,
        "rules.source": report.rules_source,
        "rules.sha256": report.rules_sha256,
        "rules.profile": report.profile,
        "host": report_texts.format_host_line(report),
        "engine": report_texts.format_engine_line(report),
        "verdict": report.verdict,
        "exit_code": str(report.exit_code),
        "seconds": "" if report.seconds is None else f"{report.seconds:.2f}",
    }
    yield from ((key, value) for key, value in properties.items() if value)
    yield from (("note", note) for note in report.notes)


def _find_result_element_name(report: Report, result: Result) -> str:
    """Return the element in a test case: none if the rule is met or is only recommended."""
    if report.affects_exit_code(result):
        return "error" if result.verdict == "unknown" else "failure"
    return "skipped" if result.verdict in ("skip", "waived", "unknown") else ""
