"""What else keeps the stack from starting: what each service asks for, held against the machine.

The facts of the ports themselves are in `ports`. What Compose and the engine do in each case was
tried with Compose 2.40.3, Docker 20.10 and Podman 4.3.1.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from preflight.facts.collect.context import EngineLocality, MeasureContext
from preflight.facts.compose import cli
from preflight.facts.compose.project import Need, Project, where
from preflight.facts.engine.connection import Engine
from preflight.facts.engine.locality import VIRTUAL_MACHINES, in_container
from preflight.facts.engine.responses import text_or_none
from preflight.facts.ports import PublishedPort, addresses_conflict, published_ports, shares_network
from preflight.model.facts import Measured, Source, Unknown, UnknownKind, Value
from preflight.model.quantities import parse_version

_TOP = ("start", "services")
_OLDEST_NEED = (2,)
_MAKES_BY_DEFAULT = (5,)  # Compose whose create_host_path is true where `bind` doesn't say
_NVIDIA = ("nvidia-container-runtime-hook", "nvidia-container-toolkit")
_PROGRAMS = "/usr/bin"
_BINFMT = "proc/sys/fs/binfmt_misc"
_NOT_SEEN = Unknown("what the machine has installed isn't seen from this container", "unsupported")
_CDI = ("/etc/cdi", "/var/run/cdi")
_EMULATED = {"amd64", "arm64"}  # by the VM of each desktop
_PROCESSORS = {
    "x86_64": "amd64", "x86-64": "amd64", "aarch64": "arm64", "armhf": "arm", "armel": "arm",
    "i386": "386", "i486": "386", "i586": "386", "i686": "386",
}  # fmt: skip
_QEMU = {
    "amd64": "x86_64", "arm64": "aarch64", "386": "i386", "mips64le": "mips64el",
    "mipsle": "mipsel", "loong64": "loongarch64",
}  # fmt: skip
_SYSTEMS = {"linux", "windows", "darwin", "freebsd"}


def measure(
    context: MeasureContext,
    project: Project,
    root: Path = Path("/"),
    environ: Mapping[str, str] = os.environ,
) -> Iterator[Measured]:
    """Yield the facts: the files' first, then the engine's, last what a dead network can hang."""
    yield _compose_version(project, context, environ)
    yield from _of_files(project)
    around = context.engine_locality()
    yield _gpus(around.engine, root, environ)
    for name, service in project.services.items():
        yield _platform(project, name, service, around.engine, root)
    for name, service in project.services.items():
        yield from _mounts(project, name, service, around)
    yield Measured(_TOP, {}, "the project and this machine")


def _of_files(project: Project) -> Iterator[Measured]:
    yield from _needs(project)
    yield from _variables(project)
    clashes = port_clashes(project)
    for name in project.services:
        texts = clashes.get(name, {})
        first = (next(iter(texts.values())),) if texts else ()
        yield _fact(project, name, "port_clash", list(texts) or None, "ports", *first)
        files = [path for service, path in project.missing_env_files if service == name]
        yield _fact(project, name, "env_files_missing", files or None, "env_file")
        said = [words for service, words in project.conflicts if service == name]
        yield _fact(project, name, "conflict", "; ".join(said) or None)


def _fact(project: Project, service: str, name: str, value: Value, *key: str) -> Measured:
    source = where(project, ("services", service, *key))
    return Measured((*_TOP, service, name), value, source)


def _compose_version(
    project: Project, context: MeasureContext, environ: Mapping[str, str]
) -> Measured:
    path = ("docker", "compose", "version")
    if project.compose is None and cli.find(environ) is not None:
        return Measured(path, Unknown("docker compose does not tell its version", "error"))
    if (
        project.compose is None
        and in_container()[0]
        and context.engine_locality().path_hidden(_PROGRAMS)
    ):
        return Measured(path, _NOT_SEEN)
    how = "not installed" if project.compose is None else "asked for its version"
    return Measured(path, project.compose, f"docker compose is {how}")


def _needs(project: Project) -> Iterator[Measured]:
    top = ("compose", "needs")
    need = _highest(project.needs)
    if need is None:
        for name, value in (("version", None), ("feature", None), ("met", True)):
            yield Measured((*top, name), value, "nothing newer than Compose 2.0 is used")
        return
    place = f"{need.position.file}:{need.position.line}"
    source = Source.in_file(*need.position)
    yield Measured((*top, "version"), need.version, source)
    yield Measured((*top, "feature"), f"{need.feature}, used in {place}", source)
    has = _version(project.compose)
    if has is None:
        met: bool | Unknown = Unknown("the version of docker compose is not known")
    else:
        met = has >= (_version(need.version) or ())
    yield Measured((*top, "met"), met, source)


def _highest(needs: Sequence[Need]) -> Need | None:
    newer = [one for one in needs if (_version(one.version) or ()) > _OLDEST_NEED]
    return max(newer, key=lambda one: _version(one.version) or (), default=None)


def _version(text: str | None) -> tuple[int, ...] | None:
    try:
        return None if text is None else parse_version(text)
    except ValueError:
        return None


def _variables(project: Project) -> Iterator[Measured]:
    told = {name: " ".join(said.split()) for name, said in project.missing_variables.items()}
    missing = [f"{name} ({said})" if said else name for name, said in told.items()]
    source = "the files, the environment, .env"
    yield Measured(("compose", "variables", "missing"), missing or None, source)
    unset = list(project.unset_variables) or None
    yield Measured(("compose", "variables", "unset"), unset, source)


def port_clashes(project: Project) -> dict[str, dict[str, str]]:
    """Return by service what it can't publish, each with the port that the file says it of."""
    found: dict[str, dict[str, str]] = {}
    seen: dict[tuple[str, int], list[PublishedPort]] = {}
    for port in published_ports(project):
        own = found.setdefault(port.service, {})
        if port.replicas > port.last - port.first + 1:
            own[f"{port.replicas} replicas share {port.full}"] = port.text
        if port.first != port.last:
            continue  # Docker takes those that are left
        others = seen.setdefault((port.protocol, port.first), [])
        for other in others:
            if not addresses_conflict(port.address, other.address):
                continue
            if other.service == port.service:
                own[f"{port.full} is published twice"] = port.text
            else:
                own[f"{port.full} is also published by {other.service}"] = port.text
                found[other.service][f"{port.full} is also published by {port.service}"] = (
                    other.text
                )
        others.append(port)
    for name, service in project.services.items():
        if shares_network(service) and service.get("ports"):
            words = f"ports can't be published with network_mode {service['network_mode']}"
            found.setdefault(name, {})[words] = ""
    return found


def _gpus(engine: Engine | Unknown, root: Path, environ: Mapping[str, str]) -> Measured:
    path = ("docker", "gpus")
    if isinstance(engine, Unknown):
        return Measured(path, engine)
    runtimes, devices = engine.info.get("Runtimes"), engine.info.get("DiscoveredDevices")
    if isinstance(runtimes, dict) and any("nvidia" in name for name in runtimes):
        return Measured(path, True, "GET /info Runtimes")
    if "nvidia" in str(devices):
        return Measured(path, True, "GET /info DiscoveredDevices")
    hidden = _unseen(engine, _PROGRAMS)
    if hidden is not None:
        return Measured(path, hidden)
    specified = engine.info.get("CDISpecDirs")
    folders = filter(None, map(text_or_none, specified)) if isinstance(specified, list) else _CDI
    for folder in folders:
        for file in _names(root / folder.lstrip("/")):
            if "nvidia" in file:
                return Measured(path, True, f"{folder}/{file}")
    programs = [*environ.get("PATH", os.defpath).split(os.pathsep), "/usr/bin", "/usr/local/bin"]
    for folder in programs:
        for name in _NVIDIA:
            if folder and os.access(root / folder.lstrip("/") / name, os.X_OK):
                return Measured(path, True, f"{folder}/{name}")
    return Measured(path, False, "GET /info Runtimes, CDI, the NVIDIA Container Toolkit")


def _unseen(engine: Engine, path: str) -> Unknown | None:
    """Why what the engine's machine has at a path isn't seen here, None where it is."""
    hidden = engine.visibility.processes_hidden or engine.visibility.path_hidden(path)
    return _NOT_SEEN if hidden and in_container()[0] else hidden


def _names(folder: Path) -> list[str]:
    try:
        return sorted(os.listdir(folder))
    except OSError:
        return []


def _platform(
    project: Project, name: str, service: Mapping[str, Any], engine: Engine | Unknown, root: Path
) -> Measured:
    asked = service.get("platform")
    runs, how = (None, "") if not asked else runs_on(str(asked), engine, root)
    source = where(project, ("services", name, "platform"), how)
    return Measured((*_TOP, name, "platform_runs"), runs, source)


def runs_on(asked: str, engine: Engine | Unknown, root: Path) -> tuple[bool | Unknown, str]:
    """Return whether an engine runs a platform such as linux/arm64/v8, and what tells it."""
    if isinstance(engine, Unknown):
        return engine, ""
    system, processor = (str(engine.version.get(key) or "").lower() for key in ("Os", "Arch"))
    processor = _PROCESSORS.get(processor, processor)
    if not system or not processor:
        return Unknown("the engine does not say: Os or Arch is null or missing"), ""
    wanted_system, wanted = _parts(asked, system, processor)
    has = f"the engine is {system}/{processor}"
    if wanted_system != system:
        return False, has
    if wanted == processor or (processor, wanted) == ("amd64", "386"):
        return True, has
    if engine.name in VIRTUAL_MACHINES and {processor, wanted} <= _EMULATED:
        return True, f"{has}, {engine.name} emulates {wanted}"
    hidden = _unseen(engine, f"/{_BINFMT}")
    if hidden is not None:
        return hidden, ""
    runs, how = _emulated(wanted, root)
    if runs is False and (processor, wanted) == ("arm64", "arm"):
        return Unknown("not every 64-bit ARM processor runs 32-bit programs", "unsupported"), ""
    return runs, f"{has}, {how}"


def _parts(asked: str, system: str, processor: str) -> tuple[str, str]:
    """Return system and processor of a platform, of which one may be left out."""
    first, _, rest = asked.lower().partition("/")
    if not rest and first not in _SYSTEMS:
        return system, _PROCESSORS.get(first, first)
    wanted = rest.partition("/")[0]
    return first, _PROCESSORS.get(wanted, wanted) or processor


def _emulated(processor: str, root: Path) -> tuple[bool | Unknown, str]:
    """Whether the kernel starts programs of another processor through QEMU.

    Without the flag F it looks for QEMU inside the container: admin-guide/binfmt-misc.
    """
    qemu = f"qemu-{_QEMU.get(processor, processor)}"
    for name in (qemu, f"{qemu}-static"):
        try:
            lines = (root / _BINFMT / name).read_text(errors="replace").splitlines()
        except FileNotFoundError:
            continue
        except OSError as fault:
            return Unknown(f"{fault.strerror}: {fault.filename}", "permission"), ""
        flags = next((line.partition(":")[2] for line in lines if line.startswith("flags:")), "")
        if lines[:1] == ["enabled"] and "F" in flags:
            return True, f"/{_BINFMT}/{name}"
    return False, f"no {qemu} for containers in /{_BINFMT}"


def _mounts(
    project: Project, name: str, service: Mapping[str, Any], around: EngineLocality
) -> Iterator[Measured]:
    top = (*_TOP, name)
    podman = isinstance(around.engine, Engine) and around.engine.name == "podman"
    lists: dict[str, dict[str, tuple[str, ...]]] = {"mounts_missing": {}, "mounts_created": {}}
    unseen: dict[str, Unknown] = {}
    for path, key, made in _sources(project, service, podman):
        what = "mounts_created" if made else "mounts_missing"
        hidden = around.path_hidden(path)
        if hidden is not None:
            unseen.setdefault(what, hidden)
            unseen.setdefault("mounts_missing", hidden)
            continue
        try:
            there = _creatable(path)
        except OSError as fault:
            kind: UnknownKind = "permission" if isinstance(fault, PermissionError) else "error"
            unseen.setdefault(what, Unknown(f"{fault.strerror}: {path}", kind))
            continue
        if there is not None:
            lists[what if there else "mounts_missing"].setdefault(path, key)
    for what, paths in lists.items():
        key = next(iter(paths.values()), ("volumes",))
        if paths or what not in unseen:
            yield _fact(project, name, what, list(paths) or None, *key)
        else:
            yield Measured((*top, what), unseen[what])


def _sources(
    project: Project, service: Mapping[str, Any], podman: bool
) -> Iterator[tuple[str, tuple[str, ...], bool]]:
    """Yield each path of this machine that is mounted, its key, and whether it would be made."""
    compose = _version(project.compose)
    default = compose is None or compose >= _MAKES_BY_DEFAULT
    for mount in service.get("volumes") or ():
        source, bind = str(mount.get("source") or ""), mount.get("bind")
        if mount.get("type") == "bind" and _is_path(source):
            made = bind is None or str(bind.get("create_host_path", default)).lower() == "true"
            yield source, ("volumes", str(mount.get("target"))), made or podman
    for kind in ("secrets", "configs"):
        defined = project.config.get(kind) or {}
        for item in service.get(kind) or ():
            name = item.get("source") if isinstance(item, dict) else item
            file = str((defined.get(name) or {}).get("file") or "")
            if _is_path(file):
                yield file, (kind,), podman


def _is_path(text: str) -> bool:
    return os.path.isabs(text) and "\0" not in text


def _creatable(path: str) -> bool | None:
    """Return None for a path that is there, else whether the folders to it can be made.

    Raises OSError where it can't be told, for want of permission.
    """
    try:
        os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        pass
    else:
        return None
    while not os.path.lexists(path):
        path = os.path.dirname(path)
    return os.path.isdir(path)
