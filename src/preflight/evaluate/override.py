"""Finds the nearest values of compose settings with which failing rules pass.

What to change follows from the fact that a rule judges, the value from its condition. Nothing is
proposed that wasn't judged: the facts with all changes, by all selected rules.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from math import ceil, floor
from typing import Any, NamedTuple, TypeAlias

from preflight.evaluate.sentences import format_value, is_number
from preflight.model.facts import Facts, Measured, Path, Unit, replace_facts, split_path
from preflight.model.fixes import LEGACY_KEY_BY_PATH, ComposeEdit, Override
from preflight.model.quantities import PARSER_BY_UNIT, format_duration, format_number
from preflight.model.report import Report, Result

Judge: TypeAlias = Callable[[Facts], Report]
Edits: TypeAlias = dict[Path, ComposeEdit]
_ResultKey: TypeAlias = tuple[str, str | None]

MAX_STEPS = 4  # an edit may need another one, as a limit its reservation
MIN_MEMORY_BYTES = 6 * 2**20  # Docker refuses lower limits
MIN_CPUS = 0.01  # as well
_MIB, _GIB = 2**20, 2**30
_SERVICES = ("compose", "services")
_RANK_BY_VERDICT = {"warn": 1, "skip": 1, "unknown": 2, "fail": 3}


class _State(NamedTuple):
    """The edits so far and the report on the facts with them."""

    edits: Edits
    report: Report


def find_override(facts: Facts, judge: Judge) -> Override:
    """Return the edits with which as many failing rules as possible pass.

    No other rule gets worse, except that a recommendation about the same setting may then warn: a
    requirement contradicts it.
    """
    search = _Search(facts, judge)
    first = _State({}, judge(facts))
    failing = list(_failing(first.report))
    state = search.mend([r for r in failing if _edits_for(r, facts)], first)
    still_failing = tuple(_failing(state.report))
    left = set(map(_key, still_failing))
    verdicts = {_key(result): result.verdict for result in first.report.results}
    warnings = (r for r in state.report.results if r.verdict == "warn")
    return Override(
        edits=tuple(state.edits.values()),
        passing=tuple(result for result in failing if _key(result) not in left),
        failing=tuple((result, search.blockers.get(_key(result))) for result in still_failing),
        warnings=tuple(r for r in warnings if verdicts.get(_key(r)) == "pass"),
    )


class _Search:
    """Tries edits on the facts; `blockers` are by result what got worse with it."""

    def __init__(self, facts: Facts, judge: Judge) -> None:
        self.facts = facts
        self.judge = judge
        self.blockers: dict[_ResultKey, Result] = {}

    def mend(self, targets: Sequence[Result], state: _State) -> _State:
        """Try all targets together; where that fails, each half of them for itself."""
        if not targets:
            return state
        for exact in (False, True):
            solution = self._try(targets, state, exact=exact)
            if solution is not None:
                return solution
        if len(targets) == 1:
            return state
        middle = len(targets) // 2
        return self.mend(targets[middle:], self.mend(targets[:middle], state))

    def _try(self, targets: Sequence[Result], state: _State, *, exact: bool) -> _State | None:
        """Return the state in which the targets pass and nothing is worse, if it is found."""
        edits, pending = dict(state.edits), list(targets)
        keys, changed = set(map(_key, targets)), {target.fact for target in targets}
        for step in range(MAX_STEPS):
            current = apply_edits(self.facts, edits.values())
            for result in pending:
                additions = _edits_for(result, current, exact=exact)
                if not additions:
                    return None
                for path, edit in additions.items():
                    earlier = edits.get(path, edit)
                    rules = tuple(dict.fromkeys((*earlier.rules, *edit.rules)))
                    edits[path] = edit._replace(before=earlier.before, rules=rules)
            report = self.judge(apply_edits(self.facts, edits.values()))
            pending = [result for result in _failing(report) if _key(result) in keys]
            worse = list(_worse(report, state.report, changed))
            pending += worse
            if not pending:
                return _State(edits, report)
            if worse and step == 0:
                self.blockers[_key(targets[0])] = worse[0]
        return None


def _failing(report: Report) -> Iterator[Result]:
    for result in report.results:
        if result.verdict in ("fail", "warn") and report.affects_exit_code(result):
            yield result


def _worse(report: Report, before: Report, changed: Collection[str]) -> Iterator[Result]:
    """Yield the results that are worse than before; `changed` are facts that a requirement sets."""
    ranks = {_key(r): _RANK_BY_VERDICT.get(r.verdict, 0) for r in before.results}
    for result in report.results:
        is_contradicted = result.verdict == "warn" and result.fact in changed and not report.strict
        rank = _RANK_BY_VERDICT.get(result.verdict, 0)
        if result.verdict == "skip" or is_contradicted:
            continue
        if rank > ranks.get(_key(result), _RANK_BY_VERDICT["skip"]):
            yield result


def _key(result: Result) -> _ResultKey:
    return result.id, result.item


# what to change


def _edits_for(result: Result, facts: Facts, *, exact: bool = False) -> Edits:
    """Return the edits that bring a result's fact to its nearest value; none if nothing does."""
    change, path = result.change, split_path(result.fact)
    if change is None:
        return {}
    after, edits = change.after, []
    match path:
        case ("compose", "services", service, ("limits" | "reservations") as kind, what):
            before = facts.get(path)
            edits = [_resource_edit(facts, service, kind, what, before, after, exact=exact)]
        case ("compose", "total", kind, what) if is_number(change.before) and is_number(after):
            services = facts.get(_SERVICES)
            for service in services if isinstance(services, Mapping) else ():
                before = facts.get((*_SERVICES, service, kind, what))
                if is_number(before):
                    share = before * after / change.before
                    edits.append(_resource_edit(facts, service, kind, what, before, share))
        case ("compose", "services", service, "environment", variable):
            edits = [_variable_edit(path, service, variable, after, result.unit, result)]
        case ("ollama", "settings", service, setting):
            variable = f"OLLAMA_{setting.upper()}"
            edits = [_variable_edit(path, service, variable, after, result.unit, result)]
    if None in edits:
        return {}
    return {edit.fact: edit._replace(rules=(result.id,)) for edit in edits if edit is not None}


def _resource_edit(
    facts: Facts,
    service: str,
    kind: str,
    what: str,
    before: Any,
    after: Any,
    *,
    exact: bool = False,
) -> ComposeEdit | None:
    """Return the edit of a limit or reservation, rounded to whole MiB unless `exact`."""
    unit: Unit = "bytes" if what == "memory" else "cores"
    key = _resource_key(facts, service, kind, what)
    if not is_number(after) or key is None:
        return None
    if unit == "cores":
        text = f"{after:g}"
        value: float = float(text)
    elif exact:
        value, text = int(after), f"{int(after)}b"
    else:
        is_raised = not is_number(before) or after > before
        value = (ceil if is_raised else floor)(after / _MIB) * _MIB
        text = f"{value // _MIB}M" if value % _GIB else f"{value // _GIB}G"
    if value < (MIN_MEMORY_BYTES if unit == "bytes" else MIN_CPUS):
        return None
    path = (*_SERVICES, service, kind, what)
    return ComposeEdit(path, value, service, key, text, format_value(before, unit), ())


def _resource_key(facts: Facts, service: str, kind: str, what: str) -> Path | None:
    """Return the key in the style that the service uses, else the others of the file.

    None in a Swarm for a key of format 2, which `docker stack deploy` ignores.
    """
    services = facts.get(_SERVICES)
    older = LEGACY_KEY_BY_PATH[kind, what]
    own = _legacy_keys(facts, service)
    resources = [facts.get((*_SERVICES, service, *path)) for path in LEGACY_KEY_BY_PATH]
    if is_number(facts.get((*_SERVICES, service, kind, what))):
        is_legacy = older in own
    elif own or any(map(is_number, resources)):
        is_legacy = bool(own)
    else:
        is_legacy = any(_legacy_keys(facts, name) for name in services or ())
    if not is_legacy or older is None:
        return ("deploy", "resources", kind, what)
    return None if facts.get(("docker", "swarm", "stack")) == "stack" else (older,)


def _legacy_keys(facts: Facts, service: str) -> Sequence[str]:
    keys = facts.get((*_SERVICES, service, "legacy_keys"))
    return keys if isinstance(keys, list | tuple) else ()


def _variable_edit(
    path: Path, service: str, variable: str, after: Any, unit: Unit, result: Result
) -> ComposeEdit | None:
    """Return the edit of an environment variable; None for a size, whose notation nobody knows."""
    if after is True or after is False:
        text = str(int(after))
    elif is_number(after) and unit in ("seconds", "number", "cores"):
        text = format_duration(after) if unit == "seconds" else format_number(after, 6)
    elif isinstance(after, str):
        text = after
    else:
        return None
    is_text = path[:2] == _SERVICES
    value = text if is_text or unit not in PARSER_BY_UNIT else PARSER_BY_UNIT[unit](text)
    key = ("environment", variable)
    return ComposeEdit(path, value, service, key, text, result.actual_text, ())


def apply_edits(facts: Facts, edits: Iterable[ComposeEdit]) -> Facts:
    """Return the facts as they will be measured with the override."""
    changes: list[Measured] = []
    totals: dict[Path, float] = {}
    for edit in edits:
        changes.append(Measured(edit.fact, edit.value, "the override"))
        if edit.key[0] == "environment":
            path = (*_SERVICES, edit.service, *edit.key)
            changes.append(Measured(path, edit.text, "the override"))
        elif edit.fact[3] in ("limits", "reservations"):
            total = ("compose", "total", *edit.fact[3:])
            before, replicas = (
                facts.get(edit.fact),
                facts.get((*_SERVICES, edit.service, "replicas")),
            )
            old = before if is_number(before) else 0
            count = replicas if is_number(replicas) else 1
            totals[total] = totals.get(total, 0) + (edit.value - old) * count
    for path, difference in totals.items():
        value = facts.get(path)
        if is_number(value):
            changes.append(Measured(path, value + difference, "the override"))
    return replace_facts(facts, changes)
