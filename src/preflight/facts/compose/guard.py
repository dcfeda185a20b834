"""Looks at the YAML of every file that a project reaches, before Compose is asked.

Refuses what leads outside the project, and notes where each value stands and which version of
Compose its keys need. Judges no values: that is Compose's job, or the stand-in's.
"""

from __future__ import annotations

import base64
import binascii
import os
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from preflight import yaml_marks
from preflight.facts.compose.files import Bounds, display_path
from preflight.facts.compose.forms import port_range, resolve_path, split_port, split_volume
from preflight.facts.compose.project import ComposeError, Need, Path
from preflight.facts.compose.variables import (
    Lookup,
    TemplateError,
    Variables,
    chain_lookup,
    read_env_file,
    read_env_files,
)
from preflight.model.facts import FileLine
from preflight.model.problems import InputError
from preflight.yaml_marks import MAX_BYTES, PLAIN, Node, compose_documents

_MAX_FILES = 2000
_MAX_CHAIN = 50  # services that extend one another
_MAX_POSITIONS = 200_000
_MAX_PORTS = 500  # of a range
_YAML = "tag:yaml.org,2002:"
_NEEDS = {
    tuple(key.split(".")): (version, key.replace(".*", ""))
    for version, keys in {
        "2.15.0": "cgroup build.privileged", "2.15.1": "uts",
        "2.17.0": "build.dockerfile_inline build.additional_contexts depends_on.*.restart",
        "2.20.0": "attach depends_on.*.required", "2.20.2": "healthcheck.start_interval",
        "2.22.0": "develop", "2.23.1": "build.ulimits", "2.24.0": "env_file.*.required",
        "2.27.1": "build.entitlements", "2.30.0": "env_file.*.format gpus post_start pre_stop",
        "2.32.2": "label_file", "2.36.0": "provider", "2.38.0": "models",
    }.items()
    for key in keys.split()
}  # fmt: skip
"""The keys of a service that came with a version of Compose, by Docker's documentation."""


class Layer(NamedTuple):
    """A file, the folder that its paths are relative to, and its variables."""

    file: str
    folder: str
    lookup: Lookup


def entries(node: Node) -> Iterator[tuple[str, Node, Node]]:
    """Yield the name, key and value of each entry of a mapping; what `<<` merges in comes first."""
    own = []
    for key, value in node.value if isinstance(node, yaml_marks.Mapping) else ():
        if key.value == "<<" and key.tag in (PLAIN, f"{_YAML}merge"):
            sources = value.value if isinstance(value, yaml_marks.Sequence) else [value]
            for source in reversed(sources):  # the first one with a key decides
                yield from entries(source)
        elif isinstance(key, yaml_marks.Scalar):
            own.append((scalar_text(key), key, value))
    yield from own


def scalar_text(node: Node) -> str:
    """Return the text of a scalar, which can be written in Base64."""
    if node.tag != f"{_YAML}binary":
        return str(node.value)
    try:
        return base64.b64decode(node.value).decode(errors="replace")
    except (binascii.Error, ValueError):
        return str(node.value)


def _values(node: Node, *keys: str) -> Iterator[Node]:
    """Yield every value at a path of keys, an overridden one too; `*` is every key."""
    if not keys:
        yield node
        return
    for name, _, value in entries(node):
        if keys[0] in (name, "*"):
            yield from _values(value, *keys[1:])


def _texts(node: Node, key: str) -> Iterator[Node]:
    """Yield the scalars of a text, of a list, or under a key of the mappings in it."""
    if isinstance(node, yaml_marks.Scalar):
        yield node
    elif isinstance(node, yaml_marks.Sequence):
        for item in node.value:
            yield from _texts(item, key)
    else:
        for value in _values(node, key):
            yield from _texts(value, key)


def error_at(node: Node, message: str) -> ComposeError:
    """Return the error that names the position of a node."""
    mark = node.start_mark
    return ComposeError(message, mark.name, mark.line + 1, mark.column + 1)


def position_of(node: Node) -> FileLine:
    """Return the file and line of a node."""
    return FileLine(node.start_mark.name, node.start_mark.line + 1)


class Guard:
    """The files that were reached so far, and what they say."""

    def __init__(self, bounds: Bounds) -> None:
        self.positions: dict[Path, FileLine] = {}
        self.profiles: dict[str, tuple[str, ...]] = {}
        self.needs: dict[tuple[str, str], Need] = {}
        self._bounds = bounds
        self._documents: dict[str, list[Node]] = {}
        self._included: set[tuple[str, str]] = set()
        self._count = 0

    def documents(self, file: str) -> list[Node]:
        """Return the documents of a file; raises ComposeError for one that can't be read."""
        self._count += 1
        if self._count > _MAX_FILES:
            raise ComposeError(f"the project has more than {_MAX_FILES} files", display_path(file))
        if file not in self._documents:
            try:
                with open(file, "rb") as content:
                    data = content.read(MAX_BYTES + 1)
                self._documents[file] = compose_documents(data, display_path(file))
            except OSError as error:
                message = f"it can't be read: {error.strerror}"
                raise ComposeError(message, display_path(file)) from None
            except InputError as error:
                raise ComposeError(str(error)) from None
        return self._documents[file]

    def check(self, files: Sequence[str], folder: str, lookup: Lookup) -> None:
        """Follow the files of a project; raises ComposeError for what leads outside."""
        for file in files:
            layer = Layer(os.path.abspath(file), folder, lookup)
            for root in self.documents(layer.file):
                self._check_document(root, layer)

    def _check_document(self, root: Node, layer: Layer) -> None:
        for node in _values(root, "include"):
            self._need("2.20.3", "include", node)
            for item in node.value if isinstance(node, yaml_marks.Sequence) else ():
                self._check_include(item, layer)
        for kind in ("configs", "secrets"):
            for file in _values(root, kind, "*", "file"):
                self._path(file, layer, kind)
        for origin in ("content", "environment"):
            for node in _values(root, "configs", "*", origin):
                self._need("2.23.1", f"configs with {origin}", node)
        for node in _values(root, "models"):
            self._need("2.38.0", "models", node)
        for mapping in _values(root, "services"):
            for name, key, service in entries(mapping):
                self._check_service(name, service, layer, ())
                self._record(("services", name), key, service, layer.lookup)

    def _check_include(self, item: Node, layer: Layer) -> None:
        files = [self._path(node, layer, "include") for node in _texts(item, "path")]
        folder = os.path.dirname(files[0]) if files else layer.folder
        for directory in _values(item, "project_directory"):
            folder = self._path(directory, layer, "include")
        named = [
            self._path(text, layer, "include")
            for value in _values(item, "env_file")
            for text in _texts(value, "path")
        ]
        env_files = named or [os.path.join(folder, ".env")]
        refusal = self._bounds.refusal(env_files[0])
        if refusal:
            raise error_at(item, f"include: {refusal}")
        env_files = [file for file in env_files if os.path.isfile(file)]
        outer = layer.lookup
        lookup = chain_lookup(outer, lambda: read_env_files(env_files, outer))
        files = [file for file in files if (file, folder) not in self._included]
        self._included.update((file, folder) for file in files)
        self.check([file for file in files if os.path.isfile(file)], folder, lookup)

    def _check_service(
        self, name: str, service: Node, layer: Layer, chain: tuple[tuple[str, str], ...]
    ) -> None:
        """Check the paths of a service and of what it extends, and record what comes from there."""
        for extends in _values(service, "extends"):
            if isinstance(extends, yaml_marks.Scalar):
                bases, files = [scalar_text(extends)], []
            else:
                bases = [scalar_text(node) for node in _values(extends, "service")]
                files = [self._path(node, layer, "extends") for node in _values(extends, "file")]
            for base in bases:
                for file in files or [layer.file]:
                    self._check_base(name, base, file, layer, chain)
        for node in _values(service, "label_file"):
            for text in _texts(node, "path"):
                self._path(text, layer, "label_file")
        for node in _values(service, "env_file"):
            for text in _texts(node, "path"):
                path = self._path(text, layer, "env_file")
                self._record_env_file(("services", name, "environment"), path, layer.lookup)

    def _check_base(
        self,
        name: str,
        base: str,
        file: str,
        layer: Layer,
        chain: tuple[tuple[str, str], ...],
    ) -> None:
        if (file, base) in chain or len(chain) > _MAX_CHAIN or not os.path.isfile(file):
            return  # Compose says so
        folder = layer.folder if file == layer.file else os.path.dirname(file)
        inner = Layer(file, folder, layer.lookup)
        for root in self.documents(file):
            for services in _values(root, "services"):
                for service in _values(services, base):
                    self._check_service(name, service, inner, (*chain, (file, base)))
                    for setting, key, value in entries(service):
                        self._record(("services", name, setting), key, value, layer.lookup)

    def _path(self, node: Node, layer: Layer, what: str) -> str:
        """Return the absolute path that a value names; raises ComposeError for one outside."""
        try:
            text = Variables(layer.lookup).substitute(scalar_text(node))
        except TemplateError as error:
            raise error_at(node, f"{what}: {error}") from None
        path = resolve_path(text, layer.folder)
        refusal = self._bounds.refusal(path)
        if refusal:
            raise error_at(node, f"{what}: {refusal}")
        return path

    def _need(self, version: str, feature: str, node: Node) -> None:
        self.needs.setdefault((version, feature), Need(version, feature, position_of(node)))

    def _record(self, path: Path, key: Node, node: Node, lookup: Lookup) -> None:
        """Note the positions of a value and of what is in it: of a container, that of its key."""
        if len(self.positions) > _MAX_POSITIONS:
            return
        scalar = isinstance(node, yaml_marks.Scalar)
        if scalar or path not in self.positions:  # a container stays where it was first
            self.positions[path] = position_of(node if scalar else key)
        if node.tag == "!override":
            self._need("2.24.4", "!override", node)
        keys = path[2:]
        if keys[:1] in (("depends_on",), ("env_file",)) and len(keys) > 1:
            keys = (keys[0], "*", *keys[2:])
        if keys in _NEEDS:
            self._need(*_NEEDS[keys], node if scalar else key)
        if keys == ("profiles",):
            self.profiles[path[1]] = tuple(map(scalar_text, _texts(node, "")))
        for name, below_key, value in entries(node):
            self._record((*path, name), below_key, value, lookup)
        for item in node.value if isinstance(node, yaml_marks.Sequence) else ():
            for name in _item_names(path[-1], item, lookup) if len(path) == 3 else ():
                self._record((*path, name), item, item, lookup)

    def _record_env_file(self, path: Path, file: str, lookup: Lookup) -> None:
        try:
            lines = read_env_file(file, {}, Variables(lookup))
        except ComposeError:
            return  # Compose says so
        for name, line in lines.items():
            self.positions[(*path, name)] = FileLine(display_path(file), line)


def _item_names(key: str, item: Node, lookup: Lookup) -> list[str]:
    """Return what an item of a list of a service is known by among the positions."""
    field = {"ports": "published", "volumes": "target"}.get(key)
    short = isinstance(item, yaml_marks.Scalar)
    if not short and field is None:
        return ["*"]
    names: list[str] = []
    for node in [item] if field is None or short else _values(item, field):
        try:
            text = Variables(lookup).substitute(scalar_text(node))
        except (TemplateError, ComposeError):
            continue
        if key == "ports":
            text = split_port(text).published if short else text
            names += map(str, port_range(text)[:_MAX_PORTS])
        elif short:
            text = split_volume(text)[1] if key == "volumes" else text.partition("=")[0]
        names.append(text)
    return names
