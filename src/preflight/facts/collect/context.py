"""What the probes of one measurement share: each thing is read once, by the first that needs it."""

from __future__ import annotations

from typing import NamedTuple

from preflight.facts.compose.load import load_project
from preflight.facts.compose.project import ComposeError, Project
from preflight.facts.engine.api import EngineError
from preflight.facts.engine.connection import Engine, connect, differing_info_key
from preflight.facts.engine.endpoint import EndpointError, resolve
from preflight.facts.engine.locality import VIRTUAL_MACHINES, PathHidden, in_container
from preflight.facts.lazy import Lazy
from preflight.facts.options import Options
from preflight.model.facts import Unknown


class EngineLocality(NamedTuple):
    """The engine, and whether what this process sees is what the engine's containers get.

    `network` is why this network isn't theirs, `files(path)` why a path isn't; None if they are.
    An engine in a VM of this machine gives its containers the machine's own.
    """

    engine: Engine | Unknown
    network_hidden: Unknown | None
    path_hidden: PathHidden


class MeasureContext:
    """The options of one measurement, and the endpoint, engine and project that probes share."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.endpoint = Lazy(lambda: resolve(options.docker_host, options.context))
        self.engine = Lazy(lambda: connect(self.endpoint(), options.timeout))
        self.project: Lazy[Project | None] = Lazy(lambda: load_project(options))

    def project_or_unknown(self) -> Project | Unknown | None:
        """Return the project, None if there is no compose file, an Unknown if it can't be used."""
        try:
            return self.project()
        except ComposeError as error:
            return Unknown(str(error), "invalid")

    def is_engine_local(self) -> tuple[bool, str]:
        """Return whether the engine is on this machine, and how that is known.

        Behind a loopback port the engine is asked, as a tunnel may end there. Raises EndpointError.
        """
        endpoint = self.endpoint()
        if not endpoint.loopback:
            return endpoint.local, "the address"
        try:
            engine = self.engine()
        except EngineError:
            return True, "the address; it may be the end of a tunnel"
        key = differing_info_key(engine)
        if key is None:
            return True, "the address; GET /info names no other machine"
        return False, f"GET /info {key} is another machine's: the address is the end of a tunnel"

    def engine_locality(self) -> EngineLocality:
        """Connect to the engine; if a local one doesn't answer, this machine is still looked at."""
        engine: Engine | Unknown
        on_this_machine = False
        try:
            endpoint = self.endpoint()
            on_this_machine = endpoint.local and not in_container()[0]
            engine = self.engine()
        except EndpointError as error:
            engine = Unknown(str(error), "invalid")
        except EngineError as error:
            engine = Unknown(str(error), error.kind)
        if on_this_machine and (isinstance(engine, Unknown) or engine.name in VIRTUAL_MACHINES):
            return EngineLocality(engine, None, lambda _: None)
        if isinstance(engine, Unknown):
            reason = engine
            return EngineLocality(reason, reason, lambda _: reason)
        return EngineLocality(
            engine, engine.visibility.network_hidden, engine.visibility.path_hidden
        )
