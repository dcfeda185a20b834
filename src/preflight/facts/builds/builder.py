"""Who builds the images of a project."""

from collections.abc import Mapping
from typing import NamedTuple

from preflight.facts.builds.dockerfile import SyntaxVersion
from preflight.facts.collect.context import Engine
from preflight.facts.engine.endpoint import read_docker_config_file
from preflight.model.facts import Unknown

_GO_FALSE_WORDS = ("0", "f", "false")  # Go's strconv.ParseBool, without capitals
_DOCKERFILE_SYNTAX_BY_ENGINE_VERSION: Mapping[str, SyntaxVersion] = {
    "20": (1, 2), "22": (1, 4), "23": (1, 4), "24": (1, 5), "25": (1, 6), "26": (1, 7),
    "27": (1, 8), "28": (1, 14), "29": (1, 19),
}  # fmt: skip
"""The Dockerfile syntax that the BuildKit within an engine understands, by its major version."""


class ImageBuilderInfo(NamedTuple):
    """Who builds: `name` is buildkit, classic or buildah, `major` the engine's major version."""

    name: str
    syntax: SyntaxVersion | None = None
    major: str = ""
    platform: str = ""  # of the engine, such as linux/amd64


def find_builder(engine: Engine | Unknown, environ: Mapping[str, str]) -> ImageBuilderInfo:
    """Return who builds; Compose uses BuildKit unless DOCKER_BUILDKIT says otherwise.

    Source: docker/cli, cli/command/cli.go `BuildKitEnabled`.
    """
    version = {} if isinstance(engine, Unknown) else engine.version
    is_podman = isinstance(engine, Engine) and engine.name == "podman"
    major = str(version.get("Version") or "").partition(".")[0]
    platform = f"{version.get('Os') or ''}/{version.get('Arch') or ''}".lower()
    is_off = environ.get("DOCKER_BUILDKIT", "").lower() in _GO_FALSE_WORDS
    if is_off or platform.startswith("windows/"):
        if is_podman:
            return ImageBuilderInfo("buildah", None, major, platform)
        return ImageBuilderInfo(
            "classic", _DOCKERFILE_SYNTAX_BY_ENGINE_VERSION.get(major), major, platform
        )
    buildx_builder = read_docker_config_file(environ, "buildx/current").get("Name")
    has_own_builder = is_podman or environ.get("BUILDX_BUILDER") or buildx_builder
    syntax = None if has_own_builder else _DOCKERFILE_SYNTAX_BY_ENGINE_VERSION.get(major)
    return ImageBuilderInfo("buildkit", syntax, "" if has_own_builder else major, platform)
