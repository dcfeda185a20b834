"""What of a container differs from the compose file: variables, limits and image.

Values of variables are never shown. What can't be compared is left out: a variable that the file
takes from the shell, one that only the container has (its image may set it), an image that one
side names by its digest alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from preflight.facts.compose.facts import resource
from preflight.facts.engine.responses import get_object, is_count
from preflight.model.facts import Unknown
from preflight.model.quantities import format_bytes, format_number

_CPU_TOLERANCE = 1e-4  # cores: Compose computes limits in 32-bit floats


def find_drift(service: Mapping[str, Any], inspection: Mapping[str, Any]) -> list[str]:
    """Compare a service of the effective configuration with GET /containers/ID/json."""
    config, host = (get_object(inspection, key) for key in ("Config", "HostConfig"))
    variables = parse_environment(config.get("Env"))
    return [
        *(_compare_variables(service, variables) if variables is not None else ()),
        *_compare_limits(service, host),
        *_compare_images(service.get("image"), config.get("Image")),
    ]


def parse_environment(rows: Any) -> dict[str, str] | None:
    """Parse Config.Env; null means no variables, a name alone isn't set, None if unknown."""
    if rows is None:
        return {}
    if not isinstance(rows, list):
        return None
    pairs = (row.partition("=") for row in rows if isinstance(row, str))
    return {name: value for name, is_set, value in pairs if name and is_set}


def _compare_variables(service: Mapping[str, Any], actual: Mapping[str, str]) -> Iterator[str]:
    for name, value in get_object(service, "environment").items():
        if not isinstance(value, str):
            continue
        if name not in actual:
            yield f"variable {name} is not set, the file sets it"
        elif actual[name] != value:
            yield f"variable {name} has another value than in the file"


def _compare_limits(service: Mapping[str, Any], host: Mapping[str, Any]) -> Iterator[str]:
    limit, _ = resource(service, "limits", "memory")
    actual = host.get("Memory")
    if not isinstance(limit, Unknown) and is_count(actual) and (limit or 0) != actual:
        yield f"memory limit {_format_memory(actual)}, the file says {_format_memory(limit)}"
    limit, _ = resource(service, "limits", "cpus")
    actual = host.get("NanoCpus")
    if isinstance(limit, Unknown) or not is_count(actual) or service.get("cpu_quota"):
        return
    if abs((limit or 0) - actual / 1e9) > _CPU_TOLERANCE:
        yield f"CPU limit {_format_cpus(actual / 1e9)}, the file says {_format_cpus(limit)}"


def _format_memory(value: float | None) -> str:
    return format_bytes(value, binary=True) if value else "none"


def _format_cpus(value: float | None) -> str:
    return format_number(value) if value else "none"


def _compare_images(wanted: Any, actual: Any) -> Iterator[str]:
    if not (isinstance(wanted, str) and isinstance(actual, str) and wanted and actual):
        return
    if actual.startswith("sha256:") or ("@" in wanted) != ("@" in actual):
        return
    registries, *rest = zip(_split_image(wanted), _split_image(actual), strict=True)
    same_registry = "" in registries or registries[0] == registries[1]
    if not same_registry or any(one != other for one, other in rest):
        yield f"image {actual}, the file says {wanted}"


def _split_image(reference: str) -> tuple[str, str, str]:
    """Return registry, repository, and tag or digest.

    Without a registry it may be any: Docker takes Docker Hub, Podman has registries.conf.
    """
    name, at, digest = reference.partition("@")
    first, slash, rest = name.partition("/")
    registry = first if slash and ("." in first or ":" in first or first == "localhost") else ""
    repository, _, tag = (rest if registry else name).partition(":")
    return registry, repository.removeprefix("library/"), digest if at else tag or "latest"
