"""Whether the clock is synchronized, as the kernel says: `host.time.synchronized`."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from preflight.facts.collect.context import MeasurementContext
from preflight.facts.host.machine import measure_virtualization
from preflight.model.facts import Measured, Unknown
from preflight.model.facts import Path as FactPath

_TIMEX_BYTES = 256  # struct timex has 208
# modes, offset, freq, maxerror: all but the first are longs, and it is padded
_TIMEX_MAX_ERROR_INDEX = 3
_MAX_CLOCK_ERROR_MICROSECONDS = 16_000_000  # NTP_PHASE_LIMIT of the kernel: it is never set
_VMS_WITH_HOST_CLOCK = ("wsl", "hyperv")  # the hypervisor sets it, unknown to the kernel


def measure_clock(
    _: MeasurementContext, paths: Sequence[FactPath], root: Path = Path("/")
) -> Iterator[Measured]:
    """Yield the facts of the clock."""
    for path in paths:
        yield Measured(path, *read_clock_synchronized(root))


def read_max_clock_error_microseconds() -> int:
    """Return the largest error of the clock in microseconds: adjtimex(2). Raises OSError."""
    libc = ctypes.CDLL(None, use_errno=True)
    buffer = ctypes.create_string_buffer(_TIMEX_BYTES)  # modes 0: nothing is changed
    if libc.adjtimex(buffer) < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return int(ctypes.cast(buffer, ctypes.POINTER(ctypes.c_long))[_TIMEX_MAX_ERROR_INDEX])


def read_clock_synchronized(
    root: Path = Path("/"), read_error: Callable[[], int] = read_max_clock_error_microseconds
) -> tuple[bool | Unknown, str]:
    """Return whether the clock is synchronized, and the source.

    As timedatectl does by the largest error, not by STA_UNSYNC, which also says that the kernel
    doesn't set the hardware's clock: systemd, src/basic/time-util.c, `ntp_synced`.
    """
    if not sys.platform.startswith("linux"):
        return Unknown("preflight measures this only on Linux", "unsupported"), ""
    try:
        is_synchronized = read_error() < _MAX_CLOCK_ERROR_MICROSECONDS
    except (OSError, AttributeError) as error:  # a C library without adjtimex
        return Unknown(f"adjtimex failed: {error}", "unsupported"), ""
    kind = measure_virtualization(root).value
    if not is_synchronized and kind in _VMS_WITH_HOST_CLOCK:
        return Unknown(f"the hypervisor ({kind}) may set the clock", "unsupported"), ""
    return is_synchronized, "adjtimex maxerror"
