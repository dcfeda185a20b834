"""What several probes need of one machine: asked for once, by whoever comes first.

The others wait for that answer; so the engine is asked once, and the compose file read once.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

from preflight.probes.compose.load import load
from preflight.probes.compose.project import ComposeError, Project
from preflight.probes.endpoint import resolve
from preflight.probes.engine import reach
from preflight.probes.options import Options

T = TypeVar("T")


class Once(Generic[T]):
    """A reading that is made once; who comes later gets the same value or the same exception."""

    def __init__(self, read: Callable[[], T]) -> None:
        self._read = read
        self._lock = threading.Lock()
        self._value: list[T] = []
        self._fault: Exception | None = None

    def __call__(self) -> T:
        with self._lock:
            if not self._value and self._fault is None:
                try:
                    self._value.append(self._read())
                except Exception as fault:  # noqa: BLE001 - handed on to every caller
                    self._fault = fault
        if self._fault is not None:
            raise self._fault
        return self._value[0]


class Machine:
    """One measuring: what it is asked for, and what its probes share."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.endpoint = Once(lambda: resolve(options.docker_host, options.context))
        self.engine = Once(lambda: reach(self.endpoint(), options.timeout))
        self.project: Once[Project | None] = Once(lambda: load(options))

    def no_project(self) -> bool:
        """Whether it is known that there is no compose file."""
        try:
            return self.project() is None
        except ComposeError:
            return False
