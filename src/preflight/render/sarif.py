"""SARIF 2.1.0 for code scanning: an alert for each rule that is not met, at the line that decides.

Results are the problems and what is waived, the worst first; with `verbose` also what passed or
was skipped. Where the standard leaves a choice, GitHub's reading of it decides:

- It takes a file whole or not at all, so every result has a place: the line of the compose file,
  else the line of the rule. The bundled rules have a base of their own, under a path that no
  repository has by chance.
- It shows every result as an alert, whatever its `kind`. An undecided rule is of the kind `open`,
  whose level must be `none`; it is left out here, so that readers of the standard see `none`, and
  GitHub the level of the rule.
- It doesn't read `suppressions`, so what is waived is a note, which never fails a check.
- It follows an alert by `primaryLocationLineHash` alone. Here that is the rule and its item, which
  stay the same when lines move.
- Of many hosts each message names its host, and each alert is followed by host.
- An `automationDetails.id` would win over the category that an upload names, so there is none.
"""

from __future__ import annotations

import hashlib
import json
import posixpath
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any
from urllib.parse import quote

from preflight.model.report import Report, Result, Verdict
from preflight.model.rules import BUNDLED_FILE_BY_DISPLAY_NAME
from preflight.render import RenderOptions
from preflight.render.jinja_templates import MARKDOWN_JINJA_ENVIRONMENT
from preflight.render.report_texts import format_detail_lines, format_fix_lines
from preflight.render.sanitize import clean_and_shorten, format_safe_json, sanitize_texts

# https://docs.github.com/en/code-security/code-scanning/integrating-with-code-scanning/sarif-support-for-code-scanning
_MAX_SARIF_RESULTS = 25_000  # of a run; GitHub refuses a file with more
_MAX_SARIF_TAGS = 20
_MAX_DESCRIPTION_CHARS = 1000  # characters, of 1,024
_MAX_PATH_CHARS = 4096  # characters; no system opens a longer one
_MAX_SARIF_FIXES_PER_RULE = 10  # of one rule, over its items

_SARIF_URI_BASES = {
    "%SRCROOT%": {"description": {"text": "The folder where preflight was run."}},
    "PREFLIGHT": {"description": {"text": "Where preflight is installed, with its bundled rules."}},
}
_SARIF_KIND_AND_LEVEL_BY_VERDICT: Mapping[Verdict, dict[str, str]] = {
    "fail": {"kind": "fail", "level": "error"},
    "unknown": {"kind": "open"},
    "warn": {"kind": "fail", "level": "warning"},
    "waived": {"kind": "fail", "level": "note"},
    "pass": {"kind": "pass", "level": "none"},
    "skip": {"kind": "notApplicable", "level": "none"},
}
"""By verdict, the worst first: the kind and the level of a result."""
_WINDOWS_PATH_PATTERN = re.compile(r"[A-Za-z]:[\\/]|\\\\")
# `[text](link)` and `{0}` of a SARIF message
_SARIF_MESSAGE_SYNTAX_PATTERN = re.compile(r"\](?=\()|\{(?=\d+\})")


def render_report(report: Report, options: RenderOptions) -> str:
    """Return the SARIF log; ASCII alone, so that no output encoding can break it."""
    verdicts = [
        v for v in _SARIF_KIND_AND_LEVEL_BY_VERDICT if options.verbose or v not in ("pass", "skip")
    ]
    shown = [result for result in report.results if result.verdict in verdicts]
    shown.sort(key=lambda result: verdicts.index(result.verdict))
    notes = [clean_and_shorten(note) for note in report.notes if note]
    if (left_out := len(shown) - _MAX_SARIF_RESULTS) > 0:
        notes.append(
            f"{left_out} more results were left out: a run can contain {_MAX_SARIF_RESULTS}"
        )
        del shown[_MAX_SARIF_RESULTS:]
    # paths keep all their characters, which _make_artifact_location encodes
    results = [sanitize_texts(r)._replace(file=r.file, rule_file=r.rule_file) for r in shown]
    rules: dict[str, list[Result]] = {}
    for result in results:
        rules.setdefault(result.id, []).append(result)
    run = {
        "tool": {
            "driver": {
                "name": "preflight",
                "version": clean_and_shorten(report.version),
                "rules": list(map(_make_rule_object, rules.values())),
            }
        },
        "invocations": [
            {
                "executionSuccessful": True,
                "exitCode": report.exit_code,
                "toolConfigurationNotifications": [
                    {"level": "warning", "message": _make_message_object(note)} for note in notes
                ],
            }
        ],
        "originalUriBaseIds": _SARIF_URI_BASES,
        "results": _make_result_objects(results, list(rules), report.host.get("os") == "windows"),
    }
    schema = "https://json.schemastore.org/sarif-2.1.0.json"
    return format_safe_json({"version": "2.1.0", "$schema": schema, "runs": [run]}) + "\n"


def _make_rule_object(results: Sequence[Result]) -> dict[str, Any]:
    """Describe a rule by its results: one, or one for each of its items."""
    rule = results[0]
    level = "error" if any(result.severity == "required" for result in results) else "warning"
    title = clean_and_shorten(rule.title, _MAX_DESCRIPTION_CHARS) or rule.id
    tags = dict.fromkeys(clean_and_shorten(tag, 100) for tag in rule.tags if tag)
    return {
        "id": rule.id,
        "shortDescription": {"text": title},
        "fullDescription": {"text": clean_and_shorten(rule.why, _MAX_DESCRIPTION_CHARS) or title},
        "help": _make_rule_help(results, title),
        "defaultConfiguration": {"level": level},
        "properties": {
            "tags": list(tags)[:_MAX_SARIF_TAGS],
            "precision": "very-high",  # it is measured, not guessed
            "problem.severity": level,
        },
    }


def _make_rule_help(results: Sequence[Result], title: str) -> dict[str, str]:
    """Return the help on a rule: its reason, what is the same for all its items, its fixes."""
    rule = results[0]
    values = {
        "Asked": {result.expected_text for result in results},
        "Fact": {result.fact for result in results},
        "Section": {" · ".join(filter(None, (rule.source, rule.section)))},
    }
    details = [f"{name}: {min(texts)}" for name, texts in values.items() if len(texts) == 1]
    details = [line for line in details if not line.endswith(": ")]
    fixes = list(dict.fromkeys(fix for result in results for fix in result.fixes))[
        :_MAX_SARIF_FIXES_PER_RULE
    ]
    explain = f"preflight explain {rule.id}"
    lines = [
        title,
        rule.why,
        *details,
        *format_fix_lines(fixes),
        f"To see it on a machine: {explain}",
    ]
    markdown = MARKDOWN_JINJA_ENVIRONMENT.get_template("help.md.j2").render(
        title=title, why=rule.why, details=details, fixes=fixes, explain=explain
    )
    return {"text": "\n".join(filter(None, lines)), "markdown": markdown}


def _make_result_objects(
    results: Sequence[Result], rule_ids: Sequence[str], windows: bool
) -> list[dict[str, Any]]:
    indexes = {id_: index for index, id_ in enumerate(rule_ids)}
    seen: Counter[str] = Counter()
    objects = []
    for result in results:
        identity = json.dumps([result.id, result.item])
        fingerprint = hashlib.sha256(identity.encode()).hexdigest()[:16]
        seen[fingerprint] += 1
        end = "" if result.message.endswith((".", "!", "?", "…")) else "."
        suppressions = []
        if result.verdict == "waived" and result.waiver is not None:
            suppression = {"kind": "external", "status": "accepted"}
            suppressions = [{**suppression, "justification": result.waiver.sentence}]
        objects.append(
            {
                "ruleId": result.id,
                "ruleIndex": indexes[result.id],
                **_SARIF_KIND_AND_LEVEL_BY_VERDICT[result.verdict],
                "message": _make_message_object(result.message + end, *format_detail_lines(result)),
                "locations": [{"physicalLocation": _find_sarif_location(result, windows)}],
                "partialFingerprints": {
                    "primaryLocationLineHash": f"{fingerprint}:{seen[fingerprint]}"
                },
                "suppressions": suppressions,
                "properties": {"verdict": result.verdict},
            }
        )
    return objects


def _make_message_object(*lines: str) -> dict[str, str]:
    """Return lines as text alone, where a viewer of SARIF reads links and placeholders."""
    return {"text": "\n".join(_SARIF_MESSAGE_SYNTAX_PATTERN.sub(r"\g<0> ", line) for line in lines)}


def _find_sarif_location(result: Result, windows: bool) -> dict[str, Any]:
    """Return the line of the compose file that decides, else the rule's own."""
    file, line = result.file, result.line
    if not file:
        file, line = result.rule_file, result.rule_line
    if file in BUNDLED_FILE_BY_DISPLAY_NAME:
        uri = f"preflight/{BUNDLED_FILE_BY_DISPLAY_NAME[file]}"
        artifact = {"uri": uri, "uriBaseId": "PREFLIGHT"}
    elif not file:
        artifact = {"uri": "preflight/rules.yaml", "uriBaseId": "PREFLIGHT"}
    else:
        artifact = _make_artifact_location(file[:_MAX_PATH_CHARS], windows)
    return {"artifactLocation": artifact, "region": {"startLine": line or 1}}


def _make_artifact_location(path: str, windows: bool) -> dict[str, str]:
    """Return a path as SARIF names it: relative to the sources, or absolute with its scheme."""
    path = path.encode("utf-8", "replace").decode()
    windows = windows or bool(_WINDOWS_PATH_PATTERN.match(path))
    pure = PureWindowsPath(path) if windows else PurePosixPath(path)
    if pure.is_absolute():
        return {"uri": pure.as_uri()}
    # a colon in the first segment would read as a scheme: it is encoded too
    uri = quote(posixpath.normpath(pure.as_posix()).lstrip("/"))
    return {"uri": uri, "uriBaseId": "%SRCROOT%"}
