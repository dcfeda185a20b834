"""What keeps the stack from starting: what each service asks for, compared with the machine.

The facts of the ports are in `ports`. What Compose and the engine do in each case was tried with
Compose 2.40.3, Docker 20.10 and Podman 4.3.1.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from preflight.facts.collect.context import Engine, MeasureContext
from preflight.facts.compose import cli
from preflight.facts.compose.project import Project, source_of
from preflight.facts.engine.api import text_or_none
from preflight.facts.engine.locality import VIRTUAL_MACHINES, in_container
from preflight.facts.ports import PublishedPort, addresses_conflict, published_ports, shares_network
from preflight.model.facts import Measured, Source, Unknown, UnknownKind, Value

_SERVICES = ("start", "services")
_CREATES_BY_DEFAULT = (5,)  # Compose whose create_host_path is true where `bind` doesn't say
_NVIDIA_PROGRAMS = ("nvidia-container-runtime-hook", "nvidia-container-toolkit")
_PROGRAMS_DIR = "/usr/bin"
_BINFMT_DIR = "proc/sys/fs/binfmt_misc"
_CDI_DIRS = ("/etc/cdi", "/var/run/cdi")
_PROGRAMS_HIDDEN = Unknown("programs of the host aren't visible in this container", "unsupported")
_EMULATED_BY_DESKTOPS = {"amd64", "arm64"}
_ARCHITECTURES = {
    "x86_64": "amd64", "x86-64": "amd64", "aarch64": "arm64", "armhf": "arm", "armel": "arm",
    "i386": "386", "i486": "386", "i586": "386", "i686": "386",
}  # fmt: skip
_QEMU_NAMES = {
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
    """Yield the facts of the files, then the engine's, last what a dead network disk can block."""
    yield _compose_version(project, context, environ)
    yield from _needs(project)
    yield from _variables(project)
    clashes = port_clashes(project)
    for name in project.services:
        yield from _file_facts(project, name, clashes.get(name, {}))
    engine = context.engine_or_unknown()
    yield _gpus(engine, root, environ)
    for name, service in project.services.items():
        platform = str(service.get("platform") or "")
        runs, evidence = _runs_platform(platform, engine, root) if platform else (None, "")
        source = source_of(project, ("services", name, "platform"), evidence)
        yield Measured((*_SERVICES, name, "platform_runs"), runs, source)
    for name, service in project.services.items():
        yield from _mounts(project, name, service, context)
    yield Measured(_SERVICES, {}, "the project and this machine")


def _file_facts(project: Project, name: str, clashes: Mapping[str, str]) -> Iterator[Measured]:
    first_port = list(clashes.values())[:1]
    yield _fact(project, name, "port_clash", list(clashes) or None, "ports", *first_port)
    files = [path for service, path in project.missing_env_files if service == name]
    yield _fact(project, name, "env_files_missing", files or None, "env_file")
    conflicts = [words for service, words in project.conflicts if service == name]
    yield _fact(project, name, "conflict", "; ".join(conflicts) or None)


def _fact(project: Project, service: str, name: str, value: Value, *key: str) -> Measured:
    return Measured(
        (*_SERVICES, service, name), value, source_of(project, ("services", service, *key))
    )


def _compose_version(
    project: Project, context: MeasureContext, environ: Mapping[str, str]
) -> Measured:
    path = ("docker", "compose", "version")
    if project.compose is not None:
        return Measured(path, project.compose, "docker compose is asked for its version")
    if cli.find_compose(environ) is not None:
        return Measured(path, Unknown("docker compose doesn't print its version", "error"))
    if in_container()[0] and context.visibility().path_hidden(_PROGRAMS_DIR):
        return Measured(path, _PROGRAMS_HIDDEN)
    return Measured(path, None, "docker compose is not installed")


def _needs(project: Project) -> Iterator[Measured]:
    need, path = project.need, ("compose", "needs")
    if need is None:
        for name, value in (("version", None), ("feature", None), ("met", True)):
            yield Measured((*path, name), value, "nothing newer than Compose 2.0 is used")
        return
    source = Source.in_file(*need.position)
    feature = f"{need.feature}, used in {need.position.file}:{need.position.line}"
    yield Measured((*path, "version"), need.version, source)
    yield Measured((*path, "feature"), feature, source)
    too_old = project.is_too_old
    unknown = Unknown("the version of docker compose is not known")
    yield Measured((*path, "met"), unknown if too_old is None else not too_old, source)


def _variables(project: Project) -> Iterator[Measured]:
    missing = [
        f"{name} ({' '.join(message.split())})" if message else name
        for name, message in project.missing_variables.items()
    ]
    source = "the files, the environment, .env"
    yield Measured(("compose", "variables", "missing"), missing or None, source)
    unset = list(project.unset_variables)
    yield Measured(("compose", "variables", "unset"), unset or None, source)


def port_clashes(project: Project) -> dict[str, dict[str, str]]:
    """Return by service why it can't publish its ports, each reason with the port in the file."""
    clashes: dict[str, dict[str, str]] = {name: {} for name in project.services}
    published: dict[tuple[str, int], list[PublishedPort]] = {}
    for port in published_ports(project):
        own = clashes[port.service]
        if port.replicas > port.last - port.first + 1:
            own[f"{port.replicas} replicas share {port.with_protocol}"] = port.text
        if port.first != port.last:
            continue  # Docker takes those that are left
        others = published.setdefault((port.protocol, port.first), [])
        for other in others:
            if not addresses_conflict(port.address, other.address):
                continue
            if other.service == port.service:
                own[f"{port.with_protocol} is published twice"] = port.text
                continue
            own[f"{port.with_protocol} is also published by {other.service}"] = port.text
            reason = f"{port.with_protocol} is also published by {port.service}"
            clashes[other.service][reason] = other.text
        others.append(port)
    for name, service in project.services.items():
        if shares_network(service) and service.get("ports"):
            mode = service["network_mode"]
            clashes[name][f"ports can't be published with network_mode {mode}"] = ""
    return clashes


def _gpus(engine: Engine | Unknown, root: Path, environ: Mapping[str, str]) -> Measured:
    path = ("docker", "gpus")
    if isinstance(engine, Unknown):
        return Measured(path, engine)
    runtimes, devices = engine.info.get("Runtimes"), engine.info.get("DiscoveredDevices")
    if isinstance(runtimes, dict) and any("nvidia" in name for name in runtimes):
        return Measured(path, True, "GET /info Runtimes")
    if "nvidia" in str(devices):
        return Measured(path, True, "GET /info DiscoveredDevices")
    hidden = _hidden(engine, _PROGRAMS_DIR)
    if hidden is not None:
        return Measured(path, hidden)
    specified = engine.info.get("CDISpecDirs")
    folders = filter(None, map(text_or_none, specified)) if isinstance(specified, list) else None
    for folder in _CDI_DIRS if folders is None else folders:
        for file in _list_folder(root / folder.lstrip("/")):
            if "nvidia" in file:
                return Measured(path, True, f"{folder}/{file}")
    programs = [*environ.get("PATH", os.defpath).split(os.pathsep), "/usr/bin", "/usr/local/bin"]
    for folder in filter(None, programs):
        for name in _NVIDIA_PROGRAMS:
            if os.access(root / folder.lstrip("/") / name, os.X_OK):
                return Measured(path, True, f"{folder}/{name}")
    return Measured(path, False, "GET /info Runtimes, CDI, the NVIDIA Container Toolkit")


def _hidden(engine: Engine, path: str) -> Unknown | None:
    """Return why a path of the engine's machine isn't visible here, None where it is."""
    hidden = engine.visibility.processes_hidden or engine.visibility.path_hidden(path)
    return _PROGRAMS_HIDDEN if hidden and in_container()[0] else hidden


def _list_folder(folder: Path) -> list[str]:
    try:
        return sorted(os.listdir(folder))
    except (OSError, ValueError):
        return []


def _runs_platform(
    platform: str, engine: Engine | Unknown, root: Path
) -> tuple[bool | Unknown, str]:
    """Return whether an engine runs a platform such as linux/arm64/v8, and the evidence."""
    if isinstance(engine, Unknown):
        return engine, ""
    system, native = (str(engine.version.get(key) or "").lower() for key in ("Os", "Arch"))
    native = _ARCHITECTURES.get(native, native)
    if not system or not native:
        return Unknown("the engine doesn't report its platform: Os or Arch is null or missing"), ""
    first, _, rest = platform.lower().partition("/")
    if not rest and first not in _SYSTEMS:
        first, rest = system, first  # the system may be left out
    wanted = rest.partition("/")[0]
    wanted = _ARCHITECTURES.get(wanted, wanted) or native
    evidence = f"the engine is {system}/{native}"
    if first != system:
        return False, evidence
    if wanted == native or (native, wanted) == ("amd64", "386"):
        return True, evidence
    if engine.name in VIRTUAL_MACHINES and {native, wanted} <= _EMULATED_BY_DESKTOPS:
        return True, f"{evidence}, {engine.name} emulates {wanted}"
    hidden = _hidden(engine, f"/{_BINFMT_DIR}")
    if hidden is not None:
        return hidden, ""
    runs, emulation = _emulated(wanted, root)
    if runs is False and (native, wanted) == ("arm64", "arm"):
        return Unknown("not every 64-bit ARM processor runs 32-bit programs", "unsupported"), ""
    return runs, f"{evidence}, {emulation}"


def _emulated(architecture: str, root: Path) -> tuple[bool | Unknown, str]:
    """Return whether the kernel starts programs of another architecture through QEMU.

    Without the flag F it looks for QEMU inside the container: admin-guide/binfmt-misc.
    """
    qemu = f"qemu-{_QEMU_NAMES.get(architecture, architecture)}"
    for name in (qemu, f"{qemu}-static"):
        try:
            lines = (root / _BINFMT_DIR / name).read_text(errors="replace").splitlines()
        except FileNotFoundError:
            continue
        except OSError as error:
            return Unknown(f"{error.strerror}: {error.filename}", "permission"), ""
        flags = next((line.partition(":")[2] for line in lines if line.startswith("flags:")), "")
        if lines[:1] == ["enabled"] and "F" in flags:
            return True, f"/{_BINFMT_DIR}/{name}"
    return False, f"no {qemu} for containers in /{_BINFMT_DIR}"


def _mounts(
    project: Project, name: str, service: Mapping[str, Any], context: MeasureContext
) -> Iterator[Measured]:
    engine, path_hidden = context.engine_or_unknown(), context.visibility().path_hidden
    podman = isinstance(engine, Engine) and engine.name == "podman"
    paths: dict[str, dict[str, tuple[str, ...]]] = {"mounts_missing": {}, "mounts_created": {}}
    unknown: dict[str, Unknown] = {}
    for path, key, creates in mounted_paths(project, service):
        fact = "mounts_created" if creates or podman else "mounts_missing"
        hidden = path_hidden(path)
        if hidden is not None:
            unknown.setdefault(fact, hidden)
            unknown.setdefault("mounts_missing", hidden)
            continue
        try:
            creatable = _is_creatable(path)
        except OSError as error:
            kind: UnknownKind = "permission" if isinstance(error, PermissionError) else "error"
            unknown.setdefault(fact, Unknown(f"{error.strerror}: {path}", kind))
            continue
        if creatable is not None:
            paths[fact if creatable else "mounts_missing"].setdefault(path, key)
    for fact, keys in paths.items():
        if keys or fact not in unknown:
            key = next(iter(keys.values()), ("volumes",))
            yield _fact(project, name, fact, list(keys) or None, *key)
        else:
            yield Measured((*_SERVICES, name, fact), unknown[fact])


def mounted_paths(
    project: Project, service: Mapping[str, Any]
) -> Iterator[tuple[str, tuple[str, ...], bool]]:
    """Yield each path of this machine that is mounted, its key, and whether Docker creates it."""
    version = project.compose_version
    default = version is None or version >= _CREATES_BY_DEFAULT
    mounted: list[tuple[Any, tuple[str, ...], bool]] = []
    for mount in service.get("volumes") or ():
        bind = mount.get("bind")
        creates = bind is None or str(bind.get("create_host_path", default)).lower() == "true"
        if mount.get("type") == "bind":
            mounted.append((mount.get("source"), ("volumes", str(mount.get("target"))), creates))
    for kind in ("secrets", "configs"):
        defined = project.config.get(kind) or {}
        for item in service.get(kind) or ():
            name = item.get("source") if isinstance(item, dict) else item
            mounted.append(((defined.get(name) or {}).get("file"), (kind,), False))
    for path, key, creates in mounted:
        if os.path.isabs(str(path or "")) and "\0" not in str(path):
            yield str(path), key, creates


def _is_creatable(path: str) -> bool | None:
    """Return None for a path that is there, else whether the folders to it can be made.

    Raises OSError where it can't be determined, for lack of permission.
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
