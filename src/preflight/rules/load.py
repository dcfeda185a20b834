"""Rule files to one RuleSet: follows `extends`, merges by id, collects every problem."""

from __future__ import annotations

import hashlib
import posixpath
import re
from collections.abc import Callable, Mapping, Set
from functools import partial
from graphlib import CycleError, TopologicalSorter
from pathlib import PurePath
from typing import Any, NamedTuple, TypeVar

from preflight.model.facts import Catalogue, Fact
from preflight.model.patterns import compile_log_pattern
from preflight.model.problems import InputError, did_you_mean
from preflight.model.rules import (
    BUNDLED_NAME,
    DEFAULT_RULES,
    DERIVED_VALUES,
    LOG_NAMESPACE,
    MAX_RULE_FILE_BYTES,
    PLACEHOLDER,
    RETIRED_RULES,
    VALUE_TYPES,
    Diagnosis,
    Rule,
    RuleSet,
    Waiver,
    describe_retired_rule,
)
from preflight.rules.context import (
    MAX_SHOWN_PROBLEMS,
    DecodingContext,
    Invalid,
    read_mapping,
    read_scalar,
)
from preflight.rules.language import (
    DIAGNOSIS,
    FILE,
    MODEL,
    NAME,
    RULE,
    WAIVER,
    read_operands,
    read_type,
)
from preflight.rules.schema import ObjectList, decode_valid
from preflight.yaml_marks import (
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

T = TypeVar("T")

MAX_EXTENDED_FILES = 50  # in one chain

ReadFile = Callable[[str], bytes]
"""Return the bytes of a rule file, or of the bundled set for DEFAULT_RULES; raises OSError."""


class _Entry(NamedTuple):
    """A rule, model, diagnosis or waiver: its keys, merged over all files, not decoded yet."""

    nodes: dict[str, Node]
    node: Node


_Entries = dict[object, _Entry]  # by id, or by the node where the id is missing
_LISTS = {
    name: field.type_ for name, field in FILE.fields.items() if isinstance(field.type_, ObjectList)
}


def load(
    name: str, read: ReadFile, catalogue: Catalogue, overrides: Mapping[str, str] | None = None
) -> RuleSet:
    """Load a rule file (or DEFAULT_RULES) with all that it extends.

    `overrides` replaces vars by name. Raises InputError with every problem.
    """
    context = DecodingContext(catalogue)
    files = _RuleFiles(read, context)
    files.add(name, ())
    known_vars = list(files.vars)
    context.vars = {**files.vars, **(overrides or {})}
    ruleset = _build_ruleset(files, name, context)
    if context.problems:
        problems = sorted(set(context.problems))
        hidden = len(problems) - MAX_SHOWN_PROBLEMS
        more = [f"… and {hidden} more"] if hidden > 0 else []
        raise InputError(*problems[:MAX_SHOWN_PROBLEMS], *more)
    for key in overrides or ():
        if key not in known_vars:
            raise InputError(f"--set {key}: unknown var{did_you_mean(key, known_vars)}")
    return ruleset


def display_name(name: str) -> str:
    """Return the name of a rule file in reports and problems."""
    return BUNDLED_NAME if name == DEFAULT_RULES else name


class _RuleFiles:
    """A file and all that it extends: their contents merged, not decoded yet."""

    def __init__(self, read: ReadFile, context: DecodingContext) -> None:
        self.head: dict[str, Any] = {}
        self.vars: dict[str, str] = {}
        self.entries: dict[str, _Entries] = {name: {} for name in _LISTS}
        self.documents: dict[str, str] = {}  # by file: the document that it states
        self.sha256 = hashlib.sha256()
        self._read = read
        self._context = context
        self._extended: set[str] = set()

    def add(self, name: str, chain: tuple[str, ...]) -> None:
        """Read a file and what it extends; `chain` are the files that led to it."""
        context = self._context
        data = self._read(name)
        root = compose(data, display_name(name), MAX_RULE_FILE_BYTES)
        self.sha256.update(data)
        try:
            nodes = FILE.read_nodes(root, context)
        except Invalid:
            context.complete = False
            return
        head, _ = FILE.decode_keys(nodes, context)
        FILE.has_required(nodes, root, context)
        if "extends" not in head and _non_null(nodes, "extends") is not None:
            context.complete = False
        for number, base in enumerate(head.get("extends", ())):
            self._extend(base, nodes["extends"].value[number], (*chain, name))
        self.head.update({key: head[key] for key in ("name", "source", "next") if key in head})
        self.documents[display_name(name)] = self.head.get("source", "")
        self._add_vars(head.get("vars"))
        for kind in _LISTS:
            if kind in head:
                self._merge(kind, head[kind])

    def _extend(self, base: str, node: Node, chain: tuple[str, ...]) -> None:
        """Read a file that the last of `chain` extends."""
        context, path = self._context, base
        if "://" in base:
            message = f"{base} is an address, and nothing is downloaded: name a local file"
            context.error(node, message)
            context.complete = False
            return
        if base != DEFAULT_RULES:
            folder = posixpath.dirname(PurePath(chain[-1]).as_posix())
            path = posixpath.normpath(posixpath.join(folder, base))
        if path in map(_normalize, chain):
            names = " → ".join(map(display_name, (*chain, path)))
            context.error(node, f"a file can't extend itself: {names}")
            return
        if path in self._extended:
            return  # read already; what overrides it since stays
        if len(chain) > MAX_EXTENDED_FILES:
            message = f"more than {MAX_EXTENDED_FILES} files extend one another"
            raise InputError(problem_at(node, message))
        self._extended.add(path)
        try:
            self.add(path, chain)
            return
        except (OSError, ValueError) as fault:
            reason = getattr(fault, "strerror", None) or fault
            context.error(node, f"cannot read {path}: {reason}")
        except InputError as fault:
            context.problems += [p for p in fault.problems if not isinstance(p, str)]
        context.complete = False

    def _add_vars(self, node: Node | None) -> None:
        context = self._context
        try:
            nodes = {} if node is None else read_mapping(node, context, None, "vars")
        except Invalid:
            context.complete = False  # uses of its vars aren't problems too
            return
        for name, value in nodes.items():
            valid = value.__class__ is Scalar and value.tag in TAGS and not is_null(value)
            if not re.fullmatch(NAME, name):
                context.error(value, f"expected a name such as system_overhead, found {name!r}")
            elif not valid:
                context.error(value, f"expected a value for {name!r}, found {kind_of(value)}")
            elif "${" in value.value:
                context.error(value, "a var can't use other vars")
            self.vars[name] = value.value if valid else "0"  # so that uses aren't problems too

    def _merge(self, kind: str, list_node: Node) -> None:
        """Add a list of objects to those of extended files."""
        context, entries = self._context, self.entries[kind]
        type_, key, merge = _LISTS[kind]
        if list_node.__class__ is not Sequence or list_node.tag != PLAIN:
            context.error(list_node, f"expected a list, found {kind_of(list_node)}")
            return
        lines: dict[object, int] = {}  # by id
        for node in list_node.value:
            try:
                nodes = type_.read_nodes(node, context)
            except Invalid:
                continue
            key_node = _non_null(nodes, key)
            id_ = key_node.value if key_node.__class__ is Scalar and key_node else node
            if id_ in lines:
                message = f"duplicate {key} {id_!r}, first used on line {lines[id_]}"
                context.error(nodes[key], message)
                continue
            lines[id_] = node.start_mark.line + 1
            if merge and id_ in entries:
                nodes = {**entries[id_].nodes, **nodes}
            entries[id_] = _Entry(nodes, node)


def _normalize(name: str) -> str:
    return name if name == DEFAULT_RULES else posixpath.normpath(PurePath(name).as_posix())


def _non_null(nodes: Mapping[str, Node], key: str) -> Node | None:
    node = nodes.get(key)
    return None if node is None or is_null(node) else node


def _build_ruleset(files: _RuleFiles, name: str, context: DecodingContext) -> RuleSet:
    entries, head = files.entries, files.head
    retired = _drop_retired(entries["rules"], entries["waivers"])
    context.rule_ids = [id_ for id_ in entries["rules"] if isinstance(id_, str)]
    context.diagnosis_ids = [id_ for id_ in entries["diagnoses"] if isinstance(id_, str)]

    def decode(kind: str, decode_entry: Callable[[_Entry, DecodingContext], T]) -> tuple[T, ...]:
        return tuple(
            decode_valid(entries[kind].values(), lambda entry: decode_entry(entry, context))[0]
        )

    rules = {rule.id: rule for rule in decode("rules", _decode_rule)}
    _check_cycles(rules, entries["rules"], context)
    return RuleSet(
        name=head.get("name") or PurePath(name).stem,
        origin=display_name(name),
        sha256=files.sha256.hexdigest(),
        source=head.get("source", ""),
        next=head.get("next", ""),
        rules=tuple(rules.values()),
        vars=context.vars,
        models=decode("models", lambda entry, _: MODEL.decode_nodes(*entry, context)),
        diagnoses=decode("diagnoses", _decode_diagnosis),
        waivers=decode("waivers", partial(_decode_waiver, rules)),
        required_facts=frozenset(context.required_facts),
        documents=files.documents,
        notes=tuple(map(describe_retired_rule, retired)),
    )


def _drop_retired(rules: _Entries, waivers: _Entries) -> list[str]:
    """Drop overrides and waivers of retired rules; return the rules' ids.

    A rule file may define a rule of its own with such an id.
    """
    overridden = {id_ for id_, entry in rules.items() if "fact" not in entry.nodes}
    retired = [
        id_ for id_ in RETIRED_RULES if id_ in overridden or (id_ in waivers and id_ not in rules)
    ]
    for id_ in retired:
        rules.pop(id_, None)
        waivers.pop(id_, None)
    return retired


def _position(node: Node) -> dict[str, Any]:
    mark = node.start_mark
    return {"file": mark.name, "line": mark.line + 1, "column": mark.column + 1}


def _decode_rule(entry: _Entry, context: DecodingContext) -> Rule:
    """Decode a rule: first its collection, fact and type, on which its other keys depend."""
    nodes = entry.nodes
    context.collection, context.unit = None, "text"
    try:
        if (collection := _non_null(nodes, "for_each")) is not None:
            context.collection = RULE.fields["for_each"].type_.decode(collection, context)
        if not _read_unit(nodes, context):
            nodes = _without_conditions(nodes, context)
        values = RULE.decode_nodes(nodes, entry.node, context)
        if "require" not in values and "recommend" not in values:
            raise context.missing_error(entry.node, "a rule needs 'require' or 'recommend'")
    finally:
        context.collection = None
    values.pop("type", None)
    return Rule(**values, **_position(entry.node))


def _read_unit(nodes: Mapping[str, Node], context: DecodingContext) -> bool:
    """Set the unit in which the rule's conditions are read; return whether its fact is known."""
    fact, type_ = _non_null(nodes, "fact"), _non_null(nodes, "type")
    try:
        if fact is not None:
            name = read_scalar(fact, context, "the name of a fact")
            context.unit = context.find_fact(fact, name)[1].unit
        if type_ is not None:
            context.unit = read_type(type_, context)
    except Invalid:
        return False
    return fact is not None


def _without_conditions(nodes: dict[str, Node], context: DecodingContext) -> dict[str, Node]:
    """Return what can be decoded without a unit; of the conditions only the names are checked."""
    conditions = ("require", "recommend", "accept")
    given = [node for key in conditions if (node := _non_null(nodes, key)) is not None]
    decode_valid(given, lambda node: read_operands(node, context))
    return {key: node for key, node in nodes.items() if key not in conditions}


def _decode_waiver(rules: Mapping[str, Rule], entry: _Entry, context: DecodingContext) -> Waiver:
    nodes = entry.nodes
    key = _non_null(nodes, "rule")
    rule = rules.get(key.value) if key.__class__ is Scalar and key else None
    if rule is None:
        nodes = _without_conditions(nodes, context)
    else:
        bound = rule.require or rule.recommend
        context.unit = bound.unit if bound else "text"
    return Waiver(**WAIVER.decode_nodes(nodes, entry.node, context), **_position(entry.node))


def _decode_diagnosis(entry: _Entry, context: DecodingContext) -> Diagnosis:
    """Decode a diagnosis: first what its patterns capture, which its texts may use."""
    nodes = entry.nodes
    first = {key: node for key, node in nodes.items() if key in ("patterns", "values")}
    values, all_valid = DIAGNOSIS.decode_keys(first, context)
    types = values.get("values", {})
    groups = {
        name: VALUE_TYPES[types.get(name, "string")]
        for pattern in values.get("patterns", ())
        for name in compile_log_pattern(pattern).groupindex
    }
    context.log_values = {
        name: Fact(f"{LOG_NAMESPACE}.{name}", unit, "")
        for name, unit in {**DERIVED_VALUES, **groups}.items()
    }
    try:
        others = {key: node for key, node in nodes.items() if key not in first}
        more, others_valid = DIAGNOSIS.decode_keys(others, context)
    finally:
        context.log_values = None
    has_required = DIAGNOSIS.has_required(nodes, entry.node, context)
    if not (all_valid and others_valid and has_required):
        raise Invalid
    diagnosis = Diagnosis(**values, **more)
    _check_groups(diagnosis, groups.keys(), entry, context)
    return diagnosis


def _check_groups(
    diagnosis: Diagnosis, groups: Set[str], entry: _Entry, context: DecodingContext
) -> None:
    for name in sorted(diagnosis.values.keys() - groups):
        suggestion = context.suggest(name, groups)
        context.error(entry.nodes["values"], f"no pattern has a group {name!r}{suggestion}")
    for name in sorted(groups & DERIVED_VALUES.keys()):
        message = f"a group can't be named {name!r}, which is a calculated value"
        context.error(entry.nodes["patterns"], message)
    runnable = " ".join(f"{fix.command or ''} {fix.url or ''}" for fix in diagnosis.fixes)
    for name in sorted(groups & set(PLACEHOLDER.findall(runnable))):
        message = (
            f"{name!r} can't be used in a command or url: whoever writes the log could abuse it"
        )
        context.error(entry.nodes["fixes"], message)
    if diagnosis.within is not None and (diagnosis.times < 2 or diagnosis.within <= 0):
        context.error(entry.nodes["within"], "within needs 'times' of 2 or more")


def _check_cycles(rules: Mapping[str, Rule], entries: _Entries, context: DecodingContext) -> None:
    """Add a problem for each cycle of `needs`."""
    needs = {id_: [need for need in rule.needs if need in rules] for id_, rule in rules.items()}
    order = list(rules)
    while True:
        try:
            TopologicalSorter(needs).prepare()
            return
        except CycleError as fault:
            cycle = fault.args[1][:0:-1]  # each needs the next; the first isn't repeated
        first = cycle.index(min(cycle, key=order.index))
        cycle = cycle[first:] + cycle[:first]
        chain = " → ".join((*cycle, cycle[0]))
        context.error(entries[cycle[-1]].nodes["needs"], f"a rule can't need itself: {chain}")
        needs[cycle[-1]] = []
