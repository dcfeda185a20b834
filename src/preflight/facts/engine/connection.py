"""The engine once it has answered: which one it is, and what is seen of its machine."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any, NamedTuple

from preflight.facts.engine.api import EngineApi
from preflight.facts.engine.endpoint import Endpoint
from preflight.facts.engine.locality import (
    VIRTUAL_MACHINES,
    HostVisibility,
    find_differing_info_key,
    find_host_visibility,
)


class Engine(NamedTuple):
    """An engine that answered: its API, what /version and /info said, its name, what is seen."""

    endpoint: Endpoint
    api: EngineApi
    version: Mapping[str, Any]
    info: Mapping[str, Any]
    name: str
    visibility: HostVisibility


def connect(endpoint: Endpoint, timeout: float) -> Engine:
    """Ask an engine who it is; raises EngineError where it doesn't answer as one."""
    api = EngineApi(endpoint, timeout)
    version = api.version()
    info = api.info()
    name = identify_engine(version, info, endpoint.url)
    return Engine(endpoint, api, version, info, name, find_host_visibility(api, name, info))


def differing_info_key(engine: Engine) -> str | None:
    """Return what /info says of another machine than this, None where nothing tells so.

    A VM of this machine is none, and elsewhere than on Linux every engine is in one.
    """
    if not sys.platform.startswith("linux") or engine.name in VIRTUAL_MACHINES:
        return None
    return find_differing_info_key(engine.info)


def identify_engine(version: Mapping[str, Any], info: Mapping[str, Any], url: str) -> str:
    """Tell the engine by what it says of itself, and a VM that looks like docker by its names."""
    components = version.get("Components")
    listed = components if isinstance(components, list) else []
    if "Podman Engine" in [c.get("Name") for c in listed if isinstance(c, dict)]:
        return "podman"
    system = str(info.get("OperatingSystem") or "").lower()
    name = str(info.get("Name") or "").lower()
    if "docker desktop" in system or name == "docker-desktop":
        return "docker-desktop"
    if "orbstack" in system or "orbstack" in url:
        return "orbstack"
    if "rancher desktop" in system or name == "lima-rancher-desktop" or "/.rd/" in url:
        return "rancher-desktop"
    if name.startswith("colima") or "/.colima/" in url:
        return "colima"
    return "docker"
