"""Runs commands side by side in a mount namespace with a filesystem that never answers.

python hung_filesystem.py POINT < [{"args": …, "cwd": …, "env": …}, …]: prints for each command its
exit code, the seconds it took and its output.
"""

from __future__ import annotations

import ctypes
import json
import os
import struct
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

MAX_SECONDS = 40
CLONE_NEWNS, MS_REC_PRIVATE = 0x20000, (1 << 18) | (1 << 14)
INIT, GETATTR, ACCESS = 26, 3, 34


def serve(fuse: int) -> None:
    """Answer what mounting and entering the folder takes, and nothing else."""
    while True:
        _, operation, number = struct.unpack_from("IIQ", os.read(fuse, 1 << 20))
        if operation == INIT:
            body = struct.pack("4I2H2I2H8I", 7, 31, 65536, 0, 9, 9, 65536, 1, 0, 0, *[0] * 8)
        elif operation == GETATTR:
            attributes = (0, 0, 0, 0o40755, 2, 0, 0, 0, 512, 0)
            body = struct.pack("Q2I6Q10I", 0, 0, 0, 1, 0, 0, 0, 0, 0, *attributes)
        elif operation == ACCESS:
            body = b""
        else:
            continue
        os.write(fuse, struct.pack("IiQ", 16 + len(body), 0, number) + body)


def run(command: dict[str, Any]) -> tuple[int | None, float, str]:
    """Run a command to its end; its exit code is None if it had to be killed."""
    start = time.monotonic()
    process = subprocess.Popen(
        **command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, start_new_session=True,
    )  # fmt: skip
    try:
        output, _ = process.communicate(timeout=MAX_SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, 9)
        return None, time.monotonic() - start, ""
    return process.returncode, time.monotonic() - start, output


def main(point: str) -> None:
    commands = json.load(sys.stdin)
    libc = ctypes.CDLL(None, use_errno=True)
    libc.unshare(CLONE_NEWNS)
    libc.mount(b"none", b"/", None, MS_REC_PRIVATE, None)
    fuse = os.open("/dev/fuse", os.O_RDWR)
    options = f"fd={fuse},rootmode=40000,user_id=0,group_id=0,allow_other"
    if libc.mount(b"nas", point.encode(), b"fuse.nas", 0, options.encode()):
        sys.exit(os.strerror(ctypes.get_errno()))
    threading.Thread(target=serve, args=(fuse,), daemon=True).start()
    with ThreadPoolExecutor(len(commands)) as threads:
        sys.stdout.write(json.dumps(list(threads.map(run, commands))))
    sys.stdout.flush()
    os._exit(0)  # which ends the filesystem, and what hangs in it


if __name__ == "__main__":
    main(*sys.argv[1:])
