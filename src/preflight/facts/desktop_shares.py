"""The folders that Docker Desktop shares with its virtual machine, as its settings list them.

On Windows with WSL, all are. Other paths are those of the virtual machine: what isn't there is
refused. Source: docs.docker.com, Docker Desktop, Settings, File sharing.
"""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from preflight.facts.collect.context import Service
from preflight.facts.engine.endpoint import read_json_object_or_empty
from preflight.model.facts import NotMeasuredError

_DESKTOP_SETTINGS_FOLDERS = ("Library/Group Containers/group.com.docker", ".docker/desktop")
_DESKTOP_SETTINGS_FILES = ("settings-store.json", "settings.json")  # the latter before 4.35
_FOLDERS_SHARED_BY_DEFAULT = ("/Users", "/Volumes", "/home")
# what the virtual machine has too, or macOS as a link below /private
_FOLDERS_IN_VM = (
    *("", "bin", "dev", "etc", "host_mnt", "lib", "private", "proc", "run", "sbin", "sys", "tmp"),
    *("usr", "var"),
)


def find_unshared_mount_refusals(service: Service) -> Iterator[tuple[str, str]]:
    """Yield what Docker Desktop says to bind mounts that it doesn't share, with the key.

    Raises NotMeasuredError where the settings can't be read and decide.
    """
    engine = service.engine
    is_wsl = "microsoft" in str(engine.info.get("KernelVersion")).lower()
    if engine.name != "docker-desktop" or is_wsl or not engine.api.endpoint.is_local:
        return
    home = os.path.expanduser("~")
    binds = [mount for mount in service.volumes if mount.get("type") == "bind"]
    sources = [source for mount in binds if (source := str(mount.get("source"))).startswith("/")]
    sources = [path for path in sources if path.strip("/").partition("/")[0] not in _FOLDERS_IN_VM]
    shared = read_shared_folders(service.root / home.lstrip("/")) if sources else None
    for source in sources:
        if shared is None and not _is_below_one_of(source, (home, *_FOLDERS_SHARED_BY_DEFAULT)):
            raise NotMeasuredError(
                f"Docker Desktop's settings don't say whether it shares {source}"
            )
        if shared is not None and not _is_below_one_of(source, shared):
            reason = "is not shared from the host and is not known to Docker"
            yield f"Mounts denied: The path {source} {reason}", "volumes"


def read_shared_folders(home: Path) -> list[str] | None:
    """Return the folders that a user's settings list, or None if they don't or can't be read."""
    for file in (
        home / folder / name
        for folder in _DESKTOP_SETTINGS_FOLDERS
        for name in _DESKTOP_SETTINGS_FILES
    ):
        settings = read_json_object_or_empty(file)
        for key in ("FilesharingDirectories", "filesharingDirectories"):
            folders = settings.get(key)
            if isinstance(folders, list):
                return list(map(str, folders))
    return None


def _is_below_one_of(path: str, folders: Sequence[str]) -> bool:
    """Whether a path is in one of the folders, also as a link; macOS ignores case."""
    paths = [f"{form.casefold()}/" for form in (path, os.path.realpath(path))]
    prefixes = tuple(f"{folder.rstrip('/').casefold()}/" for folder in folders)
    return any(form.startswith(prefixes) for form in paths)
