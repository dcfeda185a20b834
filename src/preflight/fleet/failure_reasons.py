"""Turns what ssh, sudo, pip and Ansible say into a short reason why a host failed."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

MAX_FAILURE_REASON_CHARS = 300
ANSIBLE_OUTPUT_KEYS = ("msg", "module_stderr", "module_stdout", "exception", "stderr", "stdout")
ANSIBLE_NOISE_LINE_PATTERN = re.compile(
    r"\x1b\[[0-9;]*m|^(?:Warning: Permanently added|debug\d:|@|OpenSSH_)"
)


def explain_host_failure(result: Mapping[str, Any], task: str, status: str) -> str:
    """Return why a task failed on a host, or, with the status `unreachable`, did not begin."""
    script_lines = _list_task_output_lines(result, ("stdout", "stderr"))
    errors = [line for line in script_lines if line.startswith(("preflight: ", "ERROR"))]
    script_error = next(reversed(errors or script_lines), "")[:MAX_FAILURE_REASON_CHARS]
    if task == "measure" and script_error:  # preflight itself says why
        return script_error.removeprefix("preflight: ")
    prefix = "unreachable: " if status == "unreachable" else ""
    lines = _list_task_output_lines(result, ANSIBLE_OUTPUT_KEYS)
    for reason, pattern in _read_failure_reason_patterns():
        match = re.search(pattern, "\n".join(lines))
        if match is not None:
            return prefix + reason.format(*match.groups())
    if task == "install" and script_error:
        return f"cannot install it: {script_error}"
    useful = [line for line in lines if not ANSIBLE_NOISE_LINE_PATTERN.search(line)] or [
        "Ansible gave no reason"
    ]
    return prefix + useful[0].removeprefix("Task failed: ")[:MAX_FAILURE_REASON_CHARS]


def _read_failure_reason_patterns() -> Iterator[tuple[str, str]]:
    """Yield the reasons of failure_reasons.txt, each with a regular expression."""
    text = Path(__file__).with_suffix(".txt").read_text("utf-8")
    for section in text.split("\n\n")[1:]:
        reason, *patterns = section.splitlines()
        yield from ((reason, pattern.strip()) for pattern in patterns)


def _list_task_output_lines(result: Mapping[str, Any], keys: Iterable[str]) -> list[str]:
    text = "\n".join(str(result.get(key) or "") for key in keys)
    return [line.strip() for line in text.splitlines() if line.strip()]
