"""The declarations of all facts, which catalogue.txt has, and the table of what measures them.

A module that measures is imported in the worker only. Its function `measure_…` takes the context,
and a compose project if all of it needs one, or the paths that rules name.
"""

from collections.abc import Iterable, Iterator, Mapping
from importlib import import_module
from os.path import dirname, join
from typing import Any, NamedTuple

from preflight.model.facts import FactDeclaration, Measured, Path, Unknown


def _read_fact_declarations() -> dict[str, tuple[FactDeclaration, ...]]:
    with open(join(dirname(__file__), "catalogue.txt"), encoding="utf-8") as file:
        text = file.read()
    subjects: dict[str, tuple[FactDeclaration, ...]] = {}
    for section in text.split("\n[")[1:]:
        subject, *lines = section.split("\n")
        rows: list[Any] = [line.split(" ", 2) for line in lines if line]
        subjects[subject.removesuffix("]")] = tuple(FactDeclaration(*row) for row in rows)
    return subjects


FACT_DECLARATIONS_BY_SUBJECT: Mapping[str, tuple[FactDeclaration, ...]] = _read_fact_declarations()

OLLAMA_VARIABLES = frozenset(
    f"OLLAMA_{name}"
    for name in ("MODEL", "KEEP_ALIVE", "NUM_PARALLEL", "MAX_LOADED_MODELS", "CONTEXT_LENGTH")
)
"""Variables whose values other facts show: a rule about such a fact also names them."""

NO_COMPOSE_FILE_REASON = "no compose file found"


class Probe(NamedTuple):
    """One subject; with `needs_project` there is nothing to measure without a compose project.

    With `asked_only` only those facts are measured that a rule names. `late` is what to say of
    facts that weren't there in time.
    """

    facts: tuple[FactDeclaration, ...]
    module: str
    needs_project: bool = False
    needs_online: bool = False
    asked_only: bool = False
    late: str = "not measured"

    def import_function(self) -> Any:
        """Import the module and return its function, such as `measure_disk` of `host.disk`."""
        module = import_module(f"preflight.facts.{self.module}")
        return getattr(module, f"measure_{self.module.rpartition('.')[2]}")

    def select_requested_paths(self, paths: Iterable[Path]) -> list[Path]:
        """Return those of the paths that are the probe's; only of services any may be meant."""
        groups = {tuple(fact.path.split(".")[:2]) for fact in self.facts}
        if ("compose", "services") in groups:
            return [path for path in paths if path[3:4] == ("mounts",) and path[4:]]
        return [path for path in paths if path[:2] in groups and "*" not in path]


PROBES = (
    Probe(FACT_DECLARATIONS_BY_SUBJECT["host"], "host.machine"),
    Probe(FACT_DECLARATIONS_BY_SUBJECT["disk"], "host.disk"),
    Probe(FACT_DECLARATIONS_BY_SUBJECT["clock"], "host.clock", asked_only=True),
    Probe(FACT_DECLARATIONS_BY_SUBJECT["tools"], "host.tools", asked_only=True),
    Probe(FACT_DECLARATIONS_BY_SUBJECT["kernel"], "engine.kernel_settings", asked_only=True),
    Probe(
        FACT_DECLARATIONS_BY_SUBJECT["docker"], "engine.engine_facts", late="Docker did not answer"
    ),
    Probe(FACT_DECLARATIONS_BY_SUBJECT["compose"], "compose.compose_facts", needs_project=True),
    Probe(FACT_DECLARATIONS_BY_SUBJECT["mounts"], "mounted_paths", asked_only=True),
    Probe(FACT_DECLARATIONS_BY_SUBJECT["start"], "start_blockers", needs_project=True),
    Probe(FACT_DECLARATIONS_BY_SUBJECT["ports"], "ports"),
    Probe(
        FACT_DECLARATIONS_BY_SUBJECT["registry"], "registry", needs_project=True, needs_online=True
    ),
    Probe(FACT_DECLARATIONS_BY_SUBJECT["network"], "network", needs_online=True, asked_only=True),
    Probe(FACT_DECLARATIONS_BY_SUBJECT["stack"], "stack.containers", needs_project=True),
    Probe(FACT_DECLARATIONS_BY_SUBJECT["swarm"], "swarm"),
    Probe(FACT_DECLARATIONS_BY_SUBJECT["ollama"], "ollama"),
)

ALL_FACTS = (
    *(fact for probe in PROBES for fact in probe.facts),
    *FACT_DECLARATIONS_BY_SUBJECT["derived"],
)


def make_unknown_facts(
    probe: Probe, reason: Unknown, asked: Iterable[Path] = ()
) -> Iterator[Measured]:
    """Yield an Unknown for every fact and every collection that a probe declares.

    Of a probe that measures what rules name, for what they name in `asked`.
    """
    if probe.asked_only:
        for path in probe.select_requested_paths(asked):  # what isn't there of a service is absent
            yield Measured(path[:2] if path[0] == "compose" else path, reason)
        return
    paths = (tuple(fact.path.split(".")) for fact in probe.facts)
    for path in dict.fromkeys(p[: p.index("*")] if "*" in p else p for p in paths):
        yield Measured(path, reason)


def make_facts_for_missing_project(probe: Probe, unusable: Unknown | None) -> Iterator[Measured]:
    """Yield a probe's facts without a compose file, or with an unusable one.

    Without a file all that the project could have is absent, and the engine isn't asked.
    """
    not_asked = Unknown("preflight measures this only if there is a compose file")
    for fact in make_unknown_facts(probe, unusable or not_asked):
        if unusable is None and fact.path[0] != "docker":
            yield Measured(fact.path, None, NO_COMPOSE_FILE_REASON)
        elif unusable is not None and fact.path == ("compose", "problem"):
            yield Measured(fact.path, unusable.reason, "the compose files")
        else:
            yield fact
