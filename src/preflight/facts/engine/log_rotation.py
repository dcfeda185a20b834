"""Whether a logging driver drops old logs by itself, so that they don't fill the disk.

Sources: Docker's documentation, engine/logging/drivers/json-file, /local and /journald, and
engine/logging/dual-logging; journald.conf(5); moby daemon/logger/jsonfilelog and /local.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from preflight.model.facts import Unknown

DEFAULT_LOG_DRIVER = "json-file"  # Docker's own
_SIZE = re.compile(r"[0-9.]*[1-9][0-9.]*\s*[a-z]*", re.IGNORECASE)  # more than nought


def is_log_rotated(driver: str, options: Mapping[str, Any] | None) -> bool | Unknown:
    """Return whether a driver drops old logs; `options` is None where they aren't told.

    json-file, Podman's k8s-file too, grows for ever unless `max-size` is a size: -1 stands for
    unlimited in its documentation, and is refused like 0 and what is none. `max-file` means nothing
    without it. `local` keeps 5 files of 20 MB unless told otherwise. journald keeps its journal
    within SystemMaxUse, a tenth of the disk by default; `none` keeps nothing. All others hand logs
    to a service, which may be on this machine, such as syslog: what that drops isn't known.
    """
    if driver in ("journald", "none"):
        return True
    if driver not in (DEFAULT_LOG_DRIVER, "k8s-file", "local"):
        return Unknown(f"where {driver} keeps its logs is not known here", "unsupported")
    if options is None and driver != "local":
        return Unknown(f"the API does not tell the options of {driver}", "unsupported")
    size = (options or {}).get("max-size")
    if size is None:
        return driver == "local"
    return _SIZE.fullmatch(str(size).strip()) is not None
