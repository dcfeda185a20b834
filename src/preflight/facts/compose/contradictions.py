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
        for words in _find_contradictions_of_service(f'service "{name}"', service, config):
            yield name, f"{words}: invalid compose project"


def _find_contradictions_of_service(
    subject: str, service: Mapping[str, Any], config: Mapping[str, Any]
) -> Iterator[str]:
    if not any(map(service.get, ("image", "build", "provider"))):
        yield f"{subject} has neither an image nor a build context specified"
    if service.get("network_mode") and service.get("networks"):
        unquoted = subject.replace('"', "")
        yield f"{unquoted} declares mutually exclusive `network_mode` and `networks`"
    for kind, key in _list_references(service):
        if key not in (config.get(f"{kind}s") or ()):
            yield f"{subject} refers to undefined {kind} {key}"
    for other in read_depends_on(service):
        if other not in config["services"]:
            yield f'{subject} depends on undefined service "{other}"'


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
