"""What stops `docker compose up` though the files can be read, in the words of Compose itself.

Source: compose-spec/compose-go, loader/validate.go.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from preflight.facts.compose.nodes import HOLLOW, Node


def conflicts(services: Mapping[str, Node], root: Node, whole: bool) -> list[tuple[str, str]]:
    """Return what contradicts itself or names what is not there: the service, the words.

    Where the project is not `whole` because a part was not fetched, nothing is missed.
    """
    found = list(_same_names(services))
    for name, one in services.items():
        found += [(name, words) for words in _contradictions(name, one)]
        if whole:
            found += [(name, words) for words in _undefined(name, one, services, root)]
    if whole:
        found += _cycle({name: _waits_for(one) for name, one in services.items()})
    return found


def _same_names(services: Mapping[str, Node]) -> Iterator[tuple[str, str]]:
    first: dict[str, str] = {}
    for name, service in services.items():
        given = _get(service, "container_name")
        if given and first.setdefault(given, name) != name:
            words = f'container name "{given}" is already in use by service {first[given]}'
            yield name, f"services.{name}: {words}"


def _undefined(name: str, service: Node, services: Mapping[str, Node], root: Node) -> Iterator[str]:
    needed = set(_dependencies(service))
    for other in _waits_for(service):
        if other not in (services if other in needed else _get(root, "services")):
            yield f'service "{name}" depends on undefined service "{other}"'
    for key, other in dict.fromkeys(_resources(service)):
        if other not in (_get(root, key) or {}) and (key, other) != ("networks", "default"):
            yield f'service "{name}" refers to undefined {key[:-1]} {other}'


def _cycle(dependencies: Mapping[str, list[str]]) -> list[tuple[str, str]]:
    """Return the first cycle of services that wait for each other."""
    from graphlib import CycleError, TopologicalSorter

    try:
        TopologicalSorter(dependencies).prepare()
    except CycleError as error:
        way: list[str] = error.args[1][::-1]
        return [(way[0], f"dependency cycle detected: {' -> '.join(way)}")]
    return []


def _waits_for(service: Node) -> list[str]:
    """Return the services that it starts after, needed or not."""
    return list(dict.fromkeys([*(_get(service, "depends_on") or ()), *_dependencies(service)]))


def _dependencies(service: Node) -> Iterator[str]:
    """Yield the services that it can't do without."""
    for name, one in (_get(service, "depends_on") or {}).items():
        if _get(one, "required") is not False:
            yield name
    for key in ("network_mode", "ipc", "pid"):
        value = _get(service, key)
        if isinstance(value, str) and value.startswith("service:"):
            yield value.removeprefix("service:")
    for key in ("links", "volumes_from"):
        for item in _get(service, key) or ():
            head = str(item.value).partition(":")[0]
            if head != "container":
                yield head


def _resources(service: Node) -> Iterator[tuple[str, str]]:
    """Yield the networks, volumes, secrets and configs that it names."""
    yield from (("networks", name) for name in _get(service, "networks") or ())
    for item in _get(service, "volumes") or ():
        if item.get("type").value == "volume" and (source := item.get("source")):
            yield "volumes", str(source.value)
    yield from (("models", name) for name in _names(_get(service, "models")))
    for key in ("secrets", "configs"):
        for item in _get(service, key) or ():
            source = item.get("source") if isinstance(item.value, dict) else item
            if source:
                yield key, str(source.value)


def _names(value: Any) -> list[str]:
    """Return the names of a mapping, or of a list."""
    return [str(one.value if isinstance(one, Node) else one) for one in value or ()]


def _get(node: Node, *keys: str) -> Any:
    found = node.get(*keys)
    return None if found is None else found.value


_PAIRS = (
    ("mem_limit", "limits", "memory"),
    ("cpus", "limits", "cpus"),
    ("pids_limit", "limits", "pids"),
    ("mem_reservation", "reservations", "memory"),
)


def _contradictions(name: str, service: Node) -> Iterator[str]:
    given = [node for key in ("image", "build", "provider") if (node := service.get(key))]
    if not any(node.value or node.tag == HOLLOW for node in given):
        yield f'service "{name}" has neither an image nor a build context specified'
    if _get(service, "network_mode") and _get(service, "networks"):
        yield f"service {name} declares mutually exclusive `network_mode` and `networks`"
    for key, kind, what in _PAIRS:
        older, resources = _get(service, key), _get(service, "deploy", "resources", kind)
        if resources is None or older is None or not float(older):
            continue
        newer = _get(service, "deploy", "resources", kind, what)
        if float(older) != float(newer or 0):
            yield (
                f"services.{name}: can't set distinct values on '{key}' and "
                f"'deploy.resources.{kind}.{what}'"
            )
    scale, replicas = _get(service, "scale"), _get(service, "deploy", "replicas")
    if None not in (scale, replicas) and scale != replicas:
        yield f"services.{name}: can't set distinct values on 'scale' and 'deploy.replicas'"
    for key, count in (("scale", scale), ("deploy.replicas", replicas)):
        if _get(service, "container_name") and (count or 0) > 1:
            yield (
                f"services.{key}: can't set container_name and {name} as container name must be "
                "unique"
            )
            break
