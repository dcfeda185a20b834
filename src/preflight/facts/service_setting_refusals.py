"""Settings of services that Docker or Compose refuses, in their words.

Podman isn't judged: it checks other things. What is said was asked of Compose 2.40.3 and Docker
20.10. Sources: moby, daemon/container.go and daemon_unix.go; runc, libcontainer; Compose,
pkg/compose/create.go.
"""

from __future__ import annotations

import errno
import ipaddress
import json
import os
import re
import socket
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from preflight.facts.collect.context import Engine, Service
from preflight.facts.compose.compose_facts import (
    count_replicas,
    list_requested_host_devices,
    parse_service_ulimits,
    read_limit_or_reservation,
)
from preflight.facts.compose.project import (
    Project,
    list_service_image_names,
    list_service_secrets_and_configs,
)
from preflight.facts.engine.api import list_own_container_names
from preflight.facts.engine.endpoint import EngineError
from preflight.facts.engine.host_visibility import VM_ENGINE_SIGNS
from preflight.facts.engine.kernel_settings import read_container_ulimit_ceilings, read_sysctl
from preflight.facts.log_option_refusals import find_log_option_refusals
from preflight.facts.mount_refusals import find_mount_option_refusals
from preflight.facts.nested_values import get_nested_list, get_nested_object, get_nested_value
from preflight.facts.networks_and_volumes import subnets_overlap
from preflight.facts.ports import list_published_ports
from preflight.facts.user_and_program_refusals import Refusal, find_user_and_program_refusals
from preflight.model.facts import NotMeasuredError

_MIN_UNKNOWN_ENGINE_VERSION = (
    29  # of Docker: whose names of capabilities and options aren't known here
)
_LINUX_CAPABILITIES = """
    ALL AUDIT_CONTROL AUDIT_READ AUDIT_WRITE BLOCK_SUSPEND BPF CHECKPOINT_RESTORE CHOWN
    DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID IPC_LOCK IPC_OWNER KILL LEASE LINUX_IMMUTABLE
    MAC_ADMIN MAC_OVERRIDE MKNOD NET_ADMIN NET_BIND_SERVICE NET_BROADCAST NET_RAW PERFMON SETFCAP
    SETGID SETPCAP SETUID SYSLOG SYS_ADMIN SYS_BOOT SYS_CHROOT SYS_MODULE SYS_NICE SYS_PACCT
    SYS_PTRACE SYS_RAWIO SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG WAKE_ALARM
"""
_ULIMIT_NAMES = (  # by number, asm-generic/resource.h
    *("cpu", "fsize", "data", "stack", "core", "rss", "nproc", "nofile", "memlock", "as", "locks"),
    *("sigpending", "msgqueue", "nice", "rtprio", "rttime"),
)
_LINUX_SIGNALS = """
    ABRT ALRM BUS CHLD CLD CONT FPE HUP ILL INT IO IOT KILL PIPE POLL PROF PWR QUIT SEGV STKFLT STOP
    SYS TERM TRAP TSTP TTIN TTOU UNUSED URG USR1 USR2 VTALRM WINCH XCPU XFSZ
"""
_SIGNAL_NAME_OR_NUMBER_PATTERN = (
    rf"(?i)0*[1-9]\d*|(?:SIG)?(?:{'|'.join(_LINUX_SIGNALS.split())}"
    r"|RTMIN(?:\+\d\d?)?|RTMAX(?:-\d\d?)?)"
)
DOCKER_NAME_PATTERN = "[a-zA-Z0-9][a-zA-Z0-9_.-]"
_MAC_ADDRESS_PATTERN = (  # of 6, 8 or 20 bytes, as Go reads them
    r"(?i)(?:[0-9a-f]{2}[:-]){5}(?:(?:[0-9a-f]{2}[:-]){2}|(?:[0-9a-f]{2}[:-]){14})?[0-9a-f]{2}"
    r"|(?:[0-9a-f]{4}\.){2}(?:[0-9a-f]{4}\.|(?:[0-9a-f]{4}\.){7})?[0-9a-f]{4}"
)
# key, the values that are accepted, and what is said to others
_SETTING_VALUE_RULES: tuple[tuple[str, str, str], ...] = (
    ("isolation", "(?i)default", "Invalid isolation: \"{}\" - linux only supports 'default'"),
    ("stop_signal", _SIGNAL_NAME_OR_NUMBER_PATTERN, "Invalid signal: {}"),
    ("shm_size", "(?!-).*", "SHM size can not be less than 0"),
    (
        "container_name",
        f"/?{DOCKER_NAME_PATTERN}+",
        f"Invalid container name ({{}}), only {DOCKER_NAME_PATTERN} are allowed",
    ),
    ("mac_address", _MAC_ADDRESS_PATTERN, "address {}: invalid MAC address"),
    (
        "device_cgroup_rules",
        r"[acb] (?:\d+|\*):(?:\d+|\*) [rwm]{1,3}",
        "invalid device cgroup rule format: '{}'",
    ),
    ("hostname", ".{1,64}", "sethostname: invalid argument"),
    ("ipc", "none|private|shareable|host|container:.+|service:.+", "Invalid IPC mode: {}"),
    ("security_opt", "no-new-privileges|.*[=:].*", 'invalid security-opt: "{}"'),
    ("security_opt", r"(?!no-new-privileges[=:]).*|.*[=:](?i:t|f|true|false|0|1)",
     'invalid --security-opt 2: "{}"'),
    *(
        (f"healthcheck.{key}", r"(?!-|[1-9]\d{0,2}(?:\.\d+)?[uµ]s$|[1-9]\d{0,5}ns$).*",
         f"{name} in Healthcheck cannot be less than 1ms")
        for key, name in (("interval", "Interval"), ("timeout", "Timeout"),
                          ("start_period", "StartPeriod"))
    ),
)  # fmt: skip
_DEVICE_DRIVERS = ("nvidia", "amd", "cdi")
_DEVICE_CAPABILITIES = {
    *("gpu", "nvidia", "amd", "compute", "compat32", "graphics", "utility", "video", "display"),
    "ngx",
}
_NAMESPACE_BY_KEY = {"network_mode": "network", "pid": "PID", "ipc": "IPC"}
_CDI_DEVICE_PREFIX_PATTERN = r"[^/=]+/[^/=]+="
_SECURITY_OPT_NAMES = (
    *("label", "apparmor", "seccomp", "no-new-privileges", "systempaths", "writable-cgroups"),
)


def find_service_setting_refusals(service: Service) -> Iterator[Refusal]:
    """Yield what is refused of a service, whatever else runs. Raises EngineError and OSError."""
    engine, config = service.engine, service.config
    yield from _find_cpu_quota_refusals(config)
    yield from _find_invalid_value_refusals(config, engine)
    if is_engine_version_covered(engine):
        yield from _find_security_setting_refusals(config)
        yield from _find_device_request_refusals(config)
    yield from _find_seccomp_refusals(config, service.project.folder)
    yield from find_mount_option_refusals(config, engine)
    log_refusals = find_log_option_refusals(
        config, engine, is_engine_version_covered=is_engine_version_covered(engine)
    )
    yield from ((words, "logging") for words in log_refusals)
    yield from _find_network_mode_conflicts(config, engine)
    yield from _find_published_address_refusals(service)
    if not engine.is_in_swarm:  # else a stack may run it
        yield from _find_secret_and_config_refusals(service.project, config)
    yield from _find_newer_engine_refusals(config, engine)
    yield from _find_joined_namespace_refusals(service)
    is_visible = engine.visibility.processes_hidden is None
    yield from _find_ulimit_refusals(service, is_visible=is_visible)
    for device in list_requested_host_devices(config, only_required=True) if is_visible else ():
        path = service.root / device.lstrip("/")
        exists = not engine.visibility.path_hidden(device) and path.exists()
        if exists and not any(map(_is_device_node, (path, *path.rglob("*")))):
            words = f'error gathering device information while adding custom device "{device}"'
            yield f"{words}: not a device node", "devices"
    with suppress(EngineError):  # not here, or no valid name: other rules say so
        image = list_service_image_names(service.project, service.name)[0]
        yield from find_user_and_program_refusals(config, engine.api.inspect_image(image), engine)


def _is_device_node(path: Path) -> bool:
    return path.is_char_device() or path.is_block_device()


def is_engine_version_covered(engine: Engine) -> bool:
    """Return whether what isn't listed here is unknown to the engine: newer ones may know it."""
    return engine.is_older_than(_MIN_UNKNOWN_ENGINE_VERSION, default=False)


def is_signal(text: str) -> bool:
    """Return whether Docker knows a signal: by its name or its number, other than 0."""
    return re.fullmatch(_SIGNAL_NAME_OR_NUMBER_PATTERN, text) is not None


def _int_or_zero(value: Any) -> int:
    """Return a whole number, 0 for what isn't one: Compose refuses that in its own words."""
    return int(value) if re.fullmatch(r"-?\d{1,20}", str(value)) else 0


def _find_cpu_quota_refusals(service: Mapping[str, Any]) -> Iterator[Refusal]:
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


def _find_invalid_value_refusals(service: Mapping[str, Any], engine: Engine) -> Iterator[Refusal]:
    """Yield what is said to values that have to be one of a list, or of a form."""
    for key, accepted, message in _SETTING_VALUE_RULES:
        value = get_nested_value(service, key)
        for given in map(str, value if isinstance(value, list) else [value or ""]):
            if given and not re.fullmatch(accepted, given):
                yield message.format(given), key.partition(".")[0]
    swappiness = str(service.get("mem_swappiness") or "")
    is_used = str(engine.info.get("CgroupVersion")) == "1"
    if is_used and not -1 <= _int_or_zero(swappiness) <= 100:
        words = f"Invalid value: {swappiness}, valid memory swappiness range is 0-100"
        yield words, "mem_swappiness"
    for key, policy, count in _list_restart_policies(service, engine):
        yield from ((words, key) for words in _find_restart_policy_refusals(policy, count, engine))
    for given in map(str, service.get("extra_hosts") or ()):
        address = re.split("[=:]", given, maxsplit=1)[-1].strip("[]")
        if address != "host-gateway" and not is_ip_address(address):
            yield f'invalid IP address in add-host: "{address}"', "extra_hosts"
    for key in ("device_read_bps", "device_read_iops", "device_write_bps", "device_write_iops"):
        for device in get_nested_value(service, f"blkio_config.{key}") or ():
            path = str(device.get("path") or device.get("Path") or "/")
            if engine.visibility.path_hidden(path) is None and not os.path.exists(path):
                yield f"stat {path}: no such file or directory", "blkio_config"


def _find_network_mode_conflicts(service: Mapping[str, Any], engine: Engine) -> Iterator[Refusal]:
    """Yield what is said to settings of a network that isn't the container's own."""
    mode = str(service.get("network_mode") or "").partition(":")[0]
    is_joined = mode in ("container", "service")
    is_before_25 = engine.is_older_than(25, default=False)
    for key, is_refused, words in (
        ("hostname", is_joined, "hostname and the network mode"),
        ("dns", is_joined, "dns and the network mode"),
        ("extra_hosts", is_joined, "custom host-to-IP mapping and the network mode"),
        ("expose", is_joined, "port exposing and the container type network mode"),
        ("ports", is_joined, "port publishing and the container type network mode"),
        ("links", is_joined, "container type network can't be used with links"),
        ("links", mode == "host", "host type networking can't be used with links"),
        ("mac_address", is_before_25 and (is_joined or mode == "host"),
         "mac-address and the network mode"),
        ("hostname", service.get("uts") == "host", "hostname and the UTS mode"),
    ):  # fmt: skip
        if is_refused and service.get(key):
            yield f"conflicting options: {words}", key


def _find_published_address_refusals(service: Service) -> Iterator[Refusal]:
    """Yield what is said to a port that is published on an address that this machine hasn't."""
    engine = service.engine
    if engine.visibility.network_hidden or engine.name in VM_ENGINE_SIGNS:
        return
    only_this = service.project._replace(config={"services": {service.name: service.config}})
    networks = get_nested_object(service.project.config, "networks").values()
    pools = [pool for row in networks for pool in get_nested_list(row, "ipam.config")]
    for port in list_published_ports(only_this):
        is_in_own_network = any(
            subnets_overlap(str(pool.get("subnet")), port.address) for pool in pools
        )
        is_ipv4 = is_ip_address(port.address) and ":" not in port.address
        if is_in_own_network or not is_ipv4:
            continue  # Compose makes the network first
        try:
            with socket.socket(type=socket.SOCK_DGRAM) as attempt:
                attempt.bind((port.address, 0))
        except OSError as error:
            if error.errno == errno.EADDRNOTAVAIL:
                words = f"listen {port.protocol}4 {port.address}:{port.first}: bind"
                if not engine.is_older_than(28, default=True):
                    words = f"failed to bind host port {port.address}:{port.first}/{port.protocol}"
                yield f"{words}: cannot assign requested address", "ports"


def _list_restart_policies(
    service: Mapping[str, Any], engine: Engine
) -> Iterator[tuple[str, str, str]]:
    """Yield the key, the policy and the number of retries; those of a Swarm's are its own."""
    policy, _, count = str(service.get("restart") or "").partition(":")
    deploy = get_nested_value(service, "deploy.restart_policy") or {}
    if not deploy:
        yield "restart", policy, count
    elif not engine.is_in_swarm:
        yield "deploy", str(deploy.get("condition") or ""), str(deploy.get("max_attempts") or "")


def _find_restart_policy_refusals(policy: str, count: str, engine: Engine) -> Iterator[str]:
    policy = {"any": "always", "none": "no"}.get(policy, policy)  # as Compose does
    count = count if re.fullmatch(r"[-+]?\d+", count) else ""
    is_before_25 = engine.is_older_than(25, default=True)
    prefix = "" if is_before_25 else "invalid restart policy: "
    if policy not in ("", "no", "always", "unless-stopped", "on-failure"):
        older = f"invalid restart policy '{policy}'"
        yield older if is_before_25 else f"{prefix}unknown policy '{policy}'"
    elif policy not in ("", "on-failure") and count.strip("0"):
        reason = f"cannot be used with restart policy '{policy}'"
        reason = reason if is_before_25 else "can only be used with 'on-failure'"
        yield f"{prefix}maximum retry count {reason}"
    elif count.startswith("-"):
        yield f"{prefix}maximum retry count cannot be negative"


def is_ip_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return False
    return True


def _find_security_setting_refusals(service: Mapping[str, Any]) -> Iterator[Refusal]:
    for key, noun in (("cap_add", "CapAdd"), ("cap_drop", "CapDrop")):
        for given in map(str, service.get(key) or ()):
            capability = given.upper().removeprefix("CAP_")
            if capability not in _LINUX_CAPABILITIES.split() or given.upper() == "CAP_ALL":
                yield f'invalid {noun}: unknown capability: "CAP_{capability}"', key
    for given in map(str, service.get("security_opt") or ()):
        if re.split("[=:]", given, maxsplit=1)[0] not in _SECURITY_OPT_NAMES:
            yield f'invalid --security-opt 2: "{given}"', "security_opt"


def _find_seccomp_refusals(service: Mapping[str, Any], folder: str) -> Iterator[Refusal]:
    for given in map(str, service.get("security_opt") or ()):
        option, *values = re.split("[=:]", given, maxsplit=1)
        if option == "seccomp" and values and values[0] not in ("unconfined", "builtin"):
            path = Path(folder, os.path.expanduser(values[0]))
            if not path.exists():
                profile = f"opening seccomp profile ({values[0]}) failed"
                words = f"{profile}: open {os.path.normpath(path)}: no such file or directory"
                yield words, "security_opt"
            elif path.is_file() and not _is_json(path):
                yield f"compacting json for seccomp profile ({values[0]}) failed", "security_opt"


def _is_json(path: Path) -> bool:
    try:
        json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        return False
    return True


def _find_device_request_refusals(service: Mapping[str, Any]) -> Iterator[Refusal]:
    """Yield what is said to devices of other drivers than those of GPUs, which Docker hasn't."""
    for request in get_nested_value(service, "deploy.resources.reservations.devices") or ():
        capabilities = [*map(str, request.get("capabilities") or ())]
        driver = str(request.get("driver") or "")
        is_unknown = "gpu" not in capabilities and driver not in _DEVICE_DRIVERS
        if driver == "":
            is_unknown = not {*capabilities} <= _DEVICE_CAPABILITIES
        if is_unknown:
            words = f'could not select device driver "{driver}" with capabilities'
            yield f"{words}: [[{' '.join(capabilities)}]]", "deploy"


def _find_secret_and_config_refusals(
    project: Project, service: Mapping[str, Any]
) -> Iterator[Refusal]:
    """Yield what Compose says to secrets and configs that it can't make."""
    for kind, key, given in list_service_secrets_and_configs(project, service):
        name = given.get("name") or key
        if given.get("external"):
            yield f"unsupported external {kind} {name}", f"{kind}s"
        elif given.get("driver"):
            yield f"Docker Compose does not support {kind}s.*.driver", f"{kind}s"
        elif service.get("read_only") and not given.get("file"):
            yield f'cannot create {kind} "{name}" in read-only service', f"{kind}s"


def _find_newer_engine_refusals(service: Mapping[str, Any], engine: Engine) -> Iterator[Refusal]:
    """Yield what Compose says to what needs a newer engine."""
    is_before_25, is_before_28 = (engine.is_older_than(n, default=False) for n in (25, 28))
    networks = service.get("networks")
    settings = [*filter(None, networks.values())] if isinstance(networks, Mapping) else []
    if is_before_25 and any(network.get("mac_address") for network in settings):
        yield '"specify mac-address per network" requires API version 1.44', "networks"
    if is_before_28 and any(network.get("interface_name") for network in settings):
        yield "interface_name requires Docker Engine v28.1 or later", "networks"
    if get_nested_value(service, "healthcheck.start_interval") and is_before_25:
        feature = "can't set healthcheck.start_interval as feature"
        yield f"{feature} require Docker Engine v25 or later", "healthcheck"
    for device in service.get("devices") or ():
        source = str(device.get("source") if isinstance(device, Mapping) else device)
        if is_before_25 and re.match(_CDI_DEVICE_PREFIX_PATTERN, source):
            yield 'could not select device driver "cdi" with capabilities: []', "devices"
    for mount in service.get("volumes") or ():
        if (mode := get_nested_value(mount, "bind.recursive")) and is_before_25:
            yield f"bind-recursive={mode} requires API v1.44 or later", "volumes"
    types = [mount.get("type") for mount in service.get("volumes") or ()]
    if "image" in types and is_before_28:
        yield "volume with type=image require Docker Engine v28 or later", "volumes"


def _find_joined_namespace_refusals(service: Service) -> Iterator[Refusal]:
    """Yield what is said to namespaces of containers that don't run or don't share theirs."""
    for key in ("network_mode", "pid", "ipc"):
        kind, _, name = str(service.config.get(key) or "").partition(":")
        if kind == "container":
            rows = service.engine.api.containers()
            others = service.project.services.values()  # Compose starts those
            is_own = any(name == other.get("container_name") for other in others)
            named = [row for row in rows if name in list_own_container_names(row) and not is_own]
            if named and named[0].get("State") in ("created", "exited", "dead"):
                id_ = named[0].get("Id")
                words = f"container {id_} is not running"
                if key == "network_mode":
                    words = f"cannot join network of a non running container: {id_}"
                yield words, key
        elif kind == "service" and (other := service.project.services.get(name)):
            if not count_replicas(other):
                yield f"cannot share {_NAMESPACE_BY_KEY[key]} namespace with service {name}", key
            elif key == "ipc" and other.get("ipc") in ("private", "none"):
                yield "non-shareable IPC (hint: use IpcMode:shareable for the donor container)", key


def _find_ulimit_refusals(service: Service, *, is_visible: bool) -> Iterator[Refusal]:
    """Yield what the runtime says, where the engine's kernel is visible also to high limits."""
    limits, highest = parse_service_ulimits(service.config), list[int]()
    if limits and is_visible:
        with suppress(OSError, ValueError, NotMeasuredError):
            highest = read_container_ulimit_ceilings(service.engine, service.root)
    for name in dict.fromkeys(name for name, _ in limits):
        lower = name.lower()  # the engine ignores case
        if lower not in _ULIMIT_NAMES:
            yield f"wrong rlimit value: RLIMIT_{name.upper()}", "ulimits"
            continue
        number = _ULIMIT_NAMES.index(lower)
        soft, hard = (limits.get((name, bound), 0) % 2**64 for bound in ("soft", "hard"))
        bounds = highest[number : number + 1]
        if lower == "nofile" and is_visible:
            bounds.append(int(read_sysctl("fs.nr_open", service.root) or hard))
        if soft > hard:
            yield f"error setting rlimit type {number}: invalid argument", "ulimits"
        elif any(hard > bound for bound in bounds):
            yield f"error setting rlimit type {number}: operation not permitted", "ulimits"
