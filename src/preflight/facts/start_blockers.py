"""What Compose or the engine will refuse: what each service asks for, compared with the machine.

The facts of the ports are in `ports`. What Compose and the engine do in each case was tried with
Compose 2.40.3, Docker 20.10 and Podman 4.3.1.
"""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeAlias

from preflight.facts.collect.context import Engine, MeasurementContext, Service, run_service_readers
from preflight.facts.compose import cli
from preflight.facts.compose.project import (
    Project,
    find_setting_source,
    list_service_secrets_and_configs,
)
from preflight.facts.engine.host_visibility import VM_ENGINE_SIGNS, is_in_container
from preflight.facts.nested_values import make_unreported_unknown, text_or_none
from preflight.facts.ports import (
    PublishedPort,
    addresses_conflict,
    list_published_ports,
)
from preflight.model.facts import (
    Measured,
    NotMeasuredError,
    Source,
    Unknown,
    make_unknown_from_error,
    measure_fact,
    require_visible,
)

# path, key of the service, whether the engine creates it
MountedPath: TypeAlias = tuple[str, tuple[str, ...], bool]

_COMPOSE_VERSION_FACT_PATH = ("docker", "compose", "version")
# from this Compose on create_host_path is true where `bind` doesn't say
_MIN_COMPOSE_VERSION_CREATING_HOST_PATH = (5,)
_SERVICE_KEYS_NEVER_REFUSED = {
    *("annotations", "build", "dns", "environment", "expose", "extra_hosts", "hostname", "image"),
    *("init", "labels", "mem_limit", "networks", "platform", "pull_policy", "stdin_open", "tty"),
}
_CONTAINER_TOOLKIT_DIRS = ("/usr/bin", "/usr/local/bin")
# nobody should mount the host's programs over those of the container
_PROGRAMS_HIDDEN_REASON = Unknown(
    "the host's programs aren't visible inside this container", "unsupported"
)
_NVIDIA_TOOLKIT_PROGRAMS = ("nvidia-container-runtime-hook", "nvidia-container-toolkit")
_CDI_DIRS = ["/etc/cdi", "/var/run/cdi"]
_BINFMT_DIR = "/proc/sys/fs/binfmt_misc"
_ARCHITECTURES_OF_DESKTOP_VMS = {"amd64", "arm64"}
_PLATFORM_OPERATING_SYSTEMS = {"linux", "windows", "darwin", "freebsd"}
_ARCHITECTURE_BY_ALIAS = {
    "x86_64": "amd64", "x86-64": "amd64", "aarch64": "arm64", "armhf": "arm", "i386": "386",
}  # fmt: skip
_QEMU_NAME_BY_ARCHITECTURE = {
    "amd64": "x86_64", "arm64": "aarch64", "386": "i386", "mips64le": "mips64el",
}  # fmt: skip
_SWARM_ONLY_DEPLOY_KEYS = ("placement", "update_config", "rollback_config", "endpoint_mode")


def measure_start_blockers(
    context: MeasurementContext,
    project: Project,
    root: Path = Path("/"),
    environ: Mapping[str, str] = os.environ,
) -> Iterator[Measured]:
    """Yield the facts of the files, then the engine's, last what a dead network disk can block."""
    yield measure_fact(_COMPOSE_VERSION_FACT_PATH, _find_compose_version, project, context, environ)
    yield from _measure_compose_requirements(project)
    yield from _measure_compose_refusals(project)
    yield measure_fact(("docker", "gpus"), _can_provide_gpus, context, root, environ)
    yield from run_service_readers(
        context, project, root, ((_measure_platform_support, "platform_runs"),)
    )
    if _can_engine_refuse_project(project):
        from preflight.facts import service_refusals

        yield from service_refusals.measure_refusals(context, project, root)
    for kind in ("networks", "volumes"):
        yield Measured(("start", kind), {}, "those that need more than the engine's default driver")
    yield from run_service_readers(
        context, project, root, ((_measure_missing_mount_sources, "mounts_missing"),)
    )
    if any(service.get("build") for service in project.services.values()):
        from preflight.facts.builds import build_facts

        yield from build_facts.measure_builds(context, project, environ)
    if any(service.get("image") for service in project.services.values()):
        from preflight.facts import images

        for fact in images.measure_images(context, project, environ):
            yield fact
            if fact.path[-1] == "platform":
                path = (*fact.path[:-1], "platform_runs")
                is_known = isinstance(fact.value, str)
                arguments = (can_run_platform, fact.value, context, root)
                yield measure_fact(path, *arguments) if is_known else Measured(path, fact.value)
    yield Measured(("start", "services"), {}, "the project and this machine")


def _can_engine_refuse_project(project: Project) -> bool:
    """Whether a service asks for more than an image, memory and its own network."""
    keys = {key for service in project.services.values() for key, value in service.items() if value}
    plain_networks = {"default": {"name": f"{project.name}_default", "ipam": {}}}
    networks = project.config.get("networks") or plain_networks
    return not keys <= _SERVICE_KEYS_NEVER_REFUSED or networks != plain_networks


def _find_compose_version(
    project: Project, context: MeasurementContext, environ: Mapping[str, str]
) -> tuple[str | None, str]:
    if project.compose is not None:
        return project.compose, "docker compose is asked for its version"
    if cli.find_compose_program(environ) is not None:
        raise NotMeasuredError("'docker compose' doesn't print its version", "error")
    # in a container, what is installed on its host counts
    if is_in_container()[0] and context.find_visibility().path_hidden(_CONTAINER_TOOLKIT_DIRS[0]):
        raise NotMeasuredError(*_PROGRAMS_HIDDEN_REASON)
    return None, "docker compose is not installed"


def _measure_compose_requirements(project: Project) -> Iterator[Measured]:
    need, is_too_old = project.newest_needed_feature, project.is_too_old
    version, feature, source = None, None, Source("nothing newer than Compose 2.0 is used")
    if need is not None:
        version, source = need.version, Source.in_file(*need.position)
        feature = f"{need.feature}, used in {need.position.file}:{need.position.line}"
    yield Measured(("compose", "needs", "version"), version, source)
    yield Measured(("compose", "needs", "feature"), feature, source)
    unknown = Unknown("the version of Docker Compose is unknown")
    yield Measured(
        ("compose", "needs", "met"), unknown if is_too_old is None else not is_too_old, source
    )
    missing = [
        f"{name} ({' '.join(message.split())})" if message else name
        for name, message in project.missing_variables.items()
    ]
    first = [
        f"required variable {name} is missing a value: {message}"
        for name, message in project.missing_variables.items()
    ][:1]
    for name, variables in (
        ("missing", missing),
        ("refused", "".join(first).removesuffix(": ")),
        ("unset", [v for v in project.unset_variables if v not in project.missing_variables]),
    ):
        source = Source("the files, the environment, .env")
        yield Measured(("compose", "variables", name), variables or None, source)


def _measure_compose_refusals(project: Project) -> Iterator[Measured]:
    clashes = find_port_clashes_within_project(project)
    env_files, conflicts = defaultdict(list), defaultdict(list)
    for service, file in project.missing_env_files:
        env_files[service].append(file)
    for service, words in project.conflicts:
        conflicts[service].append(words)
    for name in project.services:
        first_port = list(clashes[name].values())[:1]
        for fact, value, key in (
            ("port_clash", list(clashes[name]), ("ports", *first_port)),
            ("env_files_missing", env_files[name], ("env_file",)),
            ("conflict", "; ".join(conflicts[name]), ()),
        ):
            source = find_setting_source(project, ("services", name, *key))
            yield Measured(("start", "services", name, fact), value or None, source)


def _measure_platform_support(service: Service) -> Iterator[Measured]:
    platform, runs, evidence = str(service.config.get("platform") or ""), None, ""
    has_shim = service.config.get("runtime") and platform.startswith("wasi")  # as `runtime` judges
    if platform and not has_shim:
        runs, evidence = can_run_platform(platform, service.context, service.root)
    yield service.make_fact("platform_runs", runs, "platform", evidence=evidence)


def find_port_clashes_within_project(project: Project) -> dict[str, dict[str, str]]:
    """Return by service why it can't publish its ports, each reason with the port in the file."""
    clashes: dict[str, dict[str, str]] = {name: {} for name in project.services}
    published: dict[tuple[str, int], list[PublishedPort]] = defaultdict(list)
    for port in list_published_ports(project):
        text = port.with_protocol
        deploy = project.services[port.service].get("deploy") or {}
        is_for_swarm = any(map(deploy.get, _SWARM_ONLY_DEPLOY_KEYS))  # where replicas share ports
        if port.replicas > port.last - port.first + 1 and not is_for_swarm:
            clashes[port.service][f"{port.replicas} replicas share {text}"] = port.text
        if port.first != port.last:
            continue  # Docker takes those that are left
        others = published[port.protocol, port.first]
        for other in others:
            if not addresses_conflict(port.address, other.address):
                continue
            if other.service == port.service:
                clashes[port.service][f"{text} is published twice"] = port.text
            else:
                for own, by in ((port, other), (other, port)):
                    reason = f"{text} is also published by {by.service}"
                    clashes[own.service][reason] = own.text
        others.append(port)
    return clashes


def _can_provide_gpus(
    context: MeasurementContext, root: Path, environ: Mapping[str, str]
) -> tuple[bool, str]:
    """Return whether the engine can give containers a GPU of NVIDIA, and the evidence.

    Docker looks for the program of the NVIDIA Container Toolkit on its PATH.
    """
    engine = context.engine()
    for key in ("Runtimes", "DiscoveredDevices"):
        if "nvidia" in str(engine.info.get(key)):
            return True, f"GET /info {key}"
    _require_visible_path(engine, _CONTAINER_TOOLKIT_DIRS[0])
    cdi_dirs = engine.info.get("CDISpecDirs")
    cdi_dirs = list(map(text_or_none, cdi_dirs)) if isinstance(cdi_dirs, list) else _CDI_DIRS
    places = [(folder, "*nvidia*", os.F_OK) for folder in cdi_dirs]
    for folder in (*environ.get("PATH", "").split(os.pathsep), *_CONTAINER_TOOLKIT_DIRS):
        places += [(folder, program, os.X_OK) for program in _NVIDIA_TOOLKIT_PROGRAMS]
    for folder, pattern, mode in places:
        for file in (root / folder.lstrip("/")).glob(pattern) if folder else ():
            if os.access(file, mode):
                return True, f"{folder}/{file.name}"
    return False, "GET /info Runtimes, CDI, the NVIDIA Container Toolkit"


def _require_visible_path(engine: Engine, path: str) -> None:
    """Raise NotMeasuredError if a path of the engine's machine isn't visible here."""
    hidden = engine.visibility.processes_hidden or engine.visibility.path_hidden(path)
    require_visible(_PROGRAMS_HIDDEN_REASON if hidden and is_in_container()[0] else hidden)


def can_run_platform(platform: str, context: MeasurementContext, root: Path) -> tuple[bool, str]:
    """Return whether the engine runs a platform such as linux/arm64/v8, and the evidence.

    Raises NotMeasuredError.
    """
    engine = context.engine()
    system, native = (str(engine.version.get(key) or "").lower() for key in ("Os", "Arch"))
    if not system or not native:
        raise NotMeasuredError(*make_unreported_unknown("Os or Arch"))
    first, _, rest = platform.lower().partition("/")
    if not rest and first not in _PLATFORM_OPERATING_SYSTEMS:
        first, rest = system, first  # the system may be left out
    wanted = rest.partition("/")[0] or native
    native, wanted = (_ARCHITECTURE_BY_ALIAS.get(name, name) for name in (native, wanted))
    evidence = f"the engine is {system}/{native}"
    if first in ("wasi", "wasip1"):
        raise NotMeasuredError("WebAssembly needs a separate runtime", "unsupported")
    if first != system:
        return False, evidence
    if wanted == native or (native, wanted) == ("amd64", "386"):
        return True, evidence
    if engine.name in VM_ENGINE_SIGNS and {native, wanted} <= _ARCHITECTURES_OF_DESKTOP_VMS:
        return True, f"{evidence}, {engine.name} emulates {wanted}"
    _require_visible_path(engine, _BINFMT_DIR)
    # without the flag F the kernel looks for QEMU inside the container: admin-guide/binfmt-misc
    qemu = f"qemu-{_QEMU_NAME_BY_ARCHITECTURE.get(wanted, wanted)}"
    for name in (qemu, f"{qemu}-static"):
        with suppress(FileNotFoundError):
            text = (root / _BINFMT_DIR.lstrip("/") / name).read_text(errors="replace")
            if re.search(r"\Aenabled\n(.*\n)*flags:.*F", text):
                return True, f"{evidence}, {_BINFMT_DIR}/{name}"
    if (native, wanted) == ("arm64", "arm"):
        reason = "not every 64-bit ARM processor runs 32-bit programs"
        raise NotMeasuredError(reason, "unsupported")
    return False, f"{evidence}, no {qemu} for containers in {_BINFMT_DIR}"


def _measure_missing_mount_sources(service: Service) -> Iterator[Measured]:
    """Yield the paths that Docker refuses to mount, and those that it makes empty folders of."""
    engine = service.context.engine_or_unknown()
    is_podman = isinstance(engine, Engine) and engine.name == "podman"
    path_hidden = service.context.find_visibility().path_hidden
    paths: dict[str, dict[str, tuple[str, ...]]] = {"mounts_missing": {}, "mounts_created": {}}
    unknown: dict[str, Unknown] = {}
    for path, key, creates in list_mounted_paths(
        service.project, service.config, always_created=is_podman
    ):
        fact = "mounts_created" if creates else "mounts_missing"
        hidden = path_hidden(path)
        try:
            if hidden is None:
                os.stat(path)
        except FileNotFoundError:  # where there is a link, no folder can be made
            paths["mounts_missing" if os.path.islink(path) else fact].setdefault(path, key)
        except NotADirectoryError:
            paths["mounts_missing"].setdefault(path, key)
        except OSError as error:
            hidden = make_unknown_from_error(error)
        if hidden is not None:
            unknown.setdefault(fact, hidden)
            unknown.setdefault("mounts_missing", hidden)
    created = paths["mounts_created"]
    paths["files_created"] = {path: created[path] for path in created if _has_file_extension(path)}
    unknown |= {"files_created": unknown["mounts_created"]} if "mounts_created" in unknown else {}
    for fact, keys in paths.items():
        key = next(iter(keys.values()), ("volumes",))
        yield service.make_fact(fact, list(keys) or unknown.get(fact), *key)


def _has_file_extension(path: str) -> bool:
    """Return whether a path ends as files do, such as nginx.conf or docker.sock."""
    return re.fullmatch(r"\.(?!d$)[a-z]{2,8}[0-9]?", os.path.splitext(path)[1].lower()) is not None


def list_mounted_paths(
    project: Project, service: Mapping[str, Any], *, always_created: bool = False
) -> Iterator[MountedPath]:
    """Yield each path of this machine that is mounted."""
    version = project.compose_version
    default = version is None or version >= _MIN_COMPOSE_VERSION_CREATING_HOST_PATH
    mounted: list[tuple[Any, tuple[str, ...], bool]] = []
    for mount in service.get("volumes") or ():
        bind = mount.get("bind")
        creates = bind is None or str(bind.get("create_host_path", default)).lower() == "true"
        if mount.get("type") == "bind":
            mounted.append((mount.get("source"), ("volumes", str(mount.get("target"))), creates))
    for kind, _, given in list_service_secrets_and_configs(project, service):
        mounted.append((given.get("file"), (f"{kind}s",), False))
    for path, key, creates in mounted:
        if os.path.isabs(str(path or "")) and "\0" not in str(path):
            yield str(path), key, creates or always_created
