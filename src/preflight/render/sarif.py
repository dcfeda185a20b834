"""SARIF 2.1.0 for code scanning: an alert for each rule that is not met, at the line that decides.

Results are the problems and what is waived, the worst first; with `verbose` also what passed or
was skipped. The counts of all verdicts are in the run's properties. Where the standard leaves a
choice, GitHub's reading of it decides:

- It takes a file whole or not at all, so every result has a place: the line of the compose file,
  else the line of the rule. The bundled rules have a base of their own, under a path that no
  repository has by chance.
- It shows every result as an alert, whatever its `kind`. An undecided rule is of the kind `open`,
  whose level must be `none`; it is left out here, so that readers of the standard see `none`, and
  GitHub the level of the rule.
- It doesn't read `suppressions`, so what is waived is a note, which never fails a check.
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
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeAlias
from urllib.parse import quote

from preflight.model.report import VERDICTS, ExitCode, Report, Result, Verdict
from preflight.model.rules import BUNDLED_NAME
from preflight.render import RenderOptions
from preflight.render.markdown_escape import code_block, escape_markdown, web_link
from preflight.render.sanitize import short
from preflight.render.tasks import command_lines, detail_lines, result_message, waiver_text

if TYPE_CHECKING:
    from preflight.model.fleet import Fleet

SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"

Level: TypeAlias = Literal["error", "warning", "note", "none"]

# https://docs.github.com/en/code-security/code-scanning/integrating-with-code-scanning/sarif-support-for-code-scanning
_MAX_RESULTS = 25_000  # of a run; GitHub refuses a file with more
_MAX_TAGS = 20
_MAX_DESCRIPTION = 1000  # characters, of 1,024
_MAX_NAME = 255  # characters
_MAX_PATH = 4096  # characters; no system opens a longer one
_MAX_FIXES = 10  # of one rule, over its items

_SOURCE_BASE, _PROGRAM_BASE = "%SRCROOT%", "PREFLIGHT"
_URI_BASES = {
    _SOURCE_BASE: {"description": {"text": "The folder where preflight was run."}},
    _PROGRAM_BASE: {
        "description": {"text": "Where preflight is installed, with its bundled rules."}
    },
}
_BUNDLED_RULES = "preflight/rules.yaml"

_KINDS: Mapping[Verdict, tuple[str, Level | None]] = {
    "fail": ("fail", "error"),
    "unknown": ("open", None),
    "warn": ("fail", "warning"),
    "waived": ("fail", "note"),
    "pass": ("pass", "none"),
    "skip": ("notApplicable", "none"),
}
"""By verdict, the worst first: the kind and the level of a result."""
_WORST_FIRST = tuple(_KINDS)
_EXIT_DESCRIPTIONS = {
    ExitCode.OK: "no required rule failed and none is undecided",
    ExitCode.FAILED: "a required rule failed; with --strict also a warning",
    ExitCode.UNDECIDED: "nothing failed, but a required rule could not be decided",
}

_DRIVE = re.compile(r"[A-Za-z]:[\\/]")
_SEMANTIC_VERSION = re.compile(r"\d+\.\d+\.\d+(?:[-+][0-9A-Za-z.+-]+)?\Z")
_MESSAGE_SYNTAX = re.compile(r"\](?=\()|\{(?=\d+\})")  # `[text](link)` and `{0}` of a SARIF message


def render(report: Report, options: RenderOptions) -> str:
    """Return the SARIF log; ASCII alone, so that no output encoding can break it."""
    results = [one for one in report.results if options.verbose or _KINDS[one.verdict][1] != "none"]
    results.sort(key=lambda result: _WORST_FIRST.index(result.verdict))
    left_out = len(results) - _MAX_RESULTS
    results = results[:_MAX_RESULTS]
    rules: dict[str, list[Result]] = {}
    for result in results:
        rules.setdefault(result.id, []).append(result)
    version = report.version
    semantic = {"semanticVersion": version} if _SEMANTIC_VERSION.match(version) else {}
    driver = {
        "name": "preflight",
        "version": short(version),
        **semantic,
        "rules": [_rule(results) for results in rules.values()],
    }
    run = {
        "tool": {"driver": driver},
        "invocations": [_invocation(report, left_out)],
        "originalUriBaseIds": _URI_BASES,
        "results": list(_results(report, results, list(rules))),
        "properties": _run_properties(report),
    }
    log = {"version": "2.1.0", "$schema": SCHEMA, "runs": [run]}
    return json.dumps(log, indent=2) + "\n"


def render_fleet(fleet: Fleet, options: RenderOptions) -> str:
    """Return the same; each message names its host, and each alert is followed by host."""
    return render(fleet.combined(), options)


def _invocation(report: Report, left_out: int) -> dict[str, Any]:
    """Return how the run went; notes on the rule file are about the tool's configuration."""
    notes = list(report.notes)
    if left_out > 0:
        notes.append(f"{left_out} more results were left out: a run holds {_MAX_RESULTS}")
    hostname = report.host.get("hostname")
    return {
        **({"machine": short(str(hostname))} if hostname else {}),
        "executionSuccessful": True,
        "exitCode": report.exit_code,
        "exitCodeDescription": _EXIT_DESCRIPTIONS[report.exit_code],
        "toolConfigurationNotifications": [
            {"level": "warning", "message": {"text": _message(short(note))}}
            for note in notes
            if note
        ],
    }


def _run_properties(report: Report) -> dict[str, Any]:
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


def _rule(results: Sequence[Result]) -> dict[str, Any]:
    """Describe a rule by its results: one, or one for each of its items."""
    rule = results[0]
    required = any(result.severity == "required" for result in results)
    level: Level = "error" if required else "warning"
    title = short(rule.title, _MAX_DESCRIPTION) or rule.id
    words = rule.id.split("-")
    name = "".join(word[:1].upper() + word[1:] for word in words)[:_MAX_NAME]
    tags = dict.fromkeys(short(tag, 100) for tag in rule.tags if tag)
    return {
        "id": rule.id,
        **({"name": name} if len(words) > 1 else {}),  # the name must differ from the id
        "shortDescription": {"text": title},
        "fullDescription": {"text": short(rule.why, _MAX_DESCRIPTION) or title},
        "help": _help(results, title),
        "defaultConfiguration": {"level": level},
        "properties": {
            "tags": list(tags)[:_MAX_TAGS],
            "precision": "very-high",  # it is measured, not guessed
            "problem.severity": level,
        },
    }


def _help(results: Sequence[Result], title: str) -> dict[str, str]:
    """Return the help on a rule as text and as Markdown: why, its particulars, its fixes."""
    rule = results[0]
    particulars = list(_particulars(results))
    text = [title, short(rule.why), "\n".join(f"{name}: {value}" for name, value in particulars)]
    lines = (f"- {name}: {escape_markdown(value)}" for name, value in particulars)
    markdown = [f"**{escape_markdown(title)}**", escape_markdown(rule.why), "\n".join(lines)]
    fixes = dict.fromkeys(fix for result in results for fix in result.fixes)
    for fix in list(fixes)[:_MAX_FIXES]:
        command, url = command_lines(fix), short(fix.url or "")
        text.append("\n".join(filter(None, (short(fix.text), *command, url))))
        block = code_block(command, "sh") if command else ""
        markdown += [escape_markdown(fix.text), block, web_link(url)]
    text.append(f"To see it on a machine: preflight explain {rule.id}")
    markdown.append(f"To see it on a machine: `preflight explain {rule.id}`")
    return {
        "text": "\n\n".join(filter(None, text)),
        "markdown": "\n\n".join(filter(None, markdown)),
    }


def _particulars(results: Sequence[Result]) -> Iterator[tuple[str, str]]:
    """Yield what is the same for all items of a rule, by name."""
    rule = results[0]
    for name, texts in (
        ("Asked", {result.expected_text for result in results}),
        ("Fact", {result.fact for result in results}),
        ("Section", {" · ".join(filter(None, (rule.source, rule.section)))}),
    ):
        if len(texts) == 1 and (text := short(texts.pop())):
            yield name, text


def _results(
    report: Report, results: Sequence[Result], rule_ids: Sequence[str]
) -> Iterator[dict[str, Any]]:
    seen: Counter[str] = Counter()
    index = {id_: number for number, id_ in enumerate(rule_ids)}
    windows = report.host.get("os") == "windows"
    for result in results:
        kind, level = _KINDS[result.verdict]
        identity = json.dumps([result.id, result.item])
        fingerprint = hashlib.sha256(identity.encode()).hexdigest()[:16]
        seen[fingerprint] += 1
        line_hash = f"{fingerprint}:{seen[fingerprint]}"
        properties = {
            "verdict": result.verdict,
            "severity": result.severity,
            "found": short(result.actual_text),
            "asked": short(result.expected_text),
            "evidence": short(result.reason_or_source),
        }
        yield {
            "ruleId": result.id,
            "ruleIndex": index[result.id],
            "kind": kind,
            **({"level": level} if level else {}),
            "message": {"text": _result_message(result)},
            "locations": [_location(result, windows)],
            "partialFingerprints": {"primaryLocationLineHash": line_hash},
            "suppressions": _suppressions(result),
            "properties": {
                **{key: value for key, value in properties.items() if value},
                "gates": report.affects_exit_code(result),
            },
        }


def _result_message(result: Result) -> str:
    """Return the sentence that every format shows, with a full stop, and below it what to do."""
    first = result_message(result)
    first = first if first.endswith((".", "!", "?", "…")) else f"{first}."
    return "\n".join(map(_message, (first, *detail_lines(result))))


def _message(text: str) -> str:
    """Return a text as text alone, where a viewer of SARIF reads links and placeholders."""
    return _MESSAGE_SYNTAX.sub(r"\g<0> ", text)


def _suppressions(result: Result) -> list[dict[str, Any]]:
    if result.verdict != "waived" or result.waiver is None:
        return []
    text = waiver_text(result.waiver)
    return [{"kind": "external", "status": "accepted", "justification": text}]


def _location(result: Result, windows: bool) -> dict[str, Any]:
    """Return the line of the compose file that decides, else the rule's own."""
    if result.file:
        artifact, line = _artifact(result.file, windows), result.line
    elif result.rule_file in ("", BUNDLED_NAME):
        artifact, line = {"uri": _BUNDLED_RULES, "uriBaseId": _PROGRAM_BASE}, result.rule_line
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
    path = path[:_MAX_PATH]
    drive = _DRIVE.match(path) is not None
    if windows or drive or path.startswith("\\\\"):
        path = path.replace("\\", "/")
        if path.startswith("//"):
            return {"uri": f"file:{_quoted(path)}"}  # \\server\share
    if drive:
        return {"uri": f"file:///{path[:2]}{_quoted(path[2:])}"}
    if path.startswith("/"):
        return {"uri": f"file:///{_quoted(path.lstrip('/'))}"}
    return {"uri": _quoted(posixpath.normpath(path)), "uriBaseId": _SOURCE_BASE}


def _quoted(path: str) -> str:
    """Percent-encode a path, a colon in its first segment too: that would read as a scheme."""
    return quote(path.encode("utf-8", "surrogatepass"), safe="/")
