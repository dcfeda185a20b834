"""The stand-in for Compose: a small reader that lists what it leaves out.

Merges files and overrides, variables, env files and profiles, and reads what facts are made of.
The facts are those of Compose wherever it lists no caveat. It refuses only values that can't be
read: to refuse what Compose would refuse is not its job. Source: compose-spec/compose-go, loader
and override.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from typing import Any

from preflight import yaml_marks
from preflight.facts.compose.forms import SHAPES, expand_port, expand_volume, resolve_path
from preflight.facts.compose.guard import Guard, error_at, mapping_entries, position_of, scalar_text
from preflight.facts.compose.load import display_path
from preflight.facts.compose.project import OLDER_KEYS, ComposeError, Path, Project
from preflight.facts.compose.variables import Lookup, TemplateError, Variables, read_env_file

_MAX_PORTS = 2**16  # of a service, those of ranges counted
_REPLACED = ("command", "entrypoint")  # by an override as a whole
_WORDS: dict[str, Any] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?\Z")
_NOT_IN_NAMES = re.compile(r"[^-_a-z0-9]")

Value = Any  # plain data of YAML


def read(project: Project, guard: Guard, variables: Variables) -> Project:
    """Return the project with what its files say; the guard has checked them.

    Raises ComposeError.
    """
    try:
        return _StandIn(project, guard, variables).read()
    except (AttributeError, KeyError, TypeError, ValueError):
        wrong = "a value has a type that Compose doesn't accept"
        raise ComposeError(wrong, project.files[0]) from None


class _StandIn:
    def __init__(self, project: Project, guard: Guard, variables: Variables) -> None:
        self.project, self.guard, self.variables = project, guard, variables
        self.caveats: dict[str, None] = {}
        self.missing_env_files: list[tuple[str, str]] = []

    def read(self) -> Project:
        roots = [root for file in self.project.files for root in self.guard.documents(file)]
        if not roots:
            raise ComposeError("the file is empty: expected services", self.project.files[0])
        name = self.project_name(roots)
        self.variables.lookups.insert(0, {"COMPOSE_PROJECT_NAME": name}.get)
        merged: dict[str, Value] = {}
        for root in roots:
            merged = self.merge(merged, self.read_document(root), ())
        profiles = set(map(str.strip, (self.variables.lookup("COMPOSE_PROFILES") or "").split(",")))
        services = {}
        for key, service in merged["services"].items():
            own = set(map(str, service.get("profiles") or ()))
            if not own or "*" in profiles or own & profiles:
                services[key] = self.resolve_service(key, service)
        for kind in ("configs", "secrets"):
            for entry in filter(None, (merged.get(kind) or {}).values()):
                if isinstance(entry.get("file"), str):
                    entry["file"] = resolve_path(entry["file"], self.project.folder)
        return self.project._replace(
            source="fallback",
            config={**merged, "services": services, "name": name},
            missing_variables=self.variables.missing,
            unset_variables=tuple(self.variables.unset),
            missing_env_files=tuple(self.missing_env_files),
            conflicts=() if self.caveats else tuple(find_conflicts(services, merged)),
            caveats=tuple(self.caveats),
        )

    def project_name(self, roots: list[yaml_marks.Node]) -> str:
        """Return COMPOSE_PROJECT_NAME, else the last `name`, else the folder's."""
        entries = [entry for root in roots for entry in mapping_entries(root)]
        names = [self.to_plain_data(node) for key, _, node in entries if key == "name"]
        name = self.variables.lookup("COMPOSE_PROJECT_NAME") or next(filter(None, names[::-1]), "")
        base = str(name) or os.path.basename(os.path.realpath(self.project.folder))
        return _NOT_IN_NAMES.sub("", base.lower()).lstrip("_-")

    def to_plain_data(self, node: yaml_marks.Node) -> Value:
        """Return a node as plain data, its variables replaced."""
        if node.tag in ("!reset", "!override"):
            file, line = position_of(node)
            self.caveats[f"{node.tag} in {file}:{line} was not applied"] = None
        if node.tag == "!reset":
            return None
        if isinstance(node, yaml_marks.Sequence):
            return [self.to_plain_data(item) for item in node.value]
        if isinstance(node, yaml_marks.Mapping):
            nodes = {name: value for name, _, value in mapping_entries(node)}
            return {name: self.to_plain_data(value) for name, value in nodes.items()}
        text = scalar_text(node)
        plain = node.tag == yaml_marks.PLAIN or node.tag.endswith((":int", ":float", ":bool"))
        value = parse_scalar(text) if plain else text
        if not isinstance(value, str) or "$" not in value:
            return value
        try:
            return self.variables.substitute(value)
        except TemplateError as error:
            raise error_at(node, str(error)) from None

    def read_document(self, root: yaml_marks.Node) -> dict[str, Value]:
        """Return a document with its services in their long form."""
        document, file = self.to_plain_data(root), root.start_mark.name
        services = document.get("services", {}) if isinstance(document, dict) else None
        if not isinstance(services, dict):
            raise ComposeError("services: expected a mapping", file)
        if document.pop("include", None):
            self.caveats[f"the include in {file} was not followed"] = None
        long = {}
        for name, service in services.items():
            if not isinstance(service or {}, dict):
                message = "expected a mapping with image or build"
                raise self.error_at_key(("services", name), message)
            if (service or {}).pop("extends", None):
                self.caveats[f"extends of service {name} was not followed"] = None
            long[name] = {
                key: self.to_long_form(("services", name, key), value)
                for key, value in (service or {}).items()
                if value is not None or key in _REPLACED
            }
        return {**document, "services": long}

    def to_long_form(self, path: Path, value: Value) -> Value:
        """Return the value of a key of a service in its long form."""
        key, folder = path[-1], self.project.folder
        if key == "environment":
            return self.to_text_mapping(value, self.variables.lookup)
        if key in ("depends_on", "networks") and isinstance(value, list):
            return dict.fromkeys(map(str, value))
        if key == "ports":
            ports: list[Value] = []
            for item in value:
                ports += self.read_value(path, expand_port, item) or ()
                if len(ports) > _MAX_PORTS:
                    raise self.error_at_key(path, f"more than {_MAX_PORTS} ports")
            return drop_overridden(ports, key)
        if key == "volumes":
            mounts = [self.read_value(path, lambda v: expand_volume(v, folder), v) for v in value]
            return drop_overridden([mount for mount in mounts if mount], key)
        if key == "env_file":
            items = value if isinstance(value, list) else [value]
            entries = [item if isinstance(item, dict) else {"path": item} for item in items]
            return [{**v, "path": resolve_path(str(v.get("path")), folder)} for v in entries]
        if key == "logging" and isinstance(value, dict) and value.get("options"):
            return {**value, "options": self.to_text_mapping(value["options"], lambda _: "")}
        return [{"count": -1}] if key == "gpus" and value == "all" else value

    def to_text_mapping(self, value: Value, find_default: Lookup) -> dict[str, str | None]:
        """Return `[A=1, B]` or a mapping as a mapping to text."""
        if isinstance(value, list):
            split = [str(item).partition("=") for item in value]
            return {name: text if given else find_default(name) for name, given, text in split}
        return {
            name: find_default(name) if item is None else self.to_text(item)
            for name, item in value.items()
        }

    def to_text(self, value: Value) -> str:
        if isinstance(value, bool):
            return "true" if value else "false"
        if isinstance(value, float) and value and not 1e-4 <= abs(value) < 1e6:
            self.caveats[f"Compose may write the number {value} differently"] = None
        return str(value).removesuffix(".0") if isinstance(value, float) else str(value)

    def merge(self, base: Value, over: Value, path: Path) -> Value:
        """Merge `over` into `base`; both are in their long form."""
        if base is None or path[2:] in [(key,) for key in _REPLACED]:
            return over
        if over is None:
            return None if path[2:-1] == ("environment",) else base
        if isinstance(base, dict) and isinstance(over, dict):
            if path[2:] == ("logging",) and over.get("driver") not in (None, base.get("driver")):
                return over
            merged = {
                key: self.merge(base.get(key), value, (*path, key)) for key, value in over.items()
            }
            return {**base, **merged}
        if isinstance(base, list) and isinstance(over, list):
            return drop_overridden(base + over, path[-1])
        return over

    def resolve_service(self, name: str, service: dict[str, Value]) -> dict[str, Value]:
        """Read the env files and the figures of a merged service."""
        environment = self.read_environment(name, service)
        service = {
            key: self.read_shape(("services", name, key), value, SHAPES.get(key))
            for key, value in service.items()
            if value != "" and key != "env_file"
        }
        return {**service, "environment": environment} if environment else service

    def read_shape(self, path: Path, value: Value, shape: Any) -> Value:
        """Return a value with its figures read, as a row of SHAPES says."""
        if shape is None:
            return value
        if isinstance(shape, dict | list) and not isinstance(value, type(shape)):
            wanted = "a list" if isinstance(shape, list) else "a mapping"
            raise self.error_at_key(path, f"expected {wanted}")
        if isinstance(shape, list):
            return [self.read_shape(path, item, shape[0]) for item in value]
        if isinstance(shape, dict):
            return {
                key: self.read_shape((*path, key), below, shape.get(key))
                for key, below in value.items()
                if below is not None
            }
        return self.read_value(path, shape, value)

    def read_environment(self, name: str, service: Mapping[str, Value]) -> dict[str, str | None]:
        """Return the environment of a service: its own variables over those of its env files."""
        own = service.get("environment") or {}
        values: dict[str, str] = {}
        with self.variables.fallback_to(own):
            for item in service.get("env_file") or ():
                path = item["path"]
                if item.get("format"):
                    self.caveats[f"the format of {display_path(path)} was not applied"] = None
                if os.path.exists(path):
                    read_env_file(path, values, self.variables)
                elif str(item.get("required", True)).lower() == "true":
                    self.missing_env_files.append((name, path))
        return {**values, **own}

    def read_value(self, path: Path, read: Any, value: Value) -> Value:
        """Return a value as it is read, None where a required variable is missing."""
        if value == "" and self.variables.missing:
            return None
        try:
            return read(value)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise self.error_at_key(path, str(error)) from None

    def error_at_key(self, path: Path, message: str) -> ComposeError:
        """Return the error that names the line of a key."""
        places = (self.guard.positions.get(path[:n]) for n in range(len(path), 1, -1))
        file, line = next(filter(None, places), ("", 0))
        return ComposeError(f"{'.'.join(path)}: {message}", file, line)


def drop_overridden(items: list[Any], key: str) -> list[Any]:
    """Drop the items that a later item of the list replaces."""
    if key in ("devices", "gpus"):
        return items
    return list({_item_key(item, key): item for item in items}.values())


def _item_key(item: Any, key: str) -> str:
    if key == "ports":
        address = item.get("host_ip") or "0.0.0.0"
        return repr((address, item["published"], item["target"], item["protocol"]))
    return repr(item.get("target") if key == "volumes" else item)


def parse_scalar(text: str) -> Value:
    """Return the value of a plain scalar in Go's YAML: null, a boolean, a number, else text."""
    if text in _WORDS:
        return _WORDS[text]
    figure = text.replace("_", "")
    if text[0] not in "+-.0123456789" or not text.isascii():
        return text
    try:
        octal = re.fullmatch("[-+]?0[0-7]+", figure)
        return int(figure, 8 if octal else 0)
    except ValueError:
        return float(figure) if _FLOAT.match(figure) else text


def find_conflicts(
    services: Mapping[str, Value], config: Mapping[str, Value]
) -> Iterator[tuple[str, str]]:
    """Yield contradictory settings and undefined references: the service, and Compose's words."""
    for name, service in services.items():
        if not {"image", "build", "provider"} & service.keys():
            yield name, f'service "{name}" has neither an image nor a build context specified'
        resources = (service.get("deploy") or {}).get("resources") or {}
        for (kind, part), key in OLDER_KEYS.items():
            older, newer = service.get(key), resources.get(kind)
            if older and newer is not None and float(older) != float(newer.get(part) or 0):
                words = f"can't set distinct values on '{key}' and 'deploy.resources.{kind}.{part}'"
                yield name, f"services.{name}: {words}"
        for other, condition in (service.get("depends_on") or {}).items():
            if other not in services and (condition or {}).get("required") is not False:
                yield name, f'service "{name}" depends on undefined service "{other}"'
        defined = {**config, "networks": {"default": None, **(config.get("networks") or {})}}
        for kind in ("networks", "volumes", "secrets", "configs"):
            for item in service.get(kind) or ():
                other = item.get("source") if isinstance(item, dict) else item
                is_named = kind != "volumes" or (item.get("type") == "volume" and other)
                if is_named and other not in (defined.get(kind) or {}):
                    yield name, f'service "{name}" refers to undefined {kind[:-1]} {other}'
