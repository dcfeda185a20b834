"""Finds the compose project of a folder: its files, where what they name may lie, who reads it.

Compose decides; without it the fallback reader does. A project may come from anybody: what it names
outside its folder and repository isn't read. What the user typed, and what the environment names,
is the user's word. Source of the order: compose-spec/compose-go, cli/options.go.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING

from preflight.facts.collect.measurement import STANDARD_COMPOSE_FILE_NAMES, MeasurementOptions
from preflight.facts.compose.project import (
    ComposeError,
    Project,
    explain_absent_service,
    list_service_secrets_and_configs,
)
from preflight.model.facts import FileLine
from preflight.model.problems import did_you_mean
from preflight.processes import list_siblings

if TYPE_CHECKING:
    from preflight.facts.compose.cli import ComposeAnswer
    from preflight.facts.compose.project_file_guard import ProjectFileGuard

_MISSING_VARIABLE_MESSAGE_PATTERN = r"required variable (\w+) is missing a value(?:: (.*))?"
_SERVICE_REFUSAL_MESSAGE_PATTERN = (
    "can't set|neither an image|on undefined|to undefined|dependency cycle|already in use|"
    "mutually exclusive"
)
ALLOW_READ_VARIABLE = "PREFLIGHT_ALLOW_READ"
OVERRIDE_FILE_NAMES = (
    *("compose.override.yml", "compose.override.yaml"),
    *("docker-compose.override.yml", "docker-compose.override.yaml"),
)


def load_project(
    options: MeasurementOptions, environ: Mapping[str, str] = os.environ
) -> Project | None:
    """Return the project, or None without a compose file; raises ComposeError."""
    environ = make_compose_environment(environ)
    bounds, files = find_compose_files(options.compose_files, environ)
    if not files:
        return None
    from preflight.facts.compose.project_file_guard import (
        ProjectFileGuard,  # a machine without a file doesn't need it
    )

    guard = ProjectFileGuard(files, bounds, environ)
    try:
        return _load_project_with_compose(guard, options.timeout, environ)
    except ComposeError as error:
        raise ComposeError(guard.hide_variable_values_in_message(error.text)) from None


def make_compose_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the environment that Compose is given, so that no file of the project adds to it."""
    own = {"PWD": os.getcwd(), "COMPOSE_ENV_FILES": "", "COMPOSE_DISABLE_ENV_FILE": "0", **environ}
    # nothing is fetched for an `include` from elsewhere: no request leaves the machine
    remote = ("COMPOSE_EXPERIMENTAL_GIT_REMOTE", "COMPOSE_EXPERIMENTAL_OCI_REMOTE")
    return own | dict.fromkeys(remote, "0")


def _load_project_with_compose(
    guard: ProjectFileGuard, timeout: float, environ: Mapping[str, str]
) -> Project:
    from preflight.facts.compose import cli

    guard.check_project()
    answer = cli.ask_compose(guard.files, timeout, environ)
    project = Project(
        name="",
        folder=guard.folder,
        files=guard.files,
        source="cli",
        config=answer.config or {},
        compose=answer.version,
        positions=guard.positions,
        unset_variables=answer.unset,
        needs=tuple(guard.needs.values()),
    )
    if answer.config is None:
        project = _read_without_compose(project, answer, guard)
    active = project.services
    inactive = {name: own for name, own in guard.profiles.items() if name not in active}
    project = project._replace(
        name=str(project.config.get("name") or ""),
        inactive=inactive,
        profiles=guard.active_profiles,
    )
    conflicts = [*project.conflicts, *_find_unset_secret_variables(project, guard)]
    return project._replace(
        conflicts=tuple(
            (name, _explain_undefined_service(project, words)) for name, words in conflicts
        )
    )


def _explain_undefined_service(project: Project, words: str) -> str:
    """Return what Compose says, and of a service whose profile isn't active, that it isn't."""
    name = re.search('undefined service "([^"]+)"', words)
    is_inactive = name is not None and name[1] in project.inactive
    return f"{words}; {explain_absent_service(project, name[1])}" if name and is_inactive else words


def _find_unset_secret_variables(
    project: Project, guard: ProjectFileGuard
) -> Iterator[tuple[str, str]]:
    """Yield the services whose secrets or configs come from variables that aren't set.

    Compose says so as it creates the container.
    """
    for service, config in project.services.items():
        for kind, key, given in list_service_secrets_and_configs(project, config):
            variable = str(given.get("environment") or "")
            if variable and guard.variables.lookup(variable) is None:
                name = given.get("name") or f"{project.config.get('name')}_{key}"
                words = f'environment variable "{variable}" required by {kind} "{name}"'
                yield service, f"{words} is not set"


def _find_line_of_refused_setting(
    words: str, positions: Mapping[tuple[str, ...], FileLine]
) -> FileLine | None:
    """Return the line of the setting that Compose names, such as services.a.ports."""
    path: tuple[str, ...] = ("services",)
    for name in re.findall(r"[\w-]+", words.partition("services")[2]):
        path = (*path, name) if (*path, name) in positions else path
    return positions[path] if len(path) > 1 else None


def _read_without_compose(
    project: Project, answer: ComposeAnswer, guard: ProjectFileGuard
) -> Project:
    """Read the files where Compose gave no configuration; raises ComposeError.

    What Compose refuses must have a cause that a rule judges, else the project can't be used.
    """
    from preflight.facts.compose import fallback_reader

    words = guard.hide_variable_values_in_message(answer.refused) if answer.refused else ""
    refusal = f"Docker Compose rejects it: {re.sub('^validating .*?: +', '', words)}"
    place = _find_line_of_refused_setting(words, project.positions) or FileLine(project.files[0], 0)
    try:
        project = fallback_reader.read_project_without_compose(project, guard)
    except ComposeError as error:
        if not words:
            raise
        raise ComposeError(f"{refusal} ({error.text})", *place) from None
    hide = guard.hide_variable_values_in_message
    missing = {name: hide(message) for name, message in project.missing_variables.items()}
    caveats = list(project.caveats)
    conflicts = [(name, hide(message)) for name, message in project.conflicts]
    if words and project.is_too_old:
        caveats.append(f"Docker Compose {project.compose} refuses it: {words}")
    elif words:  # it names the first cause alone
        if variable := re.search(_MISSING_VARIABLE_MESSAGE_PATTERN, words):
            missing.setdefault(variable[1], variable[2] or "")
        elif re.search(_SERVICE_REFUSAL_MESSAGE_PATTERN, answer.refused or ""):
            names = (name.removeprefix("services.") for name in re.findall(r"[\w.-]*\w", words))
            named = [(name, words) for name in names if name in project.services]
            conflicts = list(dict.fromkeys([*conflicts, *named[:1]]))
        if not (missing or project.missing_env_files or conflicts):
            raise ComposeError(refusal, *place)
    elif answer.fault:
        caveats.append(answer.fault)
    return project._replace(
        missing_variables=missing, conflicts=tuple(conflicts), caveats=tuple(caveats)
    )


class ReadableFolders:
    """The folders that may be read; a link counts as what it leads to."""

    def __init__(self, typed: Sequence[str], environ: Mapping[str, str]) -> None:
        """Allow the current folder, those of the files named by the user, and repositories."""
        separator = environ.get("COMPOSE_PATH_SEPARATOR") or os.pathsep
        named = [*typed, *environ.get("COMPOSE_FILE", "").split(separator)]
        named += environ.get("COMPOSE_ENV_FILES", "").split(",")
        folders = {
            os.getcwd(),
            *filter(None, environ.get(ALLOW_READ_VARIABLE, "").split(os.pathsep)),
        }
        for file in filter(None, named):
            folders |= {os.path.dirname(os.path.abspath(file)), os.path.realpath(file)}
        real = set(map(os.path.realpath, folders))
        self.folders = real.union(*map(_find_enclosing_git_repository, real))

    def require_inside(self, path: str) -> None:
        """Raise ComposeError for a file that may not be read."""
        if "\0" in path or "\ufffd" in path:
            raise ComposeError("a path contains characters that aren't valid UTF-8")
        real = os.path.realpath(path)
        if path == os.devnull or self.folders & {real, *map(str, Path(real).parents)}:
            return
        link = f" (a link to {real})" if os.path.islink(path) else ""
        raise ComposeError(
            f"{path}{link} lies outside the project and its repository, so it isn't read; "
            f"to allow it, set {ALLOW_READ_VARIABLE}={os.path.dirname(real)}"
        )


def _find_enclosing_git_repository(folder: str) -> list[str]:
    """Return the git repository around a folder; one that is all of the home doesn't count."""
    path = Path(folder)
    ends = (Path(os.path.realpath(os.path.expanduser("~"))), Path(path.anchor))
    parents = takewhile(lambda parent: parent not in ends, (path, *path.parents))
    return [str(parent) for parent in parents if (parent / ".git").exists()][:1]


def find_compose_files(
    typed: Sequence[str], environ: Mapping[str, str]
) -> tuple[ReadableFolders, tuple[str, ...]]:
    """Return the folders that may be read, and the compose files: none if none is here or above.

    Raises ComposeError for one that was named and isn't there, or is out of bounds.
    """
    bounds = ReadableFolders(typed, environ)
    files = tuple(typed) or _read_compose_file_variable(environ, bounds)
    for file in files:
        if os.path.exists(file) and not os.path.isfile(file):
            raise ComposeError("not a file; specify one with --compose-file", file)
        if not os.path.isfile(file):
            hint = did_you_mean(file, list_siblings(file)) or "; specify one with --compose-file"
            raise ComposeError(f"no such compose file{hint}", file)
    if not files:
        files = _find_compose_files_here_or_above(Path.cwd())
        bounds.folders |= {os.path.realpath(os.path.dirname(file)) for file in files}
    for file in files:
        bounds.require_inside(file)
    return bounds, files


def _read_compose_file_variable(
    environ: Mapping[str, str], bounds: ReadableFolders
) -> tuple[str, ...]:
    """Return the files of COMPOSE_FILE, from the environment or the current folder's `.env`."""
    separator, named = map(environ.get, ("COMPOSE_PATH_SEPARATOR", "COMPOSE_FILE"))
    if env_files := find_interpolation_env_files(os.getcwd(), environ, bounds):
        from preflight.facts.compose.interpolation_and_env_files import read_project_variables

        lookup = read_project_variables(env_files, environ).lookup
        separator, named = map(lookup, ("COMPOSE_PATH_SEPARATOR", "COMPOSE_FILE"))
    return tuple(filter(None, (named or "").split(separator or os.pathsep)))


def find_interpolation_env_files(
    folder: str, environ: Mapping[str, str], bounds: ReadableFolders
) -> list[str]:
    """Return the files of COMPOSE_ENV_FILES, else the folder's `.env` where there is one.

    Raises ComposeError for a `.env` that may not be read.
    """
    named = [file for file in environ.get("COMPOSE_ENV_FILES", "").split(",") if file.strip()]
    disabled = environ.get("COMPOSE_DISABLE_ENV_FILE", "").lower() in ("1", "t", "true")
    default = os.path.join(folder, ".env")
    if named or disabled or not os.path.isfile(default):
        return named
    bounds.require_inside(default)
    return [default]


def _find_compose_files_here_or_above(folder: Path) -> tuple[str, ...]:
    """Return the first standard name here or in the nearest folder above, and its override."""
    for parent in (folder, *folder.parents):
        names = [name for name in STANDARD_COMPOSE_FILE_NAMES if (parent / name).is_file()]
        if names:
            override = [name for name in OVERRIDE_FILE_NAMES if (parent / name).is_file()]
            return tuple(str(parent / name) for name in (names[0], *override[:1]))
    return ()


def format_file_path(path: str) -> str:
    """Return a path relative to the current folder where it is inside of it, else absolute."""
    path, here = os.path.abspath(path), os.getcwd()
    return os.path.relpath(path, here) if path.startswith(here.rstrip(os.sep) + os.sep) else path


def read_bytes(path: str, max_bytes: int) -> bytes:
    """Return what a file holds, at most one byte more than `max_bytes`; raises ComposeError."""
    try:
        if not os.path.isfile(path):  # a pipe would be waited for
            raise OSError(0, "not a file")
        with open(path, "rb") as file:
            return file.read(max_bytes + 1)
    except OSError as error:
        raise ComposeError(
            f"the file can't be read: {error.strerror}", format_file_path(path)
        ) from None
