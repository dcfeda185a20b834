"""What Compose refuses where the parts of a project don't fit together, in its words.

Source: compose-spec/compose-go, loader/validate.go and graph.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from preflight.facts.compose.compose_facts import read_depends_on
from preflight.facts.nested_values import get_nested_value


def find_contradictions(config: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the active services that Compose refuses, and its words, of a merged project."""
    for name, service in config["services"].items():
        if not any(map(service.get, ("image", "build", "provider"))):
            words = "has neither an image nor a build context specified"
            yield name, f'service "{name}" {words}: invalid compose project'
        if service.get("network_mode") and service.get("networks"):
            words = "declares mutually exclusive `network_mode` and `networks`"
            yield name, f"service {name} {words}: invalid compose project"
        for kind, key in _list_references(service):
            if key not in (config.get(f"{kind}s") or ()):
                words = f"refers to undefined {kind} {key}"
                yield name, f'service "{name}" {words}: invalid compose project'
        for other in read_depends_on(service):
            if other not in config["services"]:
                words = f'depends on undefined service "{other}"'
                yield name, f'service "{name}" {words}: invalid compose project'


def _list_references(service: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the kind and the key of what a service uses of the project."""
    for key in service.get("networks") or ():
        if key != "default":
            yield "network", str(key)
    for mount in service.get("volumes") or ():
        if mount.get("type") == "volume" and mount.get("source"):
            yield "volume", str(mount["source"])
    for kind in ("secret", "config"):
        for item in service.get(f"{kind}s") or ():
            yield kind, str(get_nested_value(item, "source") or item)
