"""Turns what ssh, sudo, pip and Ansible say into a short reason why a host failed."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

MAX_REASON_CHARS = 300
OUTPUT_KEYS = ("msg", "module_stderr", "module_stdout", "exception", "stderr", "stdout")
PYTHON_TOO_OLD_REASON = "preflight needs 3.10 or later"
FAILURE_PATTERNS = [
    (r"REMOTE HOST IDENTIFICATION HAS CHANGED", "host key changed"),
    (r"Host key verification failed|host key is not known", "host key not known: ssh to it once"),
    (r"Permission denied \(([\w,-]+)\)", r"ssh refused the login ({0})"),
    (r"Connection refused", "connection refused"),
    (r"Could not resolve hostname", "no such host name"),
    (r"No route to host|Network is unreachable", "no route to it"),
    (r"(?:Connection|Operation) timed out|timed out during banner|Timeout \(\d+s\)", "timed out"),
    (r"Connection (?:reset by peer|closed by)|kex_exchange_identification", "ssh was closed"),
    (r"(?:a|is) password is required|Missing sudo password", "sudo asks for a password"),
    (r"is not in the sudoers file|not allowed to (?:execute|run)", "sudo refused"),
    (r"sudo: (?:command )?not found|sudo: No such file", "sudo is not installed"),
    (r"expected time frame|Timed out after \d+ second", "it took too long and was stopped"),
    (r"No space left on device", "its disk is full"),
    (
        r"(\S*python\S*): (?:command )?not found|(\S*python\S*): No such file",
        f"no Python at {{0}}: {PYTHON_TOO_OLD_REASON}; see ansible_python_interpreter",
    ),
    (r"No python interpreters found|interpreter discovery", f"no Python: {PYTHON_TOO_OLD_REASON}"),
    (
        r"ansible-core requires a minimum of Python|ERROR: no Python 3.10 or later",
        f"its Python is too old: {PYTHON_TOO_OLD_REASON}",
    ),
    (
        r"ensurepip is not available|No module named (?:venv|ensurepip)",
        "Python's venv is not installed: apt install python3-venv",
    ),
    (
        r"Data could not be sent to remote host",  # ssh ended before its words were read
        "ssh ended before it was connected: ssh to it shows why",
    ),
    (r"requiretty|must have a tty", "sudo asks for a terminal: set ANSIBLE_PIPELINING=0"),
]
NOISE_LINE_PATTERN = re.compile(
    r"\x1b\[[0-9;]*m|^(?:Warning: Permanently added|debug\d:|@|OpenSSH_)"
)


def explain_failure(result: Mapping[str, Any], task: str, status: str) -> str:
    """Return why a task failed on a host, or, with the status `unreachable`, did not begin."""
    script_lines = _read_output_lines(result, ("stdout", "stderr"))
    errors = [line for line in script_lines if line.startswith(("preflight: ", "ERROR"))]
    script_error = next(reversed(errors or script_lines), "")[:MAX_REASON_CHARS]
    if task == "measure" and script_error:  # preflight itself says why
        return script_error.removeprefix("preflight: ")
    prefix = "unreachable: " if status == "unreachable" else ""
    lines = _read_output_lines(result, OUTPUT_KEYS)
    for pattern, reason in FAILURE_PATTERNS:
        match = re.search(pattern, "\n".join(lines))
        if match is not None:
            return prefix + reason.format(*filter(None, match.groups()))
    if task == "install" and script_error:
        return f"cannot install it: {script_error}"
    useful = [line for line in lines if not NOISE_LINE_PATTERN.search(line)] or [
        "Ansible gave no reason"
    ]
    return prefix + useful[0].removeprefix("Task failed: ")[:MAX_REASON_CHARS]


def _read_output_lines(result: Mapping[str, Any], keys: Iterable[str]) -> list[str]:
    text = "\n".join(str(result.get(key) or "") for key in keys)
    return [line.strip() for line in text.splitlines() if line.strip()]
