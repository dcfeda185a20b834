"""What of a container differs from the compose file: variables, limits and image, in words.

Values of variables are never told. What can't be compared truthfully is not: a variable that the
file leaves to the shell, one that only the container has (its image may have set it), an image
that one side names by its digest alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from preflight.facts.compose.facts import resource
from preflight.facts.engine.responses import get_object, is_count
from preflight.model.facts import Unknown
from preflight.model.quantities import format_bytes, format_number

_NEAR = 1e-4  # cores: Compose reckons limits in 32-bit floats


def drift(service: Mapping[str, Any], container: Mapping[str, Any]) -> list[str]:
    """Compare a service of the effective configuration with what GET /containers/ID/json says."""
    config, host = (get_object(container, key) for key in ("Config", "HostConfig"))
    return [
        *_environment(get_object(service, "environment"), environment(config.get("Env"))),
        *_memory(service, host.get("Memory")),
        *_cpus(service, host.get("NanoCpus")),
        *_image(service.get("image"), config.get("Image")),
    ]


def environment(rows: Any) -> dict[str, str] | None:
    """Read Config.Env, None where it says nothing; null is none set, a name alone is not set."""
    if rows is None:
        return {}
    if not isinstance(rows, list):
        return None
    pairs = (row.partition("=") for row in rows if isinstance(row, str))
    return {name: value for name, is_set, value in pairs if name and is_set}


def _environment(wanted: Mapping[str, Any], found: Mapping[str, str] | None) -> Iterator[str]:
    for name, value in wanted.items():
        if found is None or not isinstance(value, str):
            continue
        if name not in found:
            yield f"variable {name} is not set, the file sets it"
        elif found[name] != value:
            yield f"variable {name} has another value than in the file"


def _memory(service: Mapping[str, Any], found: Any) -> Iterator[str]:
    wanted, _ = resource(service, "limits", "memory")
    if isinstance(wanted, Unknown) or not is_count(found) or (wanted or 0) == found:
        return
    has, says = (_size(one) for one in (found, wanted))
    yield f"memory limit {has}, the file says {says}"


def _size(value: float | None) -> str:
    return format_bytes(value, binary=True) if value else "none"


def _cpus(service: Mapping[str, Any], found: Any) -> Iterator[str]:
    wanted, _ = resource(service, "limits", "cpus")
    if isinstance(wanted, Unknown) or not is_count(found) or service.get("cpu_quota"):
        return
    if abs((wanted or 0) - found / 1e9) > _NEAR:
        has, says = (format_number(one) if one else "none" for one in (found / 1e9, wanted))
        yield f"CPU limit {has}, the file says {says}"


def _image(wanted: Any, found: Any) -> Iterator[str]:
    if not (isinstance(wanted, str) and isinstance(found, str) and wanted and found):
        return
    if found.startswith("sha256:") or ("@" in wanted) != ("@" in found):
        return
    has, says = _parts(found), _parts(wanted)
    if has[1:] != says[1:] or (has[0] != says[0] and has[0] and says[0]):
        yield f"image {found}, the file says {wanted}"


def _parts(reference: str) -> tuple[str, str, str]:
    """Split a reference: registry, empty where it may be any; repository; tag or digest.

    A short name is Docker Hub's for Docker, and what registries.conf says for Podman.
    """
    name, at, digest = reference.partition("@")
    first, slash, rest = name.partition("/")
    registry = first if slash and ("." in first or ":" in first or first == "localhost") else ""
    path = rest if registry else name
    repository, _, tag = path.partition(":")
    return registry, repository.removeprefix("library/"), digest if at else tag or "latest"
