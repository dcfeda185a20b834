"""The stand-in for Compose: a small reader that lists what it leaves out.

Merges files and overrides, variables, env files, `extends` and profiles. It agrees with Compose
wherever it lists no caveat. It refuses only values that can't be read: to refuse what Compose
would refuse is not its job. Source: compose-spec/compose-go, loader and override.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

from preflight import yaml_marks
from preflight.facts.compose.files import display_path
from preflight.facts.compose.forms import (
    FIGURES,
    LONG_ITEMS,
    drop_replaced,
    long_build,
    resolve_path,
)
from preflight.facts.compose.guard import Guard, error_at, mapping_entries, position_of, scalar_text
from preflight.facts.compose.project import ComposeError, Path, Project
from preflight.facts.compose.variables import TemplateError, Variables, read_env_file

_MAX_VALUES = 1_000_000  # of all files, and of what extends makes of them
_MAX_ITEMS = 2**16  # of a list, such as the ports of ranges
_PAIRS = ("annotations", "environment", "labels", "sysctls")
_LISTS = ("dns", "dns_search", "env_file", "label_file", "ports", "tmpfs", "volumes")
_NAMES = ("depends_on", "models", "networks")
_REPLACED = ("command", "entrypoint")  # by an override as a whole
_WORDS: dict[str, Any] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_SAME_VALUES = {
    "mem_limit": ("limits", "memory"),
    "cpus": ("limits", "cpus"),
    "pids_limit": ("limits", "pids"),
    "mem_reservation": ("reservations", "memory"),
}
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?\Z")
_NAME = re.compile(r"[^-_a-z0-9]")

Chain = tuple[tuple[str, str], ...]
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
        self.size = 0

    def read(self) -> Project:
        paths = [os.path.abspath(file) for file in self.project.files]
        folder = self.project.folder
        name = self.project_name(paths)
        environment = self.variables.lookup
        self.variables.lookup = lambda key: (
            name if key == "COMPOSE_PROJECT_NAME" else environment(key)
        )
        merged: dict[str, Value] = {}
        for path in paths:
            for document in self.documents(path):
                merged = self.merge(merged, self.long_document(document, path), ())
        if not any(map(self.guard.documents, paths)):
            raise ComposeError("the file is empty: expected services", display_path(paths[0]))
        names = (environment("COMPOSE_PROFILES") or "").split(",")
        profiles = {profile.strip() for profile in names}
        services = {}
        for key, service in (merged.get("services") or {}).items():
            own = set(map(str, service.get("profiles") or ()))
            if not own or "*" in profiles or own & profiles:
                services[key] = self.resolve_service(key, service)
        for kind in ("configs", "secrets"):
            for entry in filter(None, (merged.get(kind) or {}).values()):
                if isinstance(entry.get("file"), str):
                    entry["file"] = resolve_path(entry["file"], folder)
        return self.project._replace(
            source="fallback",
            config={**merged, "services": services, "name": name},
            missing_variables=self.variables.missing,
            unset_variables=tuple(self.variables.unset),
            missing_env_files=tuple(self.missing_env_files),
            conflicts=() if self.caveats else tuple(find_conflicts(services, merged)),
            caveats=tuple(self.caveats),
        )

    def project_name(self, paths: list[str]) -> str:
        """Return COMPOSE_PROJECT_NAME, else the last `name`, else the folder's."""
        name = self.variables.lookup("COMPOSE_PROJECT_NAME")
        for path in paths if not name else ():
            for root in self.guard.documents(path):
                for key, _, node in mapping_entries(root):
                    name = str(self.to_plain(node) or name) if key == "name" else name
        base = name or os.path.basename(os.path.realpath(self.project.folder))
        return _NAME.sub("", base.lower()).lstrip("_-")

    def documents(self, path: str) -> list[dict[str, Value]]:
        documents = []
        for root in self.guard.documents(path):
            document = self.to_plain(root)
            if not isinstance(document, dict):
                raise error_at(root, "expected a mapping with services")
            documents.append(document)
        return documents

    def to_plain(self, node: yaml_marks.Node) -> Value:
        """Return a node as plain data, its variables replaced."""
        if node.tag in ("!reset", "!override"):
            file, line = position_of(node)
            self.caveats[f"{node.tag} in {file}:{line} was not applied"] = None
        if isinstance(node, yaml_marks.Sequence):
            return [self.to_plain(item) for item in node.value]
        if isinstance(node, yaml_marks.Mapping):
            values = {
                name: (self.to_plain(value), value.tag) for name, _, value in mapping_entries(node)
            }
            return {name: value for name, (value, tag) in values.items() if tag != "!reset"}
        text = scalar_text(node)
        plain = node.tag == yaml_marks.PLAIN or node.tag.endswith((":int", ":float", ":bool"))
        value = parse_scalar(text) if plain else text
        if not isinstance(value, str) or "$" not in value:
            return value
        try:
            return self.variables.substitute(value)
        except TemplateError as error:
            raise error_at(node, str(error)) from None

    def long_document(self, document: dict[str, Value], path: str) -> dict[str, Value]:
        if document.pop("include", None):
            self.caveats[f"the include in {display_path(path)} was not followed"] = None
        services = document.get("services", {})
        if not isinstance(services, dict):
            raise ComposeError("services: expected a mapping", display_path(path))
        long = {
            name: self.read_service(name, services, path, self.project.folder) for name in services
        }
        return {**document, "services": long}

    def read_service(
        self, name: str, services: Mapping[str, Value], path: str, folder: str, bases: Chain = ()
    ) -> dict[str, Value]:
        """Return a service in its long form, over the one that it extends."""
        raw = services[name] or {}
        if not isinstance(raw, dict):
            raise self.error_at_key(("services", name), "expected a mapping with image or build")
        service = self.long_service(name, raw, folder)
        extends = service.pop("extends", None)
        if not extends:
            return service
        entry = extends if isinstance(extends, dict) else {"service": extends}
        base, file = str(entry.get("service")), entry.get("file")
        base_path = resolve_path(str(file), folder) if file else path
        if (path, name) in bases:
            raise self.error_at_key(
                ("services", name, "extends"), "services extend each other in a cycle"
            )
        if not os.path.isfile(base_path):
            self.caveats[f"extends of service {name} from {file} was not followed"] = None
            return service
        if file:
            documents = self.documents(base_path)[-1:]
            services = documents[0].get("services") or {} if documents else {}
        if base not in services:
            raise self.error_at_key(
                ("services", name, "extends"), f"there is no service {base!r:.60}"
            )
        inner = self.read_service(
            base,
            services,
            base_path,
            os.path.dirname(base_path) if file else folder,
            (*bases, (path, name)),
        )
        self.size += _count_values(inner)
        if self.size > _MAX_VALUES:
            raise ComposeError(f"the project grows beyond {_MAX_VALUES} values", path)
        return dict(self.merge(inner, service, ("services", name)))

    def long_service(self, name: str, raw: dict[str, Value], folder: str) -> dict[str, Value]:
        return {
            key: self.long_value(("services", name, key), value, folder)
            for key, value in raw.items()
            if value is not None or key in _REPLACED
        }

    def long_value(self, path: Path, value: Value, folder: str) -> Value:
        """Return the value of a key of a service in its long form."""
        key = path[-1]
        if key in _LISTS and isinstance(value, str | dict):
            value = [value]
        if key in _PAIRS:
            value = self.to_mapping(value, key == "environment")
        elif key in _NAMES and isinstance(value, list):
            value = dict.fromkeys(map(str, value))
        elif key in LONG_ITEMS:
            long = partial(LONG_ITEMS[key], folder=folder)
            value = [one for item in value for one in self.read_value(path, long, item) or ()]
            if len(value) > _MAX_ITEMS:
                raise self.error_at_key(path, f"more than {_MAX_ITEMS} {key}")
            value = drop_replaced(value, key)
        elif key == "build":
            value = long_build(value, folder)
        elif key == "logging" and isinstance(value, dict) and value.get("options"):
            value = {**value, "options": self.to_mapping(value["options"])}
        elif key == "gpus" and value == "all":
            value = [{"count": -1}]
        return value

    def to_mapping(self, value: Value, inherit: bool = False) -> dict[str, str | None]:
        """Return `[A=1, B]` or a mapping as a mapping to text; `inherit` looks up what is empty."""
        empty = self.variables.lookup if inherit else lambda _: ""
        if isinstance(value, list):
            split = [str(item).partition("=") for item in value]
            return {name: text if given else empty(name) for name, given, text in split}
        return {
            name: empty(name) if one is None else self.to_text(one) for name, one in value.items()
        }

    def to_text(self, value: Value) -> str:
        if isinstance(value, bool):
            return "true" if value else "false"
        if isinstance(value, float) and value and not 1e-4 <= abs(value) < 1e6:
            self.caveats[f"Compose may write the number {value} differently"] = None
        return str(value).removesuffix(".0") if isinstance(value, float) else str(value)

    def merge(self, base: Value, over: Value, path: tuple[str, ...]) -> Value:
        """Merge `over` into `base`; both are in their long form."""
        if (
            base is None
            or path[2:] in [(key,) for key in _REPLACED]
            or (path[2:3] == ("ulimits",) and len(path) == 4)
            or (path[2:] == ("logging",) and _drivers_differ(base, over))
        ):
            return over
        if over is None:
            return None if path[2:-1] == ("environment",) else base
        if isinstance(base, dict) and isinstance(over, dict):
            merged = {
                key: self.merge(base.get(key), value, (*path, key)) for key, value in over.items()
            }
            return {**base, **merged}
        if isinstance(base, list) and isinstance(over, list):
            return drop_replaced(base + over, path[-1])
        return over

    def resolve_service(self, name: str, service: dict[str, Value]) -> dict[str, Value]:
        """Read the env files and the figures of a merged service."""
        environment = self.read_environment(name, service)
        service = {
            key: value for key, value in service.items() if value != "" and key != "env_file"
        }
        if environment:
            service["environment"] = environment
        if service.pop("label_file", None):
            self.caveats["the labels of a label_file were not read"] = None
        service = self.read_figures(("services", name), service, FIGURES)
        deploy = service.get("deploy")
        if isinstance(deploy, dict) and "scale" in service:
            service["deploy"] = {"replicas": service["scale"], **deploy}
        return service

    def read_figures(self, path: Path, value: Value, reader: Any) -> Value:
        """Return a value with its figures read; `reader` is a function or a table of them."""
        if isinstance(reader, dict | list) and not isinstance(value, type(reader)):
            wanted = "a list" if isinstance(reader, list) else "a mapping"
            raise self.error_at_key(path, f"expected {wanted}")
        if isinstance(reader, list):
            return [self.read_figures(path, item, reader[0]) for item in value]
        if not isinstance(reader, dict):
            return self.read_value(path, reader, value)
        read = {
            key: self.read_figures((*path, key), below, reader[key]) if key in reader else below
            for key, below in value.items()
            if below is not None or key not in reader
        }
        return {key: below for key, below in read.items() if below is not None or key not in reader}

    def read_environment(self, name: str, service: Mapping[str, Value]) -> dict[str, str | None]:
        """Return the environment of a service: its own variables over those of its env files."""
        own = service.get("environment") or {}
        values: dict[str, str] = {}
        with self.variables.fallback_to(lambda: own):
            for item in service.get("env_file") or ():
                path, raw = item["path"], item.get("format") == "raw"
                if os.path.exists(path):
                    read_env_file(path, values, self.variables, raw)
                elif str(item.get("required", True)).lower() == "true":
                    self.missing_env_files.append((name, path))
        return {**values, **own}

    def read_value(self, path: Path, read: Callable[[Value], Value], value: Value) -> Value:
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


def _drivers_differ(base: Value, over: Value) -> bool:
    drivers = [logging.get("driver") for logging in (base, over or {})]
    return None not in drivers and drivers[0] != drivers[1]


def _count_values(value: Value) -> int:
    """Return how many values a value holds, itself included."""
    below = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return 1 + sum(map(_count_values, below))


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
        if service.get("network_mode") and service.get("networks"):
            yield name, f"service {name} declares mutually exclusive `network_mode` and `networks`"
        resources = (service.get("deploy") or {}).get("resources") or {}
        for key, (kind, part) in _SAME_VALUES.items():
            older, newer = service.get(key), resources.get(kind)
            if older and newer is not None and float(older) != float(newer.get(part) or 0):
                words = f"can't set distinct values on '{key}' and 'deploy.resources.{kind}.{part}'"
                yield name, f"services.{name}: {words}"
        for other, condition in (service.get("depends_on") or {}).items():
            if other not in services and (condition or {}).get("required") is not False:
                yield name, f'service "{name}" depends on undefined service "{other}"'
        for kind, other in _references(service):
            if other not in (config.get(kind) or {}) and (kind, other) != ("networks", "default"):
                yield name, f'service "{name}" refers to undefined {kind[:-1]} {other}'


def _references(service: Mapping[str, Value]) -> Iterator[tuple[str, str]]:
    yield from (("networks", name) for name in service.get("networks") or ())
    for mount in service.get("volumes") or ():
        if mount.get("type") == "volume" and mount.get("source"):
            yield "volumes", mount["source"]
    for kind in ("secrets", "configs"):
        for item in service.get(kind) or ():
            yield kind, str(item.get("source") if isinstance(item, dict) else item)
