"""The golden report for every renderer, and the same with hostile text in every field."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date
from functools import cache

from paths import GOLDEN
from preflight import check as pipeline
from preflight.evaluate.judge import RuleSelection, judge_rules
from preflight.model.fleet import Fleet, HostReport
from preflight.model.report import ExitCode, Report, ResolvedFix, Result
from preflight.render import RenderOptions, load_renderer
from preflight.snapshot.facts_file import read_snapshot

TODAY = date(2026, 11, 23)

HOSTILE = {
    "command": "::error file=a,line=1::owned",
    "percent": "100%0A::error::owned%0D%25",
    "newlines": "one\n::error::owned\r\n##[error]owned\r::stop-commands::x\u2028two",
    "cdata": "]]><!-- --><script>alert(1)</script>&amp;&#0;",
    "nul": "a\x00b\x01\x08\x0b\x1f\x7f\x85",
    "surrogates": "a\ud800b\udfff",
    "noncharacters": "a\ufffe\uffff\U0001fffe",
    "markup": "[bold red]x[/] [link=http://evil]y[/link] **b** `c` <img src=x onerror=1> @everyone",
    "table": "| a | b |\n|---|---|\n# head\n- [ ] task\n```sh\nrm\n```",
    "escapes": "\x1b[31mred\x1b]0;title\x07\x1b]8;;http://evil\x1b\\\\",
    "quotes": '"\'\\\\ \\" \\n ${HOME} $(id) `id`',
    "tap": "ok 1 - owned # SKIP\nnot ok 2 # TODO x\nBail out! now\n  ---\n  ...\n1..9",
    "yaml": "a: [b, *c, &d !e {f: g}]: # h",
    "direction": "\u202egnp.exe\u2066\u200b\ufeff",
    "empty": "",
    "long": "x" * 2**16,
    "long line of marks": ']]>::%|`\\"' * 2**13,
}
"""Texts that must not break a format, inject a command or reach a terminal unescaped."""


@cache
def golden_report() -> Report:
    """Return the report of the golden facts and rules; made once, as it is immutable."""
    rules = pipeline.load_ruleset("rules.yaml", lambda name: (GOLDEN / name).read_bytes())
    facts = read_snapshot((GOLDEN / "facts.json").read_bytes(), "facts.json")
    report = judge_rules(rules, facts, pipeline.build_catalogue(), RuleSelection(), TODAY)
    return report._replace(version="1.0.0", seconds=0.12)


def report_with_hostile_text(text: str) -> Report:
    """Return the golden report with a text in every field that outside data can fill."""
    report = golden_report()

    def replace_texts(result: Result) -> Result:
        waiver = result.waiver and result.waiver._replace(reason=text, owner=text)
        return result._replace(
            item=text,
            title=text,
            message=text,
            actual_text=text,
            expected_text=text,
            source=text,
            section=text,
            tags=(text,),
            why=text,
            reason_or_source=text,
            error=text,
            actual=text if result.unit == "text" else result.actual,
            file=text if result.file else None,
            rule_file=text,
            fixes=(ResolvedFix(text, text, f"https://example.org/{text}"),),
            change=result.change and result.change._replace(text=text),
            waiver=waiver,
        )

    return report._replace(
        rules_name=text,
        rules_source=text,
        next=text,
        notes=(text,),
        host=dict.fromkeys(report.host, text),
        engine={**report.engine, "endpoint": text, "context": text, "version": text},
        results=tuple(replace_texts(result) for result in report.results),
    )


def report_with_all_hostile_texts() -> Report:
    """Return one report with the results of every hostile text, and each as a note."""
    results = [r for text in HOSTILE.values() for r in report_with_hostile_text(text).results]
    first = report_with_hostile_text(HOSTILE["newlines"])
    return first._replace(results=tuple(results), notes=tuple(HOSTILE.values()))


def hosts(name: str = "edge <7>", reason: str = "host key changed") -> list[HostReport]:
    """Return five hosts: all problems, rules of its group, all passed, and two not reached."""
    whole = golden_report()
    passed = [result for result in whole.results if result.verdict == "pass"]
    memory = [result for result in whole.results if result.id == "host-memory"]
    group = (r._replace(title="RAM for GPUs", message="RAM for GPUs: 8.3 GB") for r in memory)
    return [
        HostReport("vm-1", whole),
        HostReport("gpu-03", _with_results(whole, group)._replace(rules_sha256="0" * 64)),
        HostReport("vm-2", _with_results(whole, passed)),
        HostReport(name, None, reason),
        HostReport("edge-8", None, reason),
    ]


def _with_results(report: Report, results: Iterable[Result]) -> Report:
    return report._replace(results=tuple(results))


def render_hosts(
    format_: str,
    many: Iterable[HostReport],
    options: RenderOptions,
    failure_code: int = ExitCode.UNDECIDED,
) -> str:
    """Render many hosts in a format."""
    all_hosts = tuple(many)
    fleet = Fleet(f"{len(all_hosts)} hosts · golden", all_hosts, 1.25, failure_code)
    return load_renderer(format_)(fleet, options)
