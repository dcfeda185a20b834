"""What support wants beside the facts: the effective configuration and the last lines of logs.

Collected while the machine is measured, under the same deadline; what is missing is listed with
the reason.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from preflight.facts.collect.context import MeasureContext
from preflight.facts.collect.measurement import Options
from preflight.facts.stack.container_logs import LOG_ERRORS, LogLimits, project_logs
from preflight.model.facts import Unknown

_CONFIG_SOURCES = {"cli": "docker compose config", "fallback": "preflight's own compose reader"}


class SupportData(NamedTuple):
    """What was collected, secrets included: it must be redacted before it leaves the machine.

    `config` is the effective compose configuration, None where there is none; `logs` are name and
    text of each container; `missing` says what couldn't be collected and why.
    """

    config: Mapping[str, Any] | None = None
    config_source: str = ""
    logs: Sequence[tuple[str, bytes]] = ()
    missing: Sequence[str] = ()


class SupportDataCollector:
    """Collects support data in a thread while the program does something else."""

    def __init__(self, options: Options, since: float | None, lines: int) -> None:
        self._config: Mapping[str, Any] | None = None
        self._config_source = ""
        self._logs: list[tuple[str, bytes]] = []
        self._missing: list[str] = []
        self._limits = LogLimits(since, lines, time.monotonic() + options.timeout)
        arguments = (MeasureContext(options),)
        self._thread = threading.Thread(target=self._collect, args=arguments, daemon=True)
        self._thread.start()

    def finish(self) -> SupportData:
        """Return what there is by the deadline."""
        self._thread.join(max(0.0, self._limits.ends - time.monotonic()))
        missing = list(self._missing)
        if self._thread.is_alive():
            what = "the rest of the logs" if self._config else "configuration and logs"
            missing.append(f"{what}: no answer in time")
        return SupportData(self._config, self._config_source, list(self._logs), missing)

    def _collect(self, context: MeasureContext) -> None:
        try:
            project = context.project()
            if project is None:
                self._missing.append("compose configuration and logs: no compose file here")
                return
            self._config_source = _CONFIG_SOURCES[project.source]
            self._config = {**project.config, "services": project.services}
            for log in project_logs(context, self._limits):
                if isinstance(log.text, Unknown):
                    self._missing.append(f"the log of {log.container}: {log.text.reason}")
                else:
                    self._logs.append((log.container, log.text))
        except LOG_ERRORS as error:
            what = "logs" if self._config else "the compose configuration"
            self._missing.append(f"{what}: {error}")
