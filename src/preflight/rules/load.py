"""Rule files to one RuleSet: `extends` followed, one id merged, every problem collected."""

from __future__ import annotations

import hashlib
import posixpath
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import PurePath
from typing import Any, NamedTuple

from preflight.model.facts import Catalogue, Fact
from preflight.model.patterns import compile_log_pattern
from preflight.model.problems import InputError, did_you_mean
from preflight.model.retired import RETIRED_RULES, describe_retired_rule
from preflight.model.rules import (
    BUNDLED_NAME,
    DEFAULT_RULES,
    DERIVED_VALUES,
    LOG_NAMESPACE,
    PLACEHOLDER,
    VALUE_TYPES,
    Diagnosis,
    Fix,
    Model,
    Rule,
    RuleSet,
    Waiver,
)
from preflight.rules.conditions import operators, read_type
from preflight.rules.context import MAX_PROBLEMS, Context, Invalid, pairs, scalar
from preflight.rules.fields import DIAGNOSIS, FILE, MODEL, NAME, RULE, WAIVER
from preflight.rules.schema_types import CollectionPath, Record
from preflight.rules.yaml_nodes import (
    PLAIN,
    TAGS,
    Node,
    Scalar,
    Sequence,
    compose,
    is_null,
    kind_of,
    problem_at,
)

MAX_CHAIN = 50  # files that extend one another

Read = Callable[[str], bytes]
"""Return a rule file's bytes by its path, or the bundled set's for DEFAULT; raises OSError."""


class _Entry(NamedTuple):
    """A record of some id, its fields merged over all files, still undecoded."""

    node: Node
    fields: dict[str, Node]


class _Merged:
    """What the files say together, still undecoded."""

    def __init__(self) -> None:
        self.head: dict[str, Any] = {}
        self.vars: dict[str, str] = {}
        self.rules: dict[str, _Entry] = {}
        self.models: dict[str, _Entry] = {}
        self.diagnoses: dict[str, _Entry] = {}
        self.waivers: dict[object, _Entry] = {}  # by the rule that is waived
        self.sources: dict[str, str] = {}  # by file: the document that it states
        self.sha256 = hashlib.sha256()
        self.read: set[str] = set()  # the files that were extended so far


def load(
    name: str, read: Read, catalogue: Catalogue, overrides: Mapping[str, str] | None = None
) -> RuleSet:
    """Load a rule file (or DEFAULT) with all that it extends.

    `overrides` replaces vars by name. Raises InputError with every problem found.
    """
    context = Context(catalogue)
    merged = _Merged()
    _read_file(name, read, merged, context, ())
    known = list(merged.vars)
    merged.vars.update(overrides or {})
    context.vars = merged.vars
    ruleset = _build(merged, name, context)
    if context.problems:
        found = sorted(set(context.problems))
        more = [f"… and {len(found) - MAX_PROBLEMS} more"] if len(found) > MAX_PROBLEMS else []
        raise InputError(*found[:MAX_PROBLEMS], *more)
    for key in overrides or ():
        if key not in known:
            raise InputError(f"--set {key}: no var of this name{did_you_mean(key, known)}")
    return ruleset


def display_name(name: str) -> str:
    """Return how reports and problems name a rule file."""
    return BUNDLED_NAME if name == DEFAULT_RULES else name


def _read_file(
    name: str, read: Read, merged: _Merged, context: Context, above: tuple[str, ...]
) -> None:
    data = read(name)
    root = compose(data, display_name(name))
    merged.sha256.update(data)
    try:
        found = FILE.nodes(root, context)
    except Invalid:
        context.whole = False
        return
    head, _ = FILE.good_values(found, root, context)
    if "extends" in found and "extends" not in head and not is_null(found["extends"]):
        context.whole = False
    for number, base in enumerate(head.get("extends", ())):
        _extend(base, found["extends"].value[number], name, read, merged, context, above)
    merged.head.update({key: head[key] for key in ("name", "source", "next") if key in head})
    merged.sources[display_name(name)] = merged.head.get("source", "")
    merged.vars.update(_vars(head.get("vars"), context))
    _merge(head.get("rules"), RULE, "id", merged.rules, context)
    _merge(head.get("models"), MODEL, "name", merged.models, context)
    _merge(head.get("diagnoses"), DIAGNOSIS, "id", merged.diagnoses, context)
    _merge_waivers(head.get("waivers"), merged, context)


def _extend(
    base: str,
    node: Node,
    name: str,
    read: Read,
    merged: _Merged,
    context: Context,
    above: tuple[str, ...],
) -> None:
    """Read a file that `name` extends; a cycle or a file that can't be read is a problem."""
    if "://" in base:
        context.wrong(
            node, f"{base} is an address, and nothing is fetched: name a file that lies here"
        )
        context.whole = False
        return
    path = base
    if base != DEFAULT_RULES:
        folder = posixpath.dirname(PurePath(name).as_posix())
        path = posixpath.normpath(posixpath.join(folder, base))
    chain = (*above, name)
    if path in map(_normal, chain):
        context.wrong(node, f"extends itself: {' → '.join(map(display_name, (*chain, path)))}")
        return
    if path in merged.read:
        return  # what was laid over it since stays
    if len(chain) > MAX_CHAIN:
        raise InputError(problem_at(node, f"over {MAX_CHAIN} files extend one another"))
    merged.read.add(path)
    try:
        _read_file(path, read, merged, context, chain)
        return
    except (OSError, ValueError) as fault:
        context.wrong(node, f"cannot read {path}: {getattr(fault, 'strerror', None) or fault}")
    except InputError as fault:
        context.problems += [p for p in fault.problems if not isinstance(p, str)]
    context.whole = False


def _normal(name: str) -> str:
    return name if name == DEFAULT_RULES else posixpath.normpath(PurePath(name).as_posix())


def _vars(node: Node | None, context: Context) -> dict[str, str]:
    values: dict[str, str] = {}
    try:
        found = {} if node is None else pairs(node, context, None, "vars")
    except Invalid:
        context.whole = False  # nor are its uses called unknown
        return values
    for name, value in found.items():
        plain = value.__class__ is Scalar and value.tag in TAGS and not is_null(value)
        if not re.fullmatch(NAME, name):
            context.wrong(value, f"expected a name such as system_overhead, found {name!r}")
        elif not plain:
            context.wrong(value, f"expected a value for {name!r}, found {kind_of(value)}")
        elif "${" in value.value:
            context.wrong(value, "a var can't use other vars")
        values[name] = value.value if plain else "0"  # known, so that its uses are no problems too
    return values


def _list(node: Node | None, context: Context) -> list[Node]:
    if node is None or is_null(node):
        return []
    if node.__class__ is not Sequence or node.tag != PLAIN:
        context.wrong(node, f"expected a list, found {kind_of(node)}")
        return []
    return list(node.value)


def _merge(
    node: Node | None, record: Record, key: str, into: dict[str, _Entry], context: Context
) -> None:
    """Add a list of records to those of the files before; of one id, the later fields win."""
    seen: dict[str, int] = {}
    for entry in _list(node, context):
        try:
            fields = record.nodes(entry, context)
            if key not in fields or is_null(fields[key]):
                raise context.wrong(entry, f"{record.what} needs {key!r}")
            name = record.fields[key].shape.decode(fields[key], context)
        except Invalid:
            continue
        if name in seen:
            context.wrong(fields[key], f"{key} {name!r} is taken, see line {seen[name]}")
            continue
        seen[name] = entry.start_mark.line + 1
        base = into.get(name)
        into[name] = _Entry(entry, {**base.fields, **fields} if base else fields)


def _merge_waivers(node: Node | None, merged: _Merged, context: Context) -> None:
    """Add a list of waivers; one takes the place of that for the same rule in a file before."""
    seen: dict[object, int] = {}
    for entry in _list(node, context):
        try:
            fields = WAIVER.nodes(entry, context)
        except Invalid:
            continue
        rule = _given(fields, "rule")
        name = rule.value if rule.__class__ is Scalar else entry  # what is none is told later
        if name in seen:
            context.wrong(fields["rule"], f"rule {name!r} has a waiver, see line {seen[name]}")
            continue
        seen[name] = entry.start_mark.line + 1
        merged.waivers[name] = _Entry(entry, fields)


def _build(merged: _Merged, name: str, context: Context) -> RuleSet:
    retired = _drop_retired(merged)
    entries = merged.rules
    context.rules = entries.keys()
    rules = {
        id_: rule for id_, entry in entries.items() if (rule := _rule(entry, context)) is not None
    }
    _refuse_cycles(rules, entries, context)
    return RuleSet(
        name=merged.head.get("name") or PurePath(name).stem,
        origin=display_name(name),
        sha256=merged.sha256.hexdigest(),
        source=merged.head.get("source", ""),
        next=merged.head.get("next", ""),
        rules=tuple(rules.values()),
        vars=merged.vars,
        models=tuple(
            Model(**values, **_place(node))
            for node, values in _records(merged.models, MODEL, context)
        ),
        diagnoses=_diagnoses(merged.diagnoses, context),
        waivers=_waivers(merged, rules, context),
        required_facts=frozenset(context.required_facts),
        sources=merged.sources,
        notes=tuple(map(describe_retired_rule, retired)),
    )


def _drop_retired(merged: _Merged) -> list[str]:
    """Drop overrides and waivers of retired rules; return the rules' ids.

    A rule file may define a rule of its own with such an id.
    """
    rules, waivers = merged.rules, merged.waivers
    overridden = {id_ for id_, entry in rules.items() if "fact" not in entry.fields}
    retired = [
        id_ for id_ in RETIRED_RULES if id_ in overridden or (id_ in waivers and id_ not in rules)
    ]
    for id_ in retired:
        rules.pop(id_, None)
        waivers.pop(id_, None)
    return retired


def _rule(entry: _Entry, context: Context) -> Rule | None:
    """Decode a rule: its collection, its fact and its type first, the rest is read by them."""
    fields = entry.fields
    context.collection, context.unit = None, "text"
    try:
        if (collection := _given(fields, "for_each")) is not None:
            context.collection = CollectionPath().decode(collection, context)
        if not _read_unit(fields, context):
            fields = _without_conditions(fields, context)
        values = RULE.values(fields, entry.node, context)
        if "require" not in values and "recommend" not in values:
            raise context.missing(entry.node, "a rule needs 'require' or 'recommend'")
    except Invalid:
        return None
    finally:
        context.collection = None
    values.pop("type", None)
    return Rule(**values, **_place(entry.node))


def _place(node: Node) -> dict[str, Any]:
    """Return where a record stands, as rules, models and waivers hold it."""
    mark = node.start_mark
    return {"file": mark.name, "line": mark.line + 1, "column": mark.column + 1}


def _read_unit(fields: dict[str, Node], context: Context) -> bool:
    """Set the unit that the rule's conditions are read in; False where its fact is none."""
    name, type_ = _given(fields, "fact"), _given(fields, "type")
    try:
        if name is not None:
            text = scalar(name, context, "the name of a fact")
            context.unit = context.fact(name, text)[1].unit
        if type_ is not None:
            context.unit = read_type(type_, context)
    except Invalid:
        return False
    return name is not None


_CONDITIONS = ("require", "recommend", "accept")


def _without_conditions(fields: dict[str, Node], context: Context) -> dict[str, Node]:
    """Return the fields that are read without a fact's unit; note unknown operators of the others.

    Those are told apart from known ones whatever the unit.
    """
    for key in _CONDITIONS:
        if (condition := _given(fields, key)) is not None:
            try:
                operators(condition, context)
            except Invalid:
                continue  # noted
    return {key: node for key, node in fields.items() if key not in _CONDITIONS}


def _given(fields: dict[str, Node], key: str) -> Node | None:
    node = fields.get(key)
    return None if node is None or is_null(node) else node


def _records(
    entries: dict[str, _Entry], record: Record, context: Context
) -> Iterator[tuple[Node, dict[str, Any]]]:
    """Yield the decoded fields of the good records, each with its node."""
    for entry in entries.values():
        try:
            yield entry.node, record.values(entry.fields, entry.node, context)
        except Invalid:
            continue


def _diagnoses(entries: dict[str, _Entry], context: Context) -> tuple[Diagnosis, ...]:
    context.diagnoses = entries.keys()
    found = (_diagnosis(entry, context) for entry in entries.values())
    return tuple(one for one in found if one is not None)


def _diagnosis(entry: _Entry, context: Context) -> Diagnosis | None:
    """Decode a diagnosis: what its patterns capture first, since its texts are filled with that."""
    first: dict[str, Node] = {
        key: entry.fields[key] for key in ("patterns", "values") if key in entry.fields
    }
    found, _ = DIAGNOSIS.good_values(first, entry.node, _quiet(context))
    names = {
        name for one in found.get("patterns", ()) for name in compile_log_pattern(one).groupindex
    }
    types = found.get("values", {})
    units = {name: VALUE_TYPES[types.get(name, "string")] for name in sorted(names)}
    context.captured = {
        name: Fact(f"{LOG_NAMESPACE}.{name}", unit, "")
        for name, unit in {**DERIVED_VALUES, **units}.items()
    }
    try:
        made = Diagnosis(**DIAGNOSIS.values(entry.fields, entry.node, context))
        _check_captured(made, names, entry, context)
    except Invalid:
        return None
    finally:
        context.captured = None
    return made


def _quiet(context: Context) -> Context:
    """Return a context whose problems are noted nowhere: the same is decoded again."""
    quiet = Context(context.catalogue)
    quiet.vars, quiet.whole = context.vars, False
    return quiet


def _check_captured(made: Diagnosis, names: set[str], entry: _Entry, context: Context) -> None:
    for name in sorted(made.values.keys() - names):
        near = context.near(name, names)
        context.wrong(entry.fields["values"], f"no pattern has a group {name!r}{near}")
    for name in sorted(names & DERIVED_VALUES.keys()):
        context.wrong(
            entry.fields["patterns"], f"{name!r} is no name for a group: it is worked out"
        )
    for name in sorted(names & {n for fix in made.fixes for n in _copied(fix)}):
        why = "a log could have it run anything"
        context.wrong(entry.fields["fixes"], f"no command or url is filled with {name!r}: {why}")
    if made.within is not None and (made.times < 2 or made.within <= 0):
        context.wrong(entry.fields["within"], "within needs 'times' of 2 or more")


def _copied(fix: Fix) -> list[str]:
    """Return the placeholders of what is copied and run."""
    return PLACEHOLDER.findall(f"{fix.command or ''} {fix.url or ''}")


def _waivers(merged: _Merged, rules: dict[str, Rule], context: Context) -> tuple[Waiver, ...]:
    made = []
    for entry in merged.waivers.values():
        fields = entry.fields
        try:
            name = str(fields["rule"].value) if "rule" in fields else ""
            if name in rules:
                bound = rules[name].require or rules[name].recommend
                context.unit = bound.unit if bound else "text"
            else:
                fields = _without_conditions(fields, context)
            values = WAIVER.values(fields, entry.node, context)
            made.append(Waiver(**values, **_place(entry.node)))
        except Invalid:
            continue
    return tuple(made)


def _refuse_cycles(rules: dict[str, Rule], entries: dict[str, _Entry], context: Context) -> None:
    """No rule may need itself over others."""
    done: set[str] = set()
    for start, rule in rules.items():
        if rule.needs:
            _walk_needs(start, rules, entries, {}, done, context)


def _walk_needs(
    start: str,
    rules: dict[str, Rule],
    entries: dict[str, _Entry],
    trail: dict[str, int],
    done: set[str],
    context: Context,
) -> None:
    stack = [(start, iter(rules[start].needs))]
    trail[start] = 0
    while stack:
        name, needs = stack[-1]
        need = next(needs, None)
        if need is None:
            stack.pop()
            trail.pop(name)
            done.add(name)
        elif need in trail:
            cycle = [*list(trail)[trail[need] :], need]
            context.wrong(entries[name].fields["needs"], f"needs itself: {' → '.join(cycle)}")
        elif need in rules and need not in done:
            trail[need] = len(trail)
            stack.append((need, iter(rules[need].needs)))
