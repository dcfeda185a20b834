"""Looks at the YAML of every file that a project reaches, before Compose is asked.

Refuses what leads outside the project, and records the position of each value and which version
of Compose its keys need. Judges no values: that is Compose's job, or the fallback reader's.
Where it isn't certain how Compose reads a key or a path, it refuses it or checks every reading.
"""

from __future__ import annotations

import base64
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress

from preflight import yaml_reader
from preflight.facts.compose.interpolation_and_env_files import (
    ComposeInterpolator,
    add_env_file_values,
    hide_variable_values_in_message,
    read_project_variables,
)
from preflight.facts.compose.load import (
    ReadableFolders,
    find_interpolation_env_files,
    format_file_path,
    read_bytes,
)
from preflight.facts.compose.project import ComposeError, NeededComposeFeature, Path
from preflight.model.facts import FileLine
from preflight.model.problems import InputError
from preflight.yaml_reader import (
    MAX_YAML_BYTES,
    TAGS_OF_UNTAGGED_NODES,
    Node,
    is_null_node,
    parse_yaml_documents,
)

_MAX_PROJECT_FILES = 2000
_MAX_EXTENDS_OR_INCLUDE_DEPTH = 50  # services that extend, or files that include, one another
_MAX_SERVICES = 10_000  # in all files
_MAX_YAML_POSITIONS = 200_000
_MAX_PORTS_PER_RANGE = 500
_ITEM_NAME_KEY_BY_LIST = {"ports": "published", "volumes": "target"}  # in the long form
_COMPOSE_VERSION_BY_KEY = {
    tuple(key.split(".")): version
    for version, keys in {
        "2.15.0": "cgroup build.privileged", "2.15.1": "uts",
        "2.17.0": "build.dockerfile_inline build.additional_contexts depends_on.*.restart",
        "2.20.0": "attach depends_on.*.required", "2.20.2": "healthcheck.start_interval",
        "2.20.3": "include", "2.22.0": "develop",
        "2.23.1": "build.ulimits configs.*.content configs.*.environment",
        "2.24.0": "env_file.*.required", "2.27.1": "build.entitlements",
        "2.30.0": "env_file.*.format gpus post_start pre_stop", "2.32.2": "label_file",
        "2.36.0": "provider", "2.38.0": "models",
    }.items()
    for key in keys.split()
}  # fmt: skip
"""The keys, those of a service without its path, that came with a version of Compose.

Source: Docker's documentation.
"""

REMOTE_CONTEXT_PATTERN = r"(?i)[a-z+]+://|git@|github\.com/"
_INVALID_PROJECT_NAME_CHAR_PATTERN = re.compile(r"[^-_a-z0-9]")
SHORT_PORT_PATTERN = re.compile(  # [ADDRESS:][PUBLISHED:]TARGET[/PROTOCOL]
    r"(?:(?:\[?(?P<address>[0-9A-Fa-f.:]*?)\]?:)?(?P<published>(?:[0-9]{1,5}(?:-[0-9]{1,5})?)?):)?"
    r"(?P<target>[0-9]{1,5}(?:-[0-9]{1,5})?)(?:/(?P<protocol>[A-Za-z]+))?"
)
_VOLUME_FIELD_PATTERN = r"([A-Za-z]:[^:]*|(?![A-Za-z]:)[^:]*)"  # Compose: a letter is a drive
_SHORT_VOLUME_PATTERN = re.compile(f"{_VOLUME_FIELD_PATTERN}:{_VOLUME_FIELD_PATTERN}(?::(.*))?")


def split_volume(text: str) -> tuple[str, str, str]:
    """Split `[SOURCE:]TARGET[:OPTIONS]`; a drive such as C: belongs to its path."""
    match = _SHORT_VOLUME_PATTERN.fullmatch(text)
    return (match[1], match[2], match[3] or "") if match and text != ":" else ("", text, "")


def make_absolute_path(path: str, folder: str) -> str:
    """Return a path of this machine as an absolute one, as Compose does."""
    if path.startswith("~"):  # Compose expands the user's own home alone
        path = f"{os.path.expanduser('~')}/{path[1:]}"
    return os.path.normpath(os.path.join(folder, path))


def iterate_mapping(node: Node) -> Iterator[tuple[str, Node, Node]]:
    """Yield the name, key and value of each entry of a mapping; what `<<` merges in comes first.

    Raises ComposeError for a key that isn't a text, and for one that is there twice: Compose
    takes the first or the last of them.
    """
    own: dict[str, tuple[str, Node, Node]] = {}
    for key, value in node.value if isinstance(node, yaml_reader.Mapping) else ():
        is_text = _abbreviate_tag(key) in (*TAGS_OF_UNTAGGED_NODES, "!!str", "!!binary", "!!merge")
        if not is_text or not isinstance(key, yaml_reader.Scalar):
            raise make_error_at_node(
                key, f"a key must be text, found {yaml_reader.describe_node_kind(key)}"
            )
        if key.value != "<<":
            name = read_scalar_text(key)
            if name in own:
                first = own[name][1].start_mark.line + 1
                message = f"the key {name!r} is defined twice, first on line {first}"
                raise make_error_at_node(key, message)
            own[name] = name, key, value
            continue
        sources = value.value if isinstance(value, yaml_reader.Sequence) else [value]
        for source in reversed(sources):  # the first one with a key decides
            yield from iterate_mapping(source)
    yield from own.values()


def _abbreviate_tag(node: Node) -> str:
    return str(node.tag).replace("tag:yaml.org,2002:", "!!")


def read_scalar_text(node: Node) -> str:
    """Return the text of a scalar, which can be written in Base64."""
    if _abbreviate_tag(node) == "!!binary":
        with suppress(ValueError):
            return base64.b64decode(node.value).decode(errors="replace")
    return str(node.value)


def iterate_service_nodes(root: Node) -> Iterator[tuple[str, Node, Node]]:
    """Yield the name, key and value of each service of a document."""
    for section, _, services in iterate_mapping(root):
        if section == "services":
            yield from iterate_mapping(services)


def _get_nodes_by_key(node: Node, short_form: str = "") -> dict[str, Node]:
    """Return the values of a mapping by key; a text is the field of the short form."""
    if isinstance(node, yaml_reader.Scalar):
        return {short_form: node}
    return {key: value for key, _, value in iterate_mapping(node) if value.tag != "!reset"}


def find_scalars_at_path(node: Node, *keys: str) -> Iterator[Node]:
    """Yield the texts at a path of keys, in lists too; `*` is every key.

    Of a key with `=` before it a text may stand in place of the mapping: the short form.
    """
    if isinstance(node, yaml_reader.Scalar):
        if not keys or keys[0].startswith("="):
            yield node
    elif isinstance(node, yaml_reader.Sequence):
        for item in node.value:
            yield from find_scalars_at_path(item, *keys)
    elif keys:
        for name, _, value in iterate_mapping(node):
            if keys[0].lstrip("=") in (name, "*"):
                yield from find_scalars_at_path(value, *keys[1:])


def make_error_at_node(node: Node, message: str) -> ComposeError:
    """Return the error that names the position of a node."""
    return ComposeError(message, *get_node_file_line(node), node.start_mark.column + 1)


def get_node_file_line(node: Node) -> FileLine:
    """Return the file and line of a node."""
    return FileLine(node.start_mark.name, node.start_mark.line + 1)


class ProjectFileGuard:
    """The files of a project that were reached so far, and the positions of their values."""

    def __init__(
        self, files: tuple[str, ...], bounds: ReadableFolders, environ: Mapping[str, str]
    ) -> None:
        self.positions: dict[Path, FileLine] = {}
        self.profiles: dict[str, tuple[str, ...]] = {}
        self.needs: dict[tuple[str, str], NeededComposeFeature] = {}
        self.files, self.folder = files, os.path.dirname(os.path.abspath(files[0]))
        self._env_files = find_interpolation_env_files(self.folder, environ, bounds)
        self.variables = read_project_variables(self._env_files, environ)
        self.project_name = ""
        self._bounds = bounds
        self._variables = ComposeInterpolator(self.variables.lookup)  # what it notes doesn't count
        self._documents: dict[str, list[Node]] = {}
        self._sources: list[bytes] = []
        self._count = self._services = 0

    @property
    def active_profiles(self) -> tuple[str, ...]:
        """The profiles of COMPOSE_PROFILES, which may be set by an env file."""
        names = (self.variables.lookup("COMPOSE_PROFILES") or "").split(",")
        return tuple(filter(None, map(str.strip, names)))

    def read_documents(self, file: str, depth: int = 0) -> list[Node]:
        """Return the documents of a file; raises ComposeError for one that can't be read."""
        file, name = os.path.abspath(file), format_file_path(file)
        self._count += 1
        if self._count > _MAX_PROJECT_FILES or depth > _MAX_EXTENDS_OR_INCLUDE_DEPTH:
            limits = _MAX_PROJECT_FILES, _MAX_EXTENDS_OR_INCLUDE_DEPTH
            problem = "more than {} files, or than {} in a chain".format(*limits)
            raise ComposeError(problem, name)
        if file not in self._documents:
            try:
                self._sources.append(read_bytes(file, MAX_YAML_BYTES))
                self._documents[file] = parse_yaml_documents(self._sources[-1], name)
            except InputError as error:
                raise ComposeError(str(error)) from None
        return self._documents[file]

    def check_project(self) -> None:
        """Follow the files of the project; raises ComposeError for what leads outside."""
        self.project_name = self._find_project_name()
        self.variables.lookups.insert(0, {"COMPOSE_PROJECT_NAME": self.project_name}.get)
        self._check_compose_files(self.files, self.folder, 0)

    def _find_project_name(self) -> str:
        """Return COMPOSE_PROJECT_NAME, else the last `name`, else the folder's."""
        roots = [root for file in self.files for root in self.read_documents(file)]
        nodes = [node for root in roots for node in find_scalars_at_path(root, "name")]
        named = [node for node in nodes if node.value and not is_null_node(node)]
        name = self.variables.lookup("COMPOSE_PROJECT_NAME")
        if not name:
            name = self._substitute_variables(named[-1]) if named else os.path.basename(self.folder)
        return _INVALID_PROJECT_NAME_CHAR_PATTERN.sub("", name.lower()).lstrip("_-")

    def _check_compose_files(self, files: Iterable[str], folder: str, depth: int) -> None:
        for file in files:
            for root in self.read_documents(file, depth):
                self._check_document(root, file, folder, depth)

    def _check_document(self, root: Node, file: str, folder: str, depth: int) -> None:
        for section, key, value in iterate_mapping(root):
            if section == "include":
                for item in value.value if isinstance(value, yaml_reader.Sequence) else ():
                    self._check_include(item, folder, depth)
            if section in ("configs", "secrets"):
                self._resolve_readable_paths(find_scalars_at_path(value, "*", "file"), folder)
            if section in ("include", "configs", "models"):
                self._record_positions_and_needs((section,), key, value)
        for name, key, service in iterate_service_nodes(root):
            self._services += 1
            if self._services > _MAX_SERVICES:
                raise make_error_at_node(key, f"the project has more than {_MAX_SERVICES} services")
            self._check_service(name, service, file, folder, depth)
            self._record_positions_and_needs(("services", name), key, service)

    def _check_include(self, item: Node, folder: str, depth: int) -> None:
        fields = _get_nodes_by_key(item, "path")

        def check(field: str) -> list[str]:
            nodes = find_scalars_at_path(fields[field]) if field in fields else ()
            return self._resolve_readable_paths(nodes, folder, follow=True)

        files = check("path")
        inner = (check("project_directory") or [os.path.dirname((files or [folder])[0])])[0]
        if not os.path.isdir(inner):  # Compose takes the folder above it for some paths then
            hint = "create it, or fetch it if it is a Git submodule"
            raise make_error_at_node(item, f"include: {inner} isn't a folder; {hint}")
        values: dict[str, str] = {}
        for path in filter(os.path.isfile, check("env_file") or [os.path.join(inner, ".env")]):
            self._require_within_readable_folders(path, item)
            self._read_env_file(path, values)
        with self._variables.with_fallback_values(values):
            self._check_compose_files(filter(os.path.isfile, files), inner, depth + 1)

    def _check_service(self, name: str, service: Node, file: str, folder: str, depth: int) -> None:
        """Check the paths of a service and of what it extends, and record what comes from there."""
        fields = _get_nodes_by_key(service)
        if "extends" in fields:
            self._check_extended_services(
                name, _get_nodes_by_key(fields["extends"], "service"), file, folder, depth
            )
        self._resolve_readable_paths(find_scalars_at_path(service, "label_file"), folder)
        for path in self._resolve_readable_paths(
            find_scalars_at_path(service, "env_file", "=path"), folder
        ):
            with suppress(ComposeError):  # Compose says so
                for variable, line in self._read_env_file(path, {}).items():
                    key = ("services", name, "environment", variable)
                    self.positions[key] = FileLine(format_file_path(path), line)

    def _read_env_file(self, path: str, values: dict[str, str]) -> dict[str, int]:
        self._env_files.append(path)
        return add_env_file_values(path, values, ComposeInterpolator(self._variables.lookup))

    def hide_variable_values_in_message(self, message: str) -> str:
        """Return a reader's message without what only the user may know."""
        text = b"\n".join(self._sources).decode("utf-8", "replace")
        values: dict[str, str] = {}
        for path in filter(os.path.isfile, self._env_files):
            with suppress(ComposeError):
                for line in (
                    read_bytes(path, MAX_YAML_BYTES).decode("utf-8", "replace").splitlines()
                ):
                    name, _, value = line.partition("=")
                    values[name.strip()] = value.strip(" \t\"'") or line
        names = re.findall(r"\$\{?(\w+)", "\n".join((text, *values.values())))
        values |= {name: self._variables.lookup(name) or "" for name in names}
        return hide_variable_values_in_message(message, values, f"{text}\n{self.folder}")

    def _check_extended_services(
        self, name: str, extends: Mapping[str, Node], file: str, folder: str, depth: int
    ) -> None:
        base_name = self._substitute_variables(extends["service"]) if "service" in extends else ""
        if "file" in extends:
            (file,) = self._resolve_readable_paths([extends["file"]], folder, follow=True)
            folder = os.path.dirname(file)
        roots = self.read_documents(file, depth + 1) if os.path.isfile(file) else ()
        services = (entry for root in roots for entry in iterate_service_nodes(root))
        for base in (service for key, _, service in services if key == base_name):
            self._check_service(name, base, file, folder, depth + 1)
            for setting, key, value in iterate_mapping(base):
                self._record_positions_and_needs(("services", name, setting), key, value)

    def _substitute_variables(self, node: Node) -> str:
        try:
            return self._variables.substitute(read_scalar_text(node))
        except ValueError as error:
            raise make_error_at_node(node, str(error)) from None

    def _resolve_readable_paths(
        self, nodes: Iterable[Node], folder: str, follow: bool = False
    ) -> list[str]:
        """Return the absolute paths that values name; raises ComposeError for one outside.

        In those that it follows, Compose takes `~` for the home in some places and not in others.
        """
        paths = []
        for node in nodes:
            text = self._substitute_variables(node)
            if follow and text.startswith("~"):
                raise make_error_at_node(node, f"{text}: write this path without ~")
            paths.append(make_absolute_path(text, folder))
            self._require_within_readable_folders(paths[-1], node)
            self._require_within_readable_folders(
                os.path.join(folder, text), node
            )  # some are opened as they stand
        return paths

    def _require_within_readable_folders(self, path: str, node: Node) -> None:
        try:
            self._bounds.require_inside(path)
        except ComposeError as error:
            raise make_error_at_node(node, error.text) from None

    def _record_needed_feature(self, version: str, feature: str, node: Node) -> None:
        self.needs.setdefault(
            (version, feature), NeededComposeFeature(version, feature, get_node_file_line(node))
        )

    def _record_positions_and_needs(self, path: Path, key: Node, node: Node) -> None:
        """Record the positions of a value and of all in it; a container has that of its key."""
        if len(self.positions) > _MAX_YAML_POSITIONS:
            return
        marked = node if isinstance(node, yaml_reader.Scalar) else key
        if marked is node or path not in self.positions:  # a container stays where it was first
            self.positions[path] = get_node_file_line(marked)
        setting = path[2:] if path[0] == "services" else path
        if setting[:1] in (("depends_on",), ("env_file",), ("configs",)):
            setting = (*setting[:1], *("*" for _ in setting[1:2]), *setting[2:])
        if setting in _COMPOSE_VERSION_BY_KEY:
            feature = ".".join(setting).replace(".*", "")
            self._record_needed_feature(_COMPOSE_VERSION_BY_KEY[setting], feature, marked)
        if node.tag == "!override":
            self._record_needed_feature("2.24.4", "!override", node)
        if setting == ("profiles",):
            self.profiles[path[1]] = tuple(map(read_scalar_text, find_scalars_at_path(node)))
        for name, below_key, value in iterate_mapping(node):
            self._record_positions_and_needs((*path, name), below_key, value)
        for item in node.value if isinstance(node, yaml_reader.Sequence) and len(path) == 3 else ():
            for name in self._list_position_keys_of_item(path[-1], item):
                self._record_positions_and_needs((*path, name), item, item)

    def _list_position_keys_of_item(self, key: str, item: Node) -> Iterator[str]:
        """Yield the names of a list's item among the positions, such as the number of a port."""
        is_short = isinstance(item, yaml_reader.Scalar)
        if not is_short and key not in _ITEM_NAME_KEY_BY_LIST:
            yield "*"
        for node in find_scalars_at_path(item, "=" + _ITEM_NAME_KEY_BY_LIST.get(key, "=")):
            text = read_scalar_text(node)
            with suppress(ValueError):
                text = self._variables.substitute(text)
            if is_short and key == "ports":
                text = (
                    match["published"] or ""
                    if (match := SHORT_PORT_PATTERN.fullmatch(text))
                    else text
                )
            elif is_short:
                text = split_volume(text)[1] if key == "volumes" else text.partition("=")[0]
            first, _, last = text.partition("-") if key == "ports" else ("", "", "")
            if first.isdecimal() and last.isdecimal():
                yield from map(str, range(int(first), int(last) + 1)[:_MAX_PORTS_PER_RANGE])
            yield text
