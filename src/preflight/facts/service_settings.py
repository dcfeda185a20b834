"""Settings of services that Docker or Compose refuses, in their words.

Podman isn't judged: it checks other things. What is said was asked of Compose 2.40.3 and Docker
20.10. Sources: moby, daemon/container.go and daemon_unix.go; runc, libcontainer; Compose,
pkg/compose/create.go.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeAlias

from preflight.facts.collect.context import Engine, Service
from preflight.facts.compose.facts import (
    list_devices,
    list_file_targets,
    parse_text_mapping,
    read_limit_or_reservation,
    read_ulimits,
)
from preflight.facts.compose.project import Project, list_image_names
from preflight.facts.engine.endpoint import EngineError
from preflight.facts.engine.images import ImageFiles
from preflight.facts.engine.kernel_settings import read_sysctl
from preflight.facts.nested_values import get_nested_value

Refusal: TypeAlias = tuple[str, str]  # what is said, and the key in the file

_MIN_UNKNOWN_VERSION = 30  # of Docker: whose names of capabilities and options aren't known here
_CAPABILITIES = """
    ALL AUDIT_CONTROL AUDIT_READ AUDIT_WRITE BLOCK_SUSPEND BPF CHECKPOINT_RESTORE CHOWN
    DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID IPC_LOCK IPC_OWNER KILL LEASE LINUX_IMMUTABLE
    MAC_ADMIN MAC_OVERRIDE MKNOD NET_ADMIN NET_BIND_SERVICE NET_BROADCAST NET_RAW PERFMON SETFCAP
    SETGID SETPCAP SETUID SYSLOG SYS_ADMIN SYS_BOOT SYS_CHROOT SYS_MODULE SYS_NICE SYS_PACCT
    SYS_PTRACE SYS_RAWIO SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG WAKE_ALARM
"""
_ULIMITS = (  # by number, asm-generic/resource.h
    *("cpu", "fsize", "data", "stack", "core", "rss", "nproc", "nofile", "memlock", "as", "locks"),
    *("sigpending", "msgqueue", "nice", "rtprio", "rttime"),
)
_LINUX_SIGNALS = """
    ABRT ALRM BUS CHLD CLD CONT FPE HUP ILL INT IO IOT KILL PIPE POLL PROF PWR QUIT SEGV STKFLT STOP
    SYS TERM TRAP TSTP TTIN TTOU UNUSED URG USR1 USR2 VTALRM WINCH XCPU XFSZ
"""
_SIGNAL_PATTERN = (
    rf"(?i)0*[1-9]\d*|(?:SIG)?(?:{'|'.join(_LINUX_SIGNALS.split())}"
    r"|RTMIN(?:\+\d\d?)?|RTMAX(?:-\d\d?)?)"
)
NAME_PATTERN = "[a-zA-Z0-9][a-zA-Z0-9_.-]"
_MAC_PATTERN = (  # of 6, 8 or 20 bytes, as Go reads them
    r"(?i)(?:[0-9a-f]{2}[:-]){5}(?:(?:[0-9a-f]{2}[:-]){2}|(?:[0-9a-f]{2}[:-]){14})?[0-9a-f]{2}"
    r"|(?:[0-9a-f]{4}\.){2}(?:[0-9a-f]{4}\.|(?:[0-9a-f]{4}\.){7})?[0-9a-f]{4}"
)
_CDI_PATTERN = r"[^/=]+/[^/=]+="
_DEVICE_RULE_PATTERN = r"[acb] (?:\d+|\*):(?:\d+|\*) [rwm]{1,3}"
_SECURITY_OPTIONS = (
    *("label", "apparmor", "seccomp", "no-new-privileges", "systempaths", "writable-cgroups"),
)
_LOG_FILE_OPTIONS = {
    *("cache-compress", "cache-disabled", "cache-max-file", "cache-max-size", "compress", "env"),
    *("env-regex", "labels", "labels-regex", "max-buffer-size", "max-file", "max-size", "mode"),
    "tag",
}
_LOG_SIZE_PATTERN = r"(?i)-1|(?:\d+(?:\.\d*)?|\.\d+) ?(?:[kmgtp]i?b?|b)?"
_DEFAULT_CONTAINER_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def find_service_setting_refusals(service: Service) -> Iterator[Refusal]:
    """Yield what is refused of a service, whatever else runs. Raises EngineError and OSError."""
    engine, config = service.engine, service.config
    yield from _cpu_quota_refusals(config)
    yield from _invalid_value_refusals(config, engine)
    if knows_all_names(engine):
        yield from _unknown_name_refusals(config)
    yield from _seccomp_refusals(config, service.project.folder)
    yield from _path_refusals(config)
    yield from _log_refusals(config)
    if get_nested_value(engine.info, "Swarm.LocalNodeState") != "active":  # else a stack may run it
        yield from _secret_and_config_refusals(service.project, config)
    yield from _newer_engine_refusals(config, engine)
    is_visible = engine.visibility.processes_hidden is None
    yield from _ulimit_refusals(config, service.root if is_visible else None)
    for device in list_devices(config, only_required=True) if is_visible else ():
        path = service.root / device.lstrip("/")
        if not engine.visibility.path_hidden(device) and path.is_file():
            words = f'error gathering device information while adding custom device "{device}"'
            yield f"{words}: not a device node", "devices"
    with suppress(EngineError):  # not here, or no valid name: other rules say so
        image = list_image_names(service.project, service.name)[0]
        yield from _image_refusals(config, engine.api.inspect_image(image), engine)


def knows_all_names(engine: Engine) -> bool:
    """Return whether what isn't listed here is unknown to the engine: newer ones may know it."""
    return engine.is_older_than(_MIN_UNKNOWN_VERSION, default=False)


def is_signal(text: str) -> bool:
    """Return whether Docker knows a signal: by its name or its number, other than 0."""
    return re.fullmatch(_SIGNAL_PATTERN, text) is not None


def _int_or_zero(value: Any) -> int:
    """Return a whole number, 0 for what isn't one: Compose refuses that in its own words."""
    return int(value) if re.fullmatch(r"-?\d{1,20}", str(value)) else 0


def _cpu_quota_refusals(service: Mapping[str, Any]) -> Iterator[Refusal]:
    cpus = read_limit_or_reservation(service, "limits", "cpus")[0]
    period, quota = (_int_or_zero(service.get(key)) for key in ("cpu_period", "cpu_quota"))
    for value, key, noun in ((period, "cpu_period", "Period"), (quota, "cpu_quota", "Quota")):
        if cpus and value > 0:
            yield f"Conflicting options: Nano CPUs and CPU {noun} cannot both be set", key
    if period and not 1000 <= period <= 1_000_000:
        bounds = "less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)"
        yield f"CPU cfs period can not be {bounds}", "cpu_period"
    if 0 < quota < 1000:
        yield "CPU cfs quota can not be less than 1ms (i.e. 1000)", "cpu_quota"


def _invalid_value_refusals(service: Mapping[str, Any], engine: Engine) -> Iterator[Refusal]:
    """Yield what is said to values that have to be one of a list, or of a form."""

    def text(key: str) -> str:
        return str(service.get(key) or "")

    swappiness = text("mem_swappiness")
    is_used = str(engine.info.get("CgroupVersion")) == "1"
    if is_used and swappiness.isdecimal() and int(swappiness) > 100:
        words = f"Invalid value: {swappiness}, valid memory swappiness range is 0-100"
        yield words, "mem_swappiness"
    if (isolation := text("isolation")).lower() not in ("", "default"):
        yield f"Invalid isolation: \"{isolation}\" - linux only supports 'default'", "isolation"
    if (given := text("stop_signal")) and not is_signal(given):
        yield f"Invalid signal: {given}", "stop_signal"
    if (given := text("container_name")) and not re.fullmatch(f"{NAME_PATTERN}+", given):
        words = f"Invalid container name ({given}), only {NAME_PATTERN} are allowed"
        yield words, "container_name"
    policy = text("restart").partition(":")[0]
    if policy not in ("", "no", "always", "unless-stopped", "on-failure"):
        newer = f"invalid restart policy: unknown policy '{policy}'"
        older = f"invalid restart policy '{policy}'"
        yield older if engine.is_older_than(25, default=True) else newer, "restart"
    if (given := text("mac_address")) and not re.fullmatch(_MAC_PATTERN, given):
        yield f"address {given}: invalid MAC address", "mac_address"
    for given in map(str, service.get("device_cgroup_rules") or ()):
        if not re.fullmatch(_DEVICE_RULE_PATTERN, given):
            yield f"invalid device cgroup rule format: '{given}'", "device_cgroup_rules"


def _unknown_name_refusals(service: Mapping[str, Any]) -> Iterator[Refusal]:
    for key, noun in (("cap_add", "CapAdd"), ("cap_drop", "CapDrop")):
        for given in map(str, service.get(key) or ()):
            capability = given.upper().removeprefix("CAP_")
            if capability not in _CAPABILITIES.split():
                yield f'invalid {noun}: unknown capability: "CAP_{capability}"', key
    for given in map(str, service.get("security_opt") or ()):
        if re.split("[=:]", given, maxsplit=1)[0] not in _SECURITY_OPTIONS:
            yield f'invalid --security-opt 2: "{given}"', "security_opt"
    for option in _read_log_file_options(service):
        if option not in _LOG_FILE_OPTIONS:
            yield f"unknown log opt '{option}' for json-file log driver", "logging"


def _seccomp_refusals(service: Mapping[str, Any], folder: str) -> Iterator[Refusal]:
    for given in map(str, service.get("security_opt") or ()):
        option, *values = re.split("[=:]", given, maxsplit=1)
        if option == "seccomp" and values and values[0] not in ("unconfined", "builtin"):
            path = os.path.join(folder, os.path.expanduser(values[0]))
            if not os.path.exists(path):
                profile = f"opening seccomp profile ({values[0]}) failed"
                words = f"{profile}: open {os.path.normpath(path)}: no such file or directory"
                yield words, "security_opt"


def _path_refusals(service: Mapping[str, Any]) -> Iterator[Refusal]:
    """Yield what is said to paths in the container that aren't absolute."""
    folder = str(service.get("working_dir") or "/")
    if not folder.startswith("/"):
        words = f"the working directory '{folder}' is invalid, it needs to be an absolute path"
        yield words, "working_dir"
    tmpfs = service.get("tmpfs") or ()
    tmpfs = [tmpfs] if isinstance(tmpfs, str) else tmpfs
    targets = [(str(item).partition(":")[0], "tmpfs") for item in tmpfs]
    targets += [(str(mount.get("target")), "volumes") for mount in service.get("volumes") or ()]
    for target, key in targets:
        if not target.startswith("/"):
            yield f"invalid mount path: '{target}' mount path must be absolute", key
        elif not target.strip("/"):
            yield "invalid specification: destination can't be '/'", key


def _read_log_file_options(service: Mapping[str, Any]) -> Mapping[str, Any]:
    is_asked = get_nested_value(service, "logging.driver") == "json-file"
    options = get_nested_value(service, "logging.options")
    return options if is_asked and isinstance(options, Mapping) else {}


def _log_refusals(service: Mapping[str, Any]) -> Iterator[Refusal]:
    options = _read_log_file_options(service)
    size, number = (str(options.get(key) or "") for key in ("max-size", "max-file"))
    if size and not re.fullmatch(_LOG_SIZE_PATTERN, size):
        yield f"invalid size: '{size}'", "logging"
    if re.fullmatch(r"0|-\d+", number):
        yield "max-file cannot be less than 1", "logging"


def _secret_and_config_refusals(project: Project, service: Mapping[str, Any]) -> Iterator[Refusal]:
    """Yield what Compose says to secrets and configs that it can't make."""
    for kind in ("secret", "config"):
        defined = project.config.get(f"{kind}s") or {}
        for item in service.get(f"{kind}s") or ():
            key = str(item.get("source") if isinstance(item, Mapping) else item)
            given = defined.get(key) or {}
            if given.get("external"):
                yield f"unsupported external {kind} {given.get('name') or key}", f"{kind}s"


def _newer_engine_refusals(service: Mapping[str, Any], engine: Engine) -> Iterator[Refusal]:
    """Yield what Compose says to what needs a newer engine."""
    is_before_25, is_before_28 = (engine.is_older_than(n, default=False) for n in (25, 28))
    if get_nested_value(service, "healthcheck.start_interval") and is_before_25:
        feature = "can't set healthcheck.start_interval as feature"
        yield f"{feature} require Docker Engine v25 or later", "healthcheck"
    for device in service.get("devices") or ():
        source = str(device.get("source") if isinstance(device, Mapping) else device)
        if is_before_25 and re.match(_CDI_PATTERN, source):
            yield 'could not select device driver "cdi" with capabilities: []', "devices"
    types = [mount.get("type") for mount in service.get("volumes") or ()]
    if "image" in types and is_before_28:
        yield "volume with type=image require Docker Engine v28 or later", "volumes"


def _ulimit_refusals(service: Mapping[str, Any], root: Path | None) -> Iterator[Refusal]:
    """Yield what the runtime says; `root` is None if the engine's kernel isn't visible."""
    limits = read_ulimits(service)
    for name in dict.fromkeys(name for name, _ in limits):
        lower = name.lower()  # the engine ignores case
        if lower not in _ULIMITS:
            yield f"wrong rlimit value: RLIMIT_{name.upper()}", "ulimits"
            continue
        soft, hard = (limits.get((name, bound), 0) % 2**64 for bound in ("soft", "hard"))
        words = f"error setting rlimit type {_ULIMITS.index(lower)}"
        if soft > hard:
            yield f"{words}: invalid argument", "ulimits"
        elif lower == "nofile" and root and hard > int(read_sysctl("fs.nr_open", root) or hard):
            yield f"{words}: operation not permitted", "ulimits"


def _image_refusals(
    service: Mapping[str, Any], inspected: Mapping[str, Any], engine: Engine
) -> Iterator[Refusal]:
    """Yield what is said to a user or a program that the image, which is here, doesn't have."""
    policy = service.get("pull_policy") or "missing"
    if service.get("build") or policy not in ("missing", "if_not_present", "never"):
        return  # another image takes its place
    entrypoint, command = service.get("entrypoint"), service.get("command")
    if not entrypoint:
        command = command or get_nested_value(inspected, "Config.Cmd")
    if entrypoint is None:
        entrypoint = get_nested_value(inspected, "Config.Entrypoint")
    words = [*(entrypoint or ()), *(command or ())]
    if not words:
        yield "No command specified", "image"
        return
    files = ImageFiles(inspected, engine.visibility.path_hidden)
    if files.unknown is None:
        environment = parse_text_mapping(get_nested_value(inspected, "Config.Env"))
        environment |= parse_text_mapping(service.get("environment"))
        yield from _user_refusals(service, files)
        search_path = environment.get("PATH") or _DEFAULT_CONTAINER_PATH
        yield from _program_refusals(str(words[0]), search_path, service, files)


def _user_refusals(service: Mapping[str, Any], files: ImageFiles) -> Iterator[Refusal]:
    user, _, group = str(service.get("user") or "").partition(":")
    names = [(user, "user", "user", "passwd"), (group, "user", "group", "group")]
    names += [(str(name), "group_add", "group", "group") for name in service.get("group_add") or ()]
    for given, key, noun, file in names:
        if given and not given.isdecimal():
            rows = files.read_text(f"/etc/{file}").splitlines()
            if given not in [row.partition(":")[0] for row in rows]:
                verb = "Unable" if key == "group_add" else "unable"
                yield f"{verb} to find {noun} {given}: no matching entries in {file} file", key


def _program_refusals(
    program: str, search_path: str, service: Mapping[str, Any], files: ImageFiles
) -> Iterator[Refusal]:
    """Yield what the runtime says to a program that isn't there or can't be executed."""
    if service.get("volumes_from") or ("/" in program and not program.startswith("/")):
        return  # it is in the working directory, or may be in another container's volume
    mounts = {str(mount.get("target")): mount for mount in service.get("volumes") or ()}
    for target in list_file_targets(service):
        mounts.setdefault(target, {})
    refused = f'exec: "{program}"'
    if (mount := mounts.get(program)) is not None:
        source = str(mount.get("source"))
        is_file = mount.get("type") == "bind" and os.path.isfile(source)
        if is_file and not os.stat(source).st_mode & 0o111:
            yield f"{refused}: permission denied", "volumes"
        return
    folders = [""] if program.startswith("/") else search_path.split(":")
    paths = [os.path.join(folder, program) for folder in folders]
    if any(f"{path}/".startswith(f"{target.rstrip('/')}/") for path in paths for target in mounts):
        return  # what is mounted may have it
    found = [status for path in paths if (status := files.stat(path)) is not None]
    if not found:
        reason = f"stat {program}: no such file or directory"
        if not program.startswith("/"):
            reason = "executable file not found in $PATH"
        yield f"{refused}: {reason}", "command"
    elif not any(status.st_mode & 0o111 for status in found):
        yield f"{refused}: permission denied", "command"
