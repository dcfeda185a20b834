"""Judges every selected rule, in the order of the file, and what it needs before it."""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from datetime import date
from fnmatch import fnmatchcase
from itertools import islice
from typing import NamedTuple

from preflight.evaluate import conditions, sentences
from preflight.evaluate.conditions import FactLookup, meets_condition
from preflight.evaluate.notes_and_memory import compute_stack_memory, list_report_notes
from preflight.evaluate.sentences import ComparisonText, describe_when, fill_placeholders
from preflight.model.conditions import ANY_ITEM_SEGMENT, Condition
from preflight.model.facts import (
    NEEDS_ONLINE_REASON,
    FactCatalogue,
    Facts,
    NoSuchItem,
    Path,
    Unknown,
    Value,
    join_path,
)
from preflight.model.problems import InputError, did_you_mean
from preflight.model.quantities import format_count, shorten_text
from preflight.model.report import (
    ITEM_PLACEHOLDER,
    ItemTextTemplates,
    ProposedChange,
    Report,
    Result,
    Severity,
    Verdict,
)
from preflight.model.rules import RETIRED_RULES, FactCondition, Rule, RuleSet, describe_retired_rule

MAX_RESULTS = 100_000
MAX_JUDGING_STEPS = 600_000_000  # characters of conditions, by items, and of rules, by results
_MIN_ITEMS_COUNTED_FOR_LIMITS = 10  # a rule file is too small for fewer to be too much

_COMPOSE_FILES_FACT_PATH = ("compose", "files")
_PROJECT_FACT_GROUPS = ("compose", "start", "stack")  # nothing to judge without a compose file
_NO_ACTIVE_SERVICE_NOTE = (
    "No service is active, so 'docker compose up' would start nothing. To activate services that "
    "have profiles, set COMPOSE_PROFILES."
)
_HOST_FACTS_IN_REPORT = ("hostname", "os", "arch")
_ENGINE_FACTS_IN_REPORT = ("reachable", "engine", "version", "endpoint", "context")


class RuleSelection(NamedTuple):
    """Which rules are reported: ids, tags, and globs of them.

    `only` also runs rules that are not enabled.
    """

    only: Collection[str] = ()
    skip: Collection[str] = ()
    strict: bool = False


def select_rules(
    ruleset: RuleSet, selection: RuleSelection, suggest: Callable[[str], str] = lambda _: ""
) -> list[Rule]:
    """Return the selected rules; raises InputError for an id or tag that no rule has."""
    retired = _find_selected_retired_rules(ruleset, selection)
    if selection.only and retired.issuperset(selection.only):
        names = sorted(selection.only)
        raise InputError(*(f"--only: {describe_retired_rule(name)}" for name in names))
    if not selection.only and not selection.skip:
        return [rule for rule in ruleset.rules if rule.enabled]
    known = {rule.id: {rule.id, *rule.tags} for rule in ruleset.rules}
    names = [*known, *ruleset.tags()]

    def expand(option: str, given: Iterable[str]) -> Iterator[str]:
        for name in given:
            matches = [n for n in names if n == name or fnmatchcase(n, name)]
            if not matches and name not in retired:
                hint = suggest(name) or did_you_mean(name, names)
                raise InputError(f"{option} {name}: no rule has this id or tag{hint}")
            yield from matches

    only, skip = set(expand("--only", selection.only)), set(expand("--skip", selection.skip))
    return [
        rule
        for rule in ruleset.rules
        if (only & known[rule.id] if selection.only else rule.enabled) and not skip & known[rule.id]
    ]


def _find_selected_retired_rules(ruleset: RuleSet, selection: RuleSelection) -> set[str]:
    """Return the retired rules that a selection names, but those that the rule file defines."""
    return {*selection.only, *selection.skip} & RETIRED_RULES.keys() - {r.id for r in ruleset.rules}


def judge_rules(
    ruleset: RuleSet,
    facts: Facts,
    catalogue: FactCatalogue,
    selection: RuleSelection | None = None,
    today: date = date.min,
) -> Report:
    """Judge the selected rules on the facts; `today` (UTC) decides which waivers are in force."""
    selection = selection or RuleSelection()
    evaluation = RuleEvaluator(ruleset, facts, catalogue, today, strict=selection.strict)
    selected = select_rules(ruleset, selection)
    exclusion = None if selection.only else explain_why_rules_dont_apply(ruleset, evaluation.scope)
    if exclusion:
        rules = {rule.id: rule for rule in ruleset.extended}
        selected = [rules[r.id] for r in selected if r.id in rules and rules[r.id].enabled]
        evaluation.rules.update(rules)
        if not selected:
            raise InputError(f"{exclusion}, and no other rule is selected")
    results = tuple(result for rule in selected for result in evaluation.judge_rule(rule))
    blockers = list(evaluation.explain_unselected_blockers(results))
    services = facts.get(("compose", "services"))
    if isinstance(services, Mapping) and not services:
        blockers.append(_NO_ACTIVE_SERVICE_NOTE)
    return Report(
        version=facts.version,
        measured_at=facts.measured_at,
        rules_name=", ".join(ruleset.extends) if exclusion else ruleset.name,
        rules_source=ruleset.origin,
        rules_sha256=ruleset.sha256,
        profile=ruleset.profile,
        host=_get_facts_or_none(facts, "host", _HOST_FACTS_IN_REPORT),
        engine=_get_facts_or_none(facts, "docker", _ENGINE_FACTS_IN_REPORT),
        results=results,
        strict=selection.strict,
        next="" if blockers else ruleset.next,
        memory=compute_stack_memory(facts, ruleset.system_overhead_bytes),
        compose_files=tuple(facts.texts("compose", "files")),
        service_count=len(services) if isinstance(services, Mapping) else None,
        notes=(
            *blockers,
            *list_report_notes(ruleset, facts, results, exclusion),
            *map(describe_retired_rule, sorted(_find_selected_retired_rules(ruleset, selection))),
        ),
    )


def explain_why_rules_dont_apply(ruleset: RuleSet, scope: FactLookup) -> str | None:
    """Return why the file's own rules don't apply; None if they do, or if that isn't known."""
    reasons = []
    for when in ruleset.applies:
        holds = [conditions.all_conditions_hold([line], scope) for line in when]
        # an item that isn't there is unknown to a rule, but it is known that the file has another
        failing = [
            line
            for line, truth in zip(when, holds, strict=True)
            if truth is False or isinstance(truth, NoSuchItem)
        ]
        if not failing:
            return None
        line = failing[0]
        comparison = ComparisonText(scope.get(line.path), line.condition, scope, line.path)
        reasons.append(
            f"{join_path(line.path)} is"
            f" {shorten_text(comparison.actual_text, sentences.MAX_SHOWN_TEXT_CHARS)}"
        )
    return ruleset.otherwise or f"The rules of {ruleset.name} don't apply ({', '.join(reasons)})"


def _get_facts_or_none(facts: Facts, group: str, names: Iterable[str]) -> Mapping[str, object]:
    """Return facts by name; None if one is unknown or of another type."""
    values = {name: facts.get((group, name)) for name in names}
    types = {"reachable": bool}
    return {n: v if isinstance(v, types.get(n, str)) else None for n, v in values.items()}


class RuleEvaluator:
    """The results so far, so that a rule that others need is judged only once."""

    def __init__(
        self,
        ruleset: RuleSet,
        facts: Facts,
        catalogue: FactCatalogue,
        today: date,
        *,
        strict: bool = False,
    ) -> None:
        self.ruleset = ruleset
        self.facts = facts
        self.scope = FactLookup(facts)
        self.systems = sentences.list_os_and_distribution(facts)
        self.catalogue = catalogue
        self.today = today
        self.verdicts_to_change = ("fail", "warn") if strict else ("fail",)
        self.rules = {rule.id: rule for rule in ruleset.rules}
        self.waivers = {waiver.rule: waiver for waiver in ruleset.waivers}
        self.results: dict[str, tuple[Result, ...]] = {}
        self.blockers: dict[str, str | None] = {}  # what keeps those that need a rule from it
        # by path, then by item: many rules select services by the same fact
        self._item_values: dict[Path, dict[str | None, Value | Unknown]] = {}
        self._results_left = MAX_RESULTS
        self._size_left = MAX_JUDGING_STEPS

    def judge_rule(self, rule: Rule) -> tuple[Result, ...]:
        """Return a rule's results; judges first what it needs (the loader refused cycles)."""
        stack = [rule]
        while stack:
            top = stack[-1]
            pending = [need for need in top.needs if need not in self.results]
            if pending:
                stack += [self.rules[need] for need in pending]
                continue
            stack.pop()
            if top.id not in self.results:
                self._judge_within_result_limits(top)
        return self.results[rule.id]

    def explain_unselected_blockers(self, results: Sequence[Result]) -> Iterator[str]:
        """Yield why rules are skipped if the rule that they need isn't among the results."""
        skipped = Counter(result.blocked_by for result in results if result.blocked_by)
        for need in sorted(skipped.keys() - {result.id for result in results}):
            cause = next(r for r in self.results[need] if r.verdict not in ("pass", "warn"))
            count = format_count(skipped[need], "check")
            yield f"{count} skipped because {need} did not pass: {cause.message}"

    def _judge_within_result_limits(self, rule: Rule) -> None:
        """Keep a rule's results; raises InputError if all rules together take too much."""
        count, size = 1, 0
        if rule.for_each and isinstance(items := self.facts.get(rule.for_each), Mapping):
            count = len(items)
        if count >= _MIN_ITEMS_COUNTED_FOR_LIMITS:
            size = len(repr(rule))
            self._size_left -= count * len(repr((rule.when, rule.require, rule.recommend)))
        limit = min(self._results_left, self._size_left // (size or 1))
        is_too_much = count > MAX_RESULTS or limit < 0
        results = (
            () if is_too_much else tuple(islice(self._judge_without_result_limits(rule), limit + 1))
        )
        if is_too_much or len(results) > limit:
            limits = f"the limit is {MAX_RESULTS:,} results and {MAX_JUDGING_STEPS:,} steps"
            raise InputError(f"rule {rule.id} has too much to evaluate ({count:,} items): {limits}")
        self._results_left -= len(results)
        self._size_left -= len(results) * size
        self.results[rule.id] = results

    def _find_blocker(self, need: str) -> str | None:
        """Return the rule whose failure keeps those that need this one from being judged."""
        if need not in self.blockers:
            failed = (r for r in self.results[need] if r.verdict not in ("pass", "warn"))
            blocker = next(failed, None)
            self.blockers[need] = blocker and (blocker.blocked_by or need)
        return self.blockers[need]

    def _judge_without_result_limits(self, rule: Rule) -> Iterator[Result]:
        for need in rule.needs:
            if (blocker := self._find_blocker(need)) is not None:
                reason = f"needs {need}, which did not pass"
                skipped = self._make_unevaluated_result(rule, self.scope, "skip", reason)
                yield skipped._replace(blocked_by=blocker)
                return
        if rule.for_each is None:
            yield self._judge_item(rule, self.scope)
        else:
            yield from self._judge_each_item(rule, rule.for_each)

    def _judge_each_item(self, rule: Rule, collection: Path) -> Iterator[Result]:
        """Judge the items that `when` selects by their own facts; a single skip if none is."""
        name, value = join_path(collection), self.facts.get(collection)
        unknown = value if isinstance(value, Unknown) else self.facts.unknown.get(name)
        items = value if isinstance(value, Mapping) else {}
        if value and not isinstance(value, (Unknown, Mapping)):  # an empty list has no items
            unknown = Unknown(f"{name} isn't a collection")
        general = [line for line in rule.when if not _refers_to_item(line)]
        result = (
            self._make_result_if_inapplicable(rule, general, self.scope)
            if items or unknown
            else None
        )
        if result is not None and result.verdict == "skip":
            yield result
            return
        if not items and not unknown:
            reason = (value is None and self.facts.source(collection)) or f"{name} is empty"
            yield self._make_unevaluated_result(rule, self.scope, "skip", reason)
            return
        own = [line for line in rule.when if ANY_ITEM_SEGMENT in line.path]
        scopes = [FactLookup(self.facts, str(item), collection) for item in items]
        selected, applied = self._drop_items_excluded_by_when(own, scopes)
        if result is not None and selected:
            yield result
        elif selected:
            yield from (self._judge_item(rule, scope) for scope in selected)
        elif not unknown:
            when = " and ".join(describe_when(line, self.scope) for line in applied)
            reason = f"applies only if {when}, but nothing matches"
            yield self._make_unevaluated_result(rule, self.scope, "skip", reason)
        if unknown:  # what items there are came before the measuring was cut off
            yield self._make_unevaluated_result(rule, self.scope, "unknown", unknown.reason)

    def _drop_items_excluded_by_when(
        self, when: Sequence[FactCondition], scopes: list[FactLookup]
    ) -> tuple[list[FactLookup], Sequence[FactCondition]]:
        """Return the items for which no line of a `when` is known to be false.

        And the lines, up to the one after which no item is left.
        """
        for number, line in enumerate(when, 1):
            values = self._item_values.setdefault(line.path, {})
            for scope in scopes:
                if scope.item not in values:
                    values[scope.item] = scope.get(line.path)
            scopes = [
                scope
                for scope in scopes
                if meets_condition(line.condition, values[scope.item], scope) is not False
            ]
            if not scopes:
                return [], when[:number]
        return scopes, when

    def _judge_item(self, rule: Rule, scope: FactLookup) -> Result:
        result = self._make_result_if_inapplicable(rule, rule.when, scope)
        is_of_project = (
            rule.fact[0] in _PROJECT_FACT_GROUPS and rule.fact != _COMPOSE_FILES_FACT_PATH
        )
        if result is None and is_of_project and self.facts.get(_COMPOSE_FILES_FACT_PATH) is None:
            return self._make_unevaluated_result(rule, scope, "skip", self.facts.source(rule.fact))
        return result or self._compare_fact(rule, scope)

    def _make_result_if_inapplicable(
        self, rule: Rule, when: Iterable[FactCondition], scope: FactLookup
    ) -> Result | None:
        """Return the result of a rule that doesn't apply, or for which that isn't known."""
        undecided = ""
        for line in when:
            actual = scope.get(line.path)
            holds = meets_condition(line.condition, actual, scope)
            if holds is True:
                continue
            comparison = ComparisonText(actual, line.condition, scope, line.path)
            if isinstance(holds, Unknown):
                undecided = undecided or comparison.explain_unknown(holds)
                continue
            name = join_path(scope.replace_item_segment(line.path))
            words = sentences.describe_as_predicate(comparison.condition_text.phrase)
            is_secret, text = comparison.is_secret, comparison.actual_text
            value = " (not met)" if is_secret else f", but it is {text}"
            reason = f"applies only if {name} {words}{value}"
            # whatever the others are
            return self._make_unevaluated_result(rule, scope, "skip", reason)
        if not undecided:
            return None
        if undecided != NEEDS_ONLINE_REASON:
            undecided = f"cannot tell whether the rule applies: {undecided}"
        return self._make_unevaluated_result(rule, scope, "unknown", undecided)

    def _compare_fact(self, rule: Rule, scope: FactLookup) -> Result:
        """Compare the fact with the requirement, then with the recommendation."""
        actual = scope.get(rule.fact)
        conditions = list_conditions(rule)
        for condition, severity, verdict in conditions:
            holds = meets_condition(condition, actual, scope)
            if holds is True:
                continue
            comparison = ComparisonText(actual, condition, scope, rule.fact)
            if isinstance(holds, Unknown):
                reason = comparison.explain_unknown(holds)
                return self._make_result(rule, comparison, "unknown", severity, reason)
            result = self._make_result(rule, comparison, verdict, severity)
            if rule.id in self.waivers:
                from preflight.evaluate.waivers import apply_waiver

                return apply_waiver(result, self.waivers[rule.id], comparison, self.today)
            return result
        condition, severity, _ = conditions[0]
        comparison = ComparisonText(actual, condition, scope, rule.fact)
        return self._make_result(rule, comparison, "pass", severity)

    def _make_unevaluated_result(
        self, rule: Rule, scope: FactLookup, verdict: Verdict, reason: str
    ) -> Result:
        """Return the result of a rule whose fact was not compared, with the reason."""
        condition, severity, _ = list_conditions(rule)[0]
        comparison = ComparisonText(Unknown(reason), condition, scope, rule.fact)
        return self._make_result(rule, comparison, verdict, severity, reason)

    def _make_result(
        self,
        rule: Rule,
        comparison: ComparisonText,
        verdict: Verdict,
        severity: Severity,
        reason: str = "",
    ) -> Result:
        """Build a result; `reason` is why it isn't judged: what needs the network is skipped."""
        verdict = "skip" if reason == NEEDS_ONLINE_REASON else verdict
        scope = comparison.scope
        path = scope.replace_item_segment(rule.fact)
        source, place = self.facts.find_source_and_line(path)
        if place is None and scope.item is not None:  # then the line where the item begins
            _, place = self.facts.find_source_and_line(scope.prepend_item_to_path(()) or ())
        texts = templates = self._fill_templates(rule, path, comparison, verdict, severity, reason)
        if scope.item is not None:
            texts = templates.for_item(scope.item)
        expected: str = severity
        if comparison.condition.compares_with_value:
            recommended = " recommended" if severity == "recommended" else ""
            expected = f"{comparison.condition_text.sign}{recommended}"
        return Result(
            id=rule.id,
            item=scope.item,
            title=rule.title,
            verdict=verdict,
            severity=severity,
            fact=join_path(path),
            actual=None if comparison.is_secret else _to_result_value(comparison.raw),
            expected=comparison.expected_as_json(),
            message=texts.message,
            actual_text="skipped" if verdict == "skip" else comparison.actual_text,
            expected_text=expected,
            source=self.ruleset.get_document_name_of_rule(rule),
            section=rule.section,
            tags=rule.tags,
            why=rule.why,
            reason_or_source=reason or source,
            error=texts.error,
            file=place and place.file,
            line=place and place.line,
            fixes=texts.fixes,
            change=_find_proposed_change(path, comparison)
            if verdict in self.verdicts_to_change
            else None,
            unit=comparison.unit,
            rule_file=rule.file,
            rule_line=rule.line,
            templates=templates if scope.item and verdict in ("fail", "warn") else None,
        )

    def _fill_templates(
        self,
        rule: Rule,
        path: Path,
        comparison: ComparisonText,
        verdict: Verdict,
        severity: Severity,
        reason: str,
    ) -> ItemTextTemplates:
        """Return the sentence of a result, the engine's error and the fixes, with `{item}`."""
        item = None if comparison.scope.item is None else ITEM_PLACEHOLDER

        def placeholder(name: str) -> str | None:
            if name in ("severity", "item"):
                return severity if name == "severity" else item
            return comparison.format_placeholder(self.catalogue, name)

        message = error = None
        if verdict in ("fail", "warn"):
            if rule.problem:
                message = comparison.fill_problem_sentence(rule.problem, placeholder)
            error = fill_placeholders(rule.error, placeholder) if rule.error else None
        if message is None:
            title = rule.title if item is None else f"{rule.title} · {item}"
            message = comparison.sentence(title, verdict, severity, reason)
        if verdict in ("pass", "skip"):
            return ItemTextTemplates(message, error, ())
        resolved = tuple(
            sentences.resolve_fixes(rule.fixes, comparison.scope, placeholder, self.systems, path)
        )
        if verdict == "unknown":  # nobody knows whether there is anything to change
            resolved = tuple(fix for fix in resolved if fix.kind not in ("edit", "destructive"))
        return ItemTextTemplates(message, error, resolved)


def _to_result_value(value: Value | Unknown) -> Value:
    """Return a value as a result has it, of a mapping the names."""
    if isinstance(value, Unknown):
        return None
    return list(value) if isinstance(value, dict) else value


def list_conditions(rule: Rule) -> list[tuple[Condition, Severity, Verdict]]:
    """Return a rule's conditions, at least one, with the verdict where they are not met."""
    conditions: list[tuple[Condition, Severity, Verdict]] = []
    if rule.require is not None:
        conditions.append((rule.require, "required", "fail"))
    if rule.recommend is not None:
        conditions.append((rule.recommend, "recommended", "warn"))
    return conditions


def _refers_to_item(line: FactCondition) -> bool:
    """Return whether a line of a `when`, or a bound in it, is a fact of the item."""
    return any(ANY_ITEM_SEGMENT in path for path in (line.path, *line.condition.referenced_facts()))


def _find_proposed_change(path: Path, comparison: ComparisonText) -> ProposedChange | None:
    """Return the nearest value of the fact that meets the condition, or None if none is found."""
    condition, scope, actual = comparison.condition, comparison.scope, comparison.actual
    for value in (
        () if comparison.is_secret else conditions.find_passing_values(condition, actual, scope)
    ):
        after = sentences.format_bound(value, comparison.unit, actual, comparison.operand)
        text = f"{comparison.actual_text} → {after}"
        return ProposedChange(join_path(path), _to_result_value(comparison.raw), value, text)
    return None
