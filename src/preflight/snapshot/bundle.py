"""The bundle: one zip file for a ticket, made whole and clean, read as the hostile input it may be.

Nothing of it is ever extracted to disk: members are read into memory, each bounded, and held
against the checksums of its manifest.
"""

from __future__ import annotations

import hashlib
import html
import io
import json
import re
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, BinaryIO

from preflight.model.bundle import FACTS, LOGS, MANIFEST, REPORT, Part
from preflight.model.facts import MAX_BUNDLE_BYTES, MAX_SNAPSHOT_BYTES, Facts
from preflight.model.problems import InputError, Problem
from preflight.snapshot import facts_file, report_file
from preflight.snapshot.json_input import parse, refuse_newer
from preflight.snapshot.redact import Redactor
from preflight.snapshot.shapes import SHAPES

SCHEMA = "preflight.bundle/1"

_START, _END = b"PK\x03\x04", b"PK\x05\x06"
_END_BYTES, _LOCATOR_BYTES = 22, 20  # APPNOTE.TXT 4.3.16 and 4.3.15
_MOST_MEMBERS = 1000
_MOST_DIRECTORY = 2**18  # bytes of the list of members
_MOST_TOTAL = 4 * MAX_SNAPSHOT_BYTES  # bytes of all members, unpacked
_NAME = re.compile(r"(?:[A-Za-z0-9_][A-Za-z0-9._-]{0,127}/){0,3}[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the first that a zip file can say: the same bytes at any time
_PLAIN = tuple(shape for shape in SHAPES if shape.plain)


# --- making one ---------------------------------------------------------------------------------


def make(
    parts: Sequence[Part],
    version: str,
    made_at: str,
    redacted: Mapping[str, int] | None,
    missing: Sequence[str] = (),
) -> bytes:
    """Return the zip file.

    `redacted` counts placeholders by kind, None where nothing was; `missing` says what is not in it
    and why.
    """
    manifest = {
        "schema": SCHEMA,
        "preflight": version,
        "made_at": made_at,
        "redacted": redacted is not None,
        "placeholders": dict(sorted((redacted or {}).items())),
        "files": [
            {
                "name": part.name,
                "what": part.what,
                "bytes": len(part.data),
                "sha256": hashlib.sha256(part.data).hexdigest(),
            }
            for part in parts
        ],
        "missing": list(missing),
    }
    listed = Part(
        MANIFEST, "what is in it", (json.dumps(manifest, indent=2) + "\n").encode("ascii")
    )
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for part in (listed, *parts):
            member = zipfile.ZipInfo(part.name, _EPOCH)
            member.create_system, member.external_attr = 3, (stat.S_IFREG | 0o600) << 16
            member.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(member, part.data)
    return out.getvalue()


def leftovers(redactor: Redactor, name: str, data: bytes) -> list[str]:
    """Return a line for each place of a finished file that must not leave: never the secret itself.

    JSON is looked through by its texts, since there a key's colon makes no secret of a place; a
    page by what can't be anything else.
    """
    text = data.decode("utf-8", "replace")
    found: Iterable[tuple[int, str]]
    if name.endswith(".json"):
        found = [*redactor.left(text, shapes=()), *_left_in_json(redactor, text)]
    elif name.endswith(".html"):
        found = redactor.left(html.unescape(text), shapes=_PLAIN)
    else:
        found = redactor.left(text)
    return [f"{name}:{line} holds {what}" for line, what in dict.fromkeys(found)]


def _left_in_json(redactor: Redactor, text: str) -> Iterator[tuple[int, str]]:
    for one in dict.fromkeys(_texts(json.loads(text))):
        for _, what in redactor.left(one):
            yield text.count("\n", 0, max(0, text.find(json.dumps(one)))) + 1, what


def _texts(node: Any) -> Iterator[str]:
    if isinstance(node, str):
        yield node
    elif isinstance(node, dict):
        for key, value in node.items():
            yield key
            yield from _texts(value)
    elif isinstance(node, list):
        for value in node:
            yield from _texts(value)


# --- reading one --------------------------------------------------------------------------------


def open_bundle(data: bytes, name: str) -> Bundle:
    """Open a bundle; raises InputError with what is wrong with it, in one line."""
    return Bundle(data, name)


class Bundle:
    """A bundle whose list of members has been looked through; what is read of it is verified."""

    def __init__(self, data: bytes, name: str) -> None:
        self._name = name
        self._members = self._look_through(data)
        self._listed = self._manifest()

    def facts(self) -> Facts:
        """Return its snapshot."""
        return facts_file.load(self._member(FACTS, MAX_SNAPSHOT_BYTES), f"{self._name}:{FACTS}")

    def report(self) -> dict[str, Any]:
        """Return the report that was made there, by the rules of then."""
        return report_file.load(self._member(REPORT, MAX_SNAPSHOT_BYTES), f"{self._name}:{REPORT}")

    def names(self) -> list[str]:
        """Return the names of all that is in it."""
        return list(self._members)

    def members(self) -> Iterator[tuple[str, bytes]]:
        """Yield name and bytes of all that is in it."""
        for name in self._members:
            yield name, self._unpacked(name, MAX_SNAPSHOT_BYTES)

    def logs(self) -> Iterator[tuple[str, BinaryIO]]:
        """Yield name and bytes of each log."""
        for member in self._listed:
            if member.startswith(LOGS):
                yield member, io.BytesIO(self._member(member, MAX_SNAPSHOT_BYTES))

    def _wrong(self, message: str) -> InputError:
        return InputError(Problem(self._name, 0, 0, f"no bundle: {message}"))

    def _look_through(self, data: bytes) -> dict[str, zipfile.ZipInfo]:
        """Return the members by name; every trick that a zip file can play is refused here."""
        if len(data) > MAX_BUNDLE_BYTES:
            raise self._wrong(f"larger than {MAX_BUNDLE_BYTES // 2**20} MiB")
        self._look_at_the_end(data)
        try:
            self._archive = zipfile.ZipFile(io.BytesIO(data))
            infos = self._archive.infolist()
        except (zipfile.BadZipFile, ValueError, NotImplementedError, struct.error, OSError):
            raise self._wrong("its list of members is damaged") from None
        for info in infos:
            if (fault := _fault(info)) is not None:
                raise self._wrong(f"{info.orig_filename[:100]!r} {fault}")
        if len({info.filename.lower() for info in infos}) < len(infos):
            raise self._wrong("it holds two members of one name")
        if sum(info.file_size for info in infos) > _MOST_TOTAL:
            raise self._wrong(f"unpacked it is larger than {_MOST_TOTAL // 2**20} MiB")
        if sum(info.compress_size for info in infos) > len(data):
            raise self._wrong("its members overlap")
        return {info.filename: info for info in infos}

    def _look_at_the_end(self, data: bytes) -> None:
        """What stands at the end says how long the list is, before anybody reads it."""
        end = data[-_END_BYTES:]
        if not end.startswith(_END) or len(end) < _END_BYTES:
            if not data.startswith(_START):
                raise self._wrong("no zip file")
            raise self._wrong("its end is missing: it was cut off, or something was appended")
        disk, first, here, members, size, offset, comment = struct.unpack("<4x4H2LH", end)
        if data[-_END_BYTES - _LOCATOR_BYTES :].startswith(b"PK\x06\x07"):
            raise self._wrong("it is of the kind for more than 4 GiB")
        if disk or first or comment or here != members:
            raise self._wrong("it is of a kind that preflight doesn't write")
        if members > _MOST_MEMBERS or size > _MOST_DIRECTORY:
            raise self._wrong(f"it holds more than {_MOST_MEMBERS} members")
        if offset + size + _END_BYTES != len(data):
            raise self._wrong("its parts don't add up: it was cut off, or something was put in")

    def _manifest(self) -> dict[str, tuple[int, str]]:
        """Return size and checksum of each member that the manifest lists: all there are."""
        root = parse(self._unpacked(MANIFEST, MAX_SNAPSHOT_BYTES), self._wrong)
        made = root.get("schema") if isinstance(root, dict) else None
        if not isinstance(made, str):
            raise self._wrong(f"its {MANIFEST} has no schema")
        refuse_newer(made, SCHEMA, self._name)
        if made != SCHEMA:
            raise self._wrong(f"its {MANIFEST} is {made[:60]!r}")
        files = root.get("files")
        listed: dict[str, tuple[int, str]] = {}
        for one in files if isinstance(files, list) else ():
            fields = [one.get(key) if isinstance(one, dict) else None for key in _LISTED]
            if not all(isinstance(f, t) for f, t in zip(fields, _LISTED.values(), strict=True)):
                raise self._wrong(f"its {MANIFEST} has an entry without name, bytes and sha256")
            listed[fields[0]] = (fields[1], fields[2])  # type: ignore[index,assignment]
        if {MANIFEST, *listed} != set(self._members):
            odd = sorted({MANIFEST, *listed} ^ set(self._members))
            raise self._wrong(f"{odd[0][:100]!r} is not both in it and in its {MANIFEST}")
        return listed

    def _member(self, name: str, most: int) -> bytes:
        if name not in self._listed:
            raise self._wrong(f"it holds no {name}")
        data = self._unpacked(name, most)
        if (len(data), hashlib.sha256(data).hexdigest()) != self._listed[name]:
            raise self._wrong(f"{name} is not what its {MANIFEST} says: it was changed or damaged")
        return data

    def _unpacked(self, name: str, most: int) -> bytes:
        info = self._members.get(name)
        if info is None:
            raise self._wrong(f"it holds no {name}")
        if info.file_size > most:
            raise self._wrong(f"{name} is larger than {most // 2**20} MiB")
        try:
            with self._archive.open(info) as member:
                data = member.read(most + 1)
        except (zipfile.BadZipFile, zlib.error, EOFError, ValueError, NotImplementedError, OSError):
            raise self._wrong(f"{name} is damaged") from None
        if len(data) != info.file_size:
            raise self._wrong(f"{name} has not the size that it is said to have")
        return data


_LISTED: Mapping[str, type] = {"name": str, "bytes": int, "sha256": str}


def _fault(info: zipfile.ZipInfo) -> str | None:
    """Say what is wrong with a member, None where nothing is."""
    if not _NAME.fullmatch(info.orig_filename) or info.orig_filename != info.filename:
        return "is no name of a member"
    kind = stat.S_IFMT(info.external_attr >> 16)
    if kind not in (0, stat.S_IFREG):
        return "is a link or a device, no file"
    if info.flag_bits & 0x1:
        return "is encrypted"
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        return "is packed in a way that preflight doesn't use"
    return None
