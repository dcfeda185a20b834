"""What is kept between runs: files in the user's cache folder, trusted only if they are theirs."""

from __future__ import annotations

import os
import stat
import sys
from contextlib import suppress
from pathlib import Path

from preflight.processes import check_filesystem_responds

_unresponsive_folders: set[Path] = set()


def prepare_cache_file_path(name: str) -> Path | None:
    """Return the path of a file to keep; None without a folder that is the user's own.

    Under sudo the home folder may be another user's; a relative path would be in the project. A
    home folder that doesn't exist, as that of a service, isn't made.
    """
    if sys.platform == "win32":
        folder = os.environ.get("LOCALAPPDATA", "")
    elif sys.platform == "darwin":
        folder = "~/Library/Caches"
    else:
        folder = os.environ.get("XDG_CACHE_HOME", "")
        folder = folder if os.path.isabs(folder) else "~/.cache"  # as its specification says
    with suppress(OSError, RuntimeError):  # no home folder
        file = Path(folder, "preflight", name).expanduser()
        if file.parent in _unresponsive_folders or not file.is_absolute():
            return None
        _unresponsive_folders.add(file.parent)  # waited for once
        check_filesystem_responds(str(file))
        _unresponsive_folders.remove(file.parent)
        existing = next(folder for folder in file.parents if folder.exists())
        is_homeless = folder.startswith("~") and existing in Path.home().parents
        if _is_writable_only_by_user(existing.stat()) and not is_homeless:
            file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            return file
    return None


def _is_writable_only_by_user(state: os.stat_result) -> bool:
    """Return whether nobody else can write to a file or folder."""
    if sys.platform == "win32":
        return True
    return state.st_uid == os.geteuid() and not state.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def read_cache_file(file: Path) -> bytes:
    """Return the contents of a kept file; nothing if it is missing or untrusted."""
    with suppress(OSError):
        state = file.lstat()
        if stat.S_ISREG(state.st_mode) and _is_writable_only_by_user(state):
            return file.read_bytes()
    return b""


def write_cache_file(file: Path, data: bytes) -> bool:
    """Keep data, whole or not at all; return whether that was possible."""
    temporary = file.with_name(f"{file.name}.{os.urandom(8).hex()}")
    with suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        try:
            temporary.touch(0o600, exist_ok=False)
            temporary.write_bytes(data)
            temporary.replace(file)
            return True
        finally:
            temporary.unlink(missing_ok=True)
    return False
