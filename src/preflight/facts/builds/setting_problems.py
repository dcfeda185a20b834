"""What Compose and BuildKit refuse of the keys of `build`, in their words."""

import os
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from preflight.facts.builds.stages import BuildPlan
from preflight.facts.compose.load import format_file_path
from preflight.facts.compose.project import Project
from preflight.facts.compose.project_file_guard import make_absolute_path
from preflight.facts.images import parse_image_reference

_BUILD_KEYS_NEEDING_BUILDKIT = {
    "privileged": "privileged mode",
    "additional_contexts": "additional contexts",
    "ssh": "SSH keys",
    "secrets": "secrets",
}
"""What the classic builder doesn't support, by the key, in Compose's order."""
_MAX_MESSAGE_CHARS = 300
_BUILDKIT_NETWORKS = ("", "default", "host", "none")


class BuildProblem(NamedTuple):
    """What stops a build: its kind, our sentence, the builder's words, and the line."""

    kind: str
    text: str
    error: str
    line: int = 0

    @classmethod
    def make(cls, kind: str, text: str, error: str = "", line: int = 0) -> "BuildProblem":
        """Return a problem whose texts can be shown; without an error the text is it too."""
        return cls(
            kind,
            replace_surrogates_and_shorten(text),
            replace_surrogates_and_shorten(error or text),
            line,
        )


def replace_surrogates_and_shorten(text: str) -> str:
    """Return a text that can be written as UTF-8, cut to what a message holds."""
    text = text.encode("utf-8", "replace").decode()
    return text if len(text) <= _MAX_MESSAGE_CHARS else f"{text[:_MAX_MESSAGE_CHARS]}…"


def find_build_setting_problems(
    project: Project, build: Mapping[str, Any], builder: str, environ: Mapping[str, str]
) -> Iterator[BuildProblem]:
    """Yield what Compose refuses, the first first."""
    if builder != "buildkit":
        for key, noun in _BUILD_KEYS_NEEDING_BUILDKIT.items():
            if build.get(key):
                error = f"the classic builder doesn't support {noun}"
                refusal = f"{error}, set DOCKER_BUILDKIT=1 to use BuildKit"
                yield BuildProblem.make("buildkit", error, refusal)
        return
    network = str(build.get("network") or "")
    if network not in _BUILDKIT_NETWORKS:
        error = f'network mode "{network}" not supported by buildkit'
        yield BuildProblem.make("network", error)
    yield from _find_build_secret_problems(project, build)
    yield from _find_build_ssh_problems(project, build, environ)
    for tag in map(str, build.get("tags") or ()):
        try:
            parse_image_reference(tag)
        except ValueError as error:
            yield BuildProblem.make(
                "tag", f"the tag {tag}: {error}", f'invalid tag "{tag}": {error}'
            )


def _find_build_secret_problems(
    project: Project, build: Mapping[str, Any]
) -> Iterator[BuildProblem]:
    defined = project.config.get("secrets") or {}
    for item in build.get("secrets") or ():
        name = item.get("source") if isinstance(item, Mapping) else item
        file = (defined.get(name) or {}).get("file")
        path = make_absolute_path(str(file), project.folder) if file else project.folder
        if not os.path.lexists(path) and "\0" not in path:
            text = f"the file of the build secret {name} is not there: {format_file_path(path)}"
            reason = f"stat {path}: no such file or directory"
            yield BuildProblem.make("secret", text, f"failed to stat {path}: {reason}")


def _find_build_ssh_problems(
    project: Project, build: Mapping[str, Any], environ: Mapping[str, str]
) -> Iterator[BuildProblem]:
    given = build.get("ssh") or ()
    items = given.items() if isinstance(given, Mapping) else (str(i).split("=", 1) for i in given)
    for name, *paths in items:
        path = make_absolute_path(str(paths[0]), project.folder) if paths and paths[0] else ""
        reason = ""
        if not path and not environ.get("SSH_AUTH_SOCK"):
            reason = "invalid empty ssh agent socket: make sure SSH_AUTH_SOCK is set"
        elif path and not os.path.lexists(path):
            key = f'failed to convert agent config for ID: "{name}"'
            reason = f"{key}: stat {path}: no such file or directory"
        if reason:
            config = f"{{{name} [{path}] false}}"
            text = f"the SSH key {name} of the build: {reason.rpartition(': ')[0]}"
            yield BuildProblem.make(
                "ssh", text, f"failed to convert agent config {config}: {reason}"
            )


def find_secrets_and_ssh_not_given(
    plan: BuildPlan, build: Mapping[str, Any], major: str
) -> Iterator[BuildProblem]:
    """Yield the secrets and SSH keys that the Dockerfile requires and `build` doesn't give.

    `major` is the major version of the engine.
    """
    given = {
        str(item.get("target") or item.get("source") if isinstance(item, Mapping) else item)
        for item in build.get("secrets") or ()
    }
    for kind, id_, instruction in plan.list_required_secrets_and_ssh():
        name = id_ or "default"
        error = f"secret {name} not found: not found"
        is_given = name in given
        if kind == "ssh":
            is_given = bool(build.get("ssh"))
            error = f"unset ssh forward key {name}"
            if major == "20":
                error = 'no SSH key "" forwarded from the client'
        if not is_given:
            text = f"RUN requires the {kind} {name}, which isn't in build.{kind}"
            yield BuildProblem.make(
                kind, f"{text}{'s' * (kind == 'secret')}", error, instruction.line
            )
