"""This very program as a wheel, and with it the zip of wheels that a host installs from.

A wheel is a zip with a RECORD of its files (PEP 427); the same program gives the same bytes.
"""

from __future__ import annotations

import base64
import hashlib
import io
import zipfile
from collections.abc import Iterator, Mapping
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from preflight.model.problems import InputError

NAME = "preflight"
_OLDEST = (1980, 1, 1, 0, 0, 0)  # what zip can say; the same on every machine
_WHEEL = "Wheel-Version: 1.0\nGenerator: preflight\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
_MOST = 2**30  # bytes of a wheelhouse


def program(rules: Path) -> Mapping[str, bytes]:
    """Return the files of this program's wheel but RECORD, by their names in it.

    `rules` is where the bundled rules are. Raises InputError where it isn't installed.
    """
    try:
        known = distribution(NAME)
    except PackageNotFoundError:
        raise InputError("preflight is not installed here: pip install . in its folder") from None
    package = Path(__file__).parents[1]
    files = {
        f"{NAME}/{file.relative_to(package).as_posix()}": file.read_bytes()
        for file in sorted(package.rglob("*"))
        if file.is_file() and "__pycache__" not in file.parts
    }
    files[f"{NAME}/rules.yaml"] = rules.read_bytes()
    info = f"{NAME}-{known.version}.dist-info"
    return files | {f"{info}/{name}": data for name, data in _metadata(known)}


def _metadata(known: Distribution) -> Iterator[tuple[str, bytes]]:
    yield "METADATA", (known.read_text("METADATA") or "").encode()
    yield "WHEEL", _WHEEL.encode()
    yield "entry_points.txt", (known.read_text("entry_points.txt") or "").encode()


def digest(files: Mapping[str, bytes]) -> str:
    """Return what tells this program from others of its version: a dozen hexadecimal digits."""
    whole = hashlib.sha256()
    for name, data in sorted(files.items()):
        whole.update(f"{name} {len(data)}\n".encode() + data)
    return whole.hexdigest()[:12]


def wheel(files: Mapping[str, bytes], version: str) -> tuple[str, bytes]:
    """Return the name and the bytes of the wheel."""
    record = f"{NAME}-{version}.dist-info/RECORD"
    rows = [f"{name},sha256={_hash(data)},{len(data)}" for name, data in files.items()]
    text = "\n".join([*rows, f"{record},,"]) + "\n"
    return f"{NAME}-{version}-py3-none-any.whl", _zip({**files, record: text.encode()})


def _hash(data: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()


def parcel(files: Mapping[str, bytes], version: str, wheelhouse: str | None) -> bytes:
    """Return the zip to send to a host; raises InputError where a wheelhouse is none."""
    name, data = wheel(files, version)
    return _zip({**(_wheels(Path(wheelhouse)) if wheelhouse is not None else {}), name: data}, 0)


def _wheels(folder: Path) -> dict[str, bytes]:
    try:
        found = sorted(one for one in folder.iterdir() if one.suffix == ".whl")
        size = sum(one.stat().st_size for one in found)
        if size > _MOST:
            raise InputError(f"--wheelhouse {folder}: {size:,} bytes of wheels, 1 GiB at most")
        wheels = {one.name: one.read_bytes() for one in found}
    except OSError as fault:
        raise InputError(f"--wheelhouse {folder}: {fault.strerror}") from None
    if not wheels:
        raise InputError(
            f"--wheelhouse {folder} holds no wheel; fill it with: pip download -d {folder} ."
        )
    return wheels


def _zip(files: Mapping[str, bytes], level: int = 6) -> bytes:
    made = io.BytesIO()
    kind = zipfile.ZIP_DEFLATED if level else zipfile.ZIP_STORED
    with zipfile.ZipFile(made, "w", kind, compresslevel=level or None) as archive:
        for name, data in files.items():
            member = zipfile.ZipInfo(name, _OLDEST)
            member.external_attr, member.compress_type = 0o100644 << 16, kind
            archive.writestr(member, data)
    return made.getvalue()
