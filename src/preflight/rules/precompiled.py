"""Bundled sets as plain data: made from the YAML once, then loaded without YAML and decoding.

Nothing is executed on loading. The data are one list of all values, each once and after those that
it consists of: texts, numbers and tuples are there as they are. A list stands for an object: the
number of what builds it in the table below, and where its fields are in the list of all values.
"""

from __future__ import annotations

import marshal
from collections.abc import Callable, Iterable, Mapping
from datetime import date
from importlib.util import source_hash
from typing import Any

from preflight.model.conditions import OPERATORS, Condition, FactReference, Operand, SumOfBounds
from preflight.model.facts import Catalogue, Unit
from preflight.model.rules import (
    KNOWN_ERRORS_SET,
    Diagnosis,
    DocumentEdition,
    ExplainingDiagnosis,
    FactCondition,
    Fix,
    LanguageModel,
    Rule,
)
from preflight.rules.context import DecodingContext, RuleFileContents, RuleFileEntry

_DIGEST_BYTES = 8
_MARSHAL_VERSION = 2  # later ones write what else refers to a value, which isn't reproducible


def _build_condition(unit: Unit, *tests: tuple[str, Operand]) -> Condition:
    return Condition(tuple([(OPERATORS[name], operand) for name, operand in tests]), unit)


def _build_tuple(*parts: Any) -> tuple[Any, ...]:
    return parts


def _build_mapping(*items: tuple[Any, Any]) -> Mapping[Any, Any]:
    return dict(items)


_OBJECT_BUILDERS: tuple[Callable[..., Any], ...] = (
    Rule,
    FactCondition,
    Fix,
    FactReference,
    SumOfBounds,
    LanguageModel,
    Diagnosis,
    ExplainingDiagnosis,
    DocumentEdition,
    date.fromisoformat,
    RuleFileEntry,
    RuleFileContents,
    _build_condition,
    _build_tuple,
    _build_mapping,
)


def precompile_set(
    name: str, read: Callable[[str], bytes], catalogue: Catalogue, key: str
) -> bytes:
    """Return a bundled set as data that `load_precompiled_set` reads, with the same `key`.

    Raises InputError where its YAML has problems.
    """
    contents_by_set, names = {}, [name]
    for each in names:
        contents_by_set[each], extended = _decode_set(each, read, catalogue)
        names += [file for file in extended if file not in names]
    values: list[Any] = []
    _add_value(contents_by_set, values, {})
    digests = {file: source_hash(read(file)) for file in names}
    body = marshal.dumps((key, digests, values), _MARSHAL_VERSION)
    return source_hash(body) + body


def load_precompiled_set(
    data: bytes, key: str, read: Callable[[str], bytes]
) -> Mapping[str, RuleFileContents] | None:
    """Return the contents of a precompiled set, and of those that it extends.

    None if the data aren't whole, or were made with another key or from other files.
    """
    body = memoryview(data)[_DIGEST_BYTES:]
    if source_hash(body) != data[:_DIGEST_BYTES]:
        return None
    try:
        return _restore_values(body, key, read)
    except (AttributeError, EOFError, LookupError, TypeError, ValueError):
        return None  # another program's, though its digest is right


def _restore_values(
    body: memoryview, key: str, read: Callable[[str], bytes]
) -> Mapping[str, RuleFileContents] | None:
    made_with, digests, values = marshal.loads(body)  # noqa: S302 - it builds no code
    if made_with != key or any(source_hash(read(name)) != digests[name] for name in digests):
        return None
    for place, value in enumerate(values):
        if value.__class__ is list:
            number, *fields = value
            values[place] = _OBJECT_BUILDERS[number](*[values[field] for field in fields])
    contents_by_set: Mapping[str, RuleFileContents] = values[-1]
    return contents_by_set


def _decode_set(
    name: str, read: Callable[[str], bytes], catalogue: Catalogue
) -> tuple[RuleFileContents, list[str]]:
    """Return the contents of a set with everything decoded, and the sets that it extends."""
    from preflight.rules.load import RuleFiles, load_ruleset

    sha256 = load_ruleset(name, read, catalogue).sha256  # raises InputError
    files = RuleFiles(read, DecodingContext(catalogue), lambda _: None)
    files.add_file(name, read(name), ())
    if name != KNOWN_ERRORS_SET and files.entries["diagnoses"]:
        files.add_known_errors(wanted=True)  # it overrides some of them
    files.prepare_decoding()
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


def _add_value(value: Any, values: list[Any], places: dict[bytes, int]) -> int:
    """Add a value and all that it is made of, unless it is there; return its place."""
    build, fields = _split_object(value)
    if build is not None:
        fields = [_add_value(field, values, places) for field in fields]
        value = [_OBJECT_BUILDERS.index(build), *fields]
    data = marshal.dumps(value, _MARSHAL_VERSION)
    if data not in places:
        places[data] = len(values)
        values.append(value)
    return places[data]


def _split_object(value: Any) -> tuple[Callable[..., Any] | None, Iterable[Any]]:
    """Return what builds an object from which fields; nothing for what marshal writes itself."""
    if isinstance(value, Condition):
        tests = ((operator.name, operand) for operator, operand in value.tests)
        return _build_condition, (value.unit, *tests)
    if isinstance(value, date):
        return date.fromisoformat, (value.isoformat(),)
    if isinstance(value, Mapping):
        return _build_mapping, value.items()
    if isinstance(value, tuple) and type(value) is not tuple:
        return type(value), value
    if isinstance(value, tuple) and any(_split_object(part)[0] for part in value):
        return _build_tuple, value
    return None, ()
