"""Finds the nearest values of compose settings with which failing rules pass.

What to change follows from the fact that a rule judges, the value from its condition. Nothing is
proposed that wasn't judged: the facts with all changes, by all selected rules.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from itertools import islice
from math import ceil, floor
from typing import Any, NamedTuple, TypeAlias

from preflight.evaluate.sentences import format_value, is_number
from preflight.model.compose_override import ComposeEdit, ComposeOverride
from preflight.model.facts import (
    SERVICES_FACT_PATH,
    Facts,
    Measured,
    Path,
    replace_facts,
    split_fact_path,
)
from preflight.model.fix_commands_and_edits import LEGACY_KEY_BY_PATH
from preflight.model.quantities import (
    MAX_PORT,
    format_duration,
    format_number,
    is_older_version,
)
from preflight.model.report import Report, Result

Judge: TypeAlias = Callable[[Facts], Report]
Edits: TypeAlias = dict[Path, ComposeEdit]

MAX_EDIT_ROUNDS = 4  # an edit may need another one, as a limit its reservation
MIN_MEMORY_LIMIT_BYTES = 6 * 2**20  # Docker refuses lower limits
MIN_CPU_LIMIT = 0.01  # as well
_MIB, _GIB = 2**20, 2**30
MAX_SERVICES_READ_FOR_YAML_STYLE = 100  # how many show the style of a file
MAX_DISTANCE_TO_FREE_PORT = 20
MIN_COMPOSE_VERSION_FOR_OVERRIDE = (2, 24, 4)  # of Compose, for the tag !override
_COMPOSE_OVERRIDE_SOURCE = "the override"
_SEVERITY_RANK_BY_VERDICT = {"warn": 1, "skip": 1, "unknown": 2, "fail": 3}


class _OverrideAttempt(NamedTuple):
    """The edits so far and the report on the facts with them."""

    edits: Edits
    report: Report


def compute_compose_override(facts: Facts, judge: Judge) -> ComposeOverride:
    """Return the edits with which as many failing rules as possible pass.

    No other rule gets worse, but a recommendation may warn that applies only with the new value, or
    that is about the same setting: a requirement contradicts it.
    """
    search = _OverrideSearch(facts, judge)
    first = _OverrideAttempt({}, judge(facts))
    failing = _list_exit_code_failures(first.report)
    state = search.find_edits([r for r in failing if _find_edits_for_result(r, facts)], first)
    still_failing = _list_exit_code_failures(state.report)
    left = {result.key for result in still_failing}
    old_warnings = {result.key for result in first.report.results if result.verdict == "warn"}
    return ComposeOverride(
        edits=tuple(state.edits.values()),
        passing=tuple(result for result in failing if result.key not in left),
        failing=tuple((result, search.blockers.get(result.key)) for result in still_failing),
        warnings=tuple(
            result
            for result in state.report.results
            if result.verdict == "warn" and result.key not in left | old_warnings
        ),
    )


class _OverrideSearch:
    """Tries edits on the facts; `blockers` are by result what got worse with it."""

    def __init__(self, facts: Facts, judge: Judge) -> None:
        self.facts = facts
        self.judge = judge
        self.blockers: dict[tuple[str, str | None], Result] = {}

    def find_edits(self, targets: Sequence[Result], state: _OverrideAttempt) -> _OverrideAttempt:
        """Try all targets together; where that fails, each half of them for itself."""
        solution = self._try_edits(targets, state) if targets else state
        if solution is not None or len(targets) == 1:
            return solution or state
        middle = len(targets) // 2
        return self.find_edits(targets[middle:], self.find_edits(targets[:middle], state))

    def _try_edits(
        self, targets: Sequence[Result], state: _OverrideAttempt
    ) -> _OverrideAttempt | None:
        """Return the state in which the targets pass and nothing is worse, if it is found."""
        edits, pending = dict(state.edits), list(targets)
        keys, changed = {target.key for target in targets}, {target.fact for target in targets}
        for step in range(MAX_EDIT_ROUNDS):
            current = apply_edits_to_facts(self.facts, edits.values())
            for result in pending:
                if result.fact.startswith("host.ports."):  # after other ports of the service
                    current = apply_edits_to_facts(self.facts, edits.values())
                additions = _find_edits_for_result(result, current)
                if not additions:
                    return None
                for path, edit in additions.items():
                    earlier = edits.get(path, edit)
                    rules = tuple(dict.fromkeys((*earlier.rules, *edit.rules)))
                    changes = (*earlier.facts, *edit.facts)
                    edits[path] = edit._replace(before=earlier.before, rules=rules, facts=changes)
            report = self.judge(apply_edits_to_facts(self.facts, edits.values()))
            undecided = [result for result in report.results if result.verdict == "unknown"]
            worse = list(_list_worsened_results(report, state.report, changed))
            pending = [r for r in _list_exit_code_failures(report) + undecided if r.key in keys]
            pending += worse
            if not pending:
                return _OverrideAttempt(edits, report)
            if worse and step == 0:
                self.blockers[targets[0].key] = worse[0]
        return None


def _list_exit_code_failures(report: Report) -> list[Result]:
    failing = [result for result in report.results if result.verdict in ("fail", "warn")]
    return [result for result in failing if report.affects_exit_code(result)]


def _list_worsened_results(
    report: Report, before: Report, changed: Collection[str]
) -> Iterator[Result]:
    """Yield the results that are worse than before; `changed` are facts that a requirement sets."""
    severities = (
        {**_SEVERITY_RANK_BY_VERDICT, "warn": 3} if report.strict else _SEVERITY_RANK_BY_VERDICT
    )
    ranks = {result.key: severities.get(result.verdict, 0) for result in before.results}
    for result in report.results:
        is_contradicted = result.verdict == "warn" and result.fact in changed and not report.strict
        if result.verdict == "skip" or is_contradicted:
            continue
        if severities.get(result.verdict, 0) > ranks.get(
            result.key, _SEVERITY_RANK_BY_VERDICT["skip"]
        ):
            yield result


# what to change


def _find_edits_for_result(result: Result, facts: Facts) -> Edits:
    """Return the edits that bring a result's fact to its nearest value; none if nothing does."""
    change, path = result.change, split_fact_path(result.fact)
    if change is None:
        return {}
    edits: list[ComposeEdit | None] = []
    match path:
        case ("compose", "services", service, *resource) if tuple(resource) in LEGACY_KEY_BY_PATH:
            exact = not {"equals", "one_of"}.isdisjoint(result.expected)
            edits = [*_make_resource_edits(facts, path, change.after, exact=exact)]
        case ("compose", "total", *resource) if is_number(change.before) and change.before > 0:
            for service in facts.collection(*SERVICES_FACT_PATH):
                before = facts.get((*SERVICES_FACT_PATH, service, *resource))
                if is_number(before) and is_number(change.after):
                    share = before * change.after / change.before
                    path = (*SERVICES_FACT_PATH, service, *resource)
                    edits += _make_resource_edits(facts, path, share) or [None]
        case ("compose", "services", service, "environment", variable):
            edits = [_make_variable_edit(result, service, variable)]
        case (program, "settings", service, setting):  # such as OLLAMA_KEEP_ALIVE
            edits = [_make_variable_edit(result, service, f"{program}_{setting}".upper())]
        case ("host", "ports", port, "free"):
            edits = [_make_port_edit(facts, port)]
    if None in edits:
        return {}
    return {(edit.service, *edit.key): edit._replace(rules=(result.id,)) for edit in edits if edit}


def _make_resource_edits(
    facts: Facts, path: Path, after: Any, *, exact: bool = False
) -> list[ComposeEdit]:
    """Return the edits of a limit or reservation, in whole MiB unless it has to be `exact`."""
    service, kind, what = path[2:]
    before = facts.get(path)
    if not is_number(after):
        return []
    if what == "cpus":
        text = f"{after:g}"
        value: float = float(text)
    elif exact:
        value, text = int(after), f"{int(after)}b"
    else:
        is_raised = not is_number(before) or after > before
        value = (ceil if is_raised else floor)(after / _MIB) * _MIB
        text = f"{value // _MIB}M" if value % _GIB else f"{value // _GIB}G"
    if value < (MIN_MEMORY_LIMIT_BYTES if what == "memory" else MIN_CPU_LIMIT):
        return []
    before_text = format_value(before, "bytes" if what == "memory" else "cores")
    changes = (Measured(path, value, _COMPOSE_OVERRIDE_SOURCE),)
    keys = _find_resource_keys(facts, service, kind, what)
    return [ComposeEdit(service, key, text, before_text, changes) for key in keys]


def _find_resource_keys(facts: Facts, service: str, kind: str, what: str) -> list[Path]:
    """Return the keys that set a limit or reservation, else one in the style of the file.

    Compose refuses a service with different values under both. None in a Swarm for a key of format
    2 alone, which `docker stack deploy` ignores.
    """
    older, newer = LEGACY_KEY_BY_PATH[kind, what], ("deploy", "resources", kind, what)
    own = facts.texts(*SERVICES_FACT_PATH, service, "resource_keys")
    candidates: tuple[Path, ...] = (newer, (str(older),))
    used = [key for key in candidates if ".".join(key) in own]
    if not used:
        others = islice(facts.collection(*SERVICES_FACT_PATH), MAX_SERVICES_READ_FOR_YAML_STYLE)
        style = own or {
            key
            for name in others
            for key in facts.texts(*SERVICES_FACT_PATH, name, "resource_keys")
        }
        is_legacy = older is not None and not {*LEGACY_KEY_BY_PATH.values()}.isdisjoint(style)
        used = [(str(older),) if is_legacy else newer]
        if older is None and "mem_reservation" in own:
            return []  # beside it, Compose wants the memory under deploy too
    return [] if newer not in used and _is_deployed_to_swarm(facts) else used


def _is_deployed_to_swarm(facts: Facts) -> bool:
    return facts.get(("docker", "swarm", "stack")) == "stack"


def _make_variable_edit(result: Result, service: str, variable: str) -> ComposeEdit | None:
    """Return the edit of an environment variable; None for a size, whose notation nobody knows."""
    after, path = result.change and result.change.after, split_fact_path(result.fact)
    if isinstance(after, bool):
        text = str(int(after))
    elif is_number(after) and result.unit != "bytes":
        text = format_duration(after) if result.unit == "seconds" else format_number(after, 6)
    elif isinstance(after, str):
        text = after
    else:
        return None
    key = ("environment", variable)
    facts = [Measured((*SERVICES_FACT_PATH, service, *key), text, _COMPOSE_OVERRIDE_SOURCE)]
    if path[:2] != SERVICES_FACT_PATH:  # a setting that is read from the variable
        facts.append(Measured(path, after, _COMPOSE_OVERRIDE_SOURCE))
    return ComposeEdit(service, key, text, result.actual_text, tuple(facts))


def list_replacement_port_facts(report: Report) -> Iterator[Path]:
    """Yield the facts of ports that may take the place of those that aren't free."""
    for result in report.results:
        match split_fact_path(result.fact):
            case ("host", "ports", port, "free") if result.verdict == "fail":
                yield from (
                    ("host", "ports", other, "free") for other in _list_following_ports(port)
                )


def _list_following_ports(port: str) -> Iterator[str]:
    number, slash, protocol = port.partition("/")
    if number.isdecimal():  # not a range
        last = min(int(number) + MAX_DISTANCE_TO_FREE_PORT, MAX_PORT)
        yield from (f"{n}{slash}{protocol}" for n in range(int(number) + 1, last + 1))


def _make_port_edit(facts: Facts, port: str) -> ComposeEdit | None:
    """Return the edit that publishes the next free port in place of one that isn't free."""
    ports, version = ("host", "ports"), facts.get(("docker", "compose", "version"))
    service = str(facts.get((*ports, port, "service")))
    published = facts.get((*SERVICES_FACT_PATH, service, "ports"))
    free = (p for p in _list_following_ports(port) if facts.get((*ports, p, "free")) is True)
    unused = next((p for p in free if facts.get((*ports, p, "service")) is None), None)
    is_too_old = is_older_version(str(version), MIN_COMPOSE_VERSION_FOR_OVERRIDE, default=False)
    if (
        unused is None
        or _is_deployed_to_swarm(facts)
        or is_too_old
        or not isinstance(published, list)
    ):
        return None
    entries, texts = [], []
    for entry in map(str, published):  # such as 127.0.0.1:8000:80/tcp
        rest, _, target = entry.rpartition(":")
        address, _, number = rest.rpartition(":")
        is_moved = port == number + ("/udp" if target.endswith("/udp") else "")
        number = unused.partition("/")[0] if is_moved else number
        entries.append(":".join(filter(None, (address, number, target))))
        address = f"[{address}]" if ":" in address else address
        texts.append(":".join(filter(None, (address, number, target.removesuffix("/tcp")))))
    changes = (
        Measured((*SERVICES_FACT_PATH, service, "ports"), entries, _COMPOSE_OVERRIDE_SOURCE),
        Measured((*ports, port, "service"), None, _COMPOSE_OVERRIDE_SOURCE),
        Measured((*ports, unused, "service"), service, _COMPOSE_OVERRIDE_SOURCE),
    )
    return ComposeEdit(service, ("ports",), tuple(texts), ", ".join(map(str, published)), changes)


def apply_edits_to_facts(facts: Facts, edits: Iterable[ComposeEdit]) -> Facts:
    """Return the facts as they will be measured with the override, sums included."""
    changed = replace_facts(facts, (fact for edit in edits for fact in edit.facts))
    totals = []
    for resource in LEGACY_KEY_BY_PATH:
        path = ("compose", "total", *resource)
        if is_number(facts.get(path)):
            amounts = [
                (
                    changed.get((*SERVICES_FACT_PATH, name, *resource)),
                    changed.get((*SERVICES_FACT_PATH, name, "replicas")),
                )
                for name in facts.collection(*SERVICES_FACT_PATH)
            ]
            total = sum(a * (n if is_number(n) else 1) for a, n in amounts if is_number(a))
            totals.append(Measured(path, total, _COMPOSE_OVERRIDE_SOURCE))
    return replace_facts(changed, totals)
