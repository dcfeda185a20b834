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
from preflight.facts.compose.project import ComposeError
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
        self._data = SupportData()
        self._limits = LogLimits(since, lines, time.monotonic() + options.timeout)
        arguments = (MeasureContext(options),)
        self._thread = threading.Thread(target=self._collect, args=arguments, daemon=True)
        self._thread.start()

    def finish(self) -> SupportData:
        """Return what there is by the deadline."""
        self._thread.join(max(0.0, self._limits.ends - time.monotonic()))
        if self._thread.is_alive():
            what = "the rest of the logs" if self._data.config else "configuration and logs"
            self._add_missing(f"{what}: no answer in time")
        return self._data

    def _add_missing(self, reason: str) -> None:
        self._data = self._data._replace(missing=(*self._data.missing, reason))

    def _collect(self, context: MeasureContext) -> None:
        try:
            project = context.project()
        except ComposeError as error:
            self._add_missing(f"the compose configuration: {error}")
            return
        if project is None:
            self._add_missing("compose configuration and logs: no compose file here")
            return
        config = {**project.config, "services": project.services}
        source = _CONFIG_SOURCES[project.source]
        self._data = self._data._replace(config=config, config_source=source)
        try:
            for log in project_logs(context, self._limits):
                if isinstance(log.text, Unknown):
                    self._add_missing(f"the log of {log.container}: {log.text.reason}")
                else:
                    logs = (*self._data.logs, (log.container, log.text))
                    self._data = self._data._replace(logs=logs)
        except LOG_ERRORS as error:
            self._add_missing(f"logs: {error}")
