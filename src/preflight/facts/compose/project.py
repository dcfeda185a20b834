"""What is known of a compose project, whoever read it: the CLI or the fallback. Plain data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, TypeAlias

from preflight.model.facts import Source

Path: TypeAlias = tuple[str, ...]

LARGEST = 4 * 2**20  # bytes of a compose file
_LONGEST = 500  # characters of what is told of a fault: what it quotes may have no end


class Place(NamedTuple):
    """A line of a file, counted from 1."""

    file: str
    line: int


class ComposeError(Exception):
    """A compose file that cannot be used: one line that says what was found and expected."""

    def __init__(self, message: str, file: str = "", line: int = 0, column: int = 0) -> None:
        place = f"{file}:{line}:{column}: " if line else f"{file}: " if file else ""
        shown = message if len(message) <= _LONGEST else f"{message[: _LONGEST - 1]}…"
        super().__init__(f"{place}{shown}")


class Need(NamedTuple):
    """A feature that only newer versions of Compose know, and where the file uses it."""

    version: str
    feature: str
    place: Place


class Reading(NamedTuple):
    """What the files say, read by our own code.

    `config` has the shape of `docker compose config --format json`: sizes as text of bytes, ports
    and volumes in their long form, paths absolute, inactive profiles left out; dollar signs are
    plain. `places` leads from a path such as (services, api, deploy, resources, limits, memory) to
    the line that decides it. Faults that stop `docker compose up` but leave the rest readable are
    listed, not raised.
    """

    config: Mapping[str, Any]
    places: Mapping[Path, Place]
    missing_variables: Mapping[str, str] = {}  # `${A:?message}` without a value: name to message
    unset_variables: tuple[str, ...] = ()  # `$A` without a value: Compose takes a blank
    missing_env_files: tuple[tuple[str, str], ...] = ()  # service, absolute path
    conflicts: tuple[tuple[str, str], ...] = ()  # service, what Compose would say
    caveats: tuple[str, ...] = ()  # what the reading could not do, in words
    needs: tuple[Need, ...] = ()
    inactive: Mapping[str, tuple[str, ...]] = {}  # services left out, and their profiles


class Project(NamedTuple):
    """The effective project. `services` is the part of `config` that the facts are made of."""

    name: str
    folder: str
    files: tuple[str, ...]
    source: str  # cli or fallback
    config: Mapping[str, Any]
    reading: Reading
    compose: str | None = None  # the version of Compose, None without it

    @property
    def services(self) -> Mapping[str, Mapping[str, Any]]:
        """The active services by name, in the order of the files; the CLI sorts them by name."""
        services: Mapping[str, Mapping[str, Any]] = self.config.get("services") or {}
        places = self.reading.places
        last = Place(chr(0x10FFFF), 0)
        order = sorted(services, key=lambda name: places.get(("services", name), last))
        return {name: services[name] for name in order}


def known_as(name: str, service: Mapping[str, Any]) -> list[str]:
    """Return what a service is known as: its name, and its image's without registry and tag."""
    image = str(service.get("image") or "").partition("@")[0].rpartition("/")[2].partition(":")[0]
    return list(dict.fromkeys(one for one in (name, image) if one))


def absent(project: Project, service: str) -> str:
    """Say why a service is not among the active ones."""
    profiles = project.reading.inactive.get(service)
    if profiles is None:
        return f"service {service} is not in the file"
    one = (
        f"profile {profiles[0]} is" if len(profiles) == 1 else f"profiles {', '.join(profiles)} are"
    )
    return f"service {service} is in the file, but its {one} not active"


def where(project: Project, key: Path, detail: str = "") -> Source:
    """Return the source of a value: the line of a key, or of the nearest above that has one."""
    for length in range(len(key), 1, -1):
        place = project.reading.places.get(key[:length])
        if place is not None:
            return Source.in_file(place.file, place.line, detail)
    return Source(", ".join(project.files)).with_detail(detail)
