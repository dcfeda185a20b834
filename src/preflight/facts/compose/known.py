"""The keys that a service can have, and the kind of value that each takes.

Not the whole schema of Compose: deep enough to catch a slip of the pen, and to read on safely.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TypeAlias

from preflight.facts.compose.nodes import HOLLOW, RESET, Date, Node
from preflight.facts.compose.sizes import as_text
from preflight.model.problems import did_you_mean

_KINDS: dict[str, tuple[str, tuple[type, ...]]] = {
    "text": ("text", (str,)),
    "list": ("a list", (list,)),
    "mapping": ("a mapping", (dict,)),
    "optional": ("a mapping", (dict, type(None))),
    "entries": ("a list", (list, type(None))),
    "boolean": ("a boolean", (bool, str)),
    "number": ("a number", (int, float, str)),
    "texts": ("text or a list", (str, list)),
    "words": ("text or a list", (str, list, type(None))),
    "pairs": ("a mapping or a list", (dict, list)),
    "either": ("text or a mapping", (str, dict)),
}
_SCALARS = ("text", "number", "boolean")
_KEYS_BY_KIND = {
    "text": "cgroup cgroup_parent container_name cpuset domainname hostname image ipc isolation "
    "mac_address network_mode platform pull_policy pull_refresh_after restart runtime "
    "stop_grace_period stop_signal user userns_mode uts working_dir",
    "list": "cap_add cap_drop configs device_cgroup_rules devices dns_opt expose external_links "
    "group_add links ports post_start pre_start pre_stop profiles secrets security_opt volumes "
    "volumes_from",
    "mapping": "blkio_config credential_spec develop healthcheck logging provider storage_opt "
    "ulimits",
    "optional": "deploy",
    "boolean": "attach init oom_kill_disable privileged read_only stdin_open tty use_api_socket",
    "number": "cpu_count cpu_percent cpu_period cpu_quota cpu_rt_period cpu_rt_runtime cpu_shares "
    "cpus mem_limit mem_reservation mem_swappiness memswap_limit oom_score_adj pids_limit scale "
    "shm_size",
    "texts": "dns dns_search env_file gpus label_file tmpfs",
    "words": "command entrypoint pid",
    "pairs": "annotations depends_on environment extra_hosts labels models networks sysctls",
    "either": "build extends",
}
SERVICE_NAME = re.compile(r"[a-zA-Z0-9._-]+\Z")
Known: TypeAlias = Mapping[str, "str | tuple[str, Known]"]
"""The keys of a mapping: the kind of each value, and the keys below it where they are checked."""

_RESOURCES: Known = {
    "limits": ("mapping", {"cpus": "number", "memory": "text", "pids": "number"}),
    "reservations": (
        "mapping",
        {"cpus": "number", "memory": "text", "devices": "list", "generic_resources": "list"},
    ),
}
_DEPLOY: Known = {
    "mode": "text", "endpoint_mode": "text", "replicas": "number", "labels": "pairs",
    "placement": "mapping", "restart_policy": "mapping", "update_config": "mapping",
    "rollback_config": "mapping", "resources": ("mapping", _RESOURCES),
}  # fmt: skip
TOP: Known = {
    "version": "text", "name": "text", "include": "entries", "services": "mapping",
    "networks": "mapping", "volumes": "mapping", "secrets": "mapping", "configs": "mapping",
    "models": "mapping",
}  # fmt: skip
SERVICE: Known = {
    **{key: kind for kind, keys in _KEYS_BY_KIND.items() for key in keys.split()},
    "deploy": ("optional", _DEPLOY),
    "logging": ("mapping", {"driver": "text", "options": "mapping"}),
}
PORT: Known = {
    "name": "text", "mode": "text", "host_ip": "text", "target": "number", "published": "number",
    "protocol": "text", "app_protocol": "text",
}  # fmt: skip
VOLUME: Known = {
    "type": "text", "source": "text", "target": "text", "read_only": "boolean",
    "consistency": "text", "bind": "mapping", "volume": "mapping",
    "tmpfs": ("mapping", {"size": "number", "mode": "number"}),
    "image": "mapping",
}  # fmt: skip
DEVICE: Known = {
    "capabilities": "list", "count": "number", "device_ids": "list", "driver": "text",
    "options": "pairs",
}  # fmt: skip


def checked(node: Node, where: str, known: Known, whole: bool = True) -> Node:
    """Return a mapping without what lacks a required variable and so has no value.

    Raises ComposeError for a key that Compose doesn't know, or a value of another type. What is
    not `whole` may have nothing under a key: what it is laid over may have a value there.
    """
    entries = {}
    for key, value in node.value.items():
        name = f"{where}.{key}" if where else key
        if not key.startswith("x-") and key not in known:
            hint = did_you_mean(key, known)
            raise value.fault(f"{where or 'the file'} has no key {key!r:.60}{hint}")
        kind, below = _kind(known, key)
        if value.tag == HOLLOW and kind not in _SCALARS:
            continue
        entries[key] = value
        if kind and value.tag not in (RESET, HOLLOW) and (whole or value.value is not None):
            expect(value, name, kind)
            if below and value.value is not None:
                entries[key] = checked(value, name, below, whole)
    return node.of(entries)


def filled(node: Node, where: str, known: Known) -> None:
    """Raise ComposeError for a key with nothing under it, where Compose wants something."""
    for key, value in node.value.items():
        kind, below = _kind(known, key)
        name = f"{where}.{key}" if where else key
        if not kind or value.tag in (RESET, HOLLOW):
            continue
        if value.value is None:
            expect(value, name, kind)
        elif below:
            filled(value, name, below)


def _kind(known: Known, key: str) -> tuple[str, Known | None]:
    """Return the kind of a key's value, nothing where it may be any; and the keys below it."""
    said = known.get(key, "")
    return (said, None) if isinstance(said, str) else said


def expect(node: Node, name: str, kind: str) -> None:
    """Raise ComposeError where a value is of another type than `kind`."""
    wanted, types = _KINDS[kind]
    value = node.value
    wrong = isinstance(value, Date) or (isinstance(value, bool) and bool not in types)
    if wrong or not isinstance(value, types):
        said = f" {as_text(value)}" if isinstance(value, int | float) else ""
        hint = ""
        if wanted == "text" and isinstance(value, int | float | Date):
            hint = f": write it in quotation marks, {as_text(value)!r}"
        raise node.fault(f"{name} is {node.kind}{said}, expected {wanted}{hint}")
