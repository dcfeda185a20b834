"""Judges every selected rule, in the order of the file, and what it needs before it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from datetime import date
from functools import partial
from typing import NamedTuple

from preflight.evaluate.change import smallest
from preflight.evaluate.conditions import Scope, Truth, all_true, judge, typed
from preflight.evaluate.memory import memory_breakdown
from preflight.evaluate.sentences import Figures, expected_json, figure, fill
from preflight.evaluate.waivers import notes, waive
from preflight.model.conditions import ITEM, Condition, Operand, Reference
from preflight.model.facts import (
    Catalogue,
    Facts,
    Measured,
    Path,
    Unit,
    Unknown,
    Value,
    join_path,
)
from preflight.model.problems import InputError, did_you_mean
from preflight.model.report import (
    VERDICTS,
    Explanation,
    ProposedChange,
    Report,
    ResolvedFix,
    Result,
    Severity,
    Verdict,
)
from preflight.model.retired import RETIRED_RULES, describe_retired_rule
from preflight.model.rules import FactCondition, Fix, Rule, RuleSet

_HOST: Mapping[str, Unit] = dict.fromkeys(("hostname", "os", "arch"), "text")
_ENGINE: Mapping[str, Unit] = {
    "reachable": "boolean",
    **dict.fromkeys(("engine", "version", "endpoint", "context"), "text"),
}


class Selection(NamedTuple):
    """Which rules are reported: ids and tags. `only` also runs rules that are not enabled."""

    only: Collection[str] = ()
    skip: Collection[str] = ()
    strict: bool = False


def select(ruleset: RuleSet, selection: Selection) -> list[Rule]:
    """Return the selected rules; raises InputError for an id or tag that no rule has."""
    only, skip = set(selection.only), set(selection.skip)
    if not only and not skip:
        return [rule for rule in ruleset.rules if rule.enabled]
    known = [*(rule.id for rule in ruleset.rules), *ruleset.tags()]
    retired = _retired(ruleset, selection)
    if only and only <= retired:
        raise InputError(*(f"--only: {describe_retired_rule(name)}" for name in sorted(only)))
    for option, names in (("--only", selection.only), ("--skip", selection.skip)):
        for name in names:
            if name not in known and name not in retired:
                raise InputError(
                    f"{option} {name}: no rule has this id or tag{did_you_mean(name, known)}"
                )
    return [
        rule
        for rule in ruleset.rules
        if (only & {rule.id, *rule.tags} if only else rule.enabled)
        and not skip & {rule.id, *rule.tags}
    ]


def _retired(ruleset: RuleSet, selection: Selection) -> set[str]:
    """Return the retired rules that a selection names, but those that the rule file defines."""
    return {*selection.only, *selection.skip} & RETIRED_RULES.keys() - {r.id for r in ruleset.rules}


def evaluate(
    ruleset: RuleSet,
    facts: Facts,
    catalogue: Catalogue,
    selection: Selection | None = None,
    today: date = date.min,
) -> Report:
    """Judge the selected rules on the facts; `today` (UTC) decides which waivers still hold."""
    selection = selection or Selection()
    judged = Evaluation(ruleset, facts, catalogue, today)
    results = tuple(result for rule in select(ruleset, selection) for result in judged.rule(rule))
    counted = Counter(result.verdict for result in results)
    return Report(
        version=facts.version,
        measured_at=facts.measured_at,
        rules_name=ruleset.name,
        rules_source=ruleset.origin,
        rules_sha256=ruleset.sha256,
        host=_known(facts, "host", _HOST),
        engine=_known(facts, "docker", _ENGINE),
        results=results,
        strict=selection.strict,
        next=ruleset.next,
        counts={verdict: counted[verdict] for verdict in VERDICTS},
        memory=memory_breakdown(facts, ruleset.overhead),
        notes=(
            *ruleset.notes,
            *map(describe_retired_rule, sorted(_retired(ruleset, selection))),
            *notes(ruleset.waivers, results),
        ),
    )


def _known(facts: Facts, group: str, units: Mapping[str, Unit]) -> Mapping[str, object]:
    """Return facts by name; None where one is not known, or not of its kind."""
    values = {name: typed(facts.get((group, name)), unit) for name, unit in units.items()}
    return {k: None if isinstance(v, Unknown) else v for k, v in values.items()}


class Evaluation:
    """One judging: what was judged so far, so that a rule others need is judged once."""

    def __init__(self, ruleset: RuleSet, facts: Facts, catalogue: Catalogue, today: date) -> None:
        self.ruleset = ruleset
        self.facts = facts
        self.whole = Scope(facts)
        self.catalogue = catalogue
        self.today = today
        self.rules = {rule.id: rule for rule in ruleset.rules}
        self.waivers = {waiver.rule: waiver for waiver in ruleset.waivers}
        self.results: dict[str, tuple[Result, ...]] = {}

    def rule(self, rule: Rule) -> tuple[Result, ...]:
        """Return the results of a rule, judging first what it needs (the loader refused cycles)."""
        stack = [rule]
        while stack:
            top = stack[-1]
            waiting = [need for need in top.needs if need not in self.results]
            if waiting:
                stack += [self.rules[need] for need in waiting]
                continue
            stack.pop()
            if top.id not in self.results:
                self.results[top.id] = tuple(self._judge(top))
        return self.results[rule.id]

    def _judge(self, rule: Rule) -> Iterator[Result]:
        whole = self.whole
        held = self._find_blocker(rule)
        if held is not None:
            need, root = held
            yield self._not_evaluated(
                rule, whole, "skip", f"needs {need}, which did not pass", root
            )
        elif rule.for_each is None:
            yield self._judge_item(rule, whole)
        else:
            yield from self._judge_each(rule, rule.for_each)

    def _judge_each(self, rule: Rule, collection: Path) -> Iterator[Result]:
        whole = self.whole
        items = self.facts.get(collection)
        if isinstance(items, Unknown):
            aside = self._unless(rule, [line for line in rule.when if _is_general(line)], whole)
            if aside is None or aside.verdict != "skip":
                aside = self._not_evaluated(rule, whole, "unknown", items.reason)
            yield aside
            return
        if items is not None and not isinstance(items, Mapping):
            yield self._not_evaluated(
                rule, whole, "unknown", f"{join_path(collection)} holds no names"
            )
            return
        rest = self.facts.unknown.get(join_path(collection))
        if items or rest is None:
            yield from self._judge_items(
                rule, [Scope(self.facts, str(i), collection) for i in items or ()]
            )
        if rest is not None:  # what came of it came before the measuring was cut off
            yield self._not_evaluated(rule, whole, "unknown", rest.reason)

    def _judge_items(self, rule: Rule, scopes: list[Scope]) -> Iterator[Result]:
        """Judge the items that `when` chooses by their own facts; one skip where there is none."""
        if not scopes:
            assert rule.for_each is not None
            known = self.facts.get(rule.for_each) is None and self.facts.source(rule.for_each)
            why = known or f"{join_path(rule.for_each)} has nothing in it"
            yield self._not_evaluated(rule, self.whole, "skip", why)
            return
        aside = self._unless(rule, [line for line in rule.when if _is_general(line)], self.whole)
        if aside is not None:
            yield aside
            return
        own = [line for line in rule.when if ITEM in line.path]
        chosen = [scope for scope in scopes if _holds(own, scope) is not False]
        yield from (self._judge_item(rule, scope) for scope in chosen)
        if not chosen:
            asked = " and ".join(_applies(line, self.whole) for line in own)
            yield self._not_evaluated(rule, self.whole, "skip", f"applies where {asked}; none here")

    def _find_blocker(self, rule: Rule) -> tuple[str, str] | None:
        """Return the first need that did not pass, and the root of it."""
        for need in rule.needs:
            for result in self.results[need]:
                if result.verdict not in ("pass", "warn"):
                    return need, result.blocked_by or need
        return None

    def _judge_item(self, rule: Rule, scope: Scope) -> Result:
        return self._unless(rule, rule.when, scope) or self._decide(rule, scope)

    def _unless(self, rule: Rule, when: Iterable[FactCondition], scope: Scope) -> Result | None:
        """The result of a rule that does not apply, or of which nobody knows whether it does."""
        for line in when:
            holds = judge(line.condition, scope.get(line.path), scope)
            if isinstance(holds, Unknown):
                return self._not_evaluated(
                    rule, scope, "unknown", f"whether it applies: {holds.reason}"
                )
            if not holds:
                return self._not_evaluated(rule, scope, "skip", _does_not_hold(line, scope))
        return None

    def _decide(self, rule: Rule, scope: Scope) -> Result:
        """Hold the requirement against the fact, then the recommendation."""
        actual = scope.get(rule.fact)
        for condition, severity, verdict in _bounds(rule):
            holds = judge(condition, actual, scope)
            if holds is True:
                continue
            figures = Figures(actual, condition, scope)
            if isinstance(holds, Unknown):
                return self._result(rule, figures, "unknown", severity, holds.reason)
            result = self._result(rule, figures, verdict, severity)
            if verdict == "fail":
                result = result._replace(change=self._change(rule, condition, figures))
            waiver = self.waivers.get(rule.id)
            return waive(result, waiver, figures, self.today) if waiver else result
        condition, severity, _ = _bounds(rule)[0]
        return self._result(rule, Figures(actual, condition, scope), "pass", severity)

    def _change(self, rule: Rule, condition: Condition, figures: Figures) -> ProposedChange | None:
        """The smallest change of the fact that meets the condition, proved on changed facts."""
        scope = figures.scope
        path = scope.absolute(rule.fact)

        def proof(value: Value) -> Truth:
            return judge(condition, value, scope._replace(changed=Measured(path, value)))

        found = smallest(condition, figures.raw, scope, proof)
        if not found:
            return None
        after = figure(found[0], figures.unit, figures.actual, binary=figures.binary)
        return ProposedChange(join_path(path), figures.raw, found[0], f"{figures.found} → {after}")

    def _not_evaluated(
        self, rule: Rule, scope: Scope, verdict: Verdict, reason: str, blocked_by: str | None = None
    ) -> Result:
        """The result of a rule that was not held against its fact, with the reason."""
        condition, severity, _ = _bounds(rule)[0]
        figures = Figures(Unknown(reason), condition, scope)
        return self._result(rule, figures, verdict, severity, reason, blocked_by)

    def _result(
        self,
        rule: Rule,
        figures: Figures,
        verdict: Verdict,
        severity: Severity,
        reason: str = "",
        blocked_by: str | None = None,
    ) -> Result:
        """Build a result; `reason` is why it is unknown or skipped."""
        scope = figures.scope
        asked = figures.asked()
        path = scope.absolute(rule.fact)
        source = self.facts.source(path)
        place = self.facts.place(path)
        if place is None and scope.item is not None:  # then the line where the item begins
            place = self.facts.place(scope.relative(()) or ())
        told = rule.error if verdict in ("fail", "warn") else None
        word = partial(figures.word, self.catalogue)
        advice = advise(rule.fixes, scope, word) if verdict not in ("pass", "skip") else ()
        return Result(
            id=rule.id,
            item=scope.item,
            title=rule.title,
            verdict=verdict,
            severity=severity,
            fact=join_path(path),
            actual=None if isinstance(figures.raw, Unknown) else figures.raw,
            expected=expected_json(figures.condition, scope),
            message=_sentence(rule, figures, verdict, severity, reason),
            actual_text="skipped" if verdict == "skip" else figures.found,
            expected_text=asked if severity == "required" else f"{asked} advised",
            source=self.ruleset.document_of(rule),
            section=rule.section,
            tags=rule.tags,
            why=rule.why,
            reason_or_source=reason or source,
            error=fill(told, word) if told else None,
            blocked_by=blocked_by,
            file=place and place.file,
            line=place and place.line,
            fixes=tuple(advice),
            unit=figures.unit,
            rule_file=rule.file,
            rule_line=rule.line,
        )


def advise(
    fixes: Iterable[Fix], scope: Scope, word: Callable[[str], str | None]
) -> Iterator[ResolvedFix]:
    """Yield the first fix whose `when` holds, and those without, in their order, filled in."""
    chosen = False
    for fix in fixes:
        if fix.when and (chosen or _holds(fix.when, scope) is not True):
            continue
        filled = [fill(part, word) if part else part for part in (fix.text, fix.command, fix.url)]
        if filled[0] is None or (fix.command and filled[1] is None):
            continue
        chosen = chosen or bool(fix.when)
        yield ResolvedFix(filled[0], filled[1], filled[2])


def _holds(when: Iterable[FactCondition], scope: Scope) -> Truth:
    return all_true(judge(line.condition, scope.get(line.path), scope) for line in when)


def _bounds(rule: Rule) -> list[tuple[Condition, Severity, Verdict]]:
    """Return a rule's conditions with what it means to miss them; at least one is there."""
    bounds: list[tuple[Condition, Severity, Verdict]] = []
    if rule.require is not None:
        bounds.append((rule.require, "required", "fail"))
    if rule.recommend is not None:
        bounds.append((rule.recommend, "recommended", "warn"))
    return bounds


def _is_general(line: FactCondition) -> bool:
    """Whether a line of a `when` is the same for every item."""
    return ITEM not in line.path and not _asks_item(line.condition)


def _asks_item(part: Condition | Operand) -> bool:
    """Whether a bound is a fact of the item, at any depth: conditions and sums are tuples too."""
    if isinstance(part, Reference):
        return ITEM in part.path
    return isinstance(part, tuple) and any(_asks_item(inner) for inner in part)


def _applies(line: FactCondition, scope: Scope) -> str:
    """Say one line of a `when`, of an item by its own name for the fact."""
    path = line.path[line.path.index(ITEM) + 1 :] if ITEM in line.path else line.path
    return f"{join_path(path)} is {Figures(None, line.condition, scope).wanted()}"


def _does_not_hold(line: FactCondition, scope: Scope) -> str:
    path = scope.absolute(line.path)
    figures = Figures(scope.get(line.path), line.condition, scope)
    return f"applies where {join_path(path)} is {figures.wanted()}, here {figures.found}"


def _sentence(
    rule: Rule, figures: Figures, verdict: Verdict, severity: Severity, reason: str
) -> str:
    """Say what was found and what is asked, in the one sentence that every format shows."""
    item = figures.scope.item
    name = rule.title if item is None else f"{rule.title} · {item}"
    if verdict in ("unknown", "skip"):
        return f"{name}: {'unknown' if verdict == 'unknown' else 'skipped'}, {reason}"
    if figures.unit == "boolean":
        return f"{name}: {figures.both()}"
    asks = "needs" if severity == "required" else "advised"
    short = figures.short() if verdict != "pass" else ""
    return f"{name}: {figures.both()}, {asks} {figures.wanted()}{short}"


def explain(
    ruleset: RuleSet, facts: Facts, catalogue: Catalogue, rule: Rule, today: date = date.min
) -> Explanation:
    """Say what a rule asks, why, and what it comes to on these facts, its fixes included."""
    bench = Evaluation(ruleset, facts, catalogue, today)
    scope = Scope(facts)
    words = {
        severity: Figures(None, condition, scope).wanted()
        for condition, severity, _ in _bounds(rule)
    }
    figures = Figures(scope.get(rule.fact), _bounds(rule)[0][0], scope)
    return Explanation(
        id=rule.id,
        title=rule.title,
        fact=join_path(rule.fact),
        requires=words.get("required"),
        recommends=words.get("recommended"),
        why=rule.why,
        section=rule.section,
        source=ruleset.document_of(rule),
        needs=rule.needs,
        applies_if=tuple(_applies(line, scope) for line in rule.when),
        results=bench.rule(rule),
        fixes=tuple(advise(rule.fixes, scope, partial(figures.word, catalogue))),
    )
