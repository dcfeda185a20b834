"""What the probes of one measurement share: the endpoint, the engine, the compose project.

Each is read once, by the first probe that needs it.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path as FilePath
from typing import Any, NamedTuple, TypeAlias

from preflight.facts.collect.measurement import MeasurementOptions
from preflight.facts.compose.load import load_project
from preflight.facts.compose.project import Project, find_setting_source
from preflight.facts.engine.api import EngineApi, LazyValue
from preflight.facts.engine.endpoint import EngineError, resolve_endpoint
from preflight.facts.engine.host_visibility import (
    HostVisibility,
    find_engine_info_mismatch,
    find_host_visibility,
    hide_unresponsive_paths,
    identify_engine,
    is_in_container,
)
from preflight.facts.nested_values import get_nested_text
from preflight.model.facts import (
    Measured,
    NotMeasuredError,
    Path,
    Unknown,
    Value,
    make_unknown_from_error,
    read_or_unknown,
)
from preflight.model.quantities import is_older_version

# of the time left; the rest is for what follows from an engine's silence
_ENGINE_SHARE_OF_TIMEOUT = 0.9
_MIN_CONCLUSIVE_TIMEOUT_SECONDS = 3  # an engine that had less and gave no answer may be in order


class Engine(NamedTuple):
    """An engine that answered, with its responses to /version and /info."""

    api: EngineApi
    version: Mapping[str, Any]
    info: Mapping[str, Any]
    name: str
    visibility: HostVisibility

    @property
    def is_in_swarm(self) -> bool:
        """Whether it is a node of a Swarm."""
        return get_nested_text(self.info, "Swarm.LocalNodeState") == "active"

    def is_older_than(self, major: int, *, default: bool) -> bool:
        """Return whether its version comes before a major one, the default if it isn't known."""
        return is_older_version(str(self.version.get("Version")), (major,), default=default)


class MeasurementContext:
    """The options of one measurement, and the endpoint, engine and project that probes share.

    `deadline` is when the measurement ends, by time.monotonic. `read_asked_paths` returns the facts
    that are measured only if a rule names them, and may wait for it.
    """

    def __init__(
        self,
        options: MeasurementOptions,
        deadline: float | None = None,
        read_asked_paths: Callable[[], Sequence[Path]] = tuple,
    ) -> None:
        self.options = options
        self.deadline = deadline or time.monotonic() + options.timeout
        self.endpoint = LazyValue(lambda: resolve_endpoint(options.docker_host, options.context))
        self.engine = LazyValue(self._connect_to_engine)
        self.project: LazyValue[Project | None] = LazyValue(lambda: load_project(options))
        self.requested_paths = LazyValue(read_asked_paths)
        self.find_visibility = LazyValue(self._find_visibility)
        self._engine_seconds = 0.0

    def _connect_to_engine(self) -> Engine:
        endpoint, start = self.endpoint(), time.monotonic()
        seconds_left = self.deadline - start
        self._engine_seconds = min(_ENGINE_SHARE_OF_TIMEOUT * seconds_left, seconds_left - 0.1)
        api = EngineApi(endpoint, self.options.timeout, start + self._engine_seconds)
        version = api.negotiate_version()
        info = api.get_object("/info")
        name = identify_engine(version, info, endpoint.url)
        visibility = hide_unresponsive_paths(find_host_visibility(api, name, info))
        return Engine(api, version, info, name, visibility)

    def list_requested_keys(self, *group: str) -> list[str]:
        """Return the names below a group of facts that rules ask for, such as ports."""
        depth = len(group)
        paths = [path for path in self.requested_paths() if path[:depth] == group and path[depth:]]
        return [name for name in dict.fromkeys(path[depth] for path in paths) if name != "*"]

    def gave_engine_enough_time(self) -> bool:
        """Whether the engine had enough time for an answer, so that its silence is a finding."""
        timeout = self.options.timeout
        return timeout >= _MIN_CONCLUSIVE_TIMEOUT_SECONDS and self._engine_seconds >= timeout / 2

    def engine_or_unknown(self) -> Engine | Unknown:
        """Return the engine, or why it gave no answer."""
        return read_or_unknown(self.engine)

    def project_or_unknown(self) -> Project | Unknown | None:
        """Return the project, None without a compose file, an Unknown if it can't be used."""
        try:  # a fault of the machine, such as a folder that is gone, isn't one of the project
            return self.project()
        except NotMeasuredError as error:
            return error.unknown

    def is_engine_local(self) -> tuple[bool, str]:
        """Return whether the engine is on this machine, and how that is known.

        Behind a loopback port the engine is asked, as a tunnel may end there. Raises EngineError
        where the endpoint can't be used.
        """
        endpoint = self.endpoint()
        if not endpoint.is_loopback:
            return endpoint.is_local, "the address"
        engine = self.engine_or_unknown()
        if isinstance(engine, Unknown):
            return True, "the address; it may be the end of a tunnel"
        key = find_engine_info_mismatch(engine.name, engine.info)
        if key is None:
            return True, "the address; GET /info names no other machine"
        return False, f"GET /info {key} is another machine's: the address is the end of a tunnel"

    def _find_visibility(self) -> HostVisibility:
        """Return what is visible of the engine's host.

        Where a local engine gives no answer, this machine is still looked at.
        """
        engine = self.engine_or_unknown()
        if isinstance(engine, Engine):
            return engine.visibility
        hidden: Unknown | None = engine
        with suppress(EngineError):
            hidden = None if self.endpoint().is_local and not is_in_container()[0] else engine
        return hide_unresponsive_paths(HostVisibility(engine, hidden, engine, lambda _: hidden))


class Service(NamedTuple):
    """A service, and what it is compared with; `root` is the engine's machine."""

    project: Project
    name: str
    config: Mapping[str, Any]
    context: MeasurementContext
    root: FilePath

    @property
    def engine(self) -> Engine:
        """The engine; raises EngineError if it gave no answer."""
        return self.context.engine()

    @property
    def volumes(self) -> Iterable[Mapping[str, Any]]:
        """What it has mounted, as the file says it."""
        return self.config.get("volumes") or ()

    def make_fact(
        self, name: str, value: Value | Unknown, *key: str, evidence: str = ""
    ) -> Measured:
        """Return a fact of the service: its source is the line of a key, and the evidence."""
        group = "compose" if name == "filled_targets" else "start"
        source = find_setting_source(self.project, ("services", self.name, *key), evidence)
        return Measured((group, "services", self.name, name), value, source)


# what reads a service, and the fact that is unknown where it can't
ServiceReader: TypeAlias = tuple[Callable[[Service], Iterator[Measured]], str]


def run_service_readers(
    context: MeasurementContext, project: Project, root: FilePath, readers: Iterable[ServiceReader]
) -> Iterator[Measured]:
    """Yield what the readers find, or nothing if a service doesn't ask for what they read."""
    for name, config in project.services.items():
        service = Service(project, name, config, context, root)
        for read, fact in readers:
            try:
                yield from read(service)
            except (NotMeasuredError, OSError) as error:
                yield service.make_fact(fact, make_unknown_from_error(error))
            except ValueError as error:  # a path with a NUL character: the others are still judged
                yield service.make_fact(
                    fact, Unknown(f"the value in the compose file is invalid: {error}")
                )
