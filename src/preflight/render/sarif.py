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
- Of many hosts each message names its host, and each alert is followed by host.
- An `automationDetails.id` would win over the category that an upload names, so there is none.
"""

from __future__ import annotations

import hashlib
import json
import ntpath
import posixpath
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from preflight.model.report import VERDICTS, Report, Result, Verdict
from preflight.model.rules import BUNDLED_NAME
from preflight.render import RenderOptions
from preflight.render.markdown_escape import code_block, escape_markdown, web_link
from preflight.render.sanitize import shorten
from preflight.render.tasks import command_lines, detail_lines, result_message, waiver_text

SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"

# https://docs.github.com/en/code-security/code-scanning/integrating-with-code-scanning/sarif-support-for-code-scanning
_MAX_RESULTS = 25_000  # of a run; GitHub refuses a file with more
_MAX_TAGS = 20
_MAX_DESCRIPTION = 1000  # characters, of 1,024
_MAX_NAME = 255  # characters
_MAX_PATH = 4096  # characters; no system opens a longer one
_MAX_FIXES = 10  # of one rule, over its items

_URI_BASES = {
    "%SRCROOT%": {"description": {"text": "The folder where preflight was run."}},
    "PREFLIGHT": {"description": {"text": "Where preflight is installed, with its bundled rules."}},
}

_KIND_AND_LEVEL: Mapping[Verdict, dict[str, str]] = {
    "fail": {"kind": "fail", "level": "error"},
    "unknown": {"kind": "open"},
    "warn": {"kind": "fail", "level": "warning"},
    "waived": {"kind": "fail", "level": "note"},
    "pass": {"kind": "pass", "level": "none"},
    "skip": {"kind": "notApplicable", "level": "none"},
}
"""By verdict, the worst first: the kind and the level of a result."""
_DRIVE = re.compile(r"[A-Za-z]:[\\/]")
_MESSAGE_SYNTAX = re.compile(r"\](?=\()|\{(?=\d+\})")  # `[text](link)` and `{0}` of a SARIF message


def render(report: Report, options: RenderOptions) -> str:
    """Return the SARIF log; ASCII alone, so that no output encoding can break it."""
    shown = [
        result
        for verdict in _KIND_AND_LEVEL
        if options.verbose or verdict not in ("pass", "skip")
        for result in report.results
        if result.verdict == verdict
    ]
    notes = list(report.notes)
    if (left_out := len(shown) - _MAX_RESULTS) > 0:
        notes.append(f"{left_out} more results were left out: a run holds {_MAX_RESULTS}")
    rules: dict[str, list[Result]] = {}
    for result in shown[:_MAX_RESULTS]:
        rules.setdefault(result.id, []).append(result)
    hostname = report.host.get("hostname")
    invocation = {
        **({"machine": shorten(str(hostname))} if hostname else {}),
        "executionSuccessful": True,
        "exitCode": report.exit_code,
        "toolConfigurationNotifications": [
            {"level": "warning", "message": {"text": _escape_message(shorten(note))}}
            for note in notes
            if note
        ],
    }
    driver = {
        "name": "preflight",
        "version": shorten(report.version),
        "rules": [_rule(results) for results in rules.values()],
    }
    run = {
        "tool": {"driver": driver},
        "invocations": [invocation],
        "originalUriBaseIds": _URI_BASES,
        "results": _results(report, shown[:_MAX_RESULTS], list(rules)),
        "properties": {
            "verdict": report.verdict,
            "counts": {verdict: report.counts[verdict] for verdict in VERDICTS},
            "strict": report.strict,
            "measuredAt": shorten(report.measured_at),
            "seconds": report.seconds,
            "rules": {
                "name": shorten(report.rules_name),
                "source": shorten(report.rules_source),
                "sha256": report.rules_sha256,
            },
        },
    }
    log = {"version": "2.1.0", "$schema": SCHEMA, "runs": [run]}
    return json.dumps(log, indent=2) + "\n"


def _rule(results: Sequence[Result]) -> dict[str, Any]:
    """Describe a rule by its results: one, or one for each of its items."""
    rule = results[0]
    required = any(result.severity == "required" for result in results)
    level = "error" if required else "warning"
    title = shorten(rule.title, _MAX_DESCRIPTION) or rule.id
    words = rule.id.split("-")
    name = "".join(word[:1].upper() + word[1:] for word in words)[:_MAX_NAME]
    tags = dict.fromkeys(shorten(tag, 100) for tag in rule.tags if tag)
    return {
        "id": rule.id,
        **({"name": name} if len(words) > 1 else {}),  # the name must differ from the id
        "shortDescription": {"text": title},
        "fullDescription": {"text": shorten(rule.why, _MAX_DESCRIPTION) or title},
        "help": _help(results, title),
        "defaultConfiguration": {"level": level},
        "properties": {
            "tags": list(tags)[:_MAX_TAGS],
            "precision": "very-high",  # it is measured, not guessed
            "problem.severity": level,
        },
    }


def _help(results: Sequence[Result], title: str) -> dict[str, str]:
    """Return the help on a rule: its reason, what is the same for all its items, its fixes."""
    rule = results[0]
    details = {
        "Asked": {result.expected_text for result in results},
        "Fact": {result.fact for result in results},
        "Section": {" · ".join(filter(None, (rule.source, rule.section)))},
    }
    shown = {
        name: text
        for name, texts in details.items()
        if len(texts) == 1 and (text := shorten(next(iter(texts))))
    }
    # each paragraph as text and as Markdown
    paragraphs = [
        (title, f"**{escape_markdown(title)}**"),
        (shorten(rule.why), escape_markdown(rule.why)),
        (
            "\n".join(f"{name}: {text}" for name, text in shown.items()),
            "\n".join(f"- {name}: {escape_markdown(text)}" for name, text in shown.items()),
        ),
    ]
    fixes = dict.fromkeys(fix for result in results for fix in result.fixes)
    for fix in list(fixes)[:_MAX_FIXES]:
        command, url = command_lines(fix), shorten(fix.url or "")
        block = code_block(command, "sh") if command else ""
        markdown = (escape_markdown(fix.text), block, web_link(url))
        text = "\n".join(filter(None, (shorten(fix.text), *command, url)))
        paragraphs.append((text, "\n\n".join(filter(None, markdown))))
    command_line = f"preflight explain {rule.id}"
    paragraphs.append(
        (f"To see it on a machine: {command_line}", f"To see it on a machine: `{command_line}`")
    )
    text, markdown_text = (
        "\n\n".join(filter(None, column)) for column in zip(*paragraphs, strict=True)
    )
    return {"text": text, "markdown": markdown_text}


def _results(
    report: Report, results: Sequence[Result], rule_ids: Sequence[str]
) -> list[dict[str, Any]]:
    index = {id_: number for number, id_ in enumerate(rule_ids)}
    windows = report.host.get("os") == "windows"
    seen: Counter[str] = Counter()
    objects = []
    for result in results:
        identity = json.dumps([result.id, result.item])
        fingerprint = hashlib.sha256(identity.encode()).hexdigest()[:16]
        seen[fingerprint] += 1
        message = result_message(result)
        message += "" if message.endswith((".", "!", "?", "…")) else "."
        waiver = result.waiver if result.verdict == "waived" else None
        suppression = {"kind": "external", "status": "accepted"}
        properties = {
            "verdict": result.verdict,
            "severity": result.severity,
            "found": shorten(result.actual_text),
            "asked": shorten(result.expected_text),
            "evidence": shorten(result.reason_or_source),
        }
        objects.append(
            {
                "ruleId": result.id,
                "ruleIndex": index[result.id],
                **_KIND_AND_LEVEL[result.verdict],
                "message": {
                    "text": "\n".join(map(_escape_message, (message, *detail_lines(result))))
                },
                "locations": [_location(result, windows)],
                "partialFingerprints": {
                    "primaryLocationLineHash": f"{fingerprint}:{seen[fingerprint]}"
                },
                "suppressions": [{**suppression, "justification": waiver_text(waiver)}]
                if waiver
                else [],
                "properties": {
                    **{key: value for key, value in properties.items() if value},
                    "gates": report.affects_exit_code(result),
                },
            }
        )
    return objects


def _escape_message(text: str) -> str:
    """Return a text as text alone, where a viewer of SARIF reads links and placeholders."""
    return _MESSAGE_SYNTAX.sub(r"\g<0> ", text)


def _location(result: Result, windows: bool) -> dict[str, Any]:
    """Return the line of the compose file that decides, else the rule's own."""
    file, line = result.file, result.line
    if not file:
        file, line = result.rule_file, result.rule_line
    if file in ("", BUNDLED_NAME):
        artifact = {"uri": "preflight/rules.yaml", "uriBaseId": "PREFLIGHT"}
    else:
        artifact = _artifact(file, windows)
    logical = [{"fullyQualifiedName": shorten(result.fact), "kind": "fact"}]
    if result.item:
        logical.append({"name": shorten(result.item), "kind": "item"})
    return {
        "physicalLocation": {"artifactLocation": artifact, "region": {"startLine": line or 1}},
        "logicalLocations": logical,
    }


def _artifact(path: str, windows: bool) -> dict[str, str]:
    """Return a path as SARIF names it: relative to the sources, or absolute with its scheme."""
    path, drive = path[:_MAX_PATH], ""
    if windows or _DRIVE.match(path) or path.startswith("\\\\"):
        drive, path = (part.replace("\\", "/") for part in ntpath.splitdrive(path))
    # a colon in the first segment would read as a scheme: it is encoded too
    quoted = quote(path.encode("utf-8", "surrogatepass"), safe="/")
    if drive.startswith("//"):
        return {"uri": f"file:{quote(drive)}{quoted}"}
    if path.startswith("/"):
        return {"uri": f"file:///{drive}{quoted if drive else quoted.lstrip('/')}"}
    return {"uri": posixpath.normpath(quoted), "uriBaseId": "%SRCROOT%"}
