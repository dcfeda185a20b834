"""What a triager wants beside the facts: the effective configuration, and the last of the logs.

Gathered beside the measuring and under its deadline; what could not be had is told with the reason.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from preflight.facts.collect.context import MeasureContext
from preflight.facts.compose.project import ComposeError
from preflight.facts.options import Options
from preflight.facts.stack.container_logs import FAULTS, project_logs
from preflight.model.facts import Unknown

_BY = {"cli": "docker compose config", "fallback": "preflight's own reading of the files"}


class SupportData(NamedTuple):
    """What was found, secrets and all: it must not leave the machine as it is.

    `config` is the effective compose configuration, None where there is none; `logs` are by
    container; `missing` says what could not be had and why.
    """

    config: Mapping[str, Any] | None = None
    read_by: str = ""
    logs: Sequence[tuple[str, bytes]] = ()
    missing: Sequence[str] = ()


class SupportDataCollector:
    """A search for evidence that goes on while the program does something else."""

    def __init__(self, options: Options, since: float | None, lines: int) -> None:
        self._since, self._lines = since, lines
        self._config: tuple[Mapping[str, Any] | None, str] = None, ""
        self._logs: list[tuple[str, bytes]] = []
        self._missing: list[str] = []
        self._ends = time.monotonic() + options.timeout
        self._thread = threading.Thread(
            target=self._gather, args=(MeasureContext(options),), daemon=True
        )
        self._thread.start()

    def finish(self) -> SupportData:
        """Return what there is by the deadline."""
        self._thread.join(max(0.0, self._ends - time.monotonic()))
        late = []
        if self._thread.is_alive():
            what = "the rest of the logs" if self._config[0] else "configuration and logs"
            late.append(f"{what}: no answer in time")
        return SupportData(*self._config, tuple(self._logs), (*self._missing, *late))

    def _gather(self, context: MeasureContext) -> None:
        missing = self._missing
        try:
            project = context.project()
        except ComposeError as fault:
            missing.append(f"the compose configuration: {fault}")
            return
        if project is None:
            missing.append("compose configuration and logs: no compose file here")
            return
        config = {**project.config, "services": project.services}
        self._config = config, _BY[project.source]
        try:
            for log in project_logs(context, self._since, self._lines, self._ends):
                if isinstance(log.text, Unknown):
                    missing.append(f"the log of {log.container}: {log.text.reason}")
                else:
                    self._logs.append((log.container, log.text))
        except FAULTS as fault:
            missing.append(f"logs: {fault}")
