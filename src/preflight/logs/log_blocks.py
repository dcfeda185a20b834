"""What a log file holds, however it is stored: blocks of UTF-8 from gzip and UTF-16.

A stream is read in blocks and never whole, so that a gzip bomb only costs time, and not much of it.
"""

from __future__ import annotations

import codecs
import sys
import zlib
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import BinaryIO

READ_BLOCK_BYTES = 2**19
# Freeing a block raises glibc's thresholds for giving memory back to the kernel. Without this,
# each block of a log costs its page faults again, which takes longer than searching it.
_RAISED_MMAP_THRESHOLD_BYTES = 2**22

_GZIP_MAGIC, _GZIP_WINDOW_BITS = b"\x1f\x8b", 16 + zlib.MAX_WBITS
_UNSUPPORTED_FORMAT_BY_MAGIC = {
    b"\xfd7zXZ\x00": "xz",
    b"BZh": "bzip2",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"PK\x03\x04": "zip",
}
_UTF_16_CODEC_BY_BOM = {codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}
_MIN_BYTES_FOR_RATIO_CHECK = 2**30  # unpacked, before the ratio counts
_MAX_COMPRESSION_RATIO = 400  # a log that repeats one line has about 200; gzip can reach 1,032


def read_decompressed_blocks(
    stream: BinaryIO, notes: list[str], max_bytes: int | None = None
) -> Iterator[bytes]:
    """Yield what a stream holds; `notes` gets the reasons why something couldn't be read.

    At most `max_bytes` of the stream are read: a log may grow as fast as it is read.
    """
    bytearray(_RAISED_MMAP_THRESHOLD_BYTES)
    raw: Iterator[bytes] = _read_raw_blocks(stream, notes, max_bytes)
    head = next(raw, b"")
    while len(head) < 8 and (more := next(raw, b"")):
        head += more
    if head.startswith(_GZIP_MAGIC):
        raw = filter(None, _unpack_gzip(chain([head], raw), notes))
        head = next(raw, b"")
    packer = next(
        (name for magic, name in _UNSUPPORTED_FORMAT_BY_MAGIC.items() if head.startswith(magic)),
        None,
    )
    if packer is not None:
        notes.append(f"compressed with {packer}: decompress it first")
        return
    if head[:2] in _UTF_16_CODEC_BY_BOM:
        codec = _UTF_16_CODEC_BY_BOM[head[:2]]
        for text in codecs.iterdecode(chain([head[2:]], raw), codec, "replace"):
            yield text.encode("utf-8", "replace")
        return
    if b"\0" in head[:4096]:
        notes.append("not a text file; searched anyway")
    yield head.removeprefix(codecs.BOM_UTF8)
    yield from raw


def _read_raw_blocks(stream: BinaryIO, notes: list[str], max_bytes: int | None) -> Iterator[bytes]:
    left = sys.maxsize if max_bytes is None else max_bytes
    while left > 0:
        try:
            data = stream.read(min(READ_BLOCK_BYTES, left))
        except OSError as error:
            notes.append(f"not read to the end: {error.strerror or error}")
            return
        if not data:
            return
        left -= len(data)
        yield data


def _unpack_gzip(blocks: Iterable[bytes], notes: list[str]) -> Iterator[bytes]:
    """Yield the contents of one or several gzip members, up to where they are cut or damaged."""
    unpacker, size, packed_size, is_whole = zlib.decompressobj(_GZIP_WINDOW_BITS), 0, 0, False
    for block in blocks:
        packed = block
        packed_size += len(packed)
        while packed:
            if unpacker.eof:
                unpacker, packed, is_whole = (
                    zlib.decompressobj(_GZIP_WINDOW_BITS),
                    packed.lstrip(b"\0"),
                    True,
                )
            try:
                data = unpacker.decompress(packed, READ_BLOCK_BYTES)
            except zlib.error:
                if not is_whole:  # after the last member anything may stand, such as zeros
                    notes.append("damaged: read only up to the damaged part")
                return
            size += len(data)
            is_whole = is_whole and not data
            yield data
            if size > _MIN_BYTES_FOR_RATIO_CHECK and size > _MAX_COMPRESSION_RATIO * packed_size:
                ratio, mib = size // packed_size, size >> 20
                notes.append(
                    f"compressed {ratio:,} to 1, which is unusual for a log: read only {mib:,} MiB"
                )
                return
            packed = unpacker.unused_data or unpacker.unconsumed_tail
    if not (unpacker.eof or is_whole):
        notes.append("truncated: read only up to the end of the file")
