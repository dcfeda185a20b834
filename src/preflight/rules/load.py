"""Rule files to one RuleSet: follows `extends`, merges by id, collects every problem.

Bundled sets come precompiled: then no YAML is read and nothing is decoded.
"""

from __future__ import annotations

import os.path
import posixpath
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from functools import cache
from typing import Any

from preflight.model.facts import FactCatalogue
from preflight.model.problems import InputError, did_you_mean
from preflight.model.quantities import parse_size_with_unit
from preflight.model.rules import (
    BUNDLED_DISPLAY_NAMES,
    BUNDLED_FILE_BY_DISPLAY_NAME,
    BUNDLED_FILE_BY_SET,
    BUNDLED_ORIGIN,
    IMAGES_BY_PACK,
    KNOWN_ERRORS_SET,
    RETIRED_RULES,
    Profile,
    Rule,
    RuleSet,
    describe_retired_rule,
)
from preflight.rules.decoding_context import (
    KIND_AND_KEY_BY_LIST,
    MAX_PROBLEMS,
    DecodingContext,
    InvalidValueError,
    RuleFileContents,
    RuleFileEntry,
    RuleFileEntryKey,
    TooManyProblemsError,
    check_entry_count,
)

MAX_EXTENDED_FILES = 50

ReadFile = Callable[[str], bytes]
"""Return the bytes of a rule file, or of the bundled set of that name; raises OSError."""
FindPrecompiledSet = Callable[[str], Mapping[str, RuleFileContents] | None]
"""Return the contents of a bundled set with all that is decoded, or None if there are none.

Those of the sets that it extends are there too, by name.
"""


def load_ruleset(
    name: str,
    read: ReadFile,
    catalogue: FactCatalogue,
    overrides: Mapping[str, str] | None = None,
    *,
    profile: str | None = None,
    known_errors: bool = False,
    find_precompiled: FindPrecompiledSet = lambda _: None,
) -> RuleSet:
    """Load a rule file (or a bundled set) with all that it extends.

    `profile` is chosen by name; without it the rule set has all of them. `overrides` replaces vars
    by name, those of profiles too. The bundled diagnoses lie beneath those of the file; without
    `known_errors` they are only loaded if it has some of its own. Raises InputError with every
    problem.
    """
    context = DecodingContext(catalogue)
    if name not in BUNDLED_FILE_BY_SET:
        context.suggest_set = make_bundled_set_suggester(read, catalogue, find_precompiled)
    files = MergedRuleFiles(read, context, find_precompiled)
    try:
        files.add_file(name, read(name), ())
        files.add_bundled_diagnoses(wanted=known_errors)
        if context.complete and (
            faults := [*_find_var_override_problems(overrides or {}, files.vars)]
        ):
            raise InputError(*(f"--set {fault}" for fault in faults))
        files.fill_decoding_context()
        ruleset = _build_ruleset(files, name, overrides or {})
    except TooManyProblemsError:
        raise InputError(*sorted(context.problems)[:MAX_PROBLEMS], "… and more problems") from None
    if context.problems:
        raise InputError(*sorted(context.problems))
    return ruleset if profile is None else _get_rule_set_of_profile(ruleset, profile)


def _get_rule_set_of_profile(ruleset: RuleSet, name: str) -> RuleSet:
    """Return a rule set with a profile's vars; raises InputError if there is none of that name."""
    profiles = {profile.name: profile for profile in ruleset.profiles}
    if name in profiles:
        return profiles[name].ruleset
    if not profiles:
        hint = "COMPOSE_PROFILES sets Compose's own profiles"
        raise InputError(f"--profile {name}: {ruleset.name} has no profiles; {hint}")
    hint = did_you_mean(name, profiles) or f": choose from {', '.join(profiles)}"
    raise InputError(f"--profile {name}: unknown profile{hint}")


def _find_var_override_problems(
    changes: Mapping[str, str], values: Mapping[str, str]
) -> Iterator[str]:
    """Yield each var that doesn't exist, and each size that is replaced by something else."""
    for key, value in changes.items():
        if key not in values:
            yield f"{key}: unknown var{did_you_mean(key, values)}"
        elif values[key][-1:].isalpha() and _find_size_problem(values[key]) is None:
            problem = _find_size_problem(value)
            if problem is not None:
                yield f"{key}={value}: {problem}"


def _find_size_problem(text: str) -> ValueError | None:
    try:
        parse_size_with_unit(text)
    except ValueError as fault:
        return fault
    return None


def make_bundled_set_suggester(
    read: ReadFile, catalogue: FactCatalogue, find_precompiled: FindPrecompiledSet = lambda _: None
) -> Callable[[str], str]:
    """Return what says which bundled set has a rule and how to add it, or nothing.

    The sets are read once, when the first rule is asked for.
    """

    @cache
    def set_by_rule() -> Mapping[str, str]:
        sets: dict[str, str] = {}
        for name in BUNDLED_FILE_BY_SET:
            with suppress(InputError, OSError):
                for rule in load_ruleset(
                    name, read, catalogue, find_precompiled=find_precompiled
                ).rules:
                    sets.setdefault(rule.id, name)
        return sets

    def suggest(rule: str) -> str:
        name = set_by_rule().get(rule)
        return f": it is in a bundled set, which 'extends: [{name}]' adds" if name else ""

    return suggest


def _format_origin(name: str) -> str:
    is_pack = name in IMAGES_BY_PACK
    return (
        BUNDLED_ORIGIN
        if name in BUNDLED_FILE_BY_SET and not is_pack
        else get_rule_file_display_name(name)
    )


def get_rule_file_display_name(name: str) -> str:
    """Return the name of a rule file in reports and problems."""
    return BUNDLED_DISPLAY_NAMES.get(name, name)


class MergedRuleFiles:
    """A file and all that it extends, merged; what is precompiled isn't decoded again."""

    def __init__(
        self, read: ReadFile, context: DecodingContext, find_precompiled: FindPrecompiledSet
    ) -> None:
        self.context = context
        self.head: dict[str, Any] = {}
        self.vars: dict[str, str] = {}
        self.vars_by_profile: defaultdict[str, dict[str, str]] = defaultdict(dict)
        self.entries: dict[str, dict[RuleFileEntryKey, RuleFileEntry]] = {
            kind: {} for kind in (*KIND_AND_KEY_BY_LIST, "profiles")
        }
        # by the entry's id, where they are kept
        self.decoded: dict[int, RuleFileEntry] | None = None
        # of all files that the last one extends
        self.extended_rules: dict[RuleFileEntryKey, RuleFileEntry] = {}
        self.documents: dict[str, str] = {}  # by file: the document that it states
        self.contents: list[RuleFileContents] = []  # the file that extends is the last
        self._read = read
        self._find_precompiled = find_precompiled
        self._precompiled: dict[str, RuleFileContents] = {}  # by bundled set
        self._data: list[bytes] = []
        self.extended: set[str] = set()

    def add_file(self, name: str, data: bytes, chain: tuple[str, ...], node: Any = None) -> None:
        """Add a file over what it extends.

        `chain` are the files that led to it, `node` is what names it in the first of them that
        isn't precompiled.
        """
        self._data.append(data)
        if name in BUNDLED_FILE_BY_SET and name not in self._precompiled:
            self._precompiled.update(self._find_precompiled(name) or {})
        contents = self._precompiled.get(name)
        if contents is None:
            from preflight.rules.rule_file_entries import parse_rule_file

            contents = parse_rule_file(name, data, self.context)
        if contents is None:
            return
        head, extends = contents.head, contents.applies.nodes.get("extends")
        sources: set[str | None] = set()
        for number, base in enumerate(head.get("extends") or ()):
            base_node = node if extends is None else extends.value[number]
            self._add_extended_file(base, base_node, (*chain, name))
            sources.add(self.head.get("source"))
        if len(sources - {None}) > 1:  # it is neither of them
            for field in ("name", "source", "edition", "next"):
                self.head.pop(field, None)
        if "source" in head:  # the address of another document isn't this one's
            self.head.pop("edition", None)
        self.head.update(head)
        self.vars.update(head.get("vars") or {})
        for profile, values in head["vars_by_profile"].items():
            self.vars_by_profile[profile].update(values)
        has_document = "source" in head or "extends" in head  # its own, or that of what it extends
        self.documents[get_rule_file_display_name(name)] = (
            self.head.get("source", "") if has_document else ""
        )
        self.contents.append(contents)
        self.extended_rules = dict(self.entries["rules"])
        for kind, entries in contents.lists.items():
            for key, entry in entries:
                self._merge_entry(kind, key, entry)

    def add_bundled_diagnoses(self, *, wanted: bool) -> None:
        """Put the bundled diagnoses beneath those of the files; new ones stand before them.

        If they aren't wanted, they are loaded only where a file that isn't bundled has some.
        """
        own = self.entries["diagnoses"]
        if not wanted and all(
            e.node is None or e.position()["file"] in BUNDLED_FILE_BY_DISPLAY_NAME
            for e in own.values()
        ):
            own.clear()
            return
        bundled = MergedRuleFiles(self._read, self.context, self._find_precompiled)
        bundled.add_file(KNOWN_ERRORS_SET, self._read(KNOWN_ERRORS_SET), ())
        errors = bundled.entries["diagnoses"]
        new = {id_: entry for id_, entry in own.items() if id_ not in errors}
        for id_ in errors.keys() & own.keys():
            errors[id_] = self._override_entry(errors[id_], own[id_])
        self.entries["diagnoses"] = {**new, **errors}

    def fill_decoding_context(self) -> None:
        """Tell the context what all files define; retired rules are dropped, which leave notes."""
        self.notes = tuple(map(describe_retired_rule, self._drop_overrides_of_retired_rules()))
        self.context.vars = self.vars
        if self.entries["profiles"]:
            self.decoded = {}  # most values are the same with each of them
        for kind, of_kind in (("rule", "rules"), ("diagnosis", "diagnoses")):
            ids = (id_ for id_ in self.entries[of_kind] if isinstance(id_, str))
            self.context.ids[kind] = dict.fromkeys(ids)

    def decode(self, kind: str, entry: RuleFileEntry) -> Any:
        """Return the value of an entry; its facts are added to the context's."""
        context = self.context
        decoded = self.decoded.get(id(entry), entry) if self.decoded else entry
        if decoded.has_value_for_vars(context.vars):
            context.required_facts.update(decoded.facts)
            return decoded.value
        decode_entry = _find_entry_decoder(kind)
        if self.decoded is None:
            return decode_entry(self.read_entry_nodes(entry), context)
        facts, context.required_facts, context.used_vars = context.required_facts, set(), set()
        try:
            value = decode_entry(self.read_entry_nodes(entry), context)
            values = {name: context.vars.get(name, "") for name in sorted(context.used_vars)}
            self.decoded[id(entry)] = entry._replace(
                node=None,
                nodes={},
                value=value,
                facts=tuple(sorted(context.required_facts)),
                vars=values,
            )
            return value
        finally:
            context.required_facts |= facts

    def decode_entries_of_kind(self, kind: str) -> Iterator[Any]:
        """Yield the values of all valid entries of a kind; the others' problems are added."""
        for entry in self.entries[kind].values():
            try:
                value = self.decode(kind, entry)
            except InvalidValueError:
                continue
            yield value

    def read_entry_nodes(self, entry: RuleFileEntry) -> RuleFileEntry:
        """Return an entry with the nodes of its keys."""
        if entry.node is not None:
            return entry
        from preflight.rules.rule_file_entries import read_nodes_of_precompiled_entry

        return read_nodes_of_precompiled_entry(entry, self._read)

    def sha256(self) -> str:
        """Return the digest of all files, which a precompiled set has."""
        if self.contents and (digest := self.contents[-1].sha256):
            return digest
        import hashlib  # loads OpenSSL: 3 ms

        return hashlib.sha256(b"".join(self._data)).hexdigest()

    def _add_extended_file(self, base: str, node: Any, chain: tuple[str, ...]) -> None:
        """Add a file that the last of `chain` extends."""
        context, path = self.context, base
        if base not in BUNDLED_FILE_BY_SET and "://" not in base:
            folder = posixpath.dirname(chain[-1].replace(os.sep, "/"))
            path = posixpath.normpath(posixpath.join(folder, base))
        if path in map(_normalize_rule_file_path, chain):
            names = " → ".join(map(get_rule_file_display_name, (*chain, path)))
            context.add_error(node, f"a file can't extend itself: {names}")
            return
        if path in self.extended:
            return  # read already; what overrides it since stays
        self.extended.add(path)
        if node is not None:
            check_entry_count(node, len(self.extended), MAX_EXTENDED_FILES, "files")
        try:
            if "://" in base:
                raise ValueError("preflight doesn't download rule files: specify a local file")
            data = self._read(path)
        except (OSError, ValueError) as fault:
            reason = getattr(fault, "strerror", None) or fault
            context.add_error(node, f"cannot read {path}: {reason}")
            context.complete = False
            return
        self.add_file(path, data, chain, node)

    def _merge_entry(self, kind: str, key: RuleFileEntryKey, entry: RuleFileEntry) -> None:
        """Add an entry, or override keys of one that an extended file has."""
        entries = self.entries[kind]
        base = entries.get(key) if kind != "waivers" else None
        if base is not None and entry.has_section:
            del entries[key]  # it moves
        entries[key] = entry if base is None else self._override_entry(base, entry)
        if entry.node is not None:
            check_entry_count(entry.node, len(entries))

    def _override_entry(self, base: RuleFileEntry, entry: RuleFileEntry) -> RuleFileEntry:
        """Return an entry with the keys of another one over its own."""
        if entry.node is base.node is None and base.lines == entry.lines[:-1]:
            return entry  # it was precompiled over this very one
        base = self.read_entry_nodes(base)
        entry = self.read_entry_nodes(entry._replace(lines=entry.lines[-1:]))
        nodes, lines = {**base.nodes, **entry.nodes}, base.lines + entry.lines
        return RuleFileEntry(entry.node, nodes, entry.has_section, lines)

    def _drop_overrides_of_retired_rules(self) -> list[str]:
        """Drop overrides and waivers of retired rules; return the rules' ids.

        A rule file may define a rule of its own with such an id.
        """
        rules, waivers = self.entries["rules"], self.entries["waivers"]

        def is_retired(id_: str) -> bool:
            if id_ in rules:
                return "fact" not in self.read_entry_nodes(rules[id_]).nodes
            return id_ in waivers

        retired = [id_ for id_ in RETIRED_RULES if is_retired(id_)]
        for id_ in retired:
            rules.pop(id_, None)
            waivers.pop(id_, None)
        return retired


@cache
def _find_entry_decoder(kind: str) -> Callable[[RuleFileEntry, DecodingContext], Any]:
    from preflight.rules.decode import DECODER_BY_RULE_FILE_KEY  # what is precompiled needs none

    return DECODER_BY_RULE_FILE_KEY[kind]


def _normalize_rule_file_path(name: str) -> str:
    return name if name in BUNDLED_FILE_BY_SET else posixpath.normpath(name.replace(os.sep, "/"))


def _build_ruleset(files: MergedRuleFiles, name: str, overrides: Mapping[str, str]) -> RuleSet:
    ruleset = _decode_ruleset(files, name, {**files.vars, **overrides})
    if not files.entries["profiles"] or files.context.problems:
        return ruleset
    profiles = tuple(_decode_rule_profiles(files, name, overrides))
    required = frozenset(files.context.required_facts)  # with those of `when`
    return ruleset._replace(profiles=profiles, required_facts=required)


def _decode_ruleset(
    files: MergedRuleFiles, name: str, values: Mapping[str, str], profile: str = ""
) -> RuleSet:
    """Return the rule set with these values of vars."""
    context, head = files.context, files.head
    context.vars, context.profile = values, profile
    rules = context.rules = {rule.id: rule for rule in files.decode_entries_of_kind("rules")}
    _check_needs_for_cycles(files, rules, files.entries["rules"])
    applies, otherwise = (), ""
    for contents in files.contents:  # the facts of all are measured; the last counts
        applies, otherwise = files.decode("applies", contents.applies)
    return RuleSet(
        name=head.get("name") or os.path.splitext(os.path.basename(name))[0],
        origin=_format_origin(name),
        sha256=files.sha256(),
        source=head.get("source", ""),
        edition=head.get("edition"),
        next=head.get("next", ""),
        rules=tuple(rules.values()),
        applies=applies or ((),),
        otherwise=otherwise,
        extends=tuple(head.get("extends") or ()),
        extended=_decode_rules_before_overrides(files, rules) if applies else (),
        vars=context.vars,
        profile=profile,
        models=tuple(files.decode_entries_of_kind("models")),
        diagnoses=tuple(files.decode_entries_of_kind("diagnoses")),
        waivers=tuple(files.decode_entries_of_kind("waivers")),
        required_facts=frozenset(context.required_facts),
        documents=files.documents,
        notes=files.notes,
    )


def _decode_rule_profiles(
    files: MergedRuleFiles, name: str, overrides: Mapping[str, str]
) -> Iterator[Profile]:
    """Yield each profile with its rules: those that use a var are decoded with its vars."""
    context = files.context
    for profile, entry in files.entries["profiles"].items():
        context.vars, context.profile = {**files.vars, **overrides}, ""
        when = files.decode("profiles", entry)
        own = files.vars_by_profile[str(profile)]
        for fault in _find_var_override_problems(own, files.vars):
            context.add_error(files.read_entry_nodes(entry).nodes["vars"], fault)
        ruleset = _decode_ruleset(files, name, {**files.vars, **own, **overrides}, str(profile))
        yield Profile(str(profile), when, own, ruleset)


def _decode_rules_before_overrides(
    files: MergedRuleFiles, rules: Mapping[str, Rule]
) -> tuple[Rule, ...]:
    """Return the rules of what the file extends, without what the file changes in them."""
    entries = files.entries["rules"]
    before = {id_: entry for id_, entry in files.extended_rules.items() if id_ in entries}
    unchanged = dict(rules)
    for id_, entry in before.items():
        rule = rules.get(str(id_))
        if rule is not None and entry is not entries[id_]:
            with suppress(InvalidValueError):
                unchanged[rule.id] = files.decode("rules", entry)
    if any(rule.needs != rules[rule.id].needs for rule in unchanged.values()):
        _check_needs_for_cycles(files, unchanged, {**entries, **before})
    return tuple(unchanged[str(id_)] for id_ in before if id_ in unchanged)


def _check_needs_for_cycles(
    files: MergedRuleFiles,
    rules: Mapping[str, Rule],
    entries: Mapping[RuleFileEntryKey, RuleFileEntry],
) -> None:
    """Add a problem for each cycle of `needs`."""
    above: set[str] = set()
    for rule in rules.values():
        if not above.issuperset(rule.needs):
            break
        above.add(rule.id)
    else:
        return  # each needs only what is above it, as in the bundled sets and most files
    from graphlib import CycleError, TopologicalSorter

    needs = {id_: [need for need in rule.needs if need in rules] for id_, rule in rules.items()}
    while True:
        try:
            TopologicalSorter(needs).prepare()
            return
        except CycleError as fault:
            cycle = fault.args[1][::-1]  # each needs the next; the first is repeated at the end
        node = files.read_entry_nodes(entries[cycle[-2]]).nodes["needs"]
        files.context.add_error(node, f"a rule can't need itself: {' → '.join(cycle)}")
        needs[cycle[-2]] = []
