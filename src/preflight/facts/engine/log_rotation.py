"""Whether a logging driver drops old logs by itself, so that they don't fill the disk.

Sources: Docker's documentation, engine/logging/drivers/json-file, /local and /journald, and
engine/logging/dual-logging; journald.conf(5); moby daemon/logger/jsonfilelog and /local.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from preflight.model.facts import Unknown

DEFAULT_LOG_DRIVER = "json-file"
_POSITIVE_SIZE = re.compile(r"[0-9.]*[1-9][0-9.]*\s*[a-z]*", re.IGNORECASE)


def is_log_rotated(driver: str, options: Mapping[str, Any] | None) -> bool | Unknown:
    """Return whether a driver drops old logs; `options` is None where they aren't known.

    json-file, and Podman's k8s-file, grow without limit unless `max-size` is a positive size;
    `max-file` has no effect without it. `local` keeps 5 files of 20 MB by default. journald keeps
    its journal within SystemMaxUse, by default a tenth of the disk; `none` keeps nothing. All
    others hand logs to a service, and what that drops isn't known.
    """
    if driver in ("journald", "none"):
        return True
    if driver not in (DEFAULT_LOG_DRIVER, "k8s-file", "local"):
        return Unknown(f"where {driver} keeps its logs is not known here", "unsupported")
    if options is None and driver != "local":
        return Unknown(f"the API does not report the options of {driver}", "unsupported")
    size = (options or {}).get("max-size")
    if size is None:
        return driver == "local"
    return _POSITIVE_SIZE.fullmatch(str(size).strip()) is not None
