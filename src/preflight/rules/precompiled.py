"""Bundled sets as plain data: made from the YAML once, then loaded without YAML and decoding.

Nothing is executed on loading. The data are one list of all values, each once and after those that
it consists of: texts, numbers and tuples are there as they are. A list stands for an object: where
its fields are in the list of all values, and the number of what builds it in the table below.
"""

from __future__ import annotations

import marshal
from collections.abc import Callable, Iterable, Mapping
from datetime import date
from functools import partial
from importlib.util import source_hash
from typing import Any

from preflight.model.conditions import OPERATORS, Condition, FactBound, SumOfBounds
from preflight.model.facts import FactCatalogue
from preflight.model.rules import (
    KNOWN_ERRORS_SET,
    DiagnosisRule,
    DocumentEdition,
    FactCondition,
    Fix,
    LanguageModel,
    Rule,
    UnlessDiagnosis,
)
from preflight.rules.decoding_context import DecodingContext, RuleFileContents, RuleFileEntry

_CHECKSUM_BYTES = 8
_MARSHAL_VERSION = 2  # later ones write what else refers to a value, which isn't reproducible


def _build_condition(fields: Iterable[Any]) -> Condition:
    unit, *tests = fields
    return Condition(tuple([(OPERATORS[name], operand) for name, operand in tests]), unit)


def _restore_date(fields: Iterable[Any]) -> date:
    return date.fromisoformat(*fields)


_VALUE_BUILDER_BY_TYPE: Mapping[type, Callable[[Iterable[Any]], Any]] = {
    **{
        named_tuple: partial(tuple.__new__, named_tuple)  # twice as fast as to call it
        for named_tuple in (
            Rule,
            FactCondition,
            Fix,
            FactBound,
            SumOfBounds,
            LanguageModel,
            DiagnosisRule,
            UnlessDiagnosis,
            DocumentEdition,
            RuleFileEntry,
            RuleFileContents,
        )
    },
    Condition: _build_condition,
    date: _restore_date,
    tuple: tuple,
    dict: dict,
}
_VALUE_BUILDERS = tuple(_VALUE_BUILDER_BY_TYPE.values())


def precompile_set(
    name: str, read: Callable[[str], bytes], catalogue: FactCatalogue, key: str
) -> bytes:
    """Return a bundled set as data that `load_precompiled_set` reads, with the same `key`.

    Raises InputError where its YAML has problems.
    """
    contents_by_set, names = {}, [name]
    for each in names:
        contents_by_set[each], extended = _decode_yaml_rule_set(each, read, catalogue)
        names += [file for file in extended if file not in names]
    values: list[Any] = []
    _add_precompiled_value(contents_by_set, values, {})
    digests = {file: source_hash(read(file)) for file in names}
    body = marshal.dumps((key, digests, values), _MARSHAL_VERSION)
    return source_hash(body) + body


def load_precompiled_set(
    data: bytes, key: str, read: Callable[[str], bytes]
) -> Mapping[str, RuleFileContents] | None:
    """Return the contents of a precompiled set, and of those that it extends.

    None if the data aren't whole, or were made with another key or from other files.
    """
    body = memoryview(data)[_CHECKSUM_BYTES:]
    if source_hash(body) != data[:_CHECKSUM_BYTES]:
        return None
    try:
        return _unmarshal_rule_files(body, key, read)
    except (AttributeError, EOFError, LookupError, TypeError, ValueError):
        return None  # another program's, though its digest is right


def _unmarshal_rule_files(
    body: memoryview, key: str, read: Callable[[str], bytes]
) -> Mapping[str, RuleFileContents] | None:
    made_with, digests, values = marshal.loads(body)  # noqa: S302 - it builds no code
    if made_with != key or any(source_hash(read(name)) != digests[name] for name in digests):
        return None
    get = values.__getitem__
    for place, value in enumerate(values):
        if value.__class__ is list:
            values[place] = _VALUE_BUILDERS[value.pop()](map(get, value))
    contents_by_set: Mapping[str, RuleFileContents] = values[-1]
    return contents_by_set


def _decode_yaml_rule_set(
    name: str, read: Callable[[str], bytes], catalogue: FactCatalogue
) -> tuple[RuleFileContents, list[str]]:
    """Return the contents of a set with everything decoded, and the sets that it extends."""
    from preflight.rules.load import MergedRuleFiles, load_ruleset

    sha256 = load_ruleset(name, read, catalogue).sha256  # raises InputError
    files = MergedRuleFiles(read, DecodingContext(catalogue), lambda _: None)
    files.add_file(name, read(name), ())
    if name != KNOWN_ERRORS_SET and files.entries["diagnoses"]:
        files.add_bundled_diagnoses(wanted=True)  # it overrides some of them
    files.fill_decoding_context()
    decoded: dict[int, RuleFileEntry] = {}
    files.decoded = decoded

    def decode(kind: str, entry: RuleFileEntry) -> RuleFileEntry:
        files.decode(kind, entry)
        return decoded[id(entry)]

    own = files.contents[-1]
    lists = {
        kind: tuple((key, decode(kind, files.entries[kind][key])) for key, _ in entries)
        for kind, entries in own.lists.items()
    }
    contents = RuleFileContents(own.head, decode("applies", own.applies), lists, sha256)
    return contents, sorted(files.extended)


def _add_precompiled_value(value: Any, values: list[Any], places: dict[bytes, int]) -> int:
    """Add a value and all that it is made of, unless it is there; return its place."""
    kind, fields = _split_object_for_marshal(value)
    if kind is not None:
        number = list(_VALUE_BUILDER_BY_TYPE).index(kind)
        value = [*(_add_precompiled_value(field, values, places) for field in fields), number]
    data = marshal.dumps(value, _MARSHAL_VERSION)
    if data not in places:
        places[data] = len(values)
        values.append(value)
    return places[data]


def _split_object_for_marshal(value: Any) -> tuple[type | None, Iterable[Any]]:
    """Return an object's type and fields; nothing for what marshal writes itself."""
    if isinstance(value, Condition):
        tests = ((operator.name, operand) for operator, operand in value.tests)
        return Condition, (value.unit, *tests)
    if isinstance(value, date):
        return date, (value.isoformat(),)
    if isinstance(value, Mapping):
        return dict, value.items()
    if isinstance(value, tuple) and type(value) is not tuple:
        return type(value), value
    if isinstance(value, tuple) and any(_split_object_for_marshal(part)[0] for part in value):
        return tuple, value
    return None, ()
