"""Users and programs that a service asks for and its image, which is here, doesn't have."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from stat import S_ISDIR
from typing import Any, TypeAlias

from preflight.facts.collect.context import Engine
from preflight.facts.compose.compose_facts import list_secret_and_config_targets, parse_text_mapping
from preflight.facts.engine.image_files import ImageFiles
from preflight.facts.nested_values import get_nested_value

Refusal: TypeAlias = tuple[str, str]  # what is said, and the key in the file

_DEFAULT_PATH_IN_CONTAINER = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_MAX_USER_ID = 2**31 - 1


def find_user_and_program_refusals(
    service: Mapping[str, Any], inspected: Mapping[str, Any], engine: Engine
) -> Iterator[Refusal]:
    """Yield what is said to a user or a program that the image, which is here, doesn't have."""
    policy = service.get("pull_policy") or "missing"
    if service.get("build") or policy not in ("missing", "if_not_present", "never"):
        return  # another image takes its place
    entrypoint, command = service.get("entrypoint"), service.get("command")
    if not entrypoint:
        command = command or get_nested_value(inspected, "Config.Cmd")
    if entrypoint is None:
        entrypoint = get_nested_value(inspected, "Config.Entrypoint")
    words = [*(entrypoint or ()), *(command or ())]
    if not words:
        yield "No command specified", "image"
        return
    files = ImageFiles(inspected, engine.visibility.path_hidden)
    if files.unknown is None:
        environment = parse_text_mapping(get_nested_value(inspected, "Config.Env"))
        environment |= parse_text_mapping(service.get("environment"))
        yield from _find_user_refusals(service, files)
        search_path = environment.get("PATH") or _DEFAULT_PATH_IN_CONTAINER
        yield from _find_program_refusals(str(words[0]), search_path, service, files)


def _find_user_refusals(service: Mapping[str, Any], files: ImageFiles) -> Iterator[Refusal]:
    user, _, group = str(service.get("user") or "").partition(":")
    names = [(user, "user", "user", "passwd"), (group, "user", "group", "group")]
    names += [(str(name), "group_add", "group", "group") for name in service.get("group_add") or ()]
    for given, key, noun, file in names:
        if re.fullmatch(r"-?\d+", given):
            if not 0 <= int(given) <= _MAX_USER_ID:
                yield f"uids and gids must be in range 0-{_MAX_USER_ID}", key
        elif given:
            rows = files.read_text(f"/etc/{file}").splitlines()
            if given not in [row.partition(":")[0] for row in rows]:
                verb = "Unable" if key == "group_add" else "unable"
                yield f"{verb} to find {noun} {given}: no matching entries in {file} file", key


def _find_program_refusals(
    program: str, search_path: str, service: Mapping[str, Any], files: ImageFiles
) -> Iterator[Refusal]:
    """Yield what the runtime says to a program that isn't there or can't be executed."""
    is_relative = "/" in program and not program.startswith("/")
    if service.get("volumes_from") or is_relative or service.get("init"):
        return  # in the working directory or another container's volume, or what init starts
    mounts = {str(mount.get("target")): mount for mount in service.get("volumes") or ()}
    for target in list_secret_and_config_targets(service):
        mounts.setdefault(target, {})
    refused = f'exec: "{program}"'
    if (mount := mounts.get(program)) is not None:
        source = str(mount.get("source"))
        is_file = mount.get("type") == "bind" and os.path.isfile(source)
        if is_file and not os.stat(source).st_mode & 0o111:
            yield f"{refused}: permission denied", "volumes"
        return
    folders = [""] if program.startswith("/") else search_path.split(":")
    paths = [os.path.join(folder, program) for folder in folders]
    real_targets = [files.find_real_path(target.rstrip("/")) for target in mounts]
    real_paths = [files.find_real_path(path) for path in paths]
    if any(f"{path}/".startswith(f"{target}/") for path in real_paths for target in real_targets):
        return  # what is mounted may have it
    if any(map(files.is_dangling_link, paths)):
        return  # it may lead to what is mounted
    statuses = (files.stat(path) for path in paths)
    found = [status for status in statuses if status is not None]
    if not found:
        reason = f"stat {program}: no such file or directory"
        if not program.startswith("/"):
            reason = "executable file not found in $PATH"
        yield f"{refused}: {reason}", "command"
    elif not any(status.st_mode & 0o111 and not S_ISDIR(status.st_mode) for status in found):
        yield f"{refused}: permission denied", "command"
