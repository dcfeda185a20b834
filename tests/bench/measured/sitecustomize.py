"""Lets a process be measured that is started without `site`: `branches.py` puts it on the path.

Coverage starts in a `.pth` file, which is read with `site` alone; the reader leaves that out.
"""

from __future__ import annotations

import subprocess
from typing import Any

_start = subprocess.Popen.__init__


def _start_with_site(self: Any, args: Any, *rest: Any, **more: Any) -> None:
    if isinstance(args, list) and "-S" in args[1:2]:
        args = [args[0], *args[2:]]
    _start(self, args, *rest, **more)


subprocess.Popen.__init__ = _start_with_site  # type: ignore[method-assign]
