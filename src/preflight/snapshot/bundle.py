"""The bundle: one zip file for a ticket. Writes it, and reads one that may come from anybody.

Nothing is ever extracted to disk: members are read into memory, within limits, and compared with
the checksums of the manifest. What is secret in them isn't decided here.
"""

import hashlib
import io
import json
import re
import stat
import struct
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from preflight.model.facts import MAX_BUNDLE_BYTES, MAX_SNAPSHOT_BYTES
from preflight.snapshot.json_input import (
    find_shape_mismatches,
    make_invalid_file_error,
    parse_json_with_schema,
)

BUNDLE_SCHEMA_NAME = "preflight.bundle/1"
MANIFEST_FILE, FACTS_FILE, LOGS_FOLDER = "manifest.json", "facts.json", "logs/"
MAX_BUNDLE_MEMBERS = 1000
MAX_UNPACKED_BYTES = 4 * MAX_SNAPSHOT_BYTES  # of all members together

_BUNDLE_MEMBER_NAME_PATTERN = re.compile(r"(?:\w[\w.-]{0,127}/){0,3}\w[\w.-]{0,127}", re.ASCII)
_ZIP_DIRECTORY_SIGNATURE = b"PK\x01\x02"
_EARLIEST_ZIP_DATE = (1980, 1, 1, 0, 0, 0)  # of the zip format: the same bytes at any time
_ZIP_ERRORS = (
    zipfile.BadZipFile, zlib.error, struct.error, EOFError, OSError,
    ValueError, ArithmeticError, LookupError, RuntimeError,
)  # fmt: skip
"""All that zipfile raises for a damaged or hostile file, offsets of 2**64-1 included."""


class BundleMember(NamedTuple):
    """One file of a bundle."""

    name: str
    description: str
    data: bytes


def build_bundle(
    members: Sequence[BundleMember],
    version: str,
    made_at: str,
    placeholders: Mapping[str, int] | None,
    missing: Sequence[str] = (),
) -> bytes:
    """Return the zip file.

    `placeholders` counts them by kind, or None if nothing was redacted; `missing` says what is not
    in it and why.
    """
    manifest = {
        "schema": BUNDLE_SCHEMA_NAME,
        "preflight": version,
        "made_at": made_at,
        "redacted": placeholders is not None,
        "placeholders": dict(sorted((placeholders or {}).items())),
        "files": [
            {"name": name, "what": description, "bytes": len(data), "sha256": _compute_sha256(data)}
            for name, description, data in members
        ],
        "missing": list(missing),
    }
    manifest_data = (json.dumps(manifest, indent=2) + "\n").encode("ascii")
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for member in (BundleMember(MANIFEST_FILE, "", manifest_data), *members):
            info = zipfile.ZipInfo(member.name, _EARLIEST_ZIP_DATE)
            info.create_system, info.external_attr = 3, (stat.S_IFREG | 0o600) << 16
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, member.data)
    return out.getvalue()


def _compute_sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def read_bundle(data: bytes, file: str) -> dict[str, bytes]:
    """Return the members by name, each as the manifest has it; raises InputError.

    Refused are archives with too many or too large members, names that could lead elsewhere,
    duplicates, and members that the manifest doesn't list or lists with another checksum.
    """
    if len(data) > MAX_BUNDLE_BYTES:
        raise make_invalid_file_error(
            file, f"not a bundle: the file is larger than {MAX_BUNDLE_BYTES // 2**20} MiB"
        )
    try:
        # zipfile would build a list of them all
        if data.count(_ZIP_DIRECTORY_SIGNATURE) > MAX_BUNDLE_MEMBERS:
            raise ValueError(f"the archive has more than {MAX_BUNDLE_MEMBERS} members")
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            _check_bundle_members(archive.infolist())
            members = {}
            for info in archive.infolist():
                with archive.open(info) as member:
                    members[info.filename] = member.read(info.file_size + 1)
        if MANIFEST_FILE not in members:
            raise ValueError(f"{MANIFEST_FILE} is missing")
    except _ZIP_ERRORS as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise make_invalid_file_error(file, f"not a bundle: {reason}") from None
    _check_bundle_manifest(members, f"{file}:{MANIFEST_FILE}")
    return members


def _check_bundle_members(infos: Sequence[zipfile.ZipInfo]) -> None:
    """Raise ValueError for what this program doesn't write, before anything is unpacked."""
    for info in infos:
        if (
            not _BUNDLE_MEMBER_NAME_PATTERN.fullmatch(info.orig_filename)
            or info.orig_filename != info.filename
        ):
            raise ValueError(f"{info.orig_filename[:100]!r} isn't a valid member name")
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise ValueError(f"{info.filename} uses an unsupported compression method")
    if len({info.filename.lower() for info in infos}) < len(infos):
        raise ValueError("two of its members have the same name")
    if sum(info.file_size for info in infos) > MAX_UNPACKED_BYTES:
        raise ValueError(f"its content is larger than {MAX_UNPACKED_BYTES // 2**20} MiB")


def _check_bundle_manifest(members: Mapping[str, bytes], file: str) -> None:
    root = parse_json_with_schema(
        members[MANIFEST_FILE], file, BUNDLE_SCHEMA_NAME, MAX_SNAPSHOT_BYTES
    )
    for problem in find_shape_mismatches(
        root, {"files": [{"name": str, "bytes": int, "sha256": str}]}
    ):
        raise make_invalid_file_error(file, problem)
    listed = {entry["name"]: (entry["bytes"], entry["sha256"]) for entry in root["files"]}
    for name in sorted({*members, *listed} - {MANIFEST_FILE}):
        if name not in members or name not in listed:
            where = (
                "missing from the archive" if name in listed else f"not listed in {MANIFEST_FILE}"
            )
            raise make_invalid_file_error(file, f"{name[:100]!r} is {where}")
        if (len(members[name]), _compute_sha256(members[name])) != listed[name]:
            raise make_invalid_file_error(
                file, f"{name} doesn't match its checksum: it was changed or damaged"
            )


def make_log_member_names(containers: Iterable[str]) -> list[str]:
    """Return a member name for each container's log, unique on filesystems that ignore case."""
    counts: Counter[str] = Counter()  # by the name in lower case
    names = []
    for container in containers:
        stem = re.sub(r"[^A-Za-z0-9._-]+", "-", container).strip("-._")[:100] or "container"
        while counts[stem.lower()]:
            counts[stem.lower()] += 1
            stem = f"{stem}-{counts[stem.lower()]}"
        counts[stem.lower()] = 1
        names.append(f"{LOGS_FOLDER}{stem}.log")
    return names
