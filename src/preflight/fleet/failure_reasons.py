"""Why Ansible could not reach or use a host, in a few words: what ssh, sudo and Ansible say."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

_NEEDS = "preflight needs 3.10 or later"
_KNOWN = [
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
    (r"sudo: (?:command )?not found|sudo: No such file", "there is no sudo"),
    (r"expected time frame|Timed out after \d+ second", "it took too long, and was given up"),
    (r"No space left on device", "its disk is full"),
    (
        r"(\S*python\S*): (?:command )?not found|(\S*python\S*): No such file",
        f"no Python at {{0}}: {_NEEDS}; see ansible_python_interpreter",
    ),
    (r"No python interpreters found|interpreter discovery", f"no Python: {_NEEDS}"),
    (r"ansible-core requires a minimum of Python", f"its Python is too old: {_NEEDS}"),
    (r"requiretty|must have a tty", "sudo asks for a terminal: set ANSIBLE_PIPELINING=0"),
]  # fmt: skip
_NOISE = re.compile(r"\x1b\[[0-9;]*m|^(?:Warning: Permanently added|debug\d:|@|OpenSSH_)")
_MOST = 300


def reason(result: Mapping[str, Any], *, unreachable: bool) -> str:
    """Return why a host has no snapshot, of the result of a task that failed."""
    texts = [
        str(result.get(key) or "") for key in ("msg", "module_stderr", "module_stdout", "stderr")
    ]
    whole = "\n".join(texts)
    for pattern, told in _KNOWN:
        found = re.search(pattern, whole)
        if found is not None:
            said = told.format(*filter(None, found.groups()))
            return f"unreachable: {said}" if unreachable else said
    lines = [line.strip() for line in whole.splitlines() if line.strip()]
    telling = [line for line in lines if not _NOISE.search(line)] or ["Ansible says no more"]
    said = telling[0].removeprefix("Task failed: ")[:_MOST]
    return f"unreachable: {said}" if unreachable else said
