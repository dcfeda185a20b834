"""Our own reader of compose files: what they come to, and the line that decides each value.

Follows Compose step by step: variables, long forms, extends, include, merging, profiles, env
files. It runs no program and asks no network. Source: compose-spec/compose-go, loader.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import NamedTuple

from preflight.facts.compose.bounds import Bounds
from preflight.facts.compose.faults import conflicts
from preflight.facts.compose.figures import settled
from preflight.facts.compose.interpolation import (
    Lookup,
    Template,
    Told,
    Variables,
    dotenv,
    env_files,
    read_env_file,
)
from preflight.facts.compose.known import SERVICE, SERVICE_NAME, TOP, checked, expect, filled
from preflight.facts.compose.merging import merge, stripped
from preflight.facts.compose.nodes import HOLLOW, RESET, Document, Node, display, read_documents
from preflight.facts.compose.normal import (
    Setting,
    canonical,
    canonical_shared,
    no_service,
    resolved,
)
from preflight.facts.compose.project import ComposeError, Need, Path, Place, Reading
from preflight.model.problems import did_you_mean

_SHARED = ("services", "volumes", "networks", "secrets", "configs", "models")
_REMOTE = re.compile(r"[a-z][a-z0-9+.-]+://|git@|github\.com/|oci:")
_EMPTY = "it is empty: expected services"
_MOST_FILES = 2000
_MOST_VALUES = 1_000_000  # of all files, and of what extends makes of them
_MOST_REPEATS = 50  # of a service that extends another that extends another

_NEEDS = {
    ("include",): ("2.20.3", "include"),
    ("models",): ("2.38.0", "models"),
    ("configs", "*", "content"): ("2.23.1", "configs with content"),
    ("configs", "*", "environment"): ("2.23.1", "configs with environment"),
    **{
        ("services", "*", *keys.split()): (version, keys.replace(" * ", ".").replace(" ", "."))
        for keys, version in {
            "cgroup": "2.15.0", "uts": "2.15.1", "build privileged": "2.15.0",
            "build dockerfile_inline": "2.17.0", "build additional_contexts": "2.17.0",
            "depends_on * restart": "2.17.0", "depends_on * required": "2.20.0",
            "attach": "2.20.0", "healthcheck start_interval": "2.20.2", "develop": "2.22.0",
            "build ulimits": "2.23.1", "build entitlements": "2.27.1",
            "env_file * required": "2.24.0", "env_file * format": "2.30.0",
            "gpus": "2.30.0", "post_start": "2.30.0", "pre_stop": "2.30.0",
            "label_file": "2.32.2", "provider": "2.36.0", "models": "2.38.0",
        }.items()
    },
}  # fmt: skip
"""The features that Docker's documentation says came with a version of Compose."""


class _Layer(NamedTuple):
    """The services of one document, as they are written there, and what its values mean."""

    file: str
    services: Mapping[str, Node]
    setting: Setting


def read(
    files: Sequence[str],
    folder: str,
    environ: Mapping[str, str],
    profiles: Collection[str] | None = None,
    bounds: Bounds | None = None,
) -> Reading:
    """Read the files of a project, and what they name within the bounds; raises ComposeError.

    `profiles` None means COMPOSE_PROFILES, `bounds` None any file.
    """
    told = Told()
    known = {**dotenv(folder, environ, bounds, told), **environ}
    documents = [(os.path.abspath(file), read_documents(file)) for file in files]
    name = project_name([one for _, found in documents for one in found], folder, known)
    known["COMPOSE_PROJECT_NAME"] = name
    reader = _Reader(Variables(known.get, told), bounds)
    root = reader.layers(documents, Setting(folder, known.get), ())
    if profiles is None:
        profiles = [one.strip() for one in known.get("COMPOSE_PROFILES", "").split(",")]
    return reader.finish(root, name, set(profiles))


def project_name(documents: Sequence[Document], folder: str, known: Mapping[str, str]) -> str:
    """Return COMPOSE_PROJECT_NAME, else the last `name`, else the folder's; raises ComposeError."""
    given = known.get("COMPOSE_PROJECT_NAME")
    if given:
        if given != _normalised(given):
            raise ComposeError(
                f"COMPOSE_PROJECT_NAME is {given!r:.60}: expected lower-case letters, digits, "
                "hyphens and underscores, a letter or digit first"
            )
        return given
    named = [node for one in documents if (node := one.root.get("name"))]
    texts = [(node, node.value) for node in named if isinstance(node.value, str) and node.value]
    if not texts:
        base = _normalised(os.path.basename(os.path.realpath(folder)))
        if not base:
            raise ComposeError("the folder's name gives no project name: set `name`", folder)
        return base
    node, text = texts[-1]
    try:
        name = _normalised(Variables(known.get).substitute(text))
    except Template as fault:
        raise node.fault(f"name: {fault}") from None
    if not name:
        raise node.fault("name gives no project name: expected letters or digits")
    return name


def _normalised(name: str) -> str:
    return re.sub(r"[^-_a-z0-9]", "", name.lower()).lstrip("_-")


class _Reader:
    """A reading under way: what it came by that is not in the result."""

    def __init__(self, variables: Variables, bounds: Bounds | None) -> None:
        self.variables, self.bounds = variables, bounds
        self.caveats: list[str] = []
        self.needs: dict[tuple[str, str], Need] = {}
        self.files = self.size = 0
        self.bases: dict[tuple[str, Lookup], _Layer] = {}
        self.partial = False

    def layers(
        self,
        documents: Sequence[tuple[str, list[Document]]],
        setting: Setting,
        chain: tuple[str, ...],
    ) -> Node:
        """Merge the documents of files, one over the other."""
        root: Node | None = None
        for file, found in documents:
            for document in found:
                layer = self.layer(file, document, setting, chain)
                root = layer if root is None else merge(root, layer)
                _complete(root)
        if root is None:
            raise ComposeError(_EMPTY, display(documents[0][0]))
        return root

    def layer(
        self, file: str, document: Document, setting: Setting, chain: tuple[str, ...]
    ) -> Node:
        """Return one document with its services in their long form, and what it includes."""
        self.count(file)
        raw = self.services(file, document, setting)
        entries = dict(checked(document.root, "", TOP, whole=False).value)
        self.collect(document.root, ())
        services = {name: self.extended(name, raw, ()) for name in raw.services}
        if "services" in entries:
            entries["services"] = entries["services"].of(services)
        for key in ("networks", "volumes"):
            if key in entries and isinstance(entries[key].value, dict):
                entries[key] = canonical_shared(entries[key], key)
        include = entries.pop("include", None)
        for item in include.value if include and isinstance(include.value, list) else ():
            self.include(item, entries, setting, (*chain, file))
        return document.root.of(entries)

    def count(self, file: str) -> None:
        self.files += 1
        if self.files > _MOST_FILES:
            raise ComposeError(f"the project has more than {_MOST_FILES} files", display(file))

    def within(self, path: str, node: Node, what: str) -> None:
        refusal = self.bounds.refusal(path) if self.bounds else None
        if refusal:
            raise node.fault(f"{what}: {refusal}")

    def grow(self, by: int, node: Node) -> None:
        self.size += by
        if self.size > _MOST_VALUES:
            raise node.fault(f"the project grows beyond {_MOST_VALUES} values")

    def services(self, file: str, document: Document, setting: Setting) -> _Layer:
        """Put the variables in, and return the services as they are written."""
        root = document.root
        if not isinstance(root.value, dict):
            raise root.fault(f"it is {root.kind}, expected a mapping with services")
        self.grow(document.size, root)
        for node in document.templates:
            self.substitute(node)
        services = root.get("services")
        if services is not None:
            expect(services, "services", "mapping")
        return _Layer(file, services.value if services else {}, setting)

    def substitute(self, node: Node) -> None:
        lacking = self.variables.told.lacking
        try:
            node.value = self.variables.substitute(node.value)
        except Template as fault:
            raise node.fault(str(fault)) from None
        if self.variables.told.lacking > lacking:
            node.tag = node.tag or HOLLOW

    def extended(self, name: str, layer: _Layer, chain: tuple[tuple[str, str], ...]) -> Node:
        """Return a service in its long form, over the one that it extends."""
        raw = layer.services[name]
        if raw.tag == RESET:
            return raw
        if not SERVICE_NAME.match(name):
            raise raw.fault(f"{name!r:.60} is no name of a service: expected letters and digits")
        service = canonical(name, raw, layer.setting)
        self.grow(service.size(), raw)
        labels = service.get("label_file")
        for one in labels.value if labels and isinstance(labels.value, list) else ():
            self.within(resolved(str(one.value), layer.setting.folder), one, "label_file")
        extends = service.get("extends")
        if extends is None or extends.tag == RESET:
            return service
        if (layer.file, name) in chain or len(chain) > _MOST_REPEATS:
            way = " extends ".join([*(one for _, one in chain), name])
            raise extends.fault(f"circular reference: {way}")
        base_name, base_layer = self.base(name, extends, layer)
        base = self.extended(base_name, base_layer, (*chain, (layer.file, name)))
        own = {key: node for key, node in service.value.items() if key != "extends"}
        merged = merge(base, service.of(own), ("services", name))
        self.grow(merged.size(), raw)
        return service.of(merged.value)

    def base(self, name: str, extends: Node, layer: _Layer) -> tuple[str, _Layer]:
        """Return the service that another one extends: its name, and where it is."""
        entry = extends.plain() if isinstance(extends.value, dict) else {"service": extends.value}
        base_name, path = entry.get("service"), entry.get("file")
        if not isinstance(base_name, str) or not (path is None or isinstance(path, str)):
            raise extends.fault(f"services.{name}.extends expects service, and file or none")
        if path is not None:
            layer = self.base_file(path, extends, layer.setting)
        if base_name not in layer.services:
            hint = did_you_mean(base_name, layer.services)
            raise extends.fault(
                f"cannot extend service {name!r}: there is no service {base_name!r:.60} in "
                f"{display(layer.file)}{hint}"
            )
        return base_name, layer

    def base_file(self, path: str, extends: Node, setting: Setting) -> _Layer:
        if _REMOTE.match(path):
            raise extends.fault(f"extends is of the remote file {path!r:.80}, which is not fetched")
        file = resolved(path, setting.folder)
        key = (file, setting.lookup)
        if key not in self.bases:
            self.count(file)
            documents = self.documents(file, extends, "extends")
            if not documents:
                raise ComposeError(_EMPTY, display(file))
            inner = Setting(os.path.dirname(file), setting.lookup)
            self.bases[key] = self.services(file, documents[-1], inner)
        return self.bases[key]

    def documents(self, file: str, node: Node, what: str) -> list[Document]:
        if not os.path.isfile(file):
            raise node.fault(f"{what} names the file {display(file)}, which is not there")
        self.within(file, node, what)
        return read_documents(file)

    def include(
        self, item: Node, entries: dict[str, Node], setting: Setting, chain: tuple[str, ...]
    ) -> None:
        """Add what another project defines to the entries of this one."""
        entry = item.value if isinstance(item.value, dict) else {"path": item}
        paths = _texts(entry.get("path"), item, "path")
        if any(_REMOTE.match(path) for path in paths):
            self.caveats.append(f"the remote include {paths[0]} was not fetched")
            self.partial = True
            return
        files = [resolved(path, setting.folder) for path in paths]
        if files[0] in chain:
            way = " includes ".join(display(one) for one in (*chain, files[0]))
            raise item.fault(f"include cycle: {way}")
        documents = [(file, self.documents(file, item, "include")) for file in files]
        folder = os.path.dirname(files[0])
        if "project_directory" in entry:
            (text,) = _texts(entry["project_directory"], item, "project_directory")[:1]
            folder = resolved(text, setting.folder)
        outer = self.variables
        known = self.environment(entry.get("env_file"), item, folder, setting)
        self.variables = outer.inside(lambda name: _first(outer.lookup(name), known.get(name)))
        try:
            inner = Setting(folder, self.variables.lookup)
            if any(found for _, found in documents):
                _import(self.layers(documents, inner, chain), entries)
        finally:
            self.variables = outer

    def environment(
        self, named: Node | None, item: Node, folder: str, setting: Setting
    ) -> dict[str, str]:
        """Return the variables that an include brings: of its env_file, else of its .env."""
        if named is None:
            default = os.path.join(folder, ".env")
            paths = [default] if os.path.isfile(default) else []
        else:
            paths = [resolved(one, setting.folder) for one in _texts(named, item, "env_file")]
            for path in paths:
                if not os.path.exists(path):
                    raise item.fault(f"include names the file {display(path)}, which is not there")
        for path in paths:
            self.within(path, item, "include")
        return env_files(paths, self.variables.lookup, self.variables.told)

    def collect(self, node: Node, path: tuple[str, ...]) -> None:
        """Take down the features that only newer versions of Compose know."""
        if node.tag == "!override":
            self.need("2.24.4", "!override", node)
        if path in _NEEDS:
            self.need(*_NEEDS[path], node)
        if isinstance(node.value, dict):
            for key, one in node.value.items():
                wild = len(path) in (1, 3) and path[0] in ("services", "configs")
                wild = wild and (len(path) == 1 or path[2] == "depends_on")
                self.collect(one, (*path, "*" if wild else key))
        elif isinstance(node.value, list) and path[:1] == ("services",):
            for one in node.value:
                self.collect(one, (*path, "*"))

    def need(self, version: str, feature: str, node: Node) -> None:
        self.needs.setdefault((version, feature), Need(version, feature, node.place))

    def finish(self, root: Node, name: str, profiles: set[str]) -> Reading:
        """Keep the active services and resolve what is left."""
        root = stripped(root)
        services = root.get("services")
        if services is None:
            raise root.fault("it has no services: expected the key services")
        figured = {key: settled(key, one) for key, one in services.value.items()}
        missing: list[tuple[str, str]] = []
        active = {
            key: self.with_env_files(key, one, missing)
            for key, one in figured.items()
            if _is_active(one, profiles)
        }
        if any(one.get("label_file") for one in active.values()):
            self.caveats.append("the labels of a label_file were not read")
        config = root.of({**root.value, "services": services.of(active)}).plain()
        found = (_places(one, ("services", key)) for key, one in active.items())
        return Reading(
            {**config, "name": name},
            {path: place for places in found for path, place in places},
            dict(self.variables.told.missing),
            tuple(self.variables.told.unset),
            tuple(missing),
            tuple(conflicts(active, root, not self.partial)),
            tuple(self.caveats),
            tuple(self.needs.values()),
            {key: _profiles(one) for key, one in figured.items() if key not in active},
        )

    def with_env_files(self, name: str, service: Node, missing: list[tuple[str, str]]) -> Node:
        """Put the variables of its env files below those of its environment."""
        entries = dict(service.value)
        files = entries.pop("env_file", None)
        own = entries.get("environment")
        outer, given = self.variables, own.plain() if own else {}
        variables = outer.inside(lambda name: _first(outer.lookup(name), given.get(name)))
        values: dict[str, str] = {}
        pairs: dict[str, Node] = {}
        for item in files.value if files else ():
            entry = item.value
            path = entry["path"].value
            if os.path.exists(path):
                self.within(path, item, "env_file")
                self.count(path)
                raw = "format" in entry and entry["format"].value == "raw"
                lines = read_env_file(path, values, variables, raw)
                shown = display(path)
                pairs.update({key: Node(values[key], shown, at, 1) for key, at in lines.items()})
            elif entry["required"].value is not False:
                missing.append((name, path))
        if own or pairs:
            place = own or service
            entries["environment"] = place.of({**pairs, **(own.value if own else {})})
        return service.of(entries)


def _complete(root: Node) -> None:
    """Raise ComposeError where a key has nothing under it, now that it is laid over the others."""
    filled(root, "", TOP)
    services = root.get("services")
    for name, service in services.value.items() if services else ():
        if service.tag == RESET:
            continue
        if service.value is None:
            raise no_service(name, service)
        filled(service, f"services.{name}", SERVICE)


def _first(*values: str | None) -> str | None:
    return next((value for value in values if value is not None), None)


def _texts(node: Node | None, item: Node, name: str) -> list[str]:
    """Return the texts of a text or a list of texts of an include."""
    value = node.plain() if node else None
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list) or not texts or not all(isinstance(one, str) for one in texts):
        raise item.fault(f"include expects a path, or a mapping with path: {name} is no text")
    return texts


def _import(included: Node, entries: dict[str, Node]) -> None:
    """Add the resources of an included project; raises ComposeError where two differ."""
    for key in _SHARED:
        theirs = included.get(key)
        if theirs is None or not isinstance(theirs.value, dict):
            continue
        ours = dict(entries[key].value or {}) if key in entries else {}
        for name, node in theirs.value.items():
            if name in ours and ours[name].plain() != node.plain():
                where = f"{node.file}:{node.line}"
                raise ours[name].fault(f"{key}.{name} conflicts with the included one at {where}")
            ours.setdefault(name, node)
        entries[key] = theirs.of(ours)


def _is_active(service: Node, profiles: set[str]) -> bool:
    own = _profiles(service)
    return not own or "*" in profiles or bool(profiles & set(own))


def _profiles(service: Node) -> tuple[str, ...]:
    own = service.get("profiles")
    return tuple(map(str, own.plain() or ())) if own else ()


def _places(node: Node, path: Path) -> Iterator[tuple[Path, Place]]:
    """Yield the place of each value; ports go by what they publish, volumes by their target."""
    yield path, node.place
    if isinstance(node.value, dict):
        for key, one in node.value.items():
            yield from _places(one, (*path, key))
    elif isinstance(node.value, list) and len(path) == 3 and path[2] in ("ports", "volumes"):
        for item in node.value:
            key = item.get("published" if path[2] == "ports" else "target")
            if key:
                yield (*path, str(key.value)), item.place
