"""What differs between a container that Compose made and its service, beside limits and variables.

Whether anything does, Compose's own hash of the configuration says, which it keeps as a label. What
does is named as far as both sides show it; commands aren't shown, since they may hold secrets.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from preflight.facts.compose.compose_facts import list_secret_and_config_targets
from preflight.facts.compose.project import Project
from preflight.facts.nested_values import get_nested_list, get_nested_object, get_nested_value
from preflight.facts.networks_and_volumes import read_network_or_volume

CONFIG_HASH_LABEL = "com.docker.compose.config-hash"
COMPOSE_VERSION_LABEL = "com.docker.compose.version"


def find_drifted_settings(
    project: Project,
    service: Mapping[str, Any],
    inspection: Mapping[str, Any],
    config_hash: str | None,
    known: Iterable[str],
) -> Iterator[str]:
    """Yield what differs, or nothing if the hash of today's service is the container's.

    `known` are differences that were found already. A hash of another version of Compose proves
    nothing.
    """
    labels = get_nested_object(inspection, "Config.Labels")
    if CONFIG_HASH_LABEL not in labels or labels[CONFIG_HASH_LABEL] == config_hash:
        return
    differences = list(_compare_container_with_service(project, service, inspection))
    yield from differences
    has_same_version = labels.get(COMPOSE_VERSION_LABEL) == project.compose
    if config_hash and has_same_version and not differences and not list(known):
        yield "another setting has changed in the file since it was made"


def _compare_container_with_service(
    project: Project, service: Mapping[str, Any], inspection: Mapping[str, Any]
) -> Iterator[str]:
    config, host = (get_nested_object(inspection, key) for key in ("Config", "HostConfig"))
    for key, name in (("command", "Cmd"), ("entrypoint", "Entrypoint")):
        wanted = service.get(key)
        if isinstance(wanted, list) and get_nested_list(config, name) != wanted:
            yield f"the {key} differs from the file's"
    for key, actual in (
        ("user", config.get("User")),
        ("working_dir", config.get("WorkingDir")),
        ("hostname", config.get("Hostname")),
        ("runtime", host.get("Runtime")),
    ):
        if service.get(key) and actual and str(service[key]) != str(actual):
            yield f"{key} {actual}, the file says {service[key]}"
    for key, name in (("privileged", "Privileged"), ("read_only", "ReadonlyRootfs")):
        wanted, actual = bool(service.get(key)), host.get(name)
        if isinstance(actual, bool) and wanted != actual:
            yield f"{key} is {str(actual).lower()}, the file says {str(wanted).lower()}"
    if get_nested_value(service, "deploy.restart_policy") is None:
        policy = get_nested_object(host, "RestartPolicy")
        count = policy.get("MaximumRetryCount")
        actual = str(policy.get("Name") or "no") + (f":{count}" if count else "")
        wanted = str(service.get("restart") or "no")
        if wanted != actual:
            yield f"restart {actual}, the file says {wanted}"
    for key, name in (("cap_add", "CapAdd"), ("cap_drop", "CapDrop")):
        actual_names, wanted_names = (
            {str(capability).upper().removeprefix("CAP_") for capability in capabilities}
            for capabilities in (get_nested_list(host, name), get_nested_list(service, key))
        )
        if actual_names != wanted_names:
            texts = [", ".join(sorted(names)) or "none" for names in (actual_names, wanted_names)]
            yield f"{key} {texts[0]}, the file says {texts[1]}"
    yield from _find_mount_differences(project, service, inspection)


def _find_mount_differences(
    project: Project, service: Mapping[str, Any], inspection: Mapping[str, Any]
) -> Iterator[str]:
    """Yield mounts of another source; what only one side has may come from the image."""
    rows = [row for row in get_nested_list(inspection, "Mounts") if isinstance(row, dict)]
    actual = {str(row.get("Destination")): row for row in rows}
    wanted_targets = set(list_secret_and_config_targets(service))
    for mount in service.get("volumes") or ():
        target, kind = str(mount.get("target")), mount.get("type")
        wanted_targets.add(target)
        source = str(mount.get("source") or "")
        if kind == "volume" and source:
            source = read_network_or_volume(project, "volumes", source).name
        if kind not in ("bind", "volume") or not source:
            continue
        row = actual.get(target)
        if row is None:
            yield f"{target} isn't mounted, the file mounts {source}"
            continue
        here = str(row.get("Name") or row.get("Source"))
        is_read_only = row.get("RW") is False
        if here != source and str(row.get("Source")) != source:
            yield f"{target} is {here}, the file says {source}"
        elif is_read_only != bool(mount.get("read_only")):
            modes = ("read-only", "writable")
            yield f"{target} is {modes[not is_read_only]}, the file says {modes[is_read_only]}"
    for target, row in actual.items():
        if row.get("Type") == "bind" and target not in wanted_targets:
            yield f"{target} is mounted, the file doesn't mount it"
