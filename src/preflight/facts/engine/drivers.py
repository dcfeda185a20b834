"""The drivers of an engine: built in, managed plugins, and legacy plugins."""

from __future__ import annotations

import os
from pathlib import Path

from preflight.facts.collect.context import Engine, require_engine
from preflight.facts.engine.api import LazyValue, get_nested_object, unreported_value
from preflight.facts.engine.locality import VM_ENGINE_PATTERNS
from preflight.model.facts import Unknown

# of moby, pkg/plugins/discovery.go
_LEGACY_PLUGIN_FOLDERS = ("run/docker/plugins", "etc/docker/plugins", "usr/lib/docker/plugins")
_LEGACY_PLUGIN_SUFFIXES = (".sock", ".spec", ".json")
_LOG_DRIVERS_OF_PODMAN = {"json-file"}  # it writes k8s-file then
# by kind: what Docker and Podman say
_REFUSALS = {
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
_LEGACY_PLUGINS_HIDDEN = Unknown(
    "a driver that isn't in use yet may be a legacy plugin, which this engine doesn't list",
    "unsupported",
)


class EngineDrivers:
    """What drivers an engine has; GET /plugins is asked once, for a driver that isn't built in."""

    def __init__(self, engine: Engine | Unknown, root: Path = Path("/")) -> None:
        self._engine, self._root = engine, root
        self._managed = LazyValue(self._list_managed)

    def refusal(self, kind: str, driver: str) -> str | Unknown | None:
        """Return what the engine says to a driver that it hasn't, None where it has it.

        `kind` is volume, network or log. Raises EngineError.
        """
        has_driver = self._has(kind, driver)
        if isinstance(has_driver, Unknown):
            return has_driver
        is_podman = require_engine(self._engine).name == "podman"
        return None if has_driver else _REFUSALS[kind][is_podman].format(driver=driver)

    def _has(self, kind: str, driver: str) -> bool | Unknown:
        """Return whether the engine has a driver.

        Docker lists legacy plugins only once they are in use, and finds the others by their files.
        """
        engine = require_engine(self._engine)
        listed = get_nested_object(engine.info, "Plugins").get(kind.capitalize())
        if not isinstance(listed, list):
            return unreported_value(f"Plugins.{kind.capitalize()}")
        if driver in listed:
            return True
        if engine.name == "podman":
            return kind == "log" and driver in _LOG_DRIVERS_OF_PODMAN
        if driver in self._managed():
            return True
        if engine.name in VM_ENGINE_PATTERNS:
            return False
        return self._has_legacy_plugin(engine, driver)

    def _list_managed(self) -> list[str]:
        """Return the managed plugins that are enabled, with and without the tag `latest`."""
        rows = require_engine(self._engine).api.get_rows("/plugins")
        names = [str(row.get("Name")) for row in rows if row.get("Enabled")]
        return [*names, *(name.removesuffix(":latest") for name in names)]

    def _has_legacy_plugin(self, engine: Engine, driver: str) -> bool | Unknown:
        if engine.visibility.processes_hidden is not None:
            return _LEGACY_PLUGINS_HIDDEN
        for folder in _LEGACY_PLUGIN_FOLDERS:
            if hidden := engine.visibility.path_hidden(f"/{folder}"):
                return hidden
            for suffix in _LEGACY_PLUGIN_SUFFIXES:
                below = self._root / folder
                files = (below / f"{driver}{suffix}", below / driver / f"{driver}{suffix}")
                if any(map(os.path.exists, files)):
                    return True
        return False
