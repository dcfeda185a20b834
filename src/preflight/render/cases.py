"""The outcomes of a rule file's cases: one line per case, and as JSON and JUnit."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

from preflight import __version__
from preflight.model.cases import CaseOutcome, compute_cases_exit_code
from preflight.model.report import Report, Result, Verdict
from preflight.render import RenderOptions
from preflight.render.json_report import as_plain_data
from preflight.render.layout import TextLayout, pad_to_width
from preflight.render.sanitize import format_safe_json

RULES_TEST_SCHEMA_NAME = "preflight.rules-test/1"
_MAX_NAME_COLUMNS = 40  # columns of a case's name
_WORD_BY_VERDICT: Mapping[Verdict, str] = {
    "fail": "failed",
    "unknown": "not judged",
    "pass": "passed",
}

Render: TypeAlias = Callable[[Sequence[CaseOutcome], RenderOptions], str]


def render_case_outcomes(outcomes: Sequence[CaseOutcome], options: RenderOptions) -> str:
    """Show one line per case; below a failed case, each difference with its reason."""
    layout = TextLayout(options)
    width = min(_MAX_NAME_COLUMNS, max(len(outcome.name) for outcome in outcomes))
    for outcome in outcomes:
        if outcome.verdict == "pass" and options.quiet:
            continue
        sign, name = options.sign(outcome.verdict), pad_to_width(outcome.name, width)
        layout.add_line("  ", sign, f" {name}  ", (_describe_outcome(outcome), "dim"))
        for problem in outcome.problems:
            layout.add_wrapped(problem, 6)
        for difference in outcome.differences:
            layout.add_wrapped(difference.sentence, 6, "bold")
            if difference.message:
                layout.add_wrapped(difference.message, 8, "dim")
    if not options.quiet or compute_cases_exit_code(outcomes):
        layout.add_blank_line()
    counter = Counter(outcome.verdict for outcome in outcomes)
    counts = " · ".join(
        f"{counter[kind]} {word}" for kind, word in _WORD_BY_VERDICT.items() if counter[kind]
    )
    verdict = ("FAIL", "bold red") if compute_cases_exit_code(outcomes) else ("PASS", "bold green")
    layout.add_line(verdict, f"  {counts}")
    return layout.to_text()


def _describe_outcome(outcome: CaseOutcome) -> str:
    if outcome.problems:
        return "cannot be judged"
    if outcome.differences:
        return f"{len(outcome.differences)} of {outcome.compared} differ"
    return f"{outcome.compared} as expected"


def render_cases_json(outcomes: Sequence[CaseOutcome], _options: RenderOptions) -> str:
    """Return `preflight.rules-test/1`; `null` stands for a missing verdict."""
    counter = Counter(outcome.verdict for outcome in outcomes)
    root = {
        "schema": RULES_TEST_SCHEMA_NAME,
        "preflight": __version__,
        "summary": {
            "exit_code": compute_cases_exit_code(outcomes),
            "cases": len(outcomes),
            **{kind: counter[kind] for kind in ("pass", "fail", "unknown")},
        },
        "cases": [{**as_plain_data(outcome), "verdict": outcome.verdict} for outcome in outcomes],
    }
    return format_safe_json(root) + "\n"


def render_cases_as_junit(outcomes: Sequence[CaseOutcome], options: RenderOptions) -> str:
    """Return JUnit XML: a test case for each case; the same cases give the same bytes."""
    from preflight.render import load_renderer

    results = tuple(
        Result(
            id="cases",
            item=None,
            title=outcome.name,
            verdict=outcome.verdict,
            severity="required",
            message="; ".join(
                outcome.problems
                or [f"{mismatch.sentence}; {mismatch.message}" for mismatch in outcome.differences]
            ),
            section="preflight rules test",
        )
        for outcome in outcomes
    )
    return load_renderer("junit")(Report(__version__, "", "", "", "", {}, {}, results), options)


FORMATS: Mapping[str, Render] = {
    "text": render_case_outcomes,
    "json": render_cases_json,
    "junit": render_cases_as_junit,
}
