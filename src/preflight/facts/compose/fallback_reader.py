"""Reads the project where Compose can't: a small reader that lists what it leaves out.

Merges files and overrides, variables, env files and profiles, and reads what facts are made of.
The facts are those of Compose wherever it lists no caveat. It refuses only values that can't be
read: to refuse what Compose would refuse is not its job. Source: compose-spec/compose-go, loader
and override; docker/go-units.
"""

from __future__ import annotations

import os
import posixpath
import re
import shlex
from collections.abc import Callable, Mapping
from math import inf
from typing import Any

from preflight import yaml_reader
from preflight.facts.compose.interpolation_and_env_files import Lookup, add_env_file_values
from preflight.facts.compose.load import format_file_path
from preflight.facts.compose.project import (
    ComposeError,
    Path,
    Project,
    find_compose_refusals,
    find_setting_source,
)
from preflight.facts.compose.project_file_guard import (
    REMOTE_CONTEXT_PATTERN,
    SHORT_PORT_PATTERN,
    ProjectFileGuard,
    get_node_file_line,
    iterate_mapping,
    make_absolute_path,
    make_error_at_node,
    read_scalar_text,
    split_volume,
)
from preflight.facts.nested_values import get_nested_value
from preflight.model.fix_commands_and_edits import LEGACY_KEY_BY_PATH
from preflight.model.quantities import parse_boolean, parse_number

_MAX_COMPOSE_SIZE_BYTES = 2**63
_SIZE_FACTOR_BY_SUFFIX = {"": 1, "k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40, "p": 2**50}
_COMPOSE_SIZE_PATTERN = (
    r"(?i)([0-9][0-9_]*\.?[0-9]*(?:e[+-]?[0-9]+)?|\.[0-9]+) ?(?:([kmgtp])(?:i?b)?|b)?\Z"
)
_WINDOWS_PATH_PATTERN = re.compile(r"[A-Za-z]:[\\/]|\\")
_VALUE_BY_YAML_WORD = {**dict.fromkeys(("", "~", "null")), "true": True, "false": False}
# Compose casts the text of these too; source: compose-go, loader/interpolate.go
_BOOLEAN_KEYS = {
    *("attachable", "disable", "enable_ipv4", "enable_ipv6", "external", "init", "internal"),
    *("nocopy", "oom_kill_disable", "privileged", "read_only", "required", "stdin_open", "tty"),
}
_BOOLEAN_BY_WORD = {
    **dict.fromkeys(("true", "y", "yes", "on"), True),
    **dict.fromkeys(("false", "n", "no", "off"), False),
}
_REPLACED_KEYS = (("command",), ("entrypoint",), ("healthcheck", "test"))  # never merged
_TEXT_MAPPING_PATHS = (("environment",), ("args",), ("labels",), ("options",), ("driver_opts",))
_YAML_NUMBER_FIRST_CHARS = "+-._0123456789"
_DECIMAL_PATTERN = r"-?([0-9]+\.[0-9]*|\.[0-9]+)"
_UNUSUAL_YAML_NUMBER_PATTERN = (
    r"[-+]?(0[0-9_]+|0[xob][0-9a-fA-F_]+|[0-9_]+_[0-9_]*|[0-9.]+[eE][-+]?[0-9]+|\.(inf|Inf|INF))"
    r"|\+[0-9.]+|\.(nan|NaN|NAN)"
)

Value = Any  # plain data of YAML


def read_project_without_compose(project: Project, guard: ProjectFileGuard) -> Project:
    """Return the project with what its files say, which the guard has checked.

    Raises ComposeError.
    """
    try:
        return _ComposeFileReader(project, guard).read_files()
    except (AttributeError, KeyError, TypeError, ValueError):
        wrong = "a value has a type that Compose doesn't accept"
        raise ComposeError(wrong, project.files[0]) from None


class _ComposeFileReader:
    def __init__(self, project: Project, guard: ProjectFileGuard) -> None:
        self.project, self.guard, self.variables = project, guard, guard.variables
        self.caveats: dict[str, None] = {}
        self.missing_env_files: list[tuple[str, str]] = []
        self.conflicts: list[tuple[str, str]] = []
        self.replacing_paths: set[Path] = set()  # of the document's values tagged !override

    def read_files(self) -> Project:
        roots = [root for file in self.project.files for root in self.guard.read_documents(file)]
        if not roots:
            raise ComposeError("the file is empty: expected services", self.project.files[0])
        merged: dict[str, Value] = {}
        for root in roots:
            self.replacing_paths.clear()
            merged = self.merge_values(merged, self.normalize_document(root), ())
        profiles = {*self.guard.active_profiles}
        services = {}
        for name, service in merged["services"].items():
            own = set(map(str, service.get("profiles") or ()))
            if not own or "*" in profiles or own & profiles:
                services[name] = self.normalize_service(name, service)
        for kind in ("configs", "secrets"):
            for entry in filter(None, (merged.get(kind) or {}).values()):
                if isinstance(entry.get("file"), str):
                    entry["file"] = make_absolute_path(entry["file"], self.project.folder)
        for entry in filter(None, (merged.get("volumes") or {}).values()):
            options = entry.get("driver_opts") or {}
            if entry.get("driver") == "local" and options.get("o") == "bind":
                options["device"] = make_absolute_path(str(options["device"]), self.project.folder)
        config = {**merged, "services": services, "name": self.guard.project_name}
        if not self.variables.missing:  # an image may be one of them
            self.conflicts += find_compose_refusals(config)
        return self.project._replace(
            source="fallback",
            config=config,
            missing_variables=self.variables.missing,
            unset_variables=tuple(sorted(self.variables.unset)),
            missing_env_files=tuple(self.missing_env_files),
            conflicts=() if self.caveats else tuple(self.conflicts),
            caveats=tuple(self.caveats),
        )

    def to_plain_data(self, node: yaml_reader.Node, path: Path = ()) -> Value:
        """Return a node as plain data, its variables replaced."""
        if node.tag == "!override":
            self.replacing_paths.add(path)
        if node.tag == "!reset":
            file, line = get_node_file_line(node)
            self.caveats[f"!reset in {file}:{line} wasn't applied"] = None
            return None
        if isinstance(node, yaml_reader.Sequence):
            return [self.to_plain_data(item) for item in node.value]
        if isinstance(node, yaml_reader.Mapping):
            nodes = {name: value for name, _, value in iterate_mapping(node)}
            return {name: self.to_plain_data(value, (*path, name)) for name, value in nodes.items()}
        text = read_scalar_text(node)
        if node.tag == yaml_reader.UNQUOTED_NODE_TAG:
            if text.lower() in _VALUE_BY_YAML_WORD:
                return _VALUE_BY_YAML_WORD[text.lower()]
            may_be_number = text[0] in _YAML_NUMBER_FIRST_CHARS
            if may_be_number and re.fullmatch(_UNUSUAL_YAML_NUMBER_PATTERN, text):
                self.caveats[f"Compose may write the number {text:.40} differently"] = None
            elif may_be_number and re.fullmatch(_DECIMAL_PATTERN, text):
                text = str(float(text)).removesuffix(".0")
        try:
            text = self.variables.substitute(text)
        except ValueError as error:
            raise make_error_at_node(node, str(error)) from None
        if path[-1:] and path[-1] in _BOOLEAN_KEYS and path[-2:-1] not in _TEXT_MAPPING_PATHS:
            return _BOOLEAN_BY_WORD.get(text.lower(), text)
        return text

    def normalize_document(self, root: yaml_reader.Node) -> dict[str, Value]:
        """Return a document, with those values in one form that files may write in several."""
        document, file = self.to_plain_data(root), root.start_mark.name
        services = document.get("services", {}) if isinstance(document, dict) else None
        if not isinstance(services, dict):
            raise ComposeError("services: expected a mapping", file)
        if document.pop("include", None):
            self.caveats[f"the include in {file} wasn't followed"] = None
        for name in services:
            service = services[name] = services[name] or {}
            if not isinstance(service, dict):
                message = "expected a mapping with image or build"
                raise self.make_error_at_key(("services", name), message)
            self.normalize_service_forms(name, service)
        return {**document, "services": services}

    def normalize_service_forms(self, name: str, service: dict[str, Value]) -> None:
        """Put the values of a service that may be written in several forms into one."""
        if service.pop("extends", None):
            self.caveats[f"extends of service {name} wasn't followed"] = None
        if variables := service.get("environment"):
            service["environment"] = self.to_text_mapping(variables, self.variables.lookup)
        if isinstance(service.get("build"), str):
            service["build"] = {"context": service["build"]}
        if arguments := get_nested_value(service, "build.args"):
            given = self.to_text_mapping(arguments, self.variables.lookup).items()
            service["build"]["args"] = {key: text for key, text in given if text is not None}
        if isinstance(depends_on := service.get("depends_on"), list):
            started = {"condition": "service_started"}
            service["depends_on"] = {name: dict(started) for name in depends_on}
        if options := get_nested_value(service, "logging.options"):
            service["logging"]["options"] = self.to_text_mapping(options, lambda _: "")
        for key in ("command", "entrypoint"):
            if isinstance(words := service.get(key), str):
                service[key] = self.parse_value(("services", name, key), shlex.split, words)
        if hosts := service.get("extra_hosts"):
            service["extra_hosts"] = expand_extra_hosts(hosts)
        if isinstance(service.get("env_file"), str | dict):
            service["env_file"] = [service["env_file"]]
        if service.get("gpus") == "all":
            service["gpus"] = [{"count": -1}]

    def to_text_mapping(self, value: Value, find_default: Lookup) -> dict[str, str | None]:
        """Return `[A=1, B]` or a mapping as a mapping to text."""
        if isinstance(value, list):
            split = [str(item).partition("=") for item in value]
            value = {name: text if equals else None for name, equals, text in split}
        texts = {k: str(v).lower() if isinstance(v, bool) else v for k, v in value.items()}
        return {k: find_default(k) if v is None else str(v) for k, v in texts.items()}

    def merge_values(self, base: Value, over: Value, path: Path) -> Value:
        """Merge a value of a file into that of the files before it."""
        if base is None or path in self.replacing_paths or path[2:] in _REPLACED_KEYS:
            return over
        if over is None:
            return None if path[2:-1] == ("environment",) else base
        kinds = {type(base), type(over)}
        if kinds == {str, list}:
            base, over = ([value] if isinstance(value, str) else value for value in (base, over))
        elif kinds == {list, dict}:
            base, over = map(_list_to_mapping, (base, over))
        if isinstance(base, dict) and isinstance(over, dict):
            if path[2:] == ("logging",) and over.get("driver") not in (None, base.get("driver")):
                return over
            both = {
                key: self.merge_values(base.get(key), v, (*path, key)) for key, v in over.items()
            }
            return {**base, **both}
        if path[2:] == ("ipam", "config"):
            pools = {pool.get("subnet"): pool for pool in base}
            for pool in over:
                subnet = pool.get("subnet")
                pools[subnet] = self.merge_values(pools.get(subnet), pool, path)
            return [*pools.values()]
        return base + over if isinstance(base, list) and isinstance(over, list) else over

    def check_kinds_of_values(self, path: Path, service: dict[str, Value]) -> None:
        """Refuse lists and mappings that are something else; raise ComposeError."""
        for key in _SERVICE_LIST_KEYS:
            if not isinstance(service.get(key, []), list):
                raise self.make_error_at_key((*path, key), "expected a list")
        for key in ("depends_on", "deploy", "healthcheck"):
            value = service.get(key, {})
            rows = value.values() if key == "depends_on" and isinstance(value, dict) else ()
            if not all(isinstance(row, dict) for row in (value, *rows)):
                raise self.make_error_at_key((*path, key), "expected a mapping")

    def normalize_service(self, name: str, service: dict[str, Value]) -> dict[str, Value]:
        """Return a merged service with its lists in their long form, and its figures read."""
        path = ("services", name)
        environment = self.read_environment(name, service)
        service = {k: v for k, v in service.items() if v not in ("", None) and k != "env_file"}
        self.check_kinds_of_values(path, service)
        ports = [
            self.parse_value((*path, "ports"), expand_port, v) for v in service.get("ports", ())
        ]
        if None in ports and not self.variables.missing:
            self.caveats[f"the ranges of ports of service {name} were not expanded"] = None
        mounts = [
            self.parse_value((*path, "volumes"), expand_volume, v)
            for v in service.get("volumes", ())
        ]
        for mount in filter(None, mounts):
            source = str(mount.get("source") or "")
            is_complete = os.path.isabs(source) or _WINDOWS_PATH_PATTERN.match(source)
            if mount.get("type") == "bind" and not is_complete:
                mount["source"] = make_absolute_path(source, self.project.folder)
        for key, parse in _NUMBER_PARSER_BY_KEY.items():
            parent, _, last = key.rpartition(".")
            if (value := get_nested_value(service, key)) is not None:
                values = get_nested_value(service, parent) if parent else service
                values[last] = self.parse_value((*path, *key.split(".")), parse, value)
        for (group, what), older_key in LEGACY_KEY_BY_PATH.items():
            older, newer = (
                service.get(older_key or ""),
                get_nested_value(service, f"deploy.resources.{group}"),
            )
            if older and newer is not None and float(older) != float(newer.get(what) or 0):
                newer_key = f"deploy.resources.{group}.{what}"
                words = f"can't set distinct values on '{older_key}' and '{newer_key}'"
                self.conflicts.append((name, f"services.{name}: {words}: invalid compose project"))
        if devices := service.get("devices"):
            service["devices"] = list({_device_merge_key(item): item for item in devices}.values())
        if (build := service.get("build")) is not None:
            service["build"] = self._resolve_build_paths(build)
        return {
            **service,
            **({"environment": environment} if environment else {}),
            "ports": list(
                {_get_port_merge_key(port): port for port in filter(None, ports)}.values()
            ),
            "volumes": list({str(v.get("target")): v for v in filter(None, mounts)}.values()),
        }

    def _resolve_build_paths(self, build: Value) -> Value:
        """Return `build` with an absolute context, and the name of its Dockerfile."""
        context = build.get("context") or "."
        if not re.match(REMOTE_CONTEXT_PATTERN, context):
            context = make_absolute_path(context, self.project.folder)
        default = {} if "dockerfile_inline" in build else {"dockerfile": "Dockerfile"}
        return {**default, **build, "context": context}

    def parse_value(self, path: Path, parse: Callable[[Value], Value], value: Value) -> Value:
        """Return what a value is parsed to, or None if a required variable is missing."""
        if value == "" and self.variables.missing:
            return None
        try:
            return parse(value)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise self.make_error_at_key(path, str(error)) from None

    def read_environment(self, name: str, service: Mapping[str, Value]) -> dict[str, str | None]:
        """Return the environment of a service: its own variables over those of its env files."""
        own = service.get("environment") or {}
        values: dict[str, str] = {}
        with self.variables.with_fallback_values(own):
            for item in service.get("env_file") or ():
                entry = item if isinstance(item, dict) else {"path": item}
                path = make_absolute_path(str(entry.get("path")), self.project.folder)
                if entry.get("format"):
                    self.caveats[f"the format of {format_file_path(path)} wasn't applied"] = None
                if os.path.exists(path):
                    add_env_file_values(path, values, self.variables)
                elif str(entry.get("required", True)).lower() == "true":
                    self.missing_env_files.append((name, path))
        return {**values, **own}

    def make_error_at_key(self, path: Path, message: str) -> ComposeError:
        """Return the error that names the line of a key."""
        place = find_setting_source(self.project, path).place or ()
        return ComposeError(f"{'.'.join(path)}: {message}", *place)


def _list_to_mapping(value: Value) -> dict[str, str | None]:
    """Return `[A=1, B]` as a mapping."""
    if isinstance(value, dict):
        return value
    return {key: text or None for key, _, text in (item.partition("=") for item in value)}


def expand_port(item: Any) -> dict[str, Any] | None:
    """Return an item of `ports` in the long form, None for a range of target ports."""
    if isinstance(item, dict):
        numbers = {"published": str(item.get("published") or "")}
        return {"protocol": "tcp", **item, **numbers, "target": parse_integer(item["target"])}
    match = SHORT_PORT_PATTERN.fullmatch(str(item))
    if match is None:
        wanted = "expected [ADDRESS:][PORT:]PORT[/PROTOCOL], such as 8000:80"
        raise ValueError(f"{item!r}: {wanted}")
    if "-" in match["target"]:
        return None
    ends = (match["published"] or "").split("-")
    return {
        "target": int(match["target"]),
        "published": "-".join(dict.fromkeys(end.lstrip("0") for end in ends)),
        "host_ip": match["address"] or "",
        "protocol": (match["protocol"] or "tcp").lower(),
    }


def _get_port_merge_key(port: Mapping[str, Any]) -> str:
    address = port.get("host_ip") or "0.0.0.0"
    return repr((address, port["published"], port["target"], port["protocol"]))


def _device_merge_key(device: Value) -> str:
    if isinstance(device, dict):
        return str(device.get("target") or device.get("source"))
    source, _, rest = str(device).partition(":")
    return rest.partition(":")[0] or source


def expand_volume(item: Any) -> dict[str, Any]:
    """Return an item of `volumes` in the long form."""
    if isinstance(item, dict):
        mount = {**item, "read_only": parse_boolean(str(item.get("read_only", False)))}
    else:
        source, target, options = split_volume(str(item))
        if str(item).startswith(":") and target != ":":
            wanted = "expected [SOURCE:]TARGET[:OPTIONS], such as data:/data"
            raise ValueError(f"{item!r}: {wanted}")
        is_path = source.startswith((".", "/", "~")) or _WINDOWS_PATH_PATTERN.match(source)
        mount = {"type": "bind" if is_path else "volume", "source": source, "target": target}
        mount["read_only"] = "ro" in options.split(",")
        if labels := {"z", "Z"}.intersection(options.split(",")):
            mount["bind"] = {"selinux": labels.pop(), "create_host_path": True}
    target = str(mount.get("target") or "")
    return {**mount, "target": posixpath.normpath(target)} if target.startswith("/") else mount


def expand_extra_hosts(value: Any) -> list[str]:
    """Return `extra_hosts` as `HOST=ADDRESS` items, each with one address."""
    rows = (
        value.items()
        if isinstance(value, dict)
        else (re.split("=" if "=" in str(item) else ":", str(item), maxsplit=1) for item in value)
    )
    return [
        f"{host}={address.strip('[]')}"
        for host, given in rows
        for address in (given if isinstance(given, list) else str(given).split(","))
    ]


def normalize_compose_size(value: str) -> str | None:
    """Read a size as Compose does: `8G`, `8gb` and `8 GiB` are the same, binary.

    Returns the text of its bytes, None for zero. Source: docker/go-units, RAMInBytes.
    """
    match = re.match(_COMPOSE_SIZE_PATTERN, value)
    size = float(match[1]) * _SIZE_FACTOR_BY_SUFFIX[(match[2] or "").lower()] if match else inf
    if size >= _MAX_COMPOSE_SIZE_BYTES:
        is_kubernetes = value.endswith("i") and re.match(_COMPOSE_SIZE_PATTERN, value[:-1])
        hint = (
            f"write {value[:-1]}, or {value}B" if is_kubernetes else "expected a value such as 512m"
        )
        raise ValueError(f"{value!r} isn't a valid size: {hint}")
    return str(int(size)) if int(size) else None


def parse_integer(value: Any) -> int:
    """Read a whole number."""
    number = parse_number(str(value))
    if number % 1:
        raise ValueError(f"{value!r} isn't a whole number")
    return int(number)


_SERVICE_LIST_KEYS = (
    *("cap_add", "cap_drop", "configs", "device_cgroup_rules", "devices", "gpus", "group_add"),
    *("links", "ports", "profiles", "secrets", "security_opt", "volumes", "volumes_from"),
)
_NUMBER_PARSER_BY_KEY: Mapping[str, Callable[[Any], Any]] = {
    **dict.fromkeys(
        ("scale", "deploy.replicas", "deploy.placement.max_replicas_per_node"), parse_integer
    ),
    **dict.fromkeys(
        ("cpus", "deploy.resources.limits.cpus", "deploy.resources.reservations.cpus"),
        lambda value: parse_number(str(value)),
    ),
    **{
        f"deploy.resources.{kind}.memory": normalize_compose_size
        for kind in ("limits", "reservations")
    },
    **dict.fromkeys(
        ("gpus", "deploy.resources.reservations.devices"), lambda value: list(map(dict, value))
    ),
    **dict.fromkeys(("mem_limit", "mem_reservation"), normalize_compose_size),
    "memswap_limit": lambda value: "-1" if str(value) == "-1" else normalize_compose_size(value),
}
