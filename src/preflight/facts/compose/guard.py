"""Looks at the YAML of every file that a project reaches, before Compose is asked.

Refuses what leads outside the project, and records the position of each value and which version
of Compose its keys need. Judges no values: that is Compose's job, or the stand-in's.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import product

from preflight import yaml_marks
from preflight.facts.compose.forms import parse_port_range, resolve_path, split_port, split_volume
from preflight.facts.compose.load import Bounds, display_path
from preflight.facts.compose.project import ComposeError, Need, Path
from preflight.facts.compose.variables import (
    TemplateError,
    Variables,
    read_env_file,
)
from preflight.model.facts import FileLine
from preflight.model.problems import InputError
from preflight.yaml_marks import MAX_BYTES, PLAIN, Node, compose_documents

_MAX_FILES = 2000
_MAX_CHAIN_LENGTH = 50  # services that extend, or files that include, one another
_MAX_POSITIONS = 200_000
_MAX_PORTS_OF_RANGE = 500  # of a range
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

_TOP_NEEDS = {
    ("include",): ("2.20.3", "include"),
    ("models",): ("2.38.0", "models"),
    ("configs", "*", "content"): ("2.23.1", "configs with content"),
    ("configs", "*", "environment"): ("2.23.1", "configs with environment"),
}


def mapping_entries(node: Node) -> Iterator[tuple[str, Node, Node]]:
    """Yield the name, key and value of each entry of a mapping; what `<<` merges in comes first."""
    own = []
    for key, value in node.value if isinstance(node, yaml_marks.Mapping) else ():
        if key.value == "<<" and key.tag in (PLAIN, f"{_YAML}merge"):
            sources = value.value if isinstance(value, yaml_marks.Sequence) else [value]
            for source in reversed(sources):  # the first one with a key decides
                yield from mapping_entries(source)
        elif isinstance(key, yaml_marks.Scalar):
            own.append((scalar_text(key), key, value))
    yield from own


def scalar_text(node: Node) -> str:
    """Return the text of a scalar, which can be written in Base64."""
    if node.tag != f"{_YAML}binary":
        return str(node.value)
    try:
        return base64.b64decode(node.value).decode(errors="replace")
    except ValueError:
        return str(node.value)


def _find_values(node: Node, *keys: str) -> Iterator[Node]:
    """Yield every value at a path of keys, overridden ones too; `*` stands for every key."""
    if not keys:
        yield node
        return
    for name, _, value in mapping_entries(node):
        if keys[0] in (name, "*"):
            yield from _find_values(value, *keys[1:])


def _find_scalars(node: Node, key: str) -> Iterator[Node]:
    """Yield the scalars of a text, of a list, or under a key of the mappings in it."""
    if isinstance(node, yaml_marks.Scalar):
        yield node
    elif isinstance(node, yaml_marks.Sequence):
        for item in node.value:
            yield from _find_scalars(item, key)
    else:
        for value in _find_values(node, key):
            yield from _find_scalars(value, key)


def error_at(node: Node, message: str) -> ComposeError:
    """Return the error that names the position of a node."""
    mark = node.start_mark
    return ComposeError(message, mark.name, mark.line + 1, mark.column + 1)


def position_of(node: Node) -> FileLine:
    """Return the file and line of a node."""
    return FileLine(node.start_mark.name, node.start_mark.line + 1)


class Guard:
    """The files that were reached so far, and the positions of their values."""

    def __init__(self, bounds: Bounds, variables: Variables) -> None:
        self.positions: dict[Path, FileLine] = {}
        self.profiles: dict[str, tuple[str, ...]] = {}
        self.needs: dict[tuple[str, str], Need] = {}
        self._bounds, self._variables = bounds, variables
        self._documents: dict[str, list[Node]] = {}
        self._count = 0

    def documents(self, file: str, depth: int = 0) -> list[Node]:
        """Return the documents of a file; raises ComposeError for one that can't be read."""
        file, name = os.path.abspath(file), display_path(file)
        self._count += 1
        if self._count > _MAX_FILES:
            raise ComposeError(f"the project has more than {_MAX_FILES} files", name)
        if depth > _MAX_CHAIN_LENGTH:
            raise ComposeError(
                f"more than {_MAX_CHAIN_LENGTH} files or services form a chain", name
            )
        if file not in self._documents:
            try:
                with open(file, "rb") as content:
                    data = content.read(MAX_BYTES + 1)
                self._documents[file] = compose_documents(data, name)
            except OSError as error:
                raise ComposeError(f"it can't be read: {error.strerror}", name) from None
            except InputError as error:
                raise ComposeError(str(error)) from None
        return self._documents[file]

    def check(self, files: Sequence[str], folder: str, depth: int = 0) -> None:
        """Follow the files of a project; raises ComposeError for what leads outside."""
        for file in files:
            for root in self.documents(file, depth):
                self._check_document(root, file, folder, depth)

    def _check_document(self, root: Node, file: str, folder: str, depth: int) -> None:
        for key, (version, feature) in _TOP_NEEDS.items():
            for node in _find_values(root, *key):
                self._record_need(version, feature, node)
        for node in _find_values(root, "include"):
            for item in node.value if isinstance(node, yaml_marks.Sequence) else ():
                self._check_include(item, folder, depth)
        for kind in ("configs", "secrets"):
            for node in _find_values(root, kind, "*", "file"):
                self._check_paths([node], folder, kind)
        for services in _find_values(root, "services"):
            for name, key_node, service in mapping_entries(services):
                self._check_service(name, service, file, folder, depth)
                self._record_positions(("services", name), key_node, service)

    def _check_include(self, item: Node, folder: str, depth: int) -> None:
        def check_paths(nodes: Iterable[Node]) -> list[str]:
            return self._check_paths(nodes, folder, "include")

        files = check_paths(_find_scalars(item, "path"))
        inner = os.path.dirname(files[0]) if files else folder
        inner = (check_paths(_find_values(item, "project_directory")) or [inner])[-1]
        env_files = [
            path
            for node in _find_values(item, "env_file")
            for path in check_paths(_find_scalars(node, "path"))
        ]
        default = os.path.join(inner, ".env")
        refusal = self._bounds.refusal(default)
        if refusal and not env_files:
            raise error_at(item, f"include: {refusal}")
        values: dict[str, str] = {}
        for path in filter(os.path.isfile, env_files or [default]):
            read_env_file(path, values, Variables(self._variables.lookup))
        with self._variables.fallback_to(values):
            self.check(list(filter(os.path.isfile, files)), inner, depth + 1)

    def _check_service(self, name: str, service: Node, file: str, folder: str, depth: int) -> None:
        """Check the paths of a service and of what it extends, and record what comes from there."""
        for base, base_file, inner in self._find_bases(service, file, folder, depth):
            self._check_service(name, base, base_file, inner, depth + 1)
            for setting, key, value in mapping_entries(base):
                self._record_positions(("services", name, setting), key, value)
        for node in _find_values(service, "label_file"):
            self._check_paths(_find_scalars(node, "path"), folder, "label_file")
        for node in _find_values(service, "env_file"):
            for path in self._check_paths(_find_scalars(node, "path"), folder, "env_file"):
                with suppress(ComposeError):  # Compose says so
                    lines = read_env_file(path, {}, Variables(self._variables.lookup))
                    for variable, line in lines.items():
                        position = FileLine(display_path(path), line)
                        self.positions["services", name, "environment", variable] = position

    def _find_bases(
        self, service: Node, file: str, folder: str, depth: int
    ) -> Iterator[tuple[Node, str, str]]:
        """Yield the services that a service extends, their file, and the folder of their paths."""
        for extends in _find_values(service, "extends"):
            files = self._check_paths(_find_values(extends, "file"), folder, "extends")
            names = [
                self._substitute(node, "extends") for node in _find_scalars(extends, "service")
            ]
            for path in filter(os.path.isfile, files or [file]):
                inner = os.path.dirname(path) if files else folder
                for root, name in product(self.documents(path, depth + 1), names):
                    for base in _find_values(root, "services", name):
                        yield base, path, inner

    def _substitute(self, node: Node, what: str) -> str:
        try:
            return self._variables.substitute(scalar_text(node))
        except TemplateError as error:
            raise error_at(node, f"{what}: {error}") from None

    def _check_paths(self, nodes: Iterable[Node], folder: str, what: str) -> list[str]:
        """Return the absolute paths that values name; raises ComposeError for one outside."""
        paths = []
        for node in nodes:
            paths.append(resolve_path(self._substitute(node, what), folder))
            refusal = self._bounds.refusal(paths[-1])
            if refusal:
                raise error_at(node, f"{what}: {refusal}")
        return paths

    def _record_need(self, version: str, feature: str, node: Node) -> None:
        self.needs.setdefault((version, feature), Need(version, feature, position_of(node)))

    def _record_positions(self, path: Path, key: Node, node: Node) -> None:
        """Record the positions of a value and of all in it; a container has that of its key."""
        if len(self.positions) > _MAX_POSITIONS:
            return
        marked = node if isinstance(node, yaml_marks.Scalar) else key
        if marked is node or path not in self.positions:  # a container stays where it was first
            self.positions[path] = position_of(marked)
        if node.tag == "!override":
            self._record_need("2.24.4", "!override", node)
        setting = path[2:]
        if path[2:3] in (("depends_on",), ("env_file",)) and len(path) > 3:
            setting = (path[2], "*", *path[4:])
        if setting in _NEEDS:
            self._record_need(*_NEEDS[setting], marked)
        if setting == ("profiles",):
            self.profiles[path[1]] = tuple(map(scalar_text, _find_scalars(node, "")))
        for name, below_key, value in mapping_entries(node):
            self._record_positions((*path, name), below_key, value)
        for item in node.value if isinstance(node, yaml_marks.Sequence) and len(path) == 3 else ():
            for name in self._item_names(path[-1], item):
                self._record_positions((*path, name), item, item)

    def _item_names(self, key: str, item: Node) -> list[str]:
        """Return the names of a list's item among the positions, such as the number of a port."""
        field = {"ports": "published", "volumes": "target"}.get(key, "")
        short = isinstance(item, yaml_marks.Scalar)
        if not short and not field:
            return ["*"]
        names: list[str] = []
        for node in _find_scalars(item, field):
            text = scalar_text(node)
            with suppress(TemplateError, ComposeError):
                text = self._variables.substitute(text)
            if key == "ports":
                text = split_port(text)[1] if short else text
                names += map(str, parse_port_range(text)[:_MAX_PORTS_OF_RANGE])
            elif short:
                text = split_volume(text)[1] if key == "volumes" else text.partition("=")[0]
            names.append(text)
        return names
