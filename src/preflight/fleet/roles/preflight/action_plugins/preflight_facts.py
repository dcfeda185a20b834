"""Runs the module of this name, and says beside its answer which vars of the rules the host has.

Here on the controller, where the inventory is: a host has no say in how it is judged.
"""

from __future__ import annotations

from typing import Any

from ansible.plugins.action import ActionBase


class ActionModule(ActionBase):  # type: ignore[misc] - Ansible has no types
    """Ansible looks for a class of this name."""

    def run(self, tmp: str | None = None, task_vars: Any = None) -> dict[str, Any]:
        """Return the module's answer, with `preflight_vars` as the inventory has them."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        arguments = dict(self._task.args)
        own = arguments.pop("preflight_vars", {})
        result.update(self._execute_module(module_args=arguments, task_vars=task_vars))
        result["preflight_vars"] = own
        return result
