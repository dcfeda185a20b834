"""What a log file holds, whichever way it is stored: blocks of UTF-8 out of gzip and UTF-16.

A stream is read in blocks and never whole, so a packed bomb costs time alone, and not much of it.
"""

from __future__ import annotations

import codecs
import zlib
from collections.abc import Iterator
from typing import BinaryIO

BLOCK = 2**19  # bytes

_GZIP = b"\x1f\x8b"
_OTHERS = {
    b"\xfd7zXZ\x00": "xz",
    b"BZh": "bzip2",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"PK\x03\x04": "zip",
}
_UTF_16 = {codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}
_BOMB = 2**30  # bytes unpacked, from which on its rate is looked at
_MOST_RATE = 400  # logs that repeat one line are packed some 200 to 1; gzip's most is 1,032


def blocks(stream: BinaryIO, notes: list[str], most: int | None = None) -> Iterator[bytes]:
    """Yield what a stream holds; `notes` gets why something could not be read.

    `most` is how many bytes of the stream are read: a log may grow as fast as it is read.
    """
    raw = _raw(stream, notes, most)
    head = next(raw, b"")
    while len(head) < 8 and (more := next(raw, b"")):
        head += more
    if head.startswith(_GZIP):
        raw = _unpacked(head, raw, notes)
        head = next(raw, b"")
    other = next((name for magic, name in _OTHERS.items() if head.startswith(magic)), None)
    if other is not None:
        notes.append(f"it is packed with {other}: unpack it first")
        return
    if head[:2] in _UTF_16:
        yield from _decoded(head[2:], raw, _UTF_16[head[:2]])
        return
    if b"\0" in head[:4096]:
        notes.append("it is no text: it was searched all the same")
    yield head.removeprefix(codecs.BOM_UTF8)
    yield from raw


def _raw(stream: BinaryIO, notes: list[str], most: int | None) -> Iterator[bytes]:
    left = most
    while left is None or left > 0:
        try:
            data = stream.read(BLOCK if left is None else min(BLOCK, left))
        except OSError as fault:
            notes.append(f"not read to its end: {fault.strerror or fault}")
            return
        if not data:
            return
        left = None if left is None else left - len(data)
        yield data


def _unpacked(head: bytes, raw: Iterator[bytes], notes: list[str]) -> Iterator[bytes]:
    """Yield what is packed in one or several gzip members, up to where it is cut or damaged."""
    unpack, packed, size, taken, ended = _gzip(), head, 0, len(head), False
    while True:
        try:
            data = unpack.decompress(packed, BLOCK)
        except zlib.error:
            if not ended:  # behind the last member anything may stand, such as noughts
                notes.append("it is damaged: read up to there")
            return
        size += len(data)
        ended = ended and not data
        if data:
            yield data
        if size > _BOMB and size > _MOST_RATE * taken:
            notes.append(f"it is packed {size // taken:,} to 1, no log: read for {size >> 30} GiB")
            return
        packed = unpack.unconsumed_tail
        if unpack.eof:
            unpack, packed, ended = _gzip(), unpack.unused_data.lstrip(b"\0"), True
        if not packed and (ended or not data or len(data) < BLOCK):
            packed = next(raw, b"")
            taken += len(packed)
            if not packed:
                if not ended:
                    notes.append("it is cut off: read up to there")
                return


def _gzip() -> zlib._Decompress:
    return zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)


def _decoded(head: bytes, raw: Iterator[bytes], encoding: str) -> Iterator[bytes]:
    decoder = codecs.getincrementaldecoder(encoding)("replace")
    yield decoder.decode(head).encode("utf-8", "replace")
    for data in raw:
        yield decoder.decode(data).encode("utf-8", "replace")
    yield decoder.decode(b"", final=True).encode("utf-8", "replace")
