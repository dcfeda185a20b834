"""What several probes need of one machine: asked for once, by whoever comes first.

The others wait for that answer; so the engine is asked once, and the compose file read once.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, NamedTuple, TypeVar

from preflight.facts.compose.load import load
from preflight.facts.compose.project import ComposeError, Project
from preflight.facts.engine.api import EngineError
from preflight.facts.engine.connection import Engine, connect, differing_info_key
from preflight.facts.engine.endpoint import EndpointError, resolve
from preflight.facts.engine.locality import VIRTUAL_MACHINES, PathHidden, in_container
from preflight.facts.options import Options
from preflight.model.facts import Unknown

T = TypeVar("T")


class Lazy(Generic[T]):
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

    def peek(self) -> T | None:
        """Return the value if it has been read, without waiting for it."""
        return self._value[0] if self._value else None


class EngineLocality(NamedTuple):
    """The engine or why there is none; why this network and files aren't those that a stack gets.

    None where they are: an engine in a VM on this machine gives its stacks the machine's own.
    """

    engine: Engine | Unknown
    network_hidden: Unknown | None
    path_hidden: PathHidden


class MeasureContext:
    """One measuring: what it is asked for, and what its probes share."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.endpoint = Lazy(lambda: resolve(options.docker_host, options.context))
        self.engine = Lazy(lambda: connect(self.endpoint(), options.timeout))
        self.project: Lazy[Project | None] = Lazy(lambda: load(options))

    def project_or_unknown(self) -> Project | Unknown | None:
        """Return the project, None where there is none, an Unknown where it can't be used."""
        try:
            return self.project()
        except ComposeError as fault:
            return Unknown(str(fault), "invalid")

    def is_engine_local(self) -> tuple[bool, str]:
        """Return whether the engine is on this machine, and what tells it.

        Only one behind a port of loopback is asked for it. Raises EndpointError.
        """
        endpoint = self.endpoint()
        if not endpoint.loopback:
            return endpoint.local, "the address"
        try:
            engine = self.engine()
        except EngineError:
            return True, "the address; whether it is the end of a tunnel can't be told"
        key = differing_info_key(engine)
        if key is None:
            return True, "the address; GET /info says nothing of another machine"
        return False, f"GET /info {key} is another machine's: a tunnel ends at the address"

    def engine_locality(self) -> EngineLocality:
        """Ask for the engine; an own one that doesn't answer leaves the machine to be looked at."""
        inside, _ = in_container()
        try:
            endpoint = self.endpoint()
            engine = self.engine()
        except EndpointError as fault:
            return _hidden(Unknown(str(fault), "invalid"))
        except EngineError as fault:
            unknown = Unknown(str(fault), fault.kind)
            return _seen(unknown) if endpoint.local and not inside else _hidden(unknown)
        if engine.name in VIRTUAL_MACHINES and endpoint.local and not inside:
            return _seen(engine)
        return EngineLocality(
            engine, engine.visibility.network_hidden, engine.visibility.path_hidden
        )


def _hidden(why: Unknown) -> EngineLocality:
    return EngineLocality(why, why, lambda _: why)


def _seen(engine: Engine | Unknown) -> EngineLocality:
    return EngineLocality(engine, None, lambda _: None)
