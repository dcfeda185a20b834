"""What of a container differs from the compose file: variables, limits and image.

Values of variables are never shown. What can't be compared is left out: a variable that the file
takes from the shell, one that only the container has (its image may set it), an image that one
side names by its digest alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from preflight.facts.compose.facts import resource
from preflight.facts.engine.api import count_or_none, get_object
from preflight.model.facts import Unknown
from preflight.model.quantities import format_bytes, format_number

_CPU_TOLERANCE = 1e-4  # cores: Compose computes limits in 32-bit floats


def find_drift(service: Mapping[str, Any], inspection: Mapping[str, Any]) -> list[str]:
    """Compare a service of the effective configuration with GET /containers/ID/json."""
    config, host = inspection["Config"], inspection["HostConfig"]
    return [
        *_compare_variables(service, parse_environment(config["Env"])),
        *_compare_limits(service, host),
        *_compare_images(service.get("image"), config.get("Image")),
    ]


def parse_environment(rows: Sequence[str] | None) -> dict[str, str]:
    """Parse Config.Env; null means no variables, and a name alone isn't set."""
    pairs = (row.partition("=") for row in rows or ())
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
    actual = count_or_none(host.get("Memory"))
    if not isinstance(limit, Unknown) and actual is not None and (limit or 0) != actual:
        sizes = [format_bytes(size, binary=True) if size else "none" for size in (actual, limit)]
        yield f"memory limit {sizes[0]}, the file says {sizes[1]}"
    limit, _ = resource(service, "limits", "cpus")
    actual = count_or_none(host.get("NanoCpus"))
    if isinstance(limit, Unknown) or actual is None or service.get("cpu_quota"):
        return
    if abs((limit or 0) - actual / 1e9) > _CPU_TOLERANCE:
        cpus = [format_number(cores) if cores else "none" for cores in (actual / 1e9, limit)]
        yield f"CPU limit {cpus[0]}, the file says {cpus[1]}"


def _compare_images(wanted: Any, actual: Any) -> Iterator[str]:
    if not (isinstance(wanted, str) and isinstance(actual, str) and wanted and actual):
        return
    if actual.startswith("sha256:") or ("@" in wanted) != ("@" in actual):
        return
    (registry, *name), (actual_registry, *actual_name) = map(_split_image, (wanted, actual))
    if name != actual_name or (registry and actual_registry and registry != actual_registry):
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
