"""A base image for `.ci/Dockerfile`, where none can be pulled: the Python that runs the tests.

It has what `python:3-slim` has and the recipe needs: python and pip in /usr/local/bin, a shell. Its
pip takes packages from a wheelhouse in the image, so that the build needs no network.
"""

from __future__ import annotations

import importlib.util
import io
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from documentation import skip_or_fail

_LEFT_OUT = {"test", "tests", "idlelib", "tkinter", "turtledemo", "site-packages", "__pycache__"}
_PIP = """#!/usr/local/bin/python
import sys
sys.path.insert(0, "/opt/pip")
from pip._internal.cli.main import main
sys.exit(main())
"""
_PIP_CONF = "[global]\nno-index = true\nfind-links = /wheels\ndisable-pip-version-check = true\n"


def write_archive(archive: Path, wheels: Path) -> None:
    """Write the files of the image as a tar that `docker import` takes."""
    stdlib = Path(sysconfig.get_path("stdlib"))
    program = os.path.realpath(sys.executable)
    with tarfile.open(archive, "w") as tar:
        _add_shell(tar)
        tar.add(program, f"usr/local/bin/{stdlib.name}")
        for name in ("python", "python3"):
            _link(tar, f"usr/local/bin/{name}", stdlib.name)
        tar.add(stdlib, f"usr/local/lib/{stdlib.name}", filter=_wanted)
        for library in _libraries([program, *_extensions(stdlib)]):
            loader = "/ld-" in library  # each program names it by its whole path
            place = library.lstrip("/") if loader else f"usr/lib/{os.path.basename(library)}"
            tar.add(os.path.realpath(library), place)
        tar.add(_module("pip"), "opt/pip/pip", filter=_wanted)
        tar.add(wheels, "wheels")
        _text(tar, "usr/local/bin/pip", _PIP, 0o755)
        _text(tar, "etc/pip.conf", _PIP_CONF)
        _text(tar, "etc/passwd", "root:x:0:0:root:/root:/bin/sh\n")
        folder = tarfile.TarInfo("tmp")
        folder.type, folder.mode = tarfile.DIRTYPE, 0o1777
        tar.addfile(folder)


def _add_shell(tar: tarfile.TarFile) -> None:
    busybox = shutil.which("busybox")
    assert busybox is not None
    tar.add(os.path.realpath(busybox), "bin/busybox")
    for name in ("sh", "id", "stat"):
        _link(tar, f"bin/{name}", "busybox")


def _extensions(stdlib: Path) -> Iterator[Path]:
    """Yield the compiled modules that need libraries of the system: Python's and the packages'."""
    yield from (stdlib / "lib-dynload").glob("*.so")
    for name in ("psutil", "yaml"):
        yield from _module(name).glob("*.so")


def _module(name: str) -> Path:
    found = importlib.util.find_spec(name)
    if found is None or found.origin is None:
        skip_or_fail(f"this Python has no {name}")
    return Path(found.origin).parent


def _libraries(files: Iterable[str | Path]) -> list[str]:
    done = subprocess.run(["ldd", *map(str, files)], capture_output=True, text=True)
    return sorted(set(re.findall(r"(/\S+) \(0x", done.stdout)))


def _wanted(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
    return None if _LEFT_OUT & {*Path(entry.name).parts} or "/config-" in entry.name else entry


def _link(tar: tarfile.TarFile, name: str, target: str) -> None:
    link = tarfile.TarInfo(name)
    link.type, link.linkname = tarfile.SYMTYPE, target
    tar.addfile(link)


def _text(tar: tarfile.TarFile, name: str, text: str, mode: int = 0o644) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(text.encode()), mode
    tar.addfile(entry, io.BytesIO(text.encode()))
