"""Facts: measured values, where each came from, and what could not be measured and why.

Unknown and absent are two things: an `Unknown` could not be measured; `None` is known not to exist
(no cgroup limit, no swap).
"""

import errno
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Any, Literal, NamedTuple, TypeAlias, TypeVar, get_args

from preflight.model.problems import did_you_mean

Unit: TypeAlias = Literal[
    "bytes", "seconds", "cores", "number", "version", "text", "boolean", "list", "map"
]
UnknownKind: TypeAlias = Literal[
    "unavailable", "permission", "refused", "timeout", "invalid", "unsupported", "error"
]
UNKNOWN_KINDS: tuple[UnknownKind, ...] = get_args(UnknownKind)
Path: TypeAlias = tuple[str, ...]
Value: TypeAlias = Any  # what JSON holds: text, number, boolean, list, mapping, or None for absent

SERVICES_FACT_PATH: Path = ("compose", "services")
CONTAINERS_FACT_PATH: Path = ("stack", "containers")
NEEDS_ONLINE_REASON = "needs --online"  # why a fact wasn't measured: rules about it are skipped

MAX_SNAPSHOT_BYTES = 64 * 2**20
MAX_BUNDLE_BYTES = 64 * 2**20

_REPLACED_BY_UNPLACED_NOTE = "docker.swarm.unplaced replaces it"
RETIRED_FACTS: Mapping[str, tuple[Unit, str]] = {
    "docker.swarm.packed.state": ("text", _REPLACED_BY_UNPLACED_NOTE),
    "docker.swarm.packed.unplaced": ("list", _REPLACED_BY_UNPLACED_NOTE),
    "docker.swarm.packed.reason": ("text", _REPLACED_BY_UNPLACED_NOTE),
    "docker.swarm.loss.node": ("text", "nothing replaces it"),
    "docker.swarm.loss.state": ("text", "nothing replaces it"),
    "docker.swarm.loss.unplaced": ("list", "nothing replaces it"),
    "docker.swarm.loss.reason": ("text", "nothing replaces it"),
    "docker.swarm.services.*.error": ("text", "docker.swarm.services.*.reason replaces it"),
}
"""Facts of earlier versions, unknown today: by path the unit, and the reason."""
_RETIRED_FACT_PREFIX = ("docker", "swarm")  # all of them

_NOUN_BY_COLLECTION = {
    "services": "service",
    "containers": "container",
    "nodes": "node",
    "ports": "published port",
}
"""Where a name that isn't there is a mistake; a variable or a label is absent instead."""
_MAX_NAMED_ITEMS = 5

_GROUPS_WITH_DOTTED_NAMES = (("net", "resolve"), ("net", "connect"))
"""Below them the rest of a path is one name, whether or not it is in quotes."""
# the patterns are compiled at their first use: hardly any path needs them
_UNQUOTED_HOST_PATTERN = r'[^".]+(?:\.[^".]+)*\Z'
_PATH_SEGMENT_PATTERN = r'"((?:[^"\\]|\\.)*)"|([^."]+)'
_DOTTED_PATH_PATTERN = rf"(?:{_PATH_SEGMENT_PATTERN})(?:\.(?:{_PATH_SEGMENT_PATTERN}))*"

_KIND_BY_ERROR_NUMBER: dict[int | None, UnknownKind] = {
    errno.EACCES: "permission", errno.EPERM: "permission", errno.EINVAL: "invalid",
}  # fmt: skip
T = TypeVar("T")


class FactDeclaration(NamedTuple):
    """The declaration of a fact; a segment `*` of its path stands for any name."""

    path: str
    unit: Unit
    summary: str


class Unknown(NamedTuple):
    """The reason why something could not be measured, as people read it."""

    reason: str
    kind: UnknownKind = "unavailable"


class NoSuchItem(Unknown):
    """Why an item is unknown: the collection was measured whole and doesn't have it."""


class FileLine(NamedTuple):
    """A line of a file; lines count from 1."""

    file: str
    line: int


class Source(NamedTuple):
    """Where a value came from, as people read it, and the line of a file if that decides it."""

    text: str
    place: FileLine | None = None

    @classmethod
    def in_file(cls, file: str, line: int, detail: str = "") -> "Source":
        """Return the source of a value that a line of a file decides."""
        return cls(f"in {file}:{line}" + (f"; {detail}" if detail else ""), FileLine(file, line))


class Measured(NamedTuple):
    """One fact as its reader yields it: a value, None for absent, or an Unknown."""

    path: Path
    value: Value | Unknown
    source: str | Source = ""


class NotMeasuredError(Exception):
    """Why something can't be measured, also as an Unknown."""

    def __init__(self, reason: str, kind: UnknownKind = "unavailable") -> None:
        super().__init__(reason)
        self.unknown = Unknown(reason, kind)


def make_unknown_from_error(error: NotMeasuredError | OSError) -> Unknown:
    """Return why something can't be measured, such as a file that can't be read."""
    if isinstance(error, NotMeasuredError):
        return error.unknown
    reason = f"{error.filename}: {error.strerror}" if error.filename else str(error)
    return Unknown(reason, _KIND_BY_ERROR_NUMBER.get(error.errno, "unavailable"))


def read_or_unknown(read: Callable[..., T], *arguments: object) -> T | Unknown:
    """Return what `read` returns, or why it can't: what it raises as an Unknown."""
    try:
        return read(*arguments)
    except (NotMeasuredError, OSError) as error:
        return make_unknown_from_error(error)


def make_fact(path: str, value: Value | Unknown, source: str | Source = "") -> Measured:
    """Return a fact by its dotted path, in which no name has a dot."""
    return Measured(tuple(path.split(".")), value, source)


def measure_fact(
    path: Path, read: Callable[..., tuple[Value, str]], *arguments: object
) -> Measured:
    """Return a fact with what `read` returns: its value and its source."""
    result = read_or_unknown(read, *arguments)
    return Measured(path, result) if isinstance(result, Unknown) else Measured(path, *result)


def require_visible(*hidden: Unknown | None) -> None:
    """Raise NotMeasuredError with the first reason why something isn't visible here."""
    for reason in filter(None, hidden):
        raise NotMeasuredError(*reason)


class Facts(NamedTuple):
    """A snapshot: `values` nested by path segment, everything else by dotted path."""

    values: Mapping[str, Value]
    sources: Mapping[str, str] = MappingProxyType({})
    unknown: Mapping[str, Unknown] = MappingProxyType({})
    measured_at: str = ""
    version: str = ""
    places: Mapping[str, FileLine] = MappingProxyType({})  # the lines of files that decide values

    def get(self, path: Path) -> Value | Unknown:
        """Return the value at `path`, or None if it is absent, an Unknown if it isn't known."""
        node: Value = self.values
        for segment in path:
            if node is None:
                return None
            try:
                node = node[segment]
            except (KeyError, TypeError):  # it isn't a mapping
                return self._explain_missing(path)
        return node

    def collection(self, *path: str) -> Mapping[str, Value]:
        """Return the items of a collection by name, or none if it isn't known."""
        value = self.get(path)
        return value if isinstance(value, Mapping) else {}

    def texts(self, *path: str) -> list[str]:
        """Return a list as texts, or an empty one if it isn't known."""
        value = self.get(path)
        return list(map(str, value)) if isinstance(value, list) else []

    def text(self, *path: str) -> str | None:
        """Return a text, or None if it is unknown or absent."""
        value = self.get(path)
        return value if isinstance(value, str) else None

    def has_group(self, name: str) -> bool:
        """Return whether anything is known of facts that begin with this name, or why not."""
        return name in self.values or any(p.partition(".")[0] == name for p in self.unknown)

    def find_source_and_line(self, path: Path) -> tuple[str, FileLine | None]:
        """Return where the value at `path` came from, or nothing, and the line that decides it."""
        measured = join_path(path)
        if measured not in self.sources:  # most are
            prefixes = (
                prefix for prefix in _list_prefixes_longest_first(path) if prefix in self.sources
            )
            measured = next(prefixes, "")
        return self.sources.get(measured, ""), self.places.get(measured)

    def source(self, path: Path) -> str:
        """Return where the value at `path` came from, or nothing."""
        return self.find_source_and_line(path)[0]

    def find_file_line(self, path: Path) -> FileLine | None:
        """Return the line of a file that decides the value at `path`, if there is one."""
        return self.find_source_and_line(path)[1]

    def _explain_missing(self, path: Path) -> Unknown | None:
        """Return why `path` has no value; None if what contains it is complete."""
        if (retired := _find_retired_fact(path)) is not None:
            return Unknown(f"{join_path(path)} is no longer measured: {retired[1]}", "unsupported")
        for prefix in _list_prefixes_longest_first(path):
            if prefix in self.unknown:
                return self.unknown[prefix]
            if prefix in self.sources:
                return self._explain_missing_item(split_fact_path(prefix), path)
        return Unknown("the facts don't include this value")

    def _explain_missing_item(self, collection: Path, path: Path) -> Unknown | None:
        """Return that a complete collection has no item of this name; None for what is absent."""
        noun = _NOUN_BY_COLLECTION.get(collection[-1])
        if path == collection:
            return None
        items, name = self.get(collection), path[len(collection)]
        if isinstance(items, list):  # such as the mounts of a service, in a snapshot
            return Unknown(f"{join_path(path)} wasn't measured")
        if noun is None:
            return None
        if not isinstance(items, Mapping) or name in items:
            return None
        hint = did_you_mean(name, items).replace(", did", ": did")
        with_image = [
            item
            for item, facts in items.items()
            if isinstance(facts, Mapping) and name in str(facts.get("image", ""))
        ]
        if not hint and len(with_image or items) == 1:
            hint = f": did you mean {next(iter(with_image or items))!r}?"
        elif not hint and items:
            more = ", …" if len(items) > _MAX_NAMED_ITEMS else ""
            hint = f"; there are {', '.join(list(items)[:_MAX_NAMED_ITEMS])}{more}"
        return NoSuchItem(f"no {noun} {name!r}{hint}")


def build_facts(measured: Iterable[Measured], *, measured_at: str, version: str) -> Facts:
    """Build a snapshot from single facts; of two for one path the first counts."""
    first: dict[Path, Measured] = {}
    for fact in measured:
        first.setdefault(fact.path, fact)
    return replace_facts(Facts({}, measured_at=measured_at, version=version), first.values())


def replace_facts(facts: Facts, changes: Iterable[Measured]) -> Facts:
    """Return a copy of the facts with some of them replaced.

    An empty mapping says that a collection is complete, whose items came before.
    """
    values, sources, unknown = dict(facts.values), dict(facts.sources), dict(facts.unknown)
    places = dict(facts.places)
    copies = {id(values): values}
    for path, value, source in changes:
        dotted = join_path(path)
        for known in (unknown, sources, places):
            known.pop(dotted, None)
        if isinstance(value, Unknown):
            unknown[dotted] = value
            if isinstance(facts.get(path), Unknown):
                continue  # nothing to remove
        node = values
        for segment in path[:-1]:
            inner: Any = node.get(segment)
            if id(inner) not in copies:
                inner = dict(inner) if isinstance(inner, Mapping) else {}
                copies[id(inner)] = node[segment] = inner
            node = inner
        if isinstance(value, Unknown):
            node.pop(path[-1], None)
            continue
        if isinstance(value, list) and isinstance(node.get(path[-1]), Mapping):
            pass  # its items came before: a service's mounts
        elif value != {}:
            node[path[-1]] = value
        else:
            node.setdefault(path[-1], {})
        sources[dotted] = source if isinstance(source, str) else source.text
        if isinstance(source, Source) and source.place is not None:
            places[dotted] = source.place
    return facts._replace(values=values, sources=sources, unknown=unknown, places=places)


@lru_cache(maxsize=4096)
def split_fact_path(dotted: str) -> Path:
    """Read a dotted path; a segment with a dot in it is in double quotes.

    The names of hosts don't need them: net.resolve.smtp.example.com.
    """
    path = tuple(dotted.split("."))
    if '"' in dotted or "" in path:
        if not re.fullmatch(_DOTTED_PATH_PATTERN, dotted):
            raise ValueError(f"{dotted!r} isn't a valid fact path: expected names joined by dots")
        segments = re.findall(_PATH_SEGMENT_PATTERN, dotted)
        path = tuple(plain or re.sub(r"\\(.)", r"\1", quoted) for quoted, plain in segments)
    return (
        (*path[:2], ".".join(path[2:]))
        if path[:2] in _GROUPS_WITH_DOTTED_NAMES and path[2:]
        else path
    )


@lru_cache(maxsize=4096)
def join_path(path: Path) -> str:
    """Write a path with dots, quoting the segments that need it."""
    plain = ".".join(path)
    if '"' not in plain and plain.count(".") == len(path) - 1 and "" not in path:
        return plain
    if (
        path[:2] in _GROUPS_WITH_DOTTED_NAMES
        and len(path) == 3
        and re.match(_UNQUOTED_HOST_PATTERN, path[2])
    ):
        return plain
    return ".".join(
        segment
        if segment and "." not in segment and '"' not in segment
        else '"' + segment.replace("\\", "\\\\").replace('"', '\\"') + '"'
        for segment in path
    )


def _list_prefixes_longest_first(path: Path) -> Iterator[str]:
    dotted = join_path(path)
    has_dots = dotted.count(".") != len(path) - 1  # in a name
    for length in range(len(path), 0, -1):
        yield dotted
        dotted = join_path(path[: length - 1]) if has_dots else dotted.rpartition(".")[0]


class FactCatalogue:
    """All declared facts: the names that rules may use, with their units."""

    def __init__(self, facts: Iterable[FactDeclaration]) -> None:
        self.facts = tuple(facts)
        self._exact = {split_fact_path(fact.path): fact for fact in self.facts}
        # by the first segment and the number of segments
        self._patterns: defaultdict[tuple[str, int], list[Path]] = defaultdict(list)
        self._collections: defaultdict[tuple[str, int], set[Path]] = defaultdict(set)
        for path in self._exact:
            ends = [end for end, segment in enumerate(path) if segment == "*"]
            for end in ends:
                self._collections[path[0], end].add(path[:end])
            if ends:
                self._patterns[path[0], len(path)].append(path)

    def find(self, path: Path) -> FactDeclaration | None:
        """Return the declaration that covers `path`, or None."""
        if path in self._exact:
            return self._exact[path]
        for pattern in self._patterns.get((path[0], len(path)), ()):
            if _declaration_covers_path(pattern, path):
                return self._exact[pattern]
        if self.is_collection(path):
            return FactDeclaration(join_path(path), "map", "a collection, by name")
        retired = _find_retired_fact(path)
        return None if retired is None else FactDeclaration(join_path(path), *retired)

    def is_collection(self, path: Path) -> bool:
        """Return whether `path` holds items by name, for `for_each`."""
        patterns = self._collections.get((path[0], len(path)), ())
        return any(_declaration_covers_path(pattern, path) for pattern in patterns)

    def names(self) -> list[str]:
        """Return every declared path, for suggestions and tables."""
        return [fact.path for fact in self.facts]


def _find_retired_fact(path: Path) -> tuple[Unit, str] | None:
    """Return the unit of a retired fact and what replaces it, None for other paths."""
    if path[: len(_RETIRED_FACT_PREFIX)] != _RETIRED_FACT_PREFIX:
        return None
    for name, retired in RETIRED_FACTS.items():
        if _declaration_covers_path(split_fact_path(name), path):
            return retired
    return None


def _declaration_covers_path(pattern: Path, path: Path) -> bool:
    return len(pattern) == len(path) and all(
        p in ("*", q) for p, q in zip(pattern, path, strict=True)
    )
