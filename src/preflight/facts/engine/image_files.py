"""The files of an image that an engine has, where they can be read.

They are read from the layers on this machine's disk, which takes root; nothing is started.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

from preflight.facts.engine.host_visibility import ExplainHiddenPath
from preflight.facts.nested_values import get_nested_text
from preflight.model.facts import Unknown, make_unknown_from_error

_MAX_SYMLINKS = 40  # as many as Linux follows
_MAX_TEXT_FILE_BYTES = 2**20


class ImageFiles:
    """The files of an image, in the layers of the overlay driver from the top one down.

    `unknown` says why they can't be looked at, or None if they can.
    """

    def __init__(self, inspected: Mapping[str, Any], path_hidden: ExplainHiddenPath) -> None:
        upper, lower = (
            get_nested_text(inspected, f"GraphDriver.Data.{key}Dir") for key in ("Upper", "Lower")
        )
        self._layers = list(filter(None, [upper or "", *(lower or "").split(":")]))
        self.unknown: Unknown | None = Unknown(
            "the engine doesn't report where the image's files are"
        )
        if upper is not None:
            self.unknown = path_hidden(upper)
            if self.unknown is None:
                try:
                    os.stat(upper)
                except OSError as error:
                    self.unknown = make_unknown_from_error(error)

    def stat(self, path: str) -> os.stat_result | None:
        """Return what is at a path, links followed; None if nothing is. Raises OSError."""
        found = self._resolve_path(path)
        return None if found is None else found[1]

    def read_text(self, path: str) -> str:
        """Return a small text file, or an empty string if there is none. Raises OSError."""
        found = self._resolve_path(path)
        if found is None or not stat.S_ISREG(found[1].st_mode):
            return ""
        with open(found[0], "rb") as file:
            return file.read(_MAX_TEXT_FILE_BYTES).decode("utf-8", "replace")

    def find_real_path(self, path: str) -> str:
        """Return a path without links, as far as it is there. Raises OSError."""
        if (found := self._resolve_path(path)) is not None:
            return found[2]
        folder, name = os.path.split(path)
        found = self._resolve_path(folder)
        return path if found is None else os.path.join(found[2], name)

    def is_dangling_link(self, path: str) -> bool:
        """Return whether a link leads to what isn't in the image. Raises OSError."""
        return self._lstat(self.find_real_path(path)) is not None and self.stat(path) is None

    def _resolve_path(self, path: str) -> tuple[str, os.stat_result, str] | None:
        """Return the file on disk, its status and its real path in the image."""
        current, parts = PurePosixPath("/"), list(reversed(PurePosixPath(path).parts[1:]))
        found = (self._layers[0], os.stat(self._layers[0]))
        links = 0
        while parts:
            part = parts.pop()
            step = current.parent if part == ".." else current / part
            looked_up = self._lstat(str(step)) if step != PurePosixPath("/") else found
            if looked_up is None:
                return None
            if stat.S_ISLNK(looked_up[1].st_mode):
                links += 1
                if links > _MAX_SYMLINKS:
                    return None
                target = PurePosixPath(os.readlink(looked_up[0]))
                if target.is_absolute():
                    current, target = PurePosixPath("/"), target.relative_to("/")
                parts += reversed(target.parts)
            else:
                current, found = step, looked_up
        return (*found, str(current))

    def _lstat(self, path: str) -> tuple[str, os.stat_result] | None:
        """Look at one path in each layer; a device 0:0 says that it was removed in that layer.

        Source: Linux, Documentation/filesystems/overlayfs.rst.
        """
        for layer in self._layers:
            try:
                status = os.lstat(layer + path)
            except FileNotFoundError:
                if any(
                    _hides_lower_layers(layer + str(parent))
                    for parent in PurePosixPath(path).parents
                ):
                    return None
                continue
            except NotADirectoryError:
                return None
            is_removed = stat.S_ISCHR(status.st_mode) and status.st_rdev == 0
            return None if is_removed else (layer + path, status)
        return None


def _hides_lower_layers(folder: str) -> bool:
    """Return whether a folder hides that of the layers below."""
    try:
        return os.getxattr(folder, "trusted.overlay.opaque") == b"y"
    except (OSError, AttributeError):
        return False
