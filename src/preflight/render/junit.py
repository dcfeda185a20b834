"""The report as JUnit XML: a test suite a section, a test case a result; for test tabs."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from xml.etree import ElementTree as ET

from preflight.model.report import Report, Result
from preflight.render.options import RenderOptions, short
from preflight.render.tasks import details, held_back, holds_back, name, place, sentence

_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d")


def render(report: Report, options: RenderOptions) -> str:
    """Return the XML; ASCII alone, so that no output encoding can break it."""
    root = ET.Element("testsuites")
    root.extend(suites(report, options))
    ET.indent(root)
    data: bytes = ET.tostring(root, encoding="us-ascii", xml_declaration=True)
    return data.decode("ascii") + "\n"


def suites(
    report: Report, options: RenderOptions, first: int = 0, host: str = ""
) -> Iterator[ET.Element]:
    """Yield a suite for each section, numbered from `first`; of several hosts by its name."""
    sections: dict[str, list[Result]] = {}
    for result in report.results:
        title = " ".join(short(result.section).split()) or "Other"
        sections.setdefault(title, []).append(result)
    holds = held_back(report)
    texts = {id(result): _text(result, holds.pop(result.id, 0)) for result in report.results}
    facts = _properties(report)
    for number, (title, results) in enumerate(sections.items(), first):
        about = _suite(report, title, number, results)
        suite = ET.Element("testsuite", {**about, **_of_host(host, title)})
        properties = ET.SubElement(suite, "properties")
        for key, value in facts:
            ET.SubElement(properties, "property", name=key, value=value)
        for result in results:
            _case(suite, report, result, texts[id(result)], host)
        told = (
            f"{one.verdict}: {texts[id(one)]}" for one in results if _is_told(report, one, options)
        )
        ET.SubElement(suite, "system-out").text = "\n\n".join(told)
        ET.SubElement(suite, "system-err")
        yield suite


def _of_host(host: str, title: str) -> dict[str, str]:
    """Return what tells the suites of several hosts apart."""
    if not host:
        return {}
    shown = " ".join(short(host).split()) or "?"
    return {"name": f"{shown} · {title}", "hostname": shown}


def _suite(report: Report, title: str, number: int, results: Iterable[Result]) -> dict[str, str]:
    kinds = [_kind(report, result) for result in results]
    measured = _TIME.match(report.measured_at)
    return {
        "name": title,
        "package": "preflight",
        "id": str(number),
        "timestamp": measured[0] if measured else "1970-01-01T00:00:00",
        "hostname": short(str(report.host.get("hostname") or "")).strip() or "localhost",
        "tests": str(len(kinds)),
        "failures": str(kinds.count("failure")),
        "errors": str(kinds.count("error")),
        "skipped": str(kinds.count("skipped")),
        "time": "0",  # it is the measuring that takes time, and it is not done rule by rule
    }


def _properties(report: Report) -> list[tuple[str, str]]:
    engine = (str(report.engine[key]) for key in ("engine", "version") if report.engine.get(key))
    host = (str(report.host[key]) for key in ("os", "arch") if report.host.get(key))
    told = {
        "preflight": report.version,
        "rules": report.rules_name,
        "rules.source": report.rules_source,
        "rules.sha256": report.rules_sha256,
        "host": " ".join(host),
        "engine": " ".join(engine),
        "endpoint": str(report.engine.get("endpoint") or ""),
        "verdict": report.verdict,
        "exit_code": str(report.exit_code),
        "seconds": "" if report.seconds is None else f"{report.seconds:.2f}",
    }
    pairs = [(key, short(value)) for key, value in told.items() if value]
    return pairs + [("note", short(note)) for note in report.notes]


def _kind(report: Report, result: Result) -> str:
    """Which element a test case holds: nothing where it is met, or advice that isn't."""
    if report.affects_exit_code(result):
        return "error" if result.verdict == "unknown" else "failure"
    return "skipped" if result.verdict in ("skip", "waived", "unknown") else ""


def _case(suite: ET.Element, report: Report, result: Result, text: str, host: str) -> None:
    said = f"{short(host)} · {name(result)}" if host else name(result)
    case = ET.SubElement(suite, "testcase", name=said, classname=f"preflight.{result.id}", time="0")
    kind = _kind(report, result)
    if kind == "skipped":
        ET.SubElement(case, kind, message=sentence(result))
    elif kind:
        ET.SubElement(case, kind, message=sentence(result), type=result.verdict).text = text


def _is_told(report: Report, result: Result, options: RenderOptions) -> bool:
    """Whether standard output tells what no test case does: advice; where verbose, all."""
    return not report.affects_exit_code(result) and (options.verbose or result.verdict == "warn")


def _text(result: Result, held: int) -> str:
    return "\n".join(_lines(result, held))


def _lines(result: Result, held: int) -> Iterator[str]:
    yield sentence(result)
    if place(result):
        yield f"in {place(result)}"
    yield from details(result)
    if held:
        yield holds_back(held)
    if (
        result.reason_or_source
        and not result.file
        and result.reason_or_source not in result.message
    ):
        yield f"measured: {short(result.reason_or_source)}"
