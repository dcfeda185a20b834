"""The compose project as plain data, whether Compose or the fallback reader put it together."""

import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, TypeAlias

from preflight.facts.nested_values import get_nested_value
from preflight.model.facts import FileLine, NotMeasuredError, Source
from preflight.model.quantities import parse_version

Path: TypeAlias = tuple[str, ...]

_MAX_MESSAGE_CHARS = 500
_OLLAMA_CLIENT_PATTERN = r"(?:\A|\bollama\s+)(?:pull|run|create|push|list|show)\b"


class ComposeError(NotMeasuredError):
    """A compose file that can't be used: one line that says what was found and expected.

    `text` is the whole of it; as a string it is cut, for a message may quote the file.
    """

    def __init__(self, message: str, file: str = "", line: int = 0, column: int = 0) -> None:
        position = "".join(f"{part}:" for part in (file, line, column) if part)
        text = f"{position} {message}" if position else message
        self.text = text.replace("\n", "\\n").replace("\r", "\\r")
        is_long = len(text) > _MAX_MESSAGE_CHARS
        shown = f"{self.text[:_MAX_MESSAGE_CHARS]}…" if is_long else self.text
        super().__init__(shown, "invalid")


class NeededComposeFeature(NamedTuple):
    """A feature that only newer versions of Compose know, and where the file uses it."""

    version: str
    feature: str
    position: FileLine


class Project(NamedTuple):
    """The effective project.

    `config` has the shape of `docker compose config --format json`: sizes as text of bytes, ports
    and volumes in their long form, absolute paths, without inactive services; dollar signs are
    plain. `positions` leads from a path such as (services, api, mem_limit) to the line that
    decides it. What stops `docker compose up` but leaves the rest readable is listed.
    """

    name: str
    folder: str
    files: tuple[str, ...]
    source: str  # cli or fallback
    config: Mapping[str, Any]
    compose: str | None = None  # the version of Compose, None without it
    positions: Mapping[Path, FileLine] = {}
    missing_variables: Mapping[str, str] = {}  # `${A:?message}` without a value: name to message
    unset_variables: tuple[str, ...] = ()  # `$A` without a value: Compose takes a blank
    missing_env_files: tuple[tuple[str, str], ...] = ()  # service, absolute path
    conflicts: tuple[tuple[str, str], ...] = ()  # service, what Compose says
    caveats: tuple[str, ...] = ()  # what the fallback reader left out
    needs: tuple[NeededComposeFeature, ...] = ()
    inactive: Mapping[str, tuple[str, ...]] = {}  # services left out, and their profiles
    profiles: tuple[str, ...] = ()  # those that are active

    @property
    def compose_version(self) -> tuple[float, ...] | None:
        """The version of Compose, or None if it isn't known."""
        try:
            return parse_version(self.compose or "")
        except ValueError:
            return None

    @property
    def newest_needed_feature(self) -> NeededComposeFeature | None:
        """The feature that came last with Compose, or None if nothing newer than 2.0 is used."""
        return max(self.needs, key=lambda needed: parse_version(needed.version), default=None)

    @property
    def is_too_old(self) -> bool | None:
        """Whether Compose is older than what the files use, or None if that isn't known."""
        needed, version = self.newest_needed_feature, self.compose_version
        if needed is None or version is None:
            return None if needed else False
        return version < parse_version(needed.version)

    @property
    def services(self) -> Mapping[str, Mapping[str, Any]]:
        """The active services by name, in the order of the files; the CLI sorts them by name."""
        services: Mapping[str, Mapping[str, Any]] = self.config.get("services") or {}
        last = FileLine(chr(0x10FFFF), 0)
        order = sorted(services, key=lambda name: self.positions.get(("services", name), last))
        return {name: services[name] for name in order}


def list_service_image_names(project: Project, name: str) -> list[str]:
    """Return the image of a service, else what Compose calls the one that it builds."""
    image = project.services[name].get("image")
    return [str(image)] if image else [f"{project.name}-{name}", f"{project.name}_{name}"]


def list_service_secrets_and_configs(
    project: Project, service: Mapping[str, Any]
) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    """Yield the kind, secret or config, of each that a service mounts, its key and definition."""
    for kind in ("secret", "config"):
        defined = project.config.get(f"{kind}s") or {}
        for item in service.get(f"{kind}s") or ():
            key = str(item.get("source") if isinstance(item, Mapping) else item)
            yield kind, key, defined.get(key) or {}


def list_service_and_image_names(name: str, service: Mapping[str, Any]) -> list[str]:
    """Return what a service is known as: its name, and its image's without registry and tag.

    Not the image's where the service only calls Ollama, for example to pull a model.
    """
    image = str(service.get("image") or "").partition("@")[0].rpartition("/")[2].partition(":")[0]
    if image == "ollama" and _runs_ollama_client(service):
        image = ""
    return list(dict.fromkeys(filter(None, (name, image))))


def _runs_ollama_client(service: Mapping[str, Any]) -> bool:
    """Return whether the command of a service is one of Ollama's clients, and starts no server."""
    parts = [service.get(key) or () for key in ("entrypoint", "command")]
    words = " ".join(part if isinstance(part, str) else " ".join(map(str, part)) for part in parts)
    return "serve" not in words and re.search(_OLLAMA_CLIENT_PATTERN, words.strip()) is not None


def explain_absent_service(project: Project, service: str) -> str:
    """Return why a service is not among the active ones."""
    profiles = project.inactive.get(service)
    if profiles is None:
        return f"service {service} is not in the file"
    verb = "profile is" if len(profiles) == 1 else "profiles are"
    return f"service {service} is in the file, but its {verb} not active: {', '.join(profiles)}"


def find_setting_source(project: Project, key: Path, detail: str = "") -> Source:
    """Return the source of a value: the line of its key, or of the nearest above that has one."""
    for length in range(len(key), 1, -1):
        position = project.positions.get(key[:length])
        if position is not None:
            return Source.in_file(*position, detail)
    return Source("; ".join(filter(None, (", ".join(project.files), detail))))


def read_start_dependencies(service: Mapping[str, Any]) -> dict[str, str]:
    """Return the services that must be started before, and the condition that each must meet.

    Those that aren't required are left out. As Compose does, a service whose network, processes,
    volumes or name is used counts too.
    """
    given = service.get("depends_on") or {}
    shared = [str(service.get(key) or "") for key in ("network_mode", "ipc", "pid")]
    used = [text.removeprefix("service:") for text in shared if text.startswith("service:")]
    for text in (*(service.get("links") or ()), *(service.get("volumes_from") or ())):
        used += [] if str(text).startswith("container:") else [str(text).partition(":")[0]]
    given = {**dict.fromkeys(used), **given}
    rows = {str(name): row or {} for name, row in given.items()}
    return {
        name: str(row.get("condition") or "service_started")
        for name, row in rows.items()
        if row.get("required", True)
    }


def find_compose_refusals(config: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the active services that Compose refuses, and its words, of a merged project.

    Source: compose-spec/compose-go, loader/validate.go and graph.
    """
    for name, service in config["services"].items():
        for words in _find_compose_refusals_of_service(f'service "{name}"', service, config):
            yield name, f"{words}: invalid compose project"


def _find_compose_refusals_of_service(
    subject: str, service: Mapping[str, Any], config: Mapping[str, Any]
) -> Iterator[str]:
    if not any(map(service.get, ("image", "build", "provider"))):
        yield f"{subject} has neither an image nor a build context specified"
    if service.get("network_mode") and service.get("networks"):
        unquoted = subject.replace('"', "")
        yield f"{unquoted} declares mutually exclusive `network_mode` and `networks`"
    for kind, key in _list_referenced_resources(service):
        if key not in (config.get(f"{kind}s") or ()):
            yield f"{subject} refers to undefined {kind} {key}"
    for other in read_start_dependencies(service):
        if other not in config["services"]:
            yield f'{subject} depends on undefined service "{other}"'


def _list_referenced_resources(service: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
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
