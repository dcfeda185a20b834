"""What came of the cases of a rule file: a line a case, and as JSON and JUnit."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias
from xml.etree import ElementTree as ET

from preflight import __version__
from preflight.model.cases import CaseOutcome, VerdictMismatch, exit_code
from preflight.model.report import Verdict
from preflight.render import RenderOptions
from preflight.render.layout import TextLayout, pad
from preflight.render.sanitize import short

SCHEMA = "preflight.rules-test/1"
_WIDEST = 40  # columns of a case's name
_WORDS: Mapping[Verdict, str] = {"fail": "failed", "unknown": "not judged", "pass": "passed"}

Render: TypeAlias = Callable[[Sequence[CaseOutcome], RenderOptions], str]


def text(outcomes: Sequence[CaseOutcome], options: RenderOptions) -> str:
    """Show a line a case; of a wrong one each difference, and why."""
    layout = TextLayout(options)
    width = min(_WIDEST, max(len(one.name) for one in outcomes))
    for one in outcomes:
        mark, style = options.sign(one.verdict)
        if one.verdict == "pass" and options.quiet:
            continue
        layout.add("  ", (mark, style), f" {pad(one.name, width)}  ", (_told(one), "dim"))
        for problem in one.problems:
            layout.wrap(problem, 6)
        for difference in one.differences:
            layout.wrap(_sentence(difference), 6, "bold")
            if difference.reason:
                layout.wrap(difference.reason, 8, "dim")
    if not options.quiet or exit_code(outcomes):
        layout.blank()
    counts = Counter(one.verdict for one in outcomes)
    told = " · ".join(f"{counts[kind]} {word}" for kind, word in _WORDS.items() if counts[kind])
    verdict, style = ("FAIL", "bold red") if exit_code(outcomes) else ("PASS", "bold green")
    layout.add((verdict, style), f"  {told}")
    return layout.draw()


def _told(one: CaseOutcome) -> str:
    if one.problems:
        return "cannot be judged"
    if one.differences:
        return f"{len(one.differences)} of {one.compared} differ"
    return f"{one.compared} as expected"


def _sentence(one: VerdictMismatch) -> str:
    return f"{one.name}: expected {one.expected or 'nothing'}, found {one.actual or 'nothing'}"


def as_json(outcomes: Sequence[CaseOutcome], _options: RenderOptions) -> str:
    """Return `preflight.rules-test/1`."""
    return json.dumps(to_json(outcomes), indent=2) + "\n"


def to_json(outcomes: Sequence[CaseOutcome]) -> dict[str, Any]:
    """Return the outcomes as an object; `null` is no verdict, or none that was named."""
    counts = Counter(one.verdict for one in outcomes)
    return {
        "schema": SCHEMA,
        "preflight": __version__,
        "summary": {
            "exit_code": exit_code(outcomes),
            "cases": len(outcomes),
            **{kind: counts[kind] for kind in ("pass", "fail", "unknown")},
        },
        "cases": [
            {
                "name": one.name,
                "folder": one.folder,
                "rules": one.rules,
                "verdict": one.verdict,
                "compared": one.compared,
                "differences": [
                    {
                        "name": two.name,
                        "expected": two.expected,
                        "found": two.actual,
                        "message": two.reason,
                    }
                    for two in one.differences
                ],
                "problems": list(one.problems),
            }
            for one in outcomes
        ],
    }


def junit(outcomes: Sequence[CaseOutcome], _options: RenderOptions) -> str:
    """Return JUnit XML: a test case a case; ASCII alone, so that no output encoding breaks it."""
    root = ET.Element("testsuites")
    counts = Counter(one.verdict for one in outcomes)
    attributes = {
        "name": "preflight rules test",
        "package": "preflight",
        "id": "0",
        "timestamp": "1970-01-01T00:00:00",  # the same cases give the same bytes
        "hostname": "localhost",
        "tests": str(len(outcomes)),
        "failures": str(counts["fail"]),
        "errors": str(counts["unknown"]),
        "skipped": "0",
        "time": "0",
    }
    suite = ET.SubElement(root, "testsuite", attributes)
    ET.SubElement(suite, "properties")
    for one in outcomes:
        name = short(one.name)
        case = ET.SubElement(suite, "testcase", name=name, classname="preflight.cases", time="0")
        told = [f"{_sentence(two)}; {two.reason}" for two in one.differences] or one.problems
        if told:
            kind = "error" if one.problems else "failure"
            about = {"message": short(told[0]), "type": one.verdict}
            ET.SubElement(case, kind, about).text = "\n".join(map(short, told))
    ET.SubElement(suite, "system-out")
    ET.SubElement(suite, "system-err")
    ET.indent(root)
    data: bytes = ET.tostring(root, encoding="us-ascii", xml_declaration=True)
    return data.decode("ascii") + "\n"


FORMATS: Mapping[str, Render] = {"text": text, "json": as_json, "junit": junit}
