"""The facts of the images that services name: what keeps Compose from pulling or starting them.

Nothing here leaves the machine but to the engine. Source of references: distribution/reference.
"""

import json
import os
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from preflight.facts.collect.context import Engine, MeasurementContext
from preflight.facts.compose.project import Project, find_setting_source, list_service_image_names
from preflight.facts.engine.endpoint import read_docker_config_file
from preflight.facts.http_client import make_basic_authorization
from preflight.facts.nested_values import (
    get_nested_list,
    get_nested_object,
    get_nested_text,
    get_nested_value,
    text_or_none,
)
from preflight.model.facts import Measured, NotMeasuredError, Unknown, Value, read_or_unknown
from preflight.processes import find_program

DEFAULT_REGISTRY = "docker.io"
INVALID_REFERENCE_MESSAGE = "invalid reference format"
_DOMAIN_PART_PATTERN = "[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?"
_REGISTRY_DOMAIN_PATTERN = (
    rf"(?:{_DOMAIN_PART_PATTERN}(?:\.{_DOMAIN_PART_PATTERN})*|\[[a-fA-F0-9:]+\])(?::[0-9]+)?"
)
_REPOSITORY_PATH_PART_PATTERN = "[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
_IMAGE_REFERENCE_PATTERN = re.compile(
    rf"(?P<registry>{_REGISTRY_DOMAIN_PATTERN})/(?P<path>{_REPOSITORY_PATH_PART_PATTERN}(?:/{_REPOSITORY_PATH_PART_PATTERN})*)"
    r"(?::(?P<tag>[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}))?"
    r"(?:@(?P<digest>[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,}))?"
)
_MAX_IMAGE_NAME_CHARS = 255
_MAX_IMAGE_REFERENCE_CHARS = 1000
_DIGEST_CHARS_BY_ALGORITHM = {"sha256": 64, "sha384": 96, "sha512": 128}
DOCKER_HUB_CONFIG_KEY = "https://index.docker.io/v1/"
"""The name of Docker Hub in docker's config.json."""
_MAX_INSPECTED_IMAGES = 100
_MAX_HELPER_SECONDS = 5.0
_IDENTITY_TOKEN_USER = "<token>"  # the helper's secret is an identity token then
_SOURCE_BY_FACT = {
    "present": "GET /images/json",
    "helper_missing": "docker's config.json, PATH",
    "platform": "GET /images/NAME/json",
}


def measure_images(
    context: MeasurementContext, project: Project, environ: Mapping[str, str] = os.environ
) -> Iterator[Measured]:
    """Yield the facts of each service that has `image`."""
    images = read_or_unknown(list_engine_images, context)
    config, built = read_docker_config_file(environ), list_built_images(project)
    platforms: dict[str, str | Unknown] = {}  # of images that were inspected
    too_many = Unknown(
        f"the project has more than {_MAX_INSPECTED_IMAGES} images; the others aren't checked"
    )
    for name, service in project.services.items():
        if not service.get("image"):
            continue
        text, policy = str(service["image"]), str(service.get("pull_policy") or "missing")
        if normalize_image_name(text) in built:
            policy = "build"  # Compose doesn't pull what a service of the project builds
        facts: dict[str, Value] = {"name": text, "invalid": None, "helper_missing": None}
        facts["pull_policy"] = "missing" if policy == "if_not_present" else policy
        facts["present"] = facts["platform"] = images if isinstance(images, Unknown) else None
        try:
            reference = parse_image_reference(text)
        except ValueError as error:
            facts["invalid"] = format_reference_error(
                str(error), _find_engine_major_version(context)
            )
            facts["present"] = None
        else:
            if not isinstance(images, Unknown):
                facts["present"] = reference.full_reference in images
            helper = find_credential_helper(reference, config)
            is_needed = helper and policy not in ("never", "build")
            is_pulled = policy == "always" or facts["present"] is not True
            if helper and is_needed and is_pulled and not find_program(helper, environ):
                facts["helper_missing"] = images if isinstance(images, Unknown) else helper
        if facts["present"] is True:
            if text not in platforms and len(platforms) < _MAX_INSPECTED_IMAGES:
                platforms[text] = read_or_unknown(_inspect_platform, context.engine(), text)
            facts["platform"] = platforms.get(text, too_many)
        for fact, value in facts.items():
            source = _SOURCE_BY_FACT.get(fact, "")
            if facts["invalid"] and fact in ("present", "helper_missing"):
                source = "the reference isn't valid"
            place = find_setting_source(project, ("services", name, "image"), source)
            yield Measured(("start", "services", name, "image", fact), value, place)


def _find_engine_major_version(context: MeasurementContext) -> str:
    engine = context.engine_or_unknown()
    version = "" if isinstance(engine, Unknown) else str(engine.version.get("Version"))
    return version.partition(".")[0]


def list_engine_images(context: MeasurementContext) -> set[str]:
    """Return the full names of the engine's images, with tags and digests; raises EngineError."""
    rows = context.engine().api.get_object_list("/images/json")
    keys = ("RepoTags", "RepoDigests")
    names = (name for row in rows for key in keys for name in get_nested_list(row, key))
    return {normalize_image_name(str(name)) for name in names}


def list_built_images(project: Project) -> set[str]:
    """Return the full names of the images that services of a project build."""
    built = [name for name, service in project.services.items() if service.get("build")]
    names = (image for name in built for image in list_service_image_names(project, name))
    return set(map(normalize_image_name, names))


def format_reference_error(message: str, major_version: str) -> str:
    """Return why a reference is invalid as an engine says it: Docker 20.10 leaves out the name."""
    if major_version != "20":
        return message
    return re.sub(r"repository name \(.*\) must", "repository name must", message, flags=re.DOTALL)


def _inspect_platform(engine: Engine, image: str) -> str:
    """Return the platform of an image, such as linux/arm64; raises EngineError."""
    answer = engine.api.inspect_image(image)
    system, architecture, variant = (
        get_nested_text(answer, key) for key in ("Os", "Architecture", "Variant")
    )
    if system is None or architecture is None:
        raise NotMeasuredError("the engine doesn't report the image's platform")
    return "/".join(filter(None, (system, architecture, variant)))


def get_registry_config_key(reference: "ImageReference") -> str:
    """Return the name of a registry in docker's config.json."""
    return DOCKER_HUB_CONFIG_KEY if reference.registry == DEFAULT_REGISTRY else reference.registry


def find_credential_helper(reference: "ImageReference", config: Mapping[str, Any]) -> str | None:
    """Return the program that docker asks for the credentials of a registry.

    Source: docker/cli, cli/config/configfile `getConfiguredCredentialStore`.
    """
    helpers = config.get("credHelpers")
    name = helpers.get(get_registry_config_key(reference)) if isinstance(helpers, dict) else None
    name = text_or_none(name or config.get("credsStore"))
    return f"docker-credential-{name}" if name else None


def find_registry_authorization(
    reference: "ImageReference",
    config: Mapping[str, Any],
    environ: Mapping[str, str],
    seconds: float,
) -> str:
    """Return the Authorization header of docker's login to a registry, or "" without a login.

    Raises NotMeasuredError.
    """
    key, helper = get_registry_config_key(reference), find_credential_helper(reference, config)
    if helper is not None:
        answer = _ask_credential_helper(helper, key, environ, seconds)
        user, password = get_nested_text(answer, "Username"), get_nested_text(answer, "Secret")
        if user == _IDENTITY_TOKEN_USER:
            reason = f"{helper} returned an identity token, which only Docker itself can use"
            raise NotMeasuredError(reason)
        return make_basic_authorization(user, password) if user and password else ""
    entry = get_nested_object(config, "auths").get(key)
    if get_nested_value(entry, "identitytoken"):
        raise NotMeasuredError(
            f"preflight can't use the identity token that Docker has for {reference.registry}"
        )
    user, password = get_nested_text(entry, "username"), get_nested_text(entry, "password")
    if (encoded := get_nested_text(entry, "auth")) is not None:
        import base64

        try:
            user, _, password = base64.b64decode(encoded).decode().partition(":")
        except ValueError:
            raise NotMeasuredError("an entry in Docker's config.json isn't valid Base64") from None
        password = password.strip("\0")
    return make_basic_authorization(user, password) if user and password else ""


def _ask_credential_helper(
    helper: str, key: str, environ: Mapping[str, str], seconds: float
) -> Any:
    """Run `docker-credential-… get`, None without a login: docker/docker-credential-helpers."""
    import subprocess  # takes long, and is needed with --online alone

    program = find_program(helper, environ)
    if program is None:
        raise NotMeasuredError(f'exec: "{helper}": executable file not found in $PATH')
    try:
        done = subprocess.run(
            [program, "get"],
            input=key.encode(),
            capture_output=True,
            timeout=min(seconds, _MAX_HELPER_SECONDS),
            env=dict(environ),
            check=False,
        )
        return json.loads(done.stdout) if done.returncode == 0 else None
    except (OSError, ValueError, subprocess.TimeoutExpired, RecursionError):
        raise NotMeasuredError(f"{helper} didn't respond") from None


class ImageReference(NamedTuple):
    """The parts of a reference; without a tag and a digest the tag is `latest`."""

    registry: str
    path: str
    tag: str
    digest: str

    @property
    def full_reference(self) -> str:
        """The whole reference, with what the short form leaves out."""
        end = f"@{self.digest}" if self.digest else f":{self.tag}"
        return f"{self.registry}/{self.path}{end}"


def parse_image_reference(text: str) -> ImageReference:
    """Read a reference such as `postgres:16`; raises ValueError with Docker's words."""
    if re.fullmatch("[0-9a-f]{64}", text):
        message = f"invalid repository name ({text}), cannot specify 64-byte hexadecimal strings"
        raise ValueError(message)
    first, slash, rest = text.partition("/")
    is_registry = first == "localhost" or "." in first or ":" in first or first != first.lower()
    registry, remainder = (first, rest) if slash and is_registry else (DEFAULT_REGISTRY, text)
    if registry == "index.docker.io":
        registry = DEFAULT_REGISTRY
    if registry == DEFAULT_REGISTRY and "/" not in remainder:
        remainder = f"library/{remainder}"
    name = re.split("[:@]", remainder, maxsplit=1)[0]
    if name != name.lower():
        raise ValueError(f"{INVALID_REFERENCE_MESSAGE}: repository name ({name}) must be lowercase")
    is_short = len(text) <= _MAX_IMAGE_REFERENCE_CHARS
    match = _IMAGE_REFERENCE_PATTERN.fullmatch(f"{registry}/{remainder}") if is_short else None
    if match is None:
        raise ValueError(INVALID_REFERENCE_MESSAGE)
    if len(f"{registry}/{match['path']}") > _MAX_IMAGE_NAME_CHARS:
        raise ValueError(
            f"repository name must not be more than {_MAX_IMAGE_NAME_CHARS} characters"
        )
    digest = match["digest"] or ""
    algorithm, _, checksum = digest.partition(":")
    if digest and algorithm not in _DIGEST_CHARS_BY_ALGORITHM:
        raise ValueError("unsupported digest algorithm")
    if digest and len(checksum) != _DIGEST_CHARS_BY_ALGORITHM[algorithm]:
        raise ValueError("invalid checksum digest length")
    tag = match["tag"] or ("" if digest else "latest")
    return ImageReference(registry, match["path"], tag, digest)


def normalize_image_name(text: str) -> str:
    """Return a reference with what the short form leaves out; as it stands if it isn't valid."""
    try:
        return parse_image_reference(text.removeprefix("localhost/")).full_reference
    except ValueError:
        return text
