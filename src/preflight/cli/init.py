"""`preflight init`: write a rule file for the project, from its compose file and this machine."""

from __future__ import annotations

import json
import os
import re
import shlex
from collections.abc import Mapping
from typing import Any

from preflight.cli import options, streams
from preflight.cli.parser import Argument, CommandSyntax, ParsedArguments
from preflight.model.facts import Facts, Unknown
from preflight.model.problems import InputError, Problem
from preflight.model.quantities import format_bytes, format_count
from preflight.model.report import ExitCode
from preflight.model.rules import GENERAL_RULE_SET, MAX_RULE_FILE_BYTES

_DEVCONTAINER_FILES = (".devcontainer/devcontainer.json", ".devcontainer.json")
# JSON with comments: strings, which are kept, and what is removed, the comments first. What doesn't
# end reaches to the end of the file, so that nothing is searched twice.
_JSON_STRING_PATTERN = r'("(?:\\.|[^"\\])*"?)'
_JSON_COMMENT_AND_COMMA_PATTERNS = (
    re.compile(rf"{_JSON_STRING_PATTERN}|//[^\n]*|/\*.*?(?:\*/|\Z)", re.DOTALL),
    re.compile(rf"{_JSON_STRING_PATTERN}|,(?=\s*[}}\]])", re.DOTALL),
)

INIT_COMMAND = CommandSyntax(
    """\
RAM, cores, ports and versions come from the compose file and from hostRequirements in a
devcontainer.json. A comment gives the source line of each value. Values that these files don't
contain are commented out for you to fill in.

Exit code: 0 if the file was written; 2 if preflight.yaml already exists or can't be written, or
the compose file can't be used.

Example: preflight init""",
    (
        *options.MEASURING_OPTIONS,
        Argument(("--force",), help="Replace an existing preflight.yaml."),
    ),
)


def run_init(arguments: ParsedArguments) -> int:
    """Run `preflight init`; return the exit code."""
    from preflight.render.rule_file_draft import draft_rule_file
    from preflight.render.sanitize import clean_text

    streams.check_filesystems_respond(options.LOCAL_RULE_FILE)
    if os.path.lexists(options.LOCAL_RULE_FILE) and not arguments.force:
        raise InputError(f"{options.LOCAL_RULE_FILE} already exists; use --force to replace it")
    source = options.FactsSource(arguments)
    source.start_measuring()
    devcontainer_file, host_requirements = _read_devcontainer_requirements()
    general = options.load_rules(GENERAL_RULE_SET)
    facts = source.collect_facts(general)
    compose = ", ".join(map(os.path.relpath, _get_measured_compose_files(facts)))
    name = os.path.basename(os.getcwd())
    text = draft_rule_file(facts, name, host_requirements, devcontainer_file)
    streams.write_file(options.LOCAL_RULE_FILE, text)
    rules = [
        rule
        for rule in options.load_rules(options.LOCAL_RULE_FILE).rules
        if rule.section == "This project"
    ]
    lines = [
        f"Read {compose}: {_describe_project(facts)}." if compose else "No compose file found."
    ]
    lines += [f"Read {devcontainer_file}."] if devcontainer_file else []
    wrote = format_count(len(rules), "rule") if rules else "no rules yet"
    with_figures = {rule.id for rule in rules}.difference(rule.id for rule in general.rules)
    todo = "Edit the values" if with_figures else "Fill in those that are commented out"
    check = ["preflight", "check", *(f"--compose-file={f}" for f in source.options.compose_files)]
    lines += [f"Wrote {options.LOCAL_RULE_FILE}: {wrote}. {todo}, then run: {shlex.join(check)}"]
    streams.write_stdout("".join(f"{clean_text(line)}\n" for line in lines))
    return ExitCode.OK


def _read_devcontainer_requirements() -> tuple[str, Mapping[str, Any]]:
    """Return the devcontainer.json that has hostRequirements, and these; raises InputError."""
    file = next(filter(os.path.exists, _DEVCONTAINER_FILES), None)
    if file is None:
        return "", {}
    text = streams.read_input(file, MAX_RULE_FILE_BYTES).decode("utf-8-sig", "replace")
    for pattern in _JSON_COMMENT_AND_COMMA_PATTERNS:
        text = pattern.sub(lambda match: match[1] or re.sub(r"[^\n]", " ", match[0]), text)
    try:
        root = json.loads(text)
    except json.JSONDecodeError as error:
        raise InputError(Problem(file, error.lineno, error.colno, error.msg)) from None
    except RecursionError:
        raise InputError(f"{file} is nested too deeply") from None
    requirements = root.get("hostRequirements") if isinstance(root, dict) else None
    return (file, requirements) if isinstance(requirements, dict) else ("", {})


def _get_measured_compose_files(facts: Facts) -> list[str]:
    """Return the compose files, if there are any; raises InputError if they can't be used."""
    if problem := facts.text("compose", "problem"):
        raise InputError(problem)
    files: Any = facts.get(("compose", "files"))
    for value in (files, facts.get(("compose", "services"))):
        if isinstance(value, Unknown):
            raise InputError(f"the compose file can't be read: {value.reason}")
    return files or []


def _describe_project(facts: Facts) -> str:
    """Count what the compose file has."""
    limits: Any = facts.get(("compose", "total", "limits", "memory"))
    return ", ".join(
        [
            format_count(len(facts.values["compose"]["services"]), "service"),
            format_count(len(facts.values["host"].get("ports") or ()), "published port"),
            f"{format_bytes(limits, binary=True)} of memory limits"
            if limits
            else "no memory limits",
        ]
    )
