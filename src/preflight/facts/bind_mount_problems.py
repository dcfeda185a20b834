"""Bind mounts that the engine refuses or the service can't use: of the wrong type, not permitted.

What is at the target is looked up in the image, where that is here and its files can be read.
"""

import os
import re
import stat
import struct
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import suppress
from functools import reduce
from operator import or_
from pathlib import PurePosixPath
from typing import Any, NamedTuple

from preflight.facts.collect.context import Engine, Service
from preflight.facts.compose.project import list_service_image_names
from preflight.facts.engine.api import NotFoundError
from preflight.facts.engine.host_visibility import is_rootless
from preflight.facts.engine.image_files import ImageFiles
from preflight.facts.nested_values import get_nested_value

_SOCKET_FOLDERS = ("/run/", "/var/run/")  # sockets are there, which no data is written beside
# names of folders that images read from, and seldom write to
_RARELY_WRITTEN_FOLDER_PATTERN = re.compile(
    r"(?:certs|dags|dashboards|plugins|provisioning|scripts|templates|.+\.d)", re.IGNORECASE
)
_ACL_ATTRIBUTE = "system.posix_acl_access"
# linux/posix_acl.h
_ACL_USER_OBJ, _ACL_USER, _ACL_GROUP_OBJ, _ACL_GROUP, _ACL_MASK, _ACL_OTHER = 1, 2, 4, 8, 16, 32
_READ_PERMISSION, _WRITE_PERMISSION, _SEARCH_PERMISSION = 4, 2, 1
# names of files, where an empty folder is what an earlier start has made
_NAME_WITH_EXTENSION_PATTERN = re.compile(
    r"[^.].*\.(?:cnf|conf|cfg|crt|css|env|html?|ini|js|json|key|log|lua|pem|php|properties|py|rb|sh"
    r"|sql|toml|txt|xml|ya?ml)",
    re.IGNORECASE,
)
_SELINUX_CONTAINER_TYPE_PATTERN = re.compile(
    rb":container_(?:file|ro_file|share|var_lib)_t(?::|\0|$)"
)


class _BindMount(NamedTuple):
    source: str
    target: str
    is_read_only: bool
    is_labeled: bool
    status: os.stat_result | None  # None if it is made as a folder


def find_mount_problems(service: Service) -> Mapping[str, Mapping[str, str]]:
    """Return what is wrong with the bind mounts of a service, by kind and path of this machine.

    What isn't visible here is left out. Raises EngineError.
    """
    problems: dict[str, dict[str, str]] = defaultdict(dict)
    engine = service.engine
    mounts = list(_list_bind_mounts(service))
    if not mounts:
        return problems
    inspected: Mapping[str, Any] = {}
    files = None
    with suppress(NotFoundError):
        inspected = engine.api.inspect_image(
            list_service_image_names(service.project, service.name)[0]
        )
        image_files = ImageFiles(inspected, engine.visibility.path_hidden)
        files = image_files if image_files.unknown is None else None
    targets = [str(mount.get("target")) for mount in service.volumes]
    for mount in mounts:
        is_folder = mount.status is None or stat.S_ISDIR(mount.status.st_mode)
        is_hidden = any(mount.target.startswith(f"{target}/") for target in targets)
        at_target = None if files is None or is_hidden else _stat_in_image(files, mount.target)
        if at_target is not None and stat.S_ISDIR(at_target.st_mode) != is_folder:
            kinds = ("a folder", "a file") if is_folder else ("a file", "a folder")
            here = f"is {kinds[0]}" if mount.status else "would be made as a folder"
            words = f"{mount.source} {here}, {mount.target} in the image is {kinds[1]}"
            problems["mismatched"][mount.source] = words
        elif files is None and _is_leftover_empty_folder(mount):
            problems["stale"][mount.source] = mount.source
    if engine.visibility.processes_hidden is None and "name=selinux" in _read_security_options(
        engine
    ):
        for mount in mounts:
            if not mount.is_labeled and _is_denied_by_selinux_label(mount.source):
                problems["unlabeled"][mount.source] = mount.source
    user = _find_container_user(service.config, inspected, files)
    if user is not None and _shares_user_ids_with_host(engine):
        for mount in mounts:
            words = _explain_denied_mount_access(mount, user)
            is_denied = words and mount.source not in problems["mismatched"]
            if is_denied and not _can_other_container_change_owner(service, mount.source):
                problems["denied"][mount.source] = words
    return problems


def _can_other_container_change_owner(service: Service, path: str) -> bool:
    """Whether another service or a hook, run as root, can change the owner of a path.

    Images do so when they start, and services made for it that others wait for.
    """
    users = [str(hook.get("user") or "-") for hook in service.config.get("post_start") or ()]
    for name, other in service.project.services.items():
        sources = [
            PurePosixPath(str(mount.get("source")))
            for mount in other.get("volumes") or ()
            if mount.get("type") == "bind" and not mount.get("read_only")
        ]
        if name == service.name or not any(map(PurePosixPath(path).is_relative_to, sources)):
            continue
        inspected: Mapping[str, Any] = {}
        with suppress(NotFoundError):
            inspected = service.engine.api.inspect_image(
                list_service_image_names(service.project, name)[0]
            )
        users.append(str(other.get("user") or get_nested_value(inspected, "Config.User") or "0"))
    return any(user.partition(":")[0] in ("0", "root") for user in users)


def _list_bind_mounts(service: Service) -> Iterator[_BindMount]:
    """Yield the bind mounts whose sources can be looked at."""
    for mount in service.volumes:
        source, target = str(mount.get("source") or ""), str(mount.get("target") or "")
        if mount.get("type") != "bind" or not os.path.isabs(source) or "\0" in source + target:
            continue
        if service.engine.visibility.path_hidden(source) is not None:
            continue
        bind = mount.get("bind") or {}
        try:
            status = os.stat(source)
        except FileNotFoundError:
            if os.path.islink(source) or bind.get("create_host_path") is False:
                continue
            status = None
        except OSError:
            continue
        read_only = bool(mount.get("read_only"))
        yield _BindMount(source, target.rstrip("/"), read_only, bool(bind.get("selinux")), status)


def _stat_in_image(files: ImageFiles, path: str) -> os.stat_result | None:
    try:
        return files.stat(path)
    except OSError:
        return None


def _is_leftover_empty_folder(mount: _BindMount) -> bool:
    """Whether it is an empty folder of root where a file is meant, going by both names."""
    if mount.status is None or not stat.S_ISDIR(mount.status.st_mode) or mount.status.st_uid:
        return False
    names = (PurePosixPath(path).name for path in (mount.source, mount.target))
    return all(map(_NAME_WITH_EXTENSION_PATTERN.fullmatch, names)) and _is_empty_folder(
        mount.source
    )


def _is_empty_folder(folder: str) -> bool:
    try:
        return not is_file_or_filled_folder(folder)
    except OSError:
        return False


def is_file_or_filled_folder(path: str) -> bool:
    """Return whether a path is a file or a folder that isn't empty; raises OSError."""
    try:
        with os.scandir(path) as entries:
            return next(entries, None) is not None
    except NotADirectoryError:
        return True
    except FileNotFoundError:
        return False


class _ContainerUser(NamedTuple):
    """A user of a container; `groups` are None if not all of them are known."""

    name: str
    uid: int
    groups: frozenset[int] | None


def _find_container_user(
    service: Mapping[str, Any], inspected: Mapping[str, Any], files: ImageFiles | None
) -> _ContainerUser | None:
    """Return the user of a service, None for root and where it isn't known."""
    name = str(service.get("user") or get_nested_value(inspected, "Config.User") or "")
    user, _, group = name.partition(":")
    try:
        passwd = files.read_text("/etc/passwd") if files else ""
        group_file = files.read_text("/etc/group") if files else ""
    except OSError:
        return None
    rows = [line.split(":") for line in passwd.splitlines() if line.count(":") >= 3]
    row = next((row for row in rows if user and user in (row[0], row[2])), None)
    uid = user if user.isdecimal() else row[2] if row else ""
    if not uid.isdecimal() or int(uid) == 0:
        return None
    groups: set[str] = set(map(str, service.get("group_add") or ()))
    groups.add(group or (row[3] if row else "0"))
    for line in group_file.splitlines():
        parts = line.split(":")
        is_member = row is not None and not group and row[0] in parts[-1].split(",")
        if len(parts) == 4 and (is_member or parts[0] in groups):
            groups = (groups - {parts[0]}) | {parts[2]}
    is_known = (files is not None or bool(group)) and all(map(str.isdecimal, groups))
    return _ContainerUser(name, int(uid), frozenset(map(int, groups)) if is_known else None)


def _read_security_options(engine: Engine) -> str:
    return str(engine.info.get("SecurityOptions"))


def _shares_user_ids_with_host(engine: Engine) -> bool:
    """Whether a user of a container is the same user on this machine."""
    mapped = is_rootless(engine.info) or "name=userns" in _read_security_options(engine)
    return engine.visibility.processes_hidden is None and not mapped


def _explain_denied_mount_access(mount: _BindMount, user: _ContainerUser) -> str:
    """Return why a user can't use a mount, or an empty string if it can, or where that isn't sure.

    Only an empty folder is there to be written: what is in others may be all that is needed.
    """
    is_input = _RARELY_WRITTEN_FOLDER_PATTERN.fullmatch(PurePosixPath(mount.target).name)
    if mount.status is None:
        if mount.is_read_only or is_input or mount.source.startswith(_SOCKET_FOLDERS):
            return ""
        return f"user {user.name} can't write to {mount.source} (Docker creates it as root's)"
    is_folder = stat.S_ISDIR(mount.status.st_mode)
    allowed = compute_permission_bits(mount.source, mount.status, user.uid, user.groups)
    needed = _READ_PERMISSION | _SEARCH_PERMISSION if is_folder else _READ_PERMISSION
    owner = f"owner {mount.status.st_uid}, mode {stat.S_IMODE(mount.status.st_mode):o}"
    if stat.S_ISSOCK(mount.status.st_mode) or stat.S_ISCHR(mount.status.st_mode):
        return ""
    if allowed & needed != needed:
        return f"user {user.name} can't read {mount.source} ({owner})"
    if (
        is_folder
        and not (mount.is_read_only or is_input)
        and not allowed & _WRITE_PERMISSION
        and _is_empty_folder(mount.source)
    ):
        return f"user {user.name} can't write to {mount.source} ({owner})"
    return ""


def compute_permission_bits(
    path: str, status: os.stat_result, uid: int, groups: frozenset[int] | None
) -> int:
    """Return the bits of read, write and search that a user has at a path, by mode or ACL.

    Where its groups aren't known it may be in all of them. Source: acl(5), access check algorithm.
    """
    mode = status.st_mode
    entries = [
        (_ACL_USER_OBJ, mode >> 6 & 7, status.st_uid),
        (_ACL_GROUP_OBJ, mode >> 3 & 7, status.st_gid),
        (_ACL_OTHER, mode & 7, 0),
    ]
    if mode >> 3 & 7:  # Linux ignores a list whose mask, which these bits are, allows nothing
        with suppress(OSError, AttributeError, struct.error):  # where there is none
            entries = list(struct.iter_unpack("<HHI", os.getxattr(path, _ACL_ATTRIBUTE)[4:]))
    by_tag = {tag: permissions for tag, permissions, _ in entries}
    mask = by_tag.get(_ACL_MASK, 7)
    if uid == status.st_uid:
        return by_tag.get(_ACL_USER_OBJ, 0)
    for tag, permissions, owner in entries:
        if tag == _ACL_USER and owner == uid:
            return permissions & mask
    allowed = [
        permissions & mask
        for tag, permissions, owner in entries
        if tag in (_ACL_GROUP_OBJ, _ACL_GROUP)
        and (groups is None or (owner if tag == _ACL_GROUP else status.st_gid) in groups)
    ]
    if groups is None or not allowed:
        allowed.append(by_tag.get(_ACL_OTHER, 0))
    return reduce(or_, allowed)


def _is_denied_by_selinux_label(path: str) -> bool:
    """Whether SELinux labels a path as something that containers may not use."""
    try:
        return _SELINUX_CONTAINER_TYPE_PATTERN.search(os.getxattr(path, "security.selinux")) is None
    except (OSError, AttributeError):
        return False
