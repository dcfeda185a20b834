"""An engine that answered: which one it is, and how much of its machine can be seen from here."""

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
from preflight.facts.engine.responses import list_or_empty


class Engine(NamedTuple):
    """An engine that answered, with its responses to /version and /info."""

    endpoint: Endpoint
    api: EngineApi
    version: Mapping[str, Any]
    info: Mapping[str, Any]
    name: str
    visibility: HostVisibility


def connect(endpoint: Endpoint, timeout: float) -> Engine:
    """Ask an engine for its version and its info; raises EngineError."""
    api = EngineApi(endpoint, timeout)
    version = api.version()
    info = api.info()
    name = identify_engine(version, info, endpoint.url)
    return Engine(endpoint, api, version, info, name, find_host_visibility(api, name, info))


def differing_info_key(engine: Engine) -> str | None:
    """Return the key of /info that describes another machine than this one, None if none does.

    A VM on this machine isn't another one; except on Linux, every engine runs in a VM.
    """
    if not sys.platform.startswith("linux") or engine.name in VIRTUAL_MACHINES:
        return None
    return find_differing_info_key(engine.info)


def identify_engine(version: Mapping[str, Any], info: Mapping[str, Any], url: str) -> str:
    """Return the engine's name; a VM that calls itself docker is recognised by its host names."""
    components = list_or_empty(version.get("Components"))
    if "Podman Engine" in [c.get("Name") for c in components if isinstance(c, dict)]:
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
