"""The drivers of an engine: built in, managed plugins, and legacy plugins."""

from __future__ import annotations

import os
from pathlib import Path

from preflight.facts.collect.context import Engine
from preflight.facts.engine.host_visibility import VM_ENGINE_PATTERNS
from preflight.facts.nested_values import get_nested_value, unreported_value
from preflight.model.facts import NotMeasuredError, require_visible

# of moby, pkg/plugins/discovery.go
_LEGACY_PLUGIN_FOLDERS = ("run/docker/plugins", "etc/docker/plugins", "usr/lib/docker/plugins")
_LEGACY_PLUGIN_SUFFIXES = (".sock", ".spec", ".json")
_LOG_DRIVERS_OF_PODMAN = {"json-file"}  # it writes k8s-file then
# by kind: what Docker and Podman say
_REFUSAL_MESSAGES = {
    "volume": (
        'error looking up volume plugin {driver}: plugin "{driver}" not found',
        "no volume plugin with name {driver} available: required plugin missing",
    ),
    "network": ('plugin "{driver}" not found', "unsupported driver {driver}: invalid argument"),
    "log": (
        'error looking up logging plugin {driver}: plugin "{driver}" not found',
        "running container create option: invalid log driver: invalid argument",
    ),
}
_LEGACY_PLUGINS_HIDDEN = (
    "a driver that isn't in use yet may be a legacy plugin, which this engine doesn't list"
)


def explain_missing_driver(
    engine: Engine, kind: str, driver: str, root: Path = Path("/")
) -> str | None:
    """Return what the engine says to a driver that it hasn't, or None if it has it.

    `kind` is volume, network or log. Docker lists legacy plugins only once they are in use, and
    finds the others by their files. Raises NotMeasuredError.
    """
    listed = get_nested_value(engine.info, f"Plugins.{kind.capitalize()}")
    if not isinstance(listed, list):
        raise NotMeasuredError(*unreported_value(f"Plugins.{kind.capitalize()}"))
    is_podman = engine.name == "podman"
    has_driver = driver in listed or (kind, driver) == ("log", "none")  # which no engine lists
    if is_podman:
        has_driver = has_driver or (kind == "log" and driver in _LOG_DRIVERS_OF_PODMAN)
    elif not has_driver:
        rows = engine.api.get_rows("/plugins")
        enabled = {str(row.get("Name")) for row in rows if row.get("Enabled")}
        has_driver = bool({driver, f"{driver}:latest"} & enabled)
        if not has_driver and engine.name not in VM_ENGINE_PATTERNS:
            has_driver = _has_legacy_plugin(engine, driver, root)
    return None if has_driver else _REFUSAL_MESSAGES[kind][is_podman].format(driver=driver)


def _has_legacy_plugin(engine: Engine, driver: str, root: Path) -> bool:
    if engine.visibility.processes_hidden is not None:
        raise NotMeasuredError(_LEGACY_PLUGINS_HIDDEN, "unsupported")
    for folder in _LEGACY_PLUGIN_FOLDERS:
        require_visible(engine.visibility.path_hidden(f"/{folder}"))
        for suffix in _LEGACY_PLUGIN_SUFFIXES:
            below = root / folder
            files = (below / f"{driver}{suffix}", below / driver / f"{driver}{suffix}")
            if any(map(os.path.exists, files)):
                return True
    return False
