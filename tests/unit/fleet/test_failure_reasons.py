"""What ssh, sudo, pip and Ansible say, in a few words."""

from __future__ import annotations

from typing import Any

import pytest

from preflight.fleet.failure_reasons import explain_host_failure

NOT_SENT = 'Data could not be sent to remote host "h". Make sure this host can be reached over ssh'


@pytest.mark.parametrize(
    ("status", "task", "result", "reason"),
    [
        ("unreachable", "measure", {"msg": "ssh: connect: Connection refused"},
         "unreachable: connection refused"),
        ("unreachable", "measure", {"msg": "root@h: Permission denied (publickey)."},
         "unreachable: ssh refused the login (publickey)"),
        ("unreachable", "measure", {"msg": f"{NOT_SENT}: [Errno 32] Broken pipe"},
         "unreachable: ssh ended before it was connected: ssh to it shows why"),
        ("unreachable", "measure", {"msg": f"{NOT_SENT}: ssh: connect: No route to host"},
         "unreachable: no route to it"),
        ("unreachable", "measure", {"msg": "\x1b[31m\nsomething new"},
         "unreachable: something new"),
        ("failed", "measure", {"msg": "Missing sudo password"}, "sudo asks for a password"),
        ("failed", "measure", {"msg": "non-zero return code", "rc": 2, "stdout": "",
                               "stderr": "note: x\npreflight: cannot read f\nmore"},
         "cannot read f"),
        ("failed", "measure", {"rc": 1, "stdout": "Connection refused"},
         "Connection refused"),
        ("failed", "measure", {"msg": "Timed out after 50 second(s)."},
         "it took too long and was stopped"),
        ("failed", "install", {"rc": 1, "stderr": "ERROR: no matching distribution\nhint: x"},
         "cannot install it: ERROR: no matching distribution"),
        ("failed", "install", {"rc": 1, "stdout": "Error: ensurepip is not available.\napt …"},
         "Python's venv is not installed: apt install python3-venv"),
        ("failed", "install", {"rc": 1, "stderr": "ERROR: [Errno 28] No space left on device"},
         "its disk is full"),
        ("failed", "vars", {}, "Ansible gave no reason"),
    ],
)  # fmt: skip
def test_reasons(status: str, task: str, result: dict[str, Any], reason: str) -> None:
    assert explain_host_failure(result, task, status) == reason
