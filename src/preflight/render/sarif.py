"""SARIF 2.1.0 for code scanning: an alert for each rule that is not met, at the line that decides.

Results are the problems and what is waived, the gravest first; with `verbose` also what passed or
was skipped. Nothing is hidden: the counts of all verdicts stand in the run's properties. Where the
standard leaves a choice, GitHub's reading of it decides:

- It takes a file whole or not at all, so every result has a place: the line of the compose file,
  else the line of the rule. The bundled rules have a base of their own, under a path that no
  repository has by chance.
- It shows every result as an alert, whatever its `kind`. An undecided rule is of the kind `open`,
  whose level the standard has be `none`; it is left out here, so that the standard's readers see
  `none`, and GitHub the level of the rule.
- It doesn't read `suppressions`, so what is waived is a note there: seen, and never a red check.
- It follows an alert by `primaryLocationLineHash` alone. Here that is the rule and its item, which
  stay the same when lines move.
- An `automationDetails.id` would win over the category that an upload names, so there is none.
"""

from __future__ import annotations

import hashlib
import json
import posixpath
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal, TypeAlias
from urllib.parse import quote

from preflight.model.report import VERDICTS, ExitCode, Report, Result, Verdict
from preflight.model.rules import BUNDLED_NAME
from preflight.render import RenderOptions
from preflight.render.markdown_escape import escaped, fence, link
from preflight.render.sanitize import short
from preflight.render.tasks import command_lines, details, sentence, waiver_text

if TYPE_CHECKING:
    from preflight.model.fleet import Fleet

SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"

Level: TypeAlias = Literal["error", "warning", "note", "none"]

# https://docs.github.com/en/code-security/code-scanning/integrating-with-code-scanning/sarif-support-for-code-scanning
_MAX_RESULTS = 25_000  # of a run; more and it refuses the file
_MOST_TAGS = 20
_DESCRIPTION = 1000  # characters, of 1,024
_NAME = 255
_LONGEST_PATH = 4096  # characters; no system opens a longer one
_MOST_FIXES = 10  # of one rule, over its items

_SOURCE, _PROGRAM = "%SRCROOT%", "PREFLIGHT"
_BASES = {
    _SOURCE: {"description": {"text": "The folder where preflight was run."}},
    _PROGRAM: {"description": {"text": "Where preflight is installed, with its bundled rules."}},
}
_BUNDLED_RULES = "preflight/rules.yaml"

_GRAVEST: tuple[Verdict, ...] = ("fail", "unknown", "warn", "waived", "pass", "skip")
_KINDS: dict[Verdict, tuple[str, Level | None]] = {
    "fail": ("fail", "error"),
    "unknown": ("open", None),
    "warn": ("fail", "warning"),
    "waived": ("fail", "note"),
    "pass": ("pass", "none"),
    "skip": ("notApplicable", "none"),
}
_EXITS = {
    ExitCode.OK: "no required rule failed and none is undecided",
    ExitCode.FAILED: "a required rule failed; with --strict also a warning",
    ExitCode.UNDECIDED: "nothing failed, but a required rule could not be decided",
}

_DRIVE = re.compile(r"[A-Za-z]:[\\/]")
_SEMANTIC = re.compile(r"\d+\.\d+\.\d+(?:[-+][0-9A-Za-z.+-]+)?\Z")
_SYNTAX = re.compile(r"\](?=\()|\{(?=\d+\})")  # `[text](link)` and `{0}` of a SARIF message


def render(report: Report, options: RenderOptions) -> str:
    """Return the SARIF log; ASCII alone, so that no output encoding can break it."""
    return json.dumps(_log(report, options), indent=2) + "\n"


def render_fleet(fleet: Fleet, options: RenderOptions) -> str:
    """Return the same; each message names its host, and each alert is followed by host."""
    return render(fleet.combined(), options)


def _log(report: Report, options: RenderOptions) -> dict[str, Any]:
    shown = [one for one in report.results if options.verbose or _KINDS[one.verdict][1] != "none"]
    shown.sort(key=lambda one: _GRAVEST.index(one.verdict))
    left_out = len(shown) - _MAX_RESULTS
    shown = shown[:_MAX_RESULTS]
    rules: dict[str, list[Result]] = {}
    for result in shown:
        rules.setdefault(result.id, []).append(result)
    index = {id_: number for number, id_ in enumerate(rules)}
    windows = report.host.get("os") == "windows"
    run = {
        "tool": {"driver": _driver(report.version, rules)},
        "invocations": [_invocation(report, left_out)],
        "originalUriBaseIds": _BASES,
        "results": list(_results(report, shown, index, windows)),
        "properties": _summary(report),
    }
    return {"version": "2.1.0", "$schema": SCHEMA, "runs": [run]}


def _driver(version: str, rules: Mapping[str, list[Result]]) -> dict[str, Any]:
    semantic = {"semanticVersion": version} if _SEMANTIC.match(version) else {}
    return {
        "name": "preflight",
        "version": short(version),
        **semantic,
        "rules": [_rule(results) for results in rules.values()],
    }


def _invocation(report: Report, left_out: int) -> dict[str, Any]:
    """How it went; what is to be said of the rule file is about the tool's configuration."""
    notices = list(report.notes)
    if left_out > 0:
        notices.append(f"{left_out} more results were left out: a run holds {_MAX_RESULTS}")
    hostname = report.host.get("hostname")
    return {
        **({"machine": short(str(hostname))} if hostname else {}),
        "executionSuccessful": True,
        "exitCode": report.exit_code,
        "exitCodeDescription": _EXITS[report.exit_code],
        "toolConfigurationNotifications": [
            {"level": "warning", "message": {"text": _message(short(note))}}
            for note in notices
            if note
        ],
    }


def _summary(report: Report) -> dict[str, Any]:
    return {
        "verdict": report.verdict,
        "counts": {verdict: report.counts[verdict] for verdict in VERDICTS},
        "strict": report.strict,
        "measuredAt": short(report.measured_at),
        "seconds": report.seconds,
        "rules": {
            "name": short(report.rules_name),
            "source": short(report.rules_source),
            "sha256": report.rules_sha256,
        },
    }


def _rule(results: list[Result]) -> dict[str, Any]:
    """Describe a rule from what it came to: one result, or one for each of its items."""
    rule = results[0]
    required = any(one.severity == "required" for one in results)
    level: Level = "error" if required else "warning"
    title = short(rule.title, _DESCRIPTION) or rule.id
    words = rule.id.split("-")
    name = "".join(word[:1].upper() + word[1:] for word in words)[:_NAME]
    tags = dict.fromkeys(short(tag, 100) for tag in rule.tags if tag)
    return {
        "id": rule.id,
        **({"name": name} if len(words) > 1 else {}),  # a name is to be another than the id
        "shortDescription": {"text": title},
        "fullDescription": {"text": short(rule.why, _DESCRIPTION) or title},
        "help": {"text": _help(results, title), "markdown": _help_markdown(results, title)},
        "defaultConfiguration": {"level": level},
        "properties": {
            "tags": list(tags)[:_MOST_TAGS],
            "precision": "very-high",  # it is measured, not guessed
            "problem.severity": level,
        },
    }


def _help(results: list[Result], title: str) -> str:
    rule = results[0]
    parts = [title, short(rule.why)]
    parts.append("\n".join(f"{name}: {text}" for name, text in _particulars(results)))
    parts += ["\n".join(filter(None, fix)) for fix in _fixes(results)]
    parts.append(f"To see it on a machine: preflight explain {rule.id}")
    return "\n\n".join(filter(None, parts))


def _help_markdown(results: list[Result], title: str) -> str:
    rule = results[0]
    parts = [f"**{escaped(title)}**", escaped(short(rule.why))]
    parts.append("\n".join(f"- {name}: {escaped(text)}" for name, text in _particulars(results)))
    for text, command, url in _fixes(results):
        block = fence(command.splitlines(), "sh") if command else ""
        parts += [escaped(text), block, link(url)]
    parts.append(f"To see it on a machine: `preflight explain {rule.id}`")
    return "\n\n".join(filter(None, parts))


def _particulars(results: list[Result]) -> Iterator[tuple[str, str]]:
    """What holds for the whole rule, by name; what differs between its items is theirs to tell."""
    rule = results[0]
    for name, texts in (
        ("Asked", {one.expected_text for one in results}),
        ("Fact", {one.fact for one in results}),
        ("Section", {" · ".join(filter(None, (rule.source, rule.section)))}),
    ):
        if len(texts) == 1 and (text := short(texts.pop())):
            yield name, text


def _fixes(results: Iterable[Result]) -> Iterator[tuple[str, str, str]]:
    """The fixes of a rule, each once: text, command of one or more lines, link."""
    fixes = dict.fromkeys(fix for result in results for fix in result.fixes)
    for fix in list(fixes)[:_MOST_FIXES]:
        yield short(fix.text), "\n".join(command_lines(fix)), short(fix.url or "")


def _results(
    report: Report, shown: Iterable[Result], index: Mapping[str, int], windows: bool
) -> Iterator[dict[str, Any]]:
    seen: Counter[str] = Counter()
    for result in shown:
        kind, level = _KINDS[result.verdict]
        mark = _fingerprint(result)
        seen[mark] += 1
        yield {
            "ruleId": result.id,
            "ruleIndex": index[result.id],
            "kind": kind,
            **({"level": level} if level else {}),
            "message": {"text": _told(result)},
            "locations": [_location(result, windows)],
            "partialFingerprints": {"primaryLocationLineHash": f"{mark}:{seen[mark]}"},
            "suppressions": _suppressions(result),
            "properties": _properties(report, result),
        }


def _fingerprint(result: Result) -> str:
    whole = json.dumps([result.id, result.item])
    return hashlib.sha256(whole.encode()).hexdigest()[:16]


def _told(result: Result) -> str:
    """The sentence that every format shows, as a sentence, and below it what to do."""
    first = sentence(result)
    first = first if first.endswith((".", "!", "?", "…")) else f"{first}."
    return "\n".join(map(_message, (first, *details(result))))


def _message(text: str) -> str:
    """Return a text as text alone, where a viewer of SARIF reads links and placeholders."""
    return _SYNTAX.sub(r"\g<0> ", text)


def _suppressions(result: Result) -> list[dict[str, Any]]:
    waiver = result.waiver
    if result.verdict != "waived" or waiver is None:
        return []
    text = waiver_text(waiver)
    return [{"kind": "external", "status": "accepted", "justification": text}]


def _properties(report: Report, result: Result) -> dict[str, Any]:
    told = {
        "verdict": result.verdict,
        "severity": result.severity,
        "found": short(result.actual_text),
        "asked": short(result.expected_text),
        "evidence": short(result.reason_or_source),
    }
    return {
        **{key: text for key, text in told.items() if text},
        "gates": report.affects_exit_code(result),
    }


def _location(result: Result, windows: bool) -> dict[str, Any]:
    """The line of the compose file that decides, else the rule's own."""
    if result.file:
        artifact, line = _artifact(result.file, windows), result.line
    elif result.rule_file in ("", BUNDLED_NAME):
        artifact, line = {"uri": _BUNDLED_RULES, "uriBaseId": _PROGRAM}, result.rule_line
    else:
        artifact, line = _artifact(result.rule_file, windows), result.rule_line
    logical = [{"fullyQualifiedName": short(result.fact), "kind": "fact"}]
    if result.item:
        logical.append({"name": short(result.item), "kind": "item"})
    return {
        "physicalLocation": {"artifactLocation": artifact, "region": {"startLine": line or 1}},
        "logicalLocations": logical,
    }


def _artifact(path: str, windows: bool) -> dict[str, str]:
    """Return a path as SARIF names it: relative to the sources, or absolute with its scheme."""
    path = path[:_LONGEST_PATH]
    drive = _DRIVE.match(path) is not None
    if windows or drive or path.startswith("\\\\"):
        path = path.replace("\\", "/")
        if path.startswith("//"):
            return {"uri": f"file:{_quoted(path)}"}  # \\server\share
    if drive:
        return {"uri": f"file:///{path[:2]}{_quoted(path[2:])}"}
    if path.startswith("/"):
        return {"uri": f"file:///{_quoted(path.lstrip('/'))}"}
    return {"uri": _quoted(posixpath.normpath(path)), "uriBaseId": _SOURCE}


def _quoted(path: str) -> str:
    """Percent-encode a path, a colon in its first segment too: that would read as a scheme."""
    return quote(path.encode("utf-8", "surrogatepass"), safe="/")
