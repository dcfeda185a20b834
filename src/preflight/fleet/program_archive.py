"""Packs what is sent to hosts: this program, the wheels of its dependencies, and rule files.

Tar archives without times and owners, so that the same files give the same bytes.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path

from preflight import __version__
from preflight.model.problems import InputError
from preflight.model.rules import BUNDLED_FILE_BY_SET


def build_program_tar(rules: Path, wheelhouse: str | None = None) -> tuple[str, bytes]:
    """Return an id of this build of the program, and the archive for hosts.

    `rules` are the bundled rules, `wheelhouse` is a folder of wheels. Raises InputError.
    """
    package = Path(__file__).parents[1]
    program = {
        f"preflight/{file.relative_to(package).as_posix()}": file.read_bytes()
        for file in package.rglob("*")
        if file.is_file() and "__pycache__" not in file.parts
    }
    program["preflight/rules.yaml"] = rules.read_bytes()
    build = f"{__version__}-{hashlib.sha256(build_tar(program)).hexdigest()[:12]}"
    return build, build_tar(program | (_read_wheels(wheelhouse) if wheelhouse else {}))


def _read_wheels(folder: str) -> dict[str, bytes]:
    try:
        files = [file for file in Path(folder).iterdir() if file.suffix == ".whl"]
        wheels = {f"wheels/{file.name}": file.read_bytes() for file in files}
    except OSError as error:
        raise InputError(f"--wheelhouse {folder}: {error.strerror}") from None
    if not wheels:
        fix = f"to fill it, run: pip download -d {folder} ."
        raise InputError(f"--wheelhouse {folder} contains no wheels; {fix}")
    return wheels


def list_own_dependencies() -> list[str]:
    """Return what pip installs on a host; raises InputError if this program isn't installed."""
    try:
        return [line for line in requires("preflight") or [] if "extra ==" not in line]
    except PackageNotFoundError:
        raise InputError(
            "preflight isn't installed in this Python environment: run 'pip install .' in its "
            "folder"
        ) from None


def build_rule_files_tar(files: Mapping[str, bytes], first: str) -> bytes:
    """Pack rule files with their relative paths; `entry.yaml` at the top extends the first.

    Bundled sets are left out: a host has them.
    """
    packed = {}
    by_path = {
        os.path.abspath(name): files[name] for name in files if name not in BUNDLED_FILE_BY_SET
    }
    if by_path:
        top = os.path.commonpath([os.path.dirname(path) for path in by_path])
        packed = {os.path.relpath(path, top): data for path, data in by_path.items()}
        first = "./" + os.path.relpath(os.path.abspath(first), top)
    entry = {"version": 1, "extends": [first], "rules": []}
    return build_tar({**packed, "entry.yaml": json.dumps(entry).encode()})


def build_tar(files: Mapping[str, bytes]) -> bytes:
    """Return a tar archive of files by their paths."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for name, data in sorted(files.items()):
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return packed.getvalue()
