"""Bundled sets as plain data: made from the YAML once, then loaded without YAML and decoding.

Nothing is executed on loading. The data are marshal's texts, numbers, tuples and mappings; a list
stands for an object: the number of what builds it in the table below, and its fields. Where none of
them has objects in it, the number is inverted (`~`), so that they needn't be looked at.
"""

from __future__ import annotations

import marshal
from collections.abc import Callable, Iterable, Mapping
from datetime import date
from importlib.util import source_hash
from typing import Any

from preflight.model.conditions import OPERATORS, Condition, Operand, Reference, Sum
from preflight.model.facts import Catalogue, Unit
from preflight.model.rules import (
    KNOWN_ERRORS_SET,
    Diagnosis,
    Edition,
    FactCondition,
    Fix,
    LanguageModel,
    Rule,
    Unless,
)
from preflight.rules.context import DecodingContext, Entry, FileContents

_DIGEST_BYTES = 8
_MARSHAL_VERSION = 4  # the last that every Python reads; equal texts are written once


def _build_condition(unit: Unit, *tests: tuple[str, Operand]) -> Condition:
    return Condition(tuple([(OPERATORS[name], operand) for name, operand in tests]), unit)


def _build_tuple(*parts: Any) -> tuple[Any, ...]:
    return parts


_BUILDERS: tuple[Callable[..., Any], ...] = (
    Rule,
    FactCondition,
    Fix,
    Reference,
    Sum,
    LanguageModel,
    Diagnosis,
    Unless,
    Edition,
    date.fromisoformat,
    Entry,
    FileContents,
    _build_condition,
    _build_tuple,
)


def make_ready_set(
    name: str, read: Callable[[str], bytes], catalogue: Catalogue, key: str
) -> bytes:
    """Return a bundled set as data that `restore_set` reads, with the same `key`.

    Raises InputError where its YAML has problems.
    """
    from preflight.rules.load import RuleFiles, load_ruleset

    sha256 = load_ruleset(name, read, catalogue).sha256  # raises InputError
    files = RuleFiles(read, DecodingContext(catalogue), lambda _: None)
    files.add_file(name, read(name), ())
    if name != KNOWN_ERRORS_SET and files.entries["diagnoses"]:
        files.add_known_errors(wanted=True)  # it overrides some of them
    files.prepare_decoding()
    decoded: dict[int, Entry] = {}
    files.decoded = decoded

    def decode(kind: str, entry: Entry) -> Entry:
        files.decode(kind, entry)
        return decoded[id(entry)]

    own = files.contents[-1]
    lists = {
        kind: tuple((key, decode(kind, files.entries[kind][key])) for key, _ in entries)
        for kind, entries in own.lists.items()
    }
    contents = FileContents(own.head, decode("applies", own.applies), lists, sha256)
    digests = {file: source_hash(read(file)) for file in (name, *sorted(files.extended))}
    plain = key, digests, _share_equal_parts(_to_plain(contents), {})
    body = marshal.dumps(plain, _MARSHAL_VERSION)
    return source_hash(body) + body


def restore_set(data: bytes, key: str, read: Callable[[str], bytes]) -> FileContents | None:
    """Return the contents of a bundled set that was made ready.

    None if the data aren't whole, or were made with another key or from other files.
    """
    body = memoryview(data)[_DIGEST_BYTES:]
    if source_hash(body) != data[:_DIGEST_BYTES]:
        return None
    made_with, *contents = marshal.loads(body)  # noqa: S302 - it builds no code
    if made_with != key:
        return None
    digests, plain = contents
    if any(source_hash(read(name)) != digests[name] for name in digests):
        return None
    restored: FileContents = _from_plain(plain)
    return restored


def _to_plain(value: Any) -> Any:
    if isinstance(value, Condition):
        tests = ((operator.name, operand) for operator, operand in value.tests)
        return _to_list(_build_condition, (value.unit, *tests))
    if isinstance(value, date):
        return _to_list(date.fromisoformat, (value.isoformat(),))
    if isinstance(value, Mapping):
        return {key: _to_plain(item) for key, item in value.items()}
    if not isinstance(value, tuple):
        return value
    if type(value) is not tuple:
        return _to_list(type(value), value)
    parts = tuple(map(_to_plain, value))
    return _to_list(_build_tuple, value) if any(map(_has_objects, parts)) else parts


def _to_list(build: Callable[..., Any], fields: Iterable[Any]) -> list[Any]:
    """Return a list for an object; its number is negative where no field has objects in it."""
    parts, number = list(map(_to_plain, fields)), _BUILDERS.index(build)
    return [number if any(map(_has_objects, parts)) else ~number, *parts]


def _has_objects(plain: Any) -> bool:
    return isinstance(plain, list | dict)


def _share_equal_parts(plain: Any, parts: dict[object, Any]) -> Any:
    """Return the same data with one object for equal texts, numbers and tuples.

    It also makes the bytes reproducible: marshal marks what is referred to more than once.
    """
    if isinstance(plain, list):
        return [_share_equal_parts(part, parts) for part in plain]
    if isinstance(plain, dict):
        return {
            _share_equal_parts(key, parts): _share_equal_parts(value, parts)
            for key, value in plain.items()
        }
    if isinstance(plain, tuple):
        plain = tuple([_share_equal_parts(part, parts) for part in plain])
    return parts.setdefault((type(plain), plain), plain)


def _from_plain(plain: Any) -> Any:
    if plain.__class__ is dict:
        return {key: _from_plain(item) for key, item in plain.items()}
    if plain.__class__ is not list:
        return plain
    number, *fields = plain
    if number < 0:
        return _BUILDERS[~number](*fields)
    containers = (list, dict)
    return _BUILDERS[number](
        *[_from_plain(field) if field.__class__ in containers else field for field in fields]
    )
