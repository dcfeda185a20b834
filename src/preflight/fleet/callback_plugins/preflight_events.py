"""Ansible loads this: it writes the hosts and their results to a pipe, a line of JSON each."""

from __future__ import annotations

import json
import os
from typing import Any

from ansible.plugins.callback import CallbackBase

ANSIBLE_RESULT_KEYS = (
    "msg",
    "rc",
    "stdout",
    "stderr",
    "module_stdout",
    "module_stderr",
    "exception",
)


class CallbackModule(CallbackBase):  # type: ignore[misc]
    """Ansible looks for a class of this name."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "stdout"
    CALLBACK_NAME = "preflight_events"

    def v2_playbook_on_play_start(self, play: Any) -> None:
        """Write the names of all hosts."""
        names = play.get_variable_manager().get_vars(play=play)["ansible_play_hosts_all"]
        self._write_event({"hosts": [str(name) for name in names]})

    def v2_runner_on_ok(self, result: Any, status: str = "ok") -> None:
        """Write what a task returned, or why it failed."""
        values = {key: result._result[key] for key in ANSIBLE_RESULT_KEYS if key in result._result}
        task, host = result._task.name, result._host.get_name()
        self._write_event({"host": host, "task": task, "status": status, "result": values})

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:  # noqa: ARG002
        """Write why a task failed."""
        self.v2_runner_on_ok(result, "failed")

    def v2_runner_on_unreachable(self, result: Any) -> None:
        """Write why a host was not reached."""
        self.v2_runner_on_ok(result, "unreachable")

    def _write_event(self, event: dict[str, Any]) -> None:
        line = json.dumps(event, default=str).encode() + b"\n"
        while line:
            line = line[os.write(int(os.environ["PREFLIGHT_EVENTS_FD"]), line) :]
