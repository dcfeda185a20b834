"""Rule files to one RuleSet: follows `extends`, merges by id, collects every problem."""

from __future__ import annotations

import hashlib
import posixpath
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from functools import cache, partial
from graphlib import CycleError, TopologicalSorter
from pathlib import PurePath
from typing import Any, NamedTuple, TypeVar

from preflight.model.facts import Catalogue, Fact
from preflight.model.patterns import compile_log_pattern
from preflight.model.problems import InputError, did_you_mean
from preflight.model.quantities import parse_size
from preflight.model.rules import (
    BUNDLED_DISPLAY_NAMES,
    BUNDLED_FILE_BY_DISPLAY_NAME,
    BUNDLED_FILE_BY_SET,
    BUNDLED_ORIGIN,
    IMAGES_BY_PACK,
    KNOWN_ERRORS_SET,
    LOG_NAMESPACE,
    MAX_RULE_FILE_BYTES,
    PLACEHOLDER_PATTERN,
    RETIRED_RULES,
    UNIT_BY_DERIVED_VALUE,
    UNIT_BY_VALUE_TYPE,
    Diagnosis,
    LanguageModel,
    Profile,
    Rule,
    RuleSet,
    Waiver,
    describe_retired_rule,
)
from preflight.rules.context import (
    MAX_PROBLEMS,
    DecodingContext,
    InvalidValueError,
    TooManyProblemsError,
    check_entry_count,
)
from preflight.rules.language import (
    RULE_FILE_DEFINITION,
    check_required,
    decode_key,
    decode_yaml_object,
    read_keys,
)
from preflight.yaml_marks import Node, Scalar, compose_document, is_null

T = TypeVar("T")

MAX_EXTENDED_FILES = 50
_KIND_AND_KEY_BY_LIST = {
    "rules": ("rule", "id"),
    "models": ("model", "name"),
    "diagnoses": ("diagnosis", "id"),
    "waivers": ("waiver", "rule"),
}
"""The lists of a file: what their items are, and the key by which those of several files merge."""
_KEYS_THAT_DEFINE_NAMES = {
    "extends",
    "vars",
    *_KIND_AND_KEY_BY_LIST,
}  # what others refer to may be there

ReadFile = Callable[[str], bytes]
"""Return the bytes of a rule file, or of the bundled set of that name; raises OSError."""


class _MergedEntry(NamedTuple):
    """A rule, model, diagnosis or waiver: its keys, merged over all files, not decoded yet."""

    node: Node
    nodes: dict[str, Node]

    def position(self) -> dict[str, Any]:
        mark = self.node.start_mark
        return {"file": mark.name, "line": mark.line + 1, "column": mark.column + 1}


_EntriesByName = dict[object, _MergedEntry]  # by id, or by the node where the id is missing


def load_ruleset(
    name: str,
    read: ReadFile,
    catalogue: Catalogue,
    overrides: Mapping[str, str] | None = None,
    *,
    profile: str | None = None,
    known_errors: bool = False,
) -> RuleSet:
    """Load a rule file (or a bundled set) with all that it extends.

    `profile` is chosen by name; without it the rule set has all of them. `overrides` replaces vars
    by name, those of profiles too. The bundled diagnoses lie beneath those of the file; without
    `known_errors` they are only loaded if it has some of its own. Raises InputError with every
    problem.
    """
    context = DecodingContext(catalogue)
    if name not in BUNDLED_FILE_BY_SET:
        context.suggest_set = set_suggester(read, catalogue)
    files = _RuleFiles(read, context)
    try:
        files.add_file(name, read(name), ())
        files.add_known_errors(wanted=known_errors)
        context.vars = {**files.vars, **(overrides or {})}
        if context.complete and (faults := [*_find_var_problems(overrides or {}, files.vars)]):
            raise InputError(*(f"--set {fault}" for fault in faults))
        ruleset = _build_ruleset(files, name, context)
        if files.profiles and not context.problems:
            profiles = tuple(_build_profiles(files, name, overrides or {}, context))
            required = frozenset(context.required_facts)  # with those of `when`
            ruleset = ruleset._replace(profiles=profiles, required_facts=required)
    except TooManyProblemsError:
        raise InputError(*sorted(context.problems)[:MAX_PROBLEMS], "… and more") from None
    if context.problems:
        raise InputError(*sorted(context.problems))
    return ruleset if profile is None else _find_profile(ruleset, profile)


def _find_profile(ruleset: RuleSet, name: str) -> RuleSet:
    """Return a rule set with a profile's vars; raises InputError if there is none of that name."""
    profiles = {profile.name: profile for profile in ruleset.profiles}
    if name in profiles:
        return profiles[name].ruleset
    if not profiles:
        hint = "Compose's own are set by COMPOSE_PROFILES"
        raise InputError(f"--profile {name}: {ruleset.name} has no profiles; {hint}")
    hint = did_you_mean(name, profiles) or f": choose from {', '.join(profiles)}"
    raise InputError(f"--profile {name}: unknown profile{hint}")


def _find_var_problems(changes: Mapping[str, str], values: Mapping[str, str]) -> Iterator[str]:
    """Yield each var that doesn't exist, and each size that is replaced by something else."""
    for key, value in changes.items():
        if key not in values:
            yield f"{key}: unknown var{did_you_mean(key, values)}"
        elif values[key][-1:].isalpha() and _size_problem(values[key]) is None:
            problem = _size_problem(value)
            if problem is not None:
                yield f"{key}={value}: {problem}"


def _size_problem(text: str) -> ValueError | None:
    try:
        parse_size(text)
    except ValueError as fault:
        return fault
    return None


def set_suggester(read: ReadFile, catalogue: Catalogue) -> Callable[[str], str]:
    """Return what says which bundled set has a rule and how to add it, or nothing.

    The sets are read once, when the first rule is asked for.
    """

    @cache
    def set_by_rule() -> Mapping[str, str]:
        sets: dict[str, str] = {}
        for name in BUNDLED_FILE_BY_SET:
            if name in IMAGES_BY_PACK:
                continue  # what a pack adds is about its own stack
            with suppress(InputError, OSError):
                for rule in load_ruleset(name, read, catalogue).rules:
                    sets.setdefault(rule.id, name)
        return sets

    def suggest(rule: str) -> str:
        name = set_by_rule().get(rule)
        return f": it is in a bundled set, which 'extends: [{name}]' adds" if name else ""

    return suggest


def _name_origin(name: str) -> str:
    is_pack = name in IMAGES_BY_PACK
    return BUNDLED_ORIGIN if name in BUNDLED_FILE_BY_SET and not is_pack else display_name(name)


def display_name(name: str) -> str:
    """Return the name of a rule file in reports and problems."""
    return BUNDLED_DISPLAY_NAMES.get(name, name)


class _RuleFiles:
    """A file and all that it extends: their contents merged, not decoded yet."""

    def __init__(self, read: ReadFile, context: DecodingContext) -> None:
        self.head: dict[str, Any] = {}
        self.vars: dict[str, str] = {}
        self.profiles: dict[str, _MergedEntry] = {}
        self.vars_by_profile: dict[str, dict[str, str]] = {}
        self.decoded: dict[int, Any] = {}  # by the id of an entry that uses no var
        self.entries: dict[str, _EntriesByName] = {name: {} for name in _KIND_AND_KEY_BY_LIST}
        self.extended_rules: _EntriesByName = {}  # of all files that the last one extends
        self.documents: dict[str, str] = {}  # by file: the document that it states
        self.nodes_by_file: list[dict[str, Node]] = []  # by key; the file that extends is the last
        self.sha256 = hashlib.sha256()
        self._read = read
        self._context = context
        self._extended: set[str] = set()

    def add_file(self, name: str, data: bytes, chain: tuple[str, ...]) -> None:
        """Add a file over what it extends; `chain` are the files that led to it."""
        context = self._context
        self.sha256.update(data)
        try:
            root = compose_document(data, display_name(name), MAX_RULE_FILE_BYTES)
            nodes = read_keys(RULE_FILE_DEFINITION, root, context)
        except (InputError, InvalidValueError) as fault:
            context.problems.update(getattr(fault, "problems", ()))
            context.complete = False
            return
        check_required(RULE_FILE_DEFINITION, nodes, root, context)
        given = [key for key, node in nodes.items() if not is_null(node) and key != "applies"]
        head = {key: decode_key(RULE_FILE_DEFINITION, key, nodes, context) for key in given}
        context.complete &= all(
            head[key] is not None for key in _KEYS_THAT_DEFINE_NAMES & head.keys()
        )
        for number, base in enumerate(head.get("extends") or ()):
            self._add_extended_file(base, nodes["extends"].value[number], (*chain, name))
        if "source" in head:  # the address of another document isn't this one's
            self.head.pop("edition", None)
        self.head.update(head)
        self.vars.update(head.get("vars") or {})
        self._merge_profiles(head.get("profiles") or {})
        has_document = "source" in head or "extends" in head  # its own, or that of what it extends
        self.documents[display_name(name)] = self.head.get("source", "") if has_document else ""
        self.nodes_by_file.append(nodes)
        self.extended_rules = dict(self.entries["rules"])
        for kind in _KIND_AND_KEY_BY_LIST:
            self._merge_list(kind, head.get(kind) or ())

    def add_known_errors(self, *, wanted: bool) -> None:
        """Put the bundled diagnoses beneath those of the files; new ones stand before them.

        If they aren't wanted, they are loaded only where a file that isn't bundled has some.
        """
        diagnoses = self.entries["diagnoses"]
        if not wanted and all(
            e.position()["file"] in BUNDLED_FILE_BY_DISPLAY_NAME for e in diagnoses.values()
        ):
            diagnoses.clear()
            return
        bundled = _RuleFiles(self._read, self._context)
        bundled.add_file(KNOWN_ERRORS_SET, self._read(KNOWN_ERRORS_SET), ())
        errors, own = bundled.entries["diagnoses"], self.entries["diagnoses"]
        merged = {id_: entry for id_, entry in own.items() if id_ not in errors}
        for id_, entry in errors.items():
            changed = own.get(id_, entry)
            merged[id_] = _MergedEntry(changed.node, {**entry.nodes, **changed.nodes})
        self.entries["diagnoses"] = merged

    def _add_extended_file(self, base: str, node: Node, chain: tuple[str, ...]) -> None:
        """Add a file that the last of `chain` extends."""
        context, path = self._context, base
        if base not in BUNDLED_FILE_BY_SET and "://" not in base:
            folder = posixpath.dirname(PurePath(chain[-1]).as_posix())
            path = posixpath.normpath(posixpath.join(folder, base))
        if path in map(_normalize_file_name, chain):
            names = " → ".join(map(display_name, (*chain, path)))
            context.error(node, f"a file can't extend itself: {names}")
            return
        if path in self._extended:
            return  # read already; what overrides it since stays
        self._extended.add(path)
        check_entry_count(node, len(self._extended), MAX_EXTENDED_FILES, "files")
        try:
            if "://" in base:
                raise ValueError("nothing is downloaded; name a local file")
            data = self._read(path)
        except (OSError, ValueError) as fault:
            reason = getattr(fault, "strerror", None) or fault
            context.error(node, f"cannot read {path}: {reason}")
            context.complete = False
            return
        self.add_file(path, data, chain)

    def _merge_profiles(self, profiles: Mapping[str, Node]) -> None:
        """Add profiles to those of extended files; the vars of one name lie over each other."""
        for name, node in profiles.items():
            with suppress(InvalidValueError):
                nodes = read_keys("profile", node, self._context)
                base = self.profiles.get(name)
                nodes = nodes if base is None else {**base.nodes, **nodes}
                self.profiles[name] = _MergedEntry(node, nodes)
                own = decode_key("profile", "vars", nodes, self._context) or {}
                self.vars_by_profile.setdefault(name, {}).update(own)

    def _merge_list(self, kind: str, items: Iterable[Node]) -> None:
        """Add a list of objects to those of extended files."""
        context, entries = self._context, self.entries[kind]
        name, key = _KIND_AND_KEY_BY_LIST[kind]
        lines: dict[object, int] = {}  # by id
        for node in items:
            try:
                nodes = read_keys(name, node, context)
            except InvalidValueError:
                continue
            key_node = nodes.get(key)
            is_named = key_node.__class__ is Scalar and not is_null(key_node)
            id_ = key_node.value if key_node and is_named else node
            if id_ in lines:
                message = f"duplicate {key} {id_!r}, first used on line {lines[id_]}"
                context.error(nodes[key], message)
                continue
            lines[id_] = node.start_mark.line + 1
            if kind != "waivers" and id_ in entries:
                base = entries.pop(id_) if "section" in nodes else entries[id_]  # moved or left
                nodes = {**base.nodes, **nodes}
            entries[id_] = _MergedEntry(node, nodes)
            check_entry_count(node, len(entries))


def _normalize_file_name(name: str) -> str:
    return name if name in BUNDLED_FILE_BY_SET else posixpath.normpath(PurePath(name).as_posix())


def _build_ruleset(files: _RuleFiles, name: str, context: DecodingContext) -> RuleSet:
    entries, head = files.entries, files.head
    retired = _drop_retired_rules(entries["rules"], entries["waivers"])
    for kind, of_kind in (("rule", "rules"), ("diagnosis", "diagnoses")):
        context.ids[kind] = {id_: None for id_ in entries[of_kind] if isinstance(id_, str)}

    def decode(
        kind: str, decode_entry: Callable[[_MergedEntry, DecodingContext], T]
    ) -> tuple[T, ...]:
        decoded = []
        for entry in entries[kind].values():
            if id(entry) in files.decoded:
                decoded.append(files.decoded[id(entry)])
                continue
            used_vars = context.used_vars
            with suppress(InvalidValueError):
                decoded.append(decode_entry(entry, context))
                if context.used_vars == used_vars:  # the same with the vars of every profile
                    files.decoded[id(entry)] = decoded[-1]
        return tuple(decoded)

    rules = {rule.id: rule for rule in decode("rules", _decode_rule)}
    _check_cycles(rules, entries["rules"], context)
    applies, otherwise = (), ""
    for nodes in files.nodes_by_file:  # all are checked, and their facts measured; the last counts
        applies = decode_key(RULE_FILE_DEFINITION, "applies", nodes, context)
        otherwise = decode_key(RULE_FILE_DEFINITION, "otherwise", nodes, context)
    extended = _decode_extended(files, rules, context) if applies else ()
    return RuleSet(
        name=head.get("name") or PurePath(name).stem,
        origin=_name_origin(name),
        sha256=files.sha256.hexdigest(),
        source=head.get("source", ""),
        edition=head.get("edition"),
        next=head.get("next", ""),
        rules=tuple(rules.values()),
        applies=applies or ((),),
        otherwise=otherwise or "",
        extends=tuple(head.get("extends") or ()),
        extended=extended,
        vars=context.vars,
        profile=context.profile,
        models=decode("models", _decode_model),
        diagnoses=decode("diagnoses", _decode_diagnosis),
        waivers=decode("waivers", partial(_decode_waiver, rules)),
        required_facts=frozenset(context.required_facts),
        documents=files.documents,
        notes=tuple(map(describe_retired_rule, retired)),
    )


def _build_profiles(
    files: _RuleFiles, name: str, overrides: Mapping[str, str], context: DecodingContext
) -> Iterator[Profile]:
    """Yield each profile with its rules: those that use a var are decoded with its vars."""
    for profile, entry in files.profiles.items():
        when = decode_key("profile", "when", entry.nodes, context)
        own = files.vars_by_profile[profile]
        for fault in _find_var_problems(own, files.vars):
            context.error(entry.nodes["vars"], fault)
        context.vars = {**files.vars, **own, **overrides}
        context.profile = profile
        yield Profile(profile, when, own, _build_ruleset(files, name, context))
        context.profile = ""


def _decode_extended(
    files: _RuleFiles, rules: Mapping[str, Rule], context: DecodingContext
) -> tuple[Rule, ...]:
    """Return the rules of what the file extends, without what the file changes in them."""
    entries = files.entries["rules"]
    before = {id_: entry for id_, entry in files.extended_rules.items() if id_ in entries}
    unchanged = dict(rules)
    for id_, entry in before.items():
        rule = rules.get(str(id_))
        if rule is None or entry is entries[id_]:
            continue
        nodes = entries[id_].nodes
        changed = {key for key in nodes if nodes[key] is not entry.nodes.get(key)}
        if changed <= {"id", "section", "document"}:  # quicker than to decode all of it again
            section = decode_key("rule", "section", entry.nodes, context) or ""
            is_stated = decode_key("rule", "document", entry.nodes, context) is not False
            moved = rule._replace(section=section, document=is_stated, **entry.position())
            unchanged[rule.id] = moved
            continue
        with suppress(InvalidValueError):
            unchanged[rule.id] = _decode_rule(entry, context)
    if any(rule.needs != rules[rule.id].needs for rule in unchanged.values()):
        _check_cycles(unchanged, {**entries, **before}, context)
    return tuple(unchanged[str(id_)] for id_ in before if id_ in unchanged)


def _drop_retired_rules(rules: _EntriesByName, waivers: _EntriesByName) -> list[str]:
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


def _decode_rule(entry: _MergedEntry, context: DecodingContext) -> Rule:
    """Decode a rule: first its collection, fact and type, on which its other keys depend."""
    context.collection = context.unit = None
    context.collection = decode_key("rule", "for_each", entry.nodes, context)
    path = decode_key("rule", "fact", entry.nodes, context)
    fact = path and context.catalogue.find(path)
    context.unit = fact and fact.unit
    context.unit = decode_key("rule", "type", entry.nodes, context) or context.unit
    try:
        values = decode_yaml_object("rule", entry.node, context, entry.nodes)
    finally:
        context.collection = None
    values.pop("type", None)
    if "require" not in values and "recommend" not in values:
        raise context.missing_error(entry.node, "a rule needs 'require' or 'recommend'")
    return Rule(**values, **entry.position())


def _decode_model(entry: _MergedEntry, context: DecodingContext) -> LanguageModel:
    return LanguageModel(**decode_yaml_object("model", entry.node, context, entry.nodes))


def _decode_waiver(
    rules: Mapping[str, Rule], entry: _MergedEntry, context: DecodingContext
) -> Waiver:
    rule = rules.get(decode_key("waiver", "rule", entry.nodes, context))
    condition = rule and (rule.require or rule.recommend)
    context.unit = condition and condition.unit
    return Waiver(
        **decode_yaml_object("waiver", entry.node, context, entry.nodes), **entry.position()
    )


def _decode_diagnosis(entry: _MergedEntry, context: DecodingContext) -> Diagnosis:
    """Decode a diagnosis: first what its patterns capture, which its texts may use."""
    types = decode_key("diagnosis", "values", entry.nodes, context) or {}
    patterns = decode_key("diagnosis", "patterns", entry.nodes, context) or ()
    groups = [name for pattern in patterns for name in compile_log_pattern(pattern).groupindex]
    units = {
        **UNIT_BY_DERIVED_VALUE,
        **{name: UNIT_BY_VALUE_TYPE[types.get(name, "string")] for name in groups},
    }
    context.log_values = {
        name: Fact(f"{LOG_NAMESPACE}.{name}", unit, "") for name, unit in units.items()
    }
    try:
        diagnosis = Diagnosis(**decode_yaml_object("diagnosis", entry.node, context, entry.nodes))
    finally:
        context.log_values = None
    nodes = entry.nodes
    for name in diagnosis.values.keys() - {*groups}:
        message = f"no pattern has a group {name!r}{did_you_mean(name, groups)}"
        context.error(nodes["values"], message)
    for name in UNIT_BY_DERIVED_VALUE.keys() & {*groups}:
        message = f"a group can't be named {name!r}, which is a calculated value"
        context.error(nodes["patterns"], message)
    runnable = " ".join(f"{fix.command or ''} {fix.url or ''}" for fix in diagnosis.fixes)
    for name in {*groups} & {*PLACEHOLDER_PATTERN.findall(runnable)}:
        message = (
            f"{name!r} can't be used in a command or url: whoever writes the log could abuse it"
        )
        context.error(nodes["fixes"], message)
    for unless in diagnosis.unless:
        if unless.same is not None and unless.same not in groups:
            message = f"no pattern has a group {unless.same!r}{did_you_mean(unless.same, groups)}"
            context.error(nodes["unless"], message)
    if diagnosis.within is not None and (diagnosis.times < 2 or diagnosis.within <= 0):
        context.error(nodes["within"], "within needs 'times' of 2 or more")
    return diagnosis


def _check_cycles(
    rules: Mapping[str, Rule], entries: _EntriesByName, context: DecodingContext
) -> None:
    """Add a problem for each cycle of `needs`."""
    needs = {id_: [need for need in rule.needs if need in rules] for id_, rule in rules.items()}
    while True:
        try:
            TopologicalSorter(needs).prepare()
            return
        except CycleError as fault:
            cycle = fault.args[1][::-1]  # each needs the next; the first is repeated at the end
        context.error(
            entries[cycle[-2]].nodes["needs"], f"a rule can't need itself: {' → '.join(cycle)}"
        )
        needs[cycle[-2]] = []
